"""A problem without an equation: the columns and the box of a model that a student follows, whatever that model is."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any

import numpy as np

from kdpinn_edge.bundle.manifest import read_manifest
from kdpinn_edge.bundle.probe import probe_points
from kdpinn_edge.bundle.read import read_function
from kdpinn_edge.errors import ProblemError, TrainError
from kdpinn_edge.problems import Array, Math, Problem
from kdpinn_edge.program.interp import interpret

POINTS = 90_000
"""Of the grid on which errors are measured, about."""


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
    sides = tuple(zip(columns.lower, columns.upper, strict=True))

    def features(m: Math, *x: Any) -> Sequence[Any]:
        return [v * (2 / (high - low)) - (high + low) / (high - low) for v, (low, high) in zip(x, sides, strict=True)]

    def ansatz(m: Math, x: Sequence[Any], *net: Any) -> Sequence[Any]:
        return [n * scale + center for n, center, scale in zip(net, columns.center, columns.scale, strict=True)]

    def unknown(points: Array) -> Array:
        raise ProblemError(f"{columns.name} follows a model, and the weights do not say which: it has no reference")

    per_axis = max(2, round(POINTS ** (1 / len(columns.inputs))))
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
        resolution=(per_axis,) * len(columns.inputs),
        terms=tuple(f"{output}_{x}" for output in columns.outputs for x in columns.inputs if len(x) == 1),
        residual=lambda *terms: (),
        features=features,
        ansatz=ansatz,
        columns=columns,
    )


def followed_bundle(bundle: str | os.PathLike[str]) -> Followed:
    """The problem of following the bundle. Raises TrainError where a side of its domain is open."""
    manifest = read_manifest(bundle)
    program = read_function(bundle, manifest)
    open_sides = [column.name for column in manifest.inputs if column.lower is None or column.upper is None]
    if open_sides:
        raise TrainError(
            f"{bundle}: the domain of {', '.join(open_sides)} is open; expected: a bundle with bounds for every input: "
            "export_bundle(…, inputs=[Input('x', -1.0, 1.0), …])"
        )
    values = interpret(program, probe_points(manifest.inputs, 1024))
    outputs = manifest.functions["eval"].outputs
    spread = values.std(axis=0)
    columns = Columns(
        name=manifest.name,
        inputs=tuple(column.name for column in manifest.inputs),
        outputs=tuple(column.name for column in outputs),
        lower=tuple(float(column.lower or 0.0) for column in manifest.inputs),
        upper=tuple(float(column.upper or 0.0) for column in manifest.inputs),
        units=tuple(unit or "1" for unit in (*(c.unit for c in manifest.inputs), *(c.unit for c in outputs))),
        center=tuple(map(float, values.mean(axis=0))),
        scale=tuple(map(float, np.where(spread > 0, spread, 1.0))),
    )
    return followed(columns, partial(interpret, program))


def read_columns(text: str) -> Columns:
    """The Columns that weights carry as JSON. Raises TrainError where the text is something else."""
    try:
        document = json.loads(text)
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
