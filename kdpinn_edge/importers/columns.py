"""The columns of a model, as a person states them: `"x[m]=0:5000, T[K]=300:1500, s[100]"`.

    columns = column, column, …
    column  = name, then [unit] or [size] or both in either order, then =lower:upper or nothing

A size is a bare integer: so many columns under one name, which share unit and bounds. Anything else in brackets is a
unit. A side of the bounds may be left out, as in `T=300:`, or be infinite: the domain is open there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from numpy.typing import ArrayLike

from kdpinn_edge.bundle.manifest import Input, Output
from kdpinn_edge.bundle.probe import probed
from kdpinn_edge.errors import ProgramError

EXAMPLE = "x[m]=0:5000, T[K]=300:1500, s[100]"
COLUMN = re.compile(r"\s*([A-Za-z_]\w*)\s*((?:\[[^][]*\]\s*)*)(?:=([^:=]*):([^:=]*))?\s*", re.ASCII)
LARGEST_SIZE = 65_536
Domain = tuple[ArrayLike, ArrayLike]
"""The lower bounds of the inputs, and the upper ones."""


@dataclass(frozen=True)
class Column:
    """An input or output: `size` columns of one name, in `unit`, meant for [lower, upper]; None is an open side."""

    name: str
    size: int = 1
    unit: str | None = None
    lower: float | None = None
    upper: float | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its columns: `u`, or `v[0], v[1], …`."""
        return (self.name,) if self.size == 1 else tuple(f"{self.name}[{i}]" for i in range(self.size))

    @property
    def variable(self) -> tuple[str, int]:
        """Its name and size, as `capture` takes them."""
        return self.name, self.size


Columns = str | Sequence[Column | str | tuple[str, int]]
"""Columns as a person states them: in a text, or one by one; a name stands for one column, a pair for several."""


def read_columns(stated: Columns | None, what: str) -> tuple[Column, ...] | None:
    """The columns that are stated, if any; `what` they are called in a message. ProgramError for a wrong text."""
    if isinstance(stated, str):
        return parse_columns(stated, what)
    return None if stated is None else tuple(map(_as_column, stated))


def _as_column(stated: Column | str | tuple[str, int]) -> Column:
    if isinstance(stated, Column):
        return stated
    return Column(stated) if isinstance(stated, str) else Column(*stated)


def stated_domain(inputs: Sequence[Column], domain: Domain | None) -> Domain | None:
    """The domain box: `domain`, or what is stated with the inputs, open sides as `probed` has them; None for neither.

    Raises ProgramError where both state it.
    """
    bounded = [each.name for each in inputs if (each.lower, each.upper) != (None, None)]
    if not bounded:
        return domain
    if domain is not None:
        raise ProgramError(f"inputs states bounds of {', '.join(bounded)}, and domain is given; expected: one of them")
    lower, upper = zip(*map(probed, input_columns(inputs)), strict=True)
    return lower, upper


def parse_columns(text: str, what: str = "inputs") -> tuple[Column, ...]:
    """The columns that `text` states. Raises ProgramError where it cannot be read, or a name occurs twice."""
    found = tuple(_column(part, what) for part in re.split(r",(?![^[]*\])", text))
    names = [column.name for column in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ProgramError(f"{what}: {', '.join(twice)} is named twice; expected: each name once")
    return found


def _column(text: str, what: str) -> Column:
    match = COLUMN.fullmatch(text)
    if match is None:
        raise ProgramError(f'{what}: {text.strip()!r} is no column; expected: columns as in "{EXAMPLE}"')
    name, brackets, lower, upper = match.groups()
    sizes: list[str] = []
    units: list[str] = []
    for bracket in re.findall(r"\[([^][]*)\]", brackets):
        (sizes if re.fullmatch(r"\s*\d+\s*", bracket, re.ASCII) else units).append(bracket.strip())
    if len(sizes) > 1 or len(units) > 1 or "" in units:
        raise ProgramError(f"{what}: {text.strip()!r} has other brackets than one unit and one size, as in s[K][100]")
    size = int(sizes[0]) if sizes else 1
    if not 1 <= size <= LARGEST_SIZE:
        raise ProgramError(f"{what}: {name} has {size} columns; expected: 1 to {LARGEST_SIZE}")
    low, high = _side(lower, name, what), _side(upper, name, what)
    if low is not None and high is not None and not low < high:
        raise ProgramError(f"{what}: {name}={lower}:{upper} is no interval; expected: lower:upper with lower < upper")
    return Column(name, size, units[0] if units else None, low, high)


def _side(text: str | None, name: str, what: str) -> float | None:
    if text is None or not text.strip():
        return None
    try:
        side = float(text)
    except ValueError:
        side = math.nan
    if math.isnan(side):
        raise ProgramError(f"{what}: the bound {text.strip()!r} of {name} is no number; expected: as in {name}=0:5000")
    return side if math.isfinite(side) else None


def input_columns(columns: Sequence[Column]) -> tuple[Input, ...]:
    """One Input for each number of the point."""
    return tuple(Input(name, each.lower, each.upper, each.unit) for each in columns for name in each.names)


def output_columns(columns: Sequence[Column]) -> tuple[Output, ...]:
    """One Output for each number of the result. Raises ProgramError where one has bounds, which no output has."""
    bounded = [each.name for each in columns if (each.lower, each.upper) != (None, None)]
    if bounded:
        raise ProgramError(f"outputs: {', '.join(bounded)} has bounds; expected: names and units, as in u[m/s], v")
    return tuple(Output(name, each.unit) for each in columns for name in each.names)


def columns_text(columns: Sequence[Column]) -> str:
    """The text that `parse_columns` reads as these columns."""
    return ", ".join(map(_text, columns))


def _text(column: Column) -> str:
    size = "" if column.size == 1 else f"[{column.size}]"
    unit = "" if column.unit is None else f"[{column.unit}]"
    lower, upper = ("" if side is None else repr(side).removesuffix(".0") for side in (column.lower, column.upper))
    return f"{column.name}{unit}{size}" + (f"={lower}:{upper}" if lower or upper else "")
