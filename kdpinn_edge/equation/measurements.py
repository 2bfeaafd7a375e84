"""`measurements(file)`: what sensors have measured, as a condition of a solution."""

from __future__ import annotations

import csv
import os
from io import StringIO
from pathlib import Path
from typing import Literal

import numpy as np

from kdpinn_edge.equation.condition import Array, Condition
from kdpinn_edge.errors import ProblemError, did_you_mean
from kdpinn_edge.reading import GIB, read_whole

SUFFIX = "_measured"


def measurements(
    file: str | os.PathLike[str],
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    *,
    weight: float | Literal["balanced"] = 1.0,
    n_points: int = 2000,
) -> Condition:
    """The condition that the `outputs` are what a CSV file says they are, at the `inputs` that it says.

    The file has a line of names and then lines of numbers; columns of other names are left out. Where it has more than
    `n_points` rows, so many are drawn in each round. The path is relative to the working folder: a problem's own folder
    is `Path(__file__).parent`. Raises ProblemError where a column is missing, or an entry is no finite number.

        measurements("sensors.csv", ("x", "t"), ("u",), weight=10.0)
    """
    path = Path(file)
    table = _table(path, (*inputs, *outputs))
    columns = {name: table[:, len(inputs) + i] for i, name in enumerate(outputs)}
    n = len(outputs)
    return Condition(
        at=table[:, : len(inputs)],
        data={f"{name}{SUFFIX}": column for name, column in columns.items()},
        terms=(*outputs, *(f"{name}{SUFFIX}" for name in outputs)),
        residual=lambda *both: tuple(u - measured for u, measured in zip(both[:n], both[n:], strict=True)),
        weight=weight,
        n_points=n_points,
        name=path.name,
    )


def _table(path: Path, wanted: tuple[str, ...]) -> Array:
    try:
        lines = StringIO(read_whole(path, GIB).decode("utf-8-sig"), newline="")
    except OSError as error:
        raise ProblemError(f"{path}: {error.strerror}; expected: a CSV file of measurements") from error
    except UnicodeDecodeError as error:
        raise ProblemError(f"{path} is no text ({error}); expected: a CSV file of measurements") from error
    try:
        head, *rows = [[cell.strip() for cell in row] for row in csv.reader(lines, strict=True)] or [[]]
    except csv.Error as error:
        raise ProblemError(f"{path} is no CSV file ({error}); expected: quotes in pairs, if any") from error
    if missing := [name for name in wanted if head.count(name) != 1]:
        raise ProblemError(
            f"{path} has the columns {', '.join(head) or 'of no name'}; expected: one called {missing[0]!r}"
            f"{did_you_mean(missing[0], head)}. The first line has the names"
        )
    places = [head.index(name) for name in wanted]
    table = np.empty((len(rows), len(wanted)))
    for number, row in enumerate(rows):
        try:
            table[number] = [_number(row[place]) for place in places]
        except (IndexError, ValueError) as error:
            raise ProblemError(
                f"{path}, line {number + 2}: {','.join(row)!r:.80} has no number for each of {', '.join(wanted)}; "
                f"expected: {len(head)} columns of numbers"
            ) from error
        if not np.isfinite(table[number]).all():
            raise ProblemError(
                f"{path}, line {number + 2}: {','.join(row)!r:.80} is not finite; expected: finite numbers. Leave "
                "out what was not measured"
            )
    if not len(table):
        raise ProblemError(f"{path} has no line of numbers; expected: one or more measurements")
    return table


def _number(text: str) -> float:
    """The number `text`, without the underscores and the digits of other scripts that Python also takes."""
    if not text.isascii() or "_" in text:
        raise ValueError(text)
    return float(text)
