"""Units of derivatives: that of the output over those of the inputs.

u in K, x in m, t in s:    u_x in K/m, u_xx and laplacian(u) in K/m², u_xt in K/(m s), x in m
v in m/s:                  v_x in (m/s)/m: a unit of several symbols is not taken apart
"1" is dimensionless:      u in 1, x in m gives 1/m; u in m, x in m gives 1
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from kdpinn_edge.bundle.manifest import Input, Output
from kdpinn_edge.derive.names import Derivative, InputColumn, Laplacian, Names

SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def derivative_units(
    derivatives: Sequence[str], inputs: Sequence[Input], outputs: Sequence[Output]
) -> tuple[str | None, ...]:
    """The unit of each of the columns `derivatives` of a jet; None where it is unknown, or a sum has several."""
    names = Names(tuple(column.name for column in inputs), tuple(column.name for column in outputs))
    unit = {column.name: column.unit for column in inputs} | {column.name: column.unit for column in outputs}

    def of(derivative: str) -> str | None:
        match names.read(derivative):
            case InputColumn(column):
                return unit[column]
            case Derivative(column, multi_index):
                return quotient(unit[column], [unit[x] for x in multi_index])
            case Laplacian(column, axes):
                terms = {quotient(unit[column], [unit[x], unit[x]]) for x in axes or names.inputs}
                return terms.pop() if len(terms) == 1 else None

    return tuple(map(of, derivatives))


def quotient(unit: str | None, by: Sequence[str | None]) -> str | None:
    """Write `unit` over the units `by`: quotient("K", ["m", "m"]) is "K/m²". None where one of them is."""
    powers: Counter[str] = Counter()
    for symbol, power in ((unit, 1), *((symbol, -1) for symbol in by)):
        if symbol is None:
            return None
        if symbol != "1":
            powers[symbol if symbol.isalpha() else f"({symbol})"] += power
    above, below = (
        [_power(symbol, abs(power)) for symbol, power in powers.items() if power * sign > 0] for sign in (1, -1)
    )
    denominator = f"({' '.join(below)})" if len(below) > 1 else "".join(below)
    return f"{' '.join(above) or '1'}/{denominator}" if below else " ".join(above) or "1"


def _power(symbol: str, power: int) -> str:
    return symbol if power == 1 else f"{symbol}{str(power).translate(SUPERSCRIPT)}"
