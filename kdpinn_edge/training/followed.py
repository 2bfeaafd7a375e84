"""A problem without an equation: the columns and the box of a model that a student follows, whatever that model is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from kdpinn_edge.bundle.manifest import Input, Output, domain_fault
from kdpinn_edge.errors import ProblemError, TrainError
from kdpinn_edge.problems import Array, Math, Problem
from kdpinn_edge.reading import parse_json
from kdpinn_edge.training.outputs import check_finite

CONSTANT = 1e-12
"""The largest width of the values of an output, as a share of them, at which it is constant."""


@dataclass(frozen=True)
class Columns:
    """The columns of the model that is followed, as its weights describe them. Outputs are center + scale · N."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    units: tuple[str, ...]
    center: tuple[float, ...]
    scale: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Followed(Problem):
    """The problem of following a model; its reference is that model, and its residual has no equations."""

    columns: Columns = field(kw_only=True)


def followed(columns: Columns, exact: Callable[[Array], Array] | None = None) -> Followed:
    """The problem of following a model; without `exact`, the model that is followed, it has no reference."""

    def ansatz(m: Math, x: Sequence[Any], *net: Any) -> Sequence[Any]:
        return [n * scale + center for n, center, scale in zip(net, columns.center, columns.scale, strict=True)]

    def unknown(points: Array) -> Array:
        raise ProblemError(f"{columns.name} follows a model, and the weights do not say which: it has no reference")

    return Followed(
        name=columns.name,
        equation="",
        conditions="",
        inputs=columns.inputs,
        outputs=columns.outputs,
        lower=columns.lower,
        upper=columns.upper,
        units=columns.units,
        exact=exact or unknown,
        exact_error=0.0,
        resolution=(),
        terms=(),
        residual=lambda *terms: (),
        ansatz=ansatz,
        columns=columns,
    )


def check_box(inputs: Sequence[Input]) -> None:
    """Raise TrainError where the domain of an input is open, or no interval."""
    if open_sides := [column.name for column in inputs if column.lower is None or column.upper is None]:
        raise TrainError(
            f"the domain of {', '.join(open_sides)} is open; expected: bounds for every input, as in "
            f'--inputs "{open_sides[0]}=0:1", in Python inputs="{open_sides[0]}=0:1"'
        )
    for column in inputs:
        if fault := domain_fault(column.lower, column.upper, "float32"):
            raise TrainError(f"the domain of {column.name}: {fault}")


def follow(
    x: Array,
    values: Array,
    name: str,
    inputs: Sequence[Input],
    outputs: Sequence[Output],
    exact: Callable[[Array], Array] | None = None,
) -> Followed:
    """The problem of following a model that has these `values` (n, n_out) at points x of the box of its inputs.

    Outputs are scaled by mean and standard deviation of the values. Raises TrainError where an output is constant, or
    not finite.
    """
    check_finite(x, values, [column.name for column in inputs], name)
    size, spread = np.abs(values).max(axis=0), np.ptp(values, axis=0)
    for column, largest, width, value in zip(outputs, size, spread, values[0], strict=True):
        if width <= CONSTANT * largest:
            raise TrainError(
                f"the output {column.name} is {value:g} at all of {len(values)} points of the domain; expected: one "
                "that changes. The usual cause is a wrong domain, or a network that was not trained; else leave it out"
            )
    columns = Columns(
        name=name,
        inputs=tuple(column.name for column in inputs),
        outputs=tuple(column.name for column in outputs),
        lower=tuple(float(column.lower or 0.0) for column in inputs),
        upper=tuple(float(column.upper or 0.0) for column in inputs),
        units=tuple(unit or "1" for unit in (*(c.unit for c in inputs), *(c.unit for c in outputs))),
        center=tuple(map(float, values.mean(axis=0))),
        scale=tuple(map(float, values.std(axis=0))),
    )
    return followed(columns, exact)


def read_columns(text: str) -> Columns:
    """The Columns that weights carry as JSON. Raises TrainError where the text is something else."""
    try:
        document = parse_json(text.encode())
        kind: dict[str, Callable[[Any], Any]] = {"inputs": str, "outputs": str, "units": str}
        read = {each.name: tuple(map(kind.get(each.name, float), document[each.name])) for each in fields(Columns)[1:]}
        found = Columns(str(document["name"]), **read)
        counts = [len(values) for values in vars(found).values() if isinstance(values, tuple)]
        n_in, n_out = counts[:2]
        if counts != [n_in, n_out, n_in, n_in, n_in + n_out, n_out, n_out]:
            raise ValueError(f"inputs, outputs, lower, upper, units, center and scale have {counts} entries")
        if not n_in or not all(low < high for low, high in zip(found.lower, found.upper, strict=True)):
            raise ValueError(
                f"lower is {found.lower}, upper {found.upper}; expected: one or more inputs, lower < upper"
            )
    except (KeyError, TypeError, ValueError) as error:
        raise TrainError(f"the metadata 'columns' describes no model ({error}); the usual cause is an edit") from error
    return found
