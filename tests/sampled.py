"""Combinations of parameters: a sample of them in `make test`, all of them in `make verify-targets`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count, product
from math import prod
from typing import Any

import pytest

from kdpinn_edge.export.targets.table import Target

PROOF = [pytest.mark.proof]
VARIED = ("allen_cahn", "black_scholes", "burgers_nu", "taylor_green")
"""Problems of every kind: with a weight and a corner; two outputs; a parameter as an input; potentials."""


def sampled(*axes: Sequence[Any]) -> list[Any]:
    """Every combination of the values of the axes, for `pytest.mark.parametrize`.

    So many run in `make test` that each value is in one of them; the others are proofs. The first two axes are walked
    side by side and each further one as an odometer, so that values meet in changing company.
    """
    strides = [1, *(prod(map(len, axes[1:k])) for k in range(1, len(axes)))]
    kept: set[tuple[int, ...]] = set()
    for i in count():
        kept.add(tuple(i // stride % len(axis) for stride, axis in zip(strides, axes, strict=True)))
        if all({places[k] for places in kept} == set(range(len(axis))) for k, axis in enumerate(axes)):
            break
    return [
        pytest.param(*(axis[at] for axis, at in zip(axes, places, strict=True)), marks=[] if places in kept else PROOF)
        for places in product(*(range(len(axis)) for axis in axes))
    ]


def some(values: Sequence[str], kept: Sequence[str]) -> list[Any]:
    """All values, for `pytest.mark.parametrize`: those that are `kept` run in `make test`, the others are proofs."""
    return [pytest.param(value, marks=[] if value in kept else PROOF) for value in values]


def named(value: object) -> str | None:
    """The name of a value in that of a case: of a target its own; pytest names the others."""
    return value.name if isinstance(value, Target) else None
