"""`table_source(table, precision)`: a table as C99, behind the interface of kdpinn_edge.h.

One function, `static int32_t eval(const T *x, T *y, int64_t n)`, and its constants. It computes what `Table` means in
T = float or double, with fabs, log and sqrt of <math.h>.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from math import prod

import numpy as np

from kdpinn_edge.bundle.manifest import Precision
from kdpinn_edge.classical.bases import Basis, Chebyshev, Cubic
from kdpinn_edge.classical.coordinates import Coordinate
from kdpinn_edge.classical.table import Table, name

UNIT = """/* {basis} of {sizes} for each of {n_out} outputs: {numbers:,} numbers */
#include <math.h>

typedef {type} T;

static const T table[{numbers}] = {{
{values}
}};

static inline void at(const T *restrict x, T *restrict y) {{
{body}
}}

static int32_t eval(const T *restrict x, T *restrict y, int64_t n) {{
    if (n == 1) {{ /* without what a loop of vectors does first */
        at(x, y);
        return 0;
    }}
    for (int64_t i = 0; i < n; i++)
        at(x + {n_in} * i, y + {n_out} * i);
    return 0;
}}
"""
PER_LINE = 8
SIXTH = 1 / 6


def table_source(table: Table, precision: Precision) -> str:
    """The C of `table`, with coefficients and arithmetic of `precision`."""
    c = _C(precision)
    sizes = [axis.basis.size for axis in table.axes]
    strides = [prod(sizes[k + 1 :]) for k in range(len(sizes))]
    lines: list[str] = []
    for k, axis in enumerate(table.axes):
        lines += c.graded(k, axis.coordinate)
        lines += c.weights(k, axis.coordinate, axis.basis)
    lines.append(f"const T *q = table + {' + '.join(f'{stride} * k{k}' for k, stride in enumerate(strides))};")
    for output in range(table.n_out):
        lines += _sum(output, table, strides)
    numbers = map(c.number, table.coefficients.ravel().tolist())
    values = [", ".join(row) for row in iter(lambda: list(islice(numbers, PER_LINE)), [])]
    return UNIT.format(
        basis="Chebyshev polynomials" if isinstance(table.axes[0].basis, Chebyshev) else "cubic B-splines",
        sizes=name(table.axes),
        n_in=len(sizes),
        n_out=table.n_out,
        numbers=table.numbers,
        type=c.type,
        values=",\n".join(f"    {row}" for row in values),
        body="\n".join(f"    {line}" for line in lines),
    )


class _C:
    """The words of C in one precision."""

    def __init__(self, precision: Precision) -> None:
        self._round = np.dtype(precision).type
        self.type, self._suffix = ("float", "f") if precision == "float32" else ("double", "")

    def number(self, value: float) -> str:
        """The shortest constant that is read as `value`, rounded to the precision."""
        return f"{self._round(value)!s}{self._suffix}"

    def graded(self, k: int, axis: Coordinate) -> Iterator[str]:
        """Make d{k}, of which the place of input k is a multiple, and sign{k}, −1 where it lies beyond the mirror."""
        f, number = self._suffix, self.number
        yield f"T d{k} = x[{k}];"
        if axis.signs:
            if axis.origin or axis.side < 0:
                yield f"d{k} = {number(axis.side)} * (d{k} - {number(axis.origin)});"
            yield f"const T sign{k} = copysign{f}(1, d{k});"
            yield f"d{k} = fabs{f}(d{k});"
        if axis.width is not None:
            distance = f"(d{k} - {number(axis.at)})" if axis.at else f"d{k}"
            yield f"d{k} = {distance} * {number(1 / axis.width)};"
            if axis.lower >= axis.at:
                yield f"d{k} = log{f}(d{k} + sqrt{f}(d{k} * d{k} + 1));"
            else:
                yield f"const T a{k} = fabs{f}(d{k});"
                yield f"d{k} = copysign{f}(log{f}(a{k} + sqrt{f}(a{k} * a{k} + 1)), d{k});"

    def weights(self, k: int, axis: Coordinate, basis: Basis) -> Iterator[str]:
        """Make w{k}, the values of the functions that contribute to input k, and k{k}, the first of them."""
        number = self.number

        def scaled(factor: float, offset: float) -> str:
            offset -= axis.first * axis.scale * factor
            return f"d{k} * {number(axis.scale * factor)}" + (f" + {number(offset)}" if offset else "")

        match basis:
            case Cubic(cells=cells):
                yield f"const T p{k} = {scaled(cells, 0)};"
                yield f"int32_t k{k} = (int32_t)p{k};"
                yield f"k{k} = k{k} < 0 ? 0 : k{k} > {cells - 1} ? {cells - 1} : k{k};"
                yield f"const T u{k} = p{k} - (T)k{k}, z{k} = 1 - u{k};"
                two_thirds, half, sixth = number(2 / 3), number(0.5), number(SIXTH)
                middle = [f"{two_thirds} + {v} * {v} * ({half} * {v} - 1)" for v in (f"u{k}", f"z{k}")]
                outer = [f"{v} * {v} * {v} * {sixth}" for v in (f"z{k}", f"u{k}")]
                yield f"const T w{k}[4] = {{{outer[0]}, {middle[0]}, {middle[1]}, {outer[1]}}};"
            case Chebyshev(terms=terms):
                yield f"const T t{k} = {scaled(2, -1)};"
                yield f"T w{k}[{terms}] = {{1, t{k}}};"
                yield f"for (int j = 2; j < {terms}; j++)"
                yield f"    w{k}[j] = 2 * t{k} * w{k}[j - 1] - w{k}[j - 2];"
                yield f"const int32_t k{k} = 0;"
            case _:
                raise TypeError(f"no C for {basis}")


def _sum(output: int, table: Table, strides: Sequence[int]) -> Iterator[str]:
    """Store the sum over the coefficients of one output, one input inside the other."""
    last = len(strides) - 1
    start = output * strides[0] * table.axes[0].basis.size
    yield f"T y{output} = 0;"
    if last > 1:  # 64 products and more take the compiler a minute, and run no faster
        yield "#pragma GCC unroll 1"
    for k, axis in enumerate(table.axes):
        index = "    " * k
        yield f"{index}for (int j{k} = 0; j{k} < {axis.basis.support}; j{k}++) {{"
        if k < last:
            yield f"{index}    T s{k} = 0;"
    terms = [f"{stride} * j{k}" for k, stride in enumerate(strides)]
    place = " + ".join([str(start), *terms] if start else terms)
    for k in range(last, -1, -1):
        into = f"s{k - 1}" if k else f"y{output}"
        value = f"q[{place}]" if k == last else f"s{k}"
        yield f"{'    ' * (k + 1)}{into} += w{k}[j{k}] * {value};"
        yield f"{'    ' * k}}}"
    odd = [k for k, axis in enumerate(table.axes) if axis.coordinate.signs and axis.coordinate.signs[output] < 0]
    yield f"y[{output}] = {' * '.join([*(f'sign{k}' for k in odd), f'y{output}'])};"
