"""What the weights of a network were trained for: values of the equation, the features and the ansatz around them.

Within other features, or another ansatz, weights give wrong numbers and no error. A name does not tell: a later version
of a problem may have the same. So a file of weights carries what these functions return at fixed arguments. They are
values and no hash, because the last bits of a function differ between machines.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from math import isfinite
from typing import Any

import msgspec
import torch

from kdpinn_edge.equation.arithmetic import MATH
from kdpinn_edge.problems import Problem
from kdpinn_edge.reading import parse_json
from kdpinn_edge.training.pinn import ansatz_of
from kdpinn_edge.training.values import Values, split

POINTS = 3
DIGITS = 12
CLOSE = 1e-9
"""How far a value may be off, as a share of the largest one beside it: roundings are smaller, other formulas larger."""
PARTS = ("domain", "features", "ansatz", "equation")


@dataclass(frozen=True)
class TrainedFor:
    """Values of each part of a problem, where they are finite, and the version of the package that had them."""

    version: str
    domain: tuple[float | None, ...]
    features: tuple[float | None, ...]
    ansatz: tuple[float | None, ...]
    equation: tuple[float | None, ...]

    def text(self) -> str:
        """The JSON that `read` reads."""
        return json.dumps(asdict(self), separators=(",", ":"))

    def changed(self, since: TrainedFor) -> list[str]:
        """The names of the parts that are others than they were."""
        return [part for part in PARTS if not _are_close(getattr(self, part), getattr(since, part))]


def trained_for(problem: Problem) -> TrainedFor:
    """What a network is trained for that is trained now for `problem`."""
    sides = list(zip(problem.inputs, problem.lower, problem.upper, strict=True))
    rows = [[low + (high - low) * _number(f"{name} {row}") for name, low, high in sides] for row in range(POINTS)]
    columns = split(torch.tensor(rows, dtype=torch.float64))
    n_net = problem.net_columns or len(problem.made)
    made = list(ansatz_of(problem)(MATH, columns, *_arguments([f"net {i}" for i in range(n_net)])))
    if problem.potentials is not None:
        made += problem.potentials.outputs(*_arguments(problem.potentials.terms))
    equation = list(problem.residual(*_arguments(problem.terms)))
    if problem.source is not None:
        equation += problem.source(MATH, *columns)
    return TrainedFor(
        version=version("kdpinn-edge"),
        domain=_values([*problem.lower, *problem.upper]),
        features=_values(problem.seen(MATH, columns)),
        ansatz=_values(made),
        equation=_values(equation),
    )


def read(text: str) -> TrainedFor:
    """What weights or a run say that they were trained for. Raises ValueError where the text says nothing of it."""
    return converted(parse_json(text.encode(), strict=True))


def converted(document: object) -> TrainedFor:
    """The same, of JSON that is parsed. Raises ValueError likewise."""
    try:
        return msgspec.convert(document, TrainedFor)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error


def _number(word: str) -> float:
    """A number between 0 and 1 that a word stands for, always the same."""
    return (1 + int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big")) / (2 + 2**32)


def _arguments(words: Sequence[str]) -> list[Values]:
    return [Values(torch.full((POINTS, 1), _number(word), dtype=torch.float64)) for word in words]


def _values(columns: Sequence[Any]) -> tuple[float | None, ...]:
    tensors = [column.tensor if isinstance(column, Values) else torch.tensor(float(column)) for column in columns]
    values = [value for tensor in tensors for value in tensor.flatten().tolist()]
    return tuple(float(f"{value:.{DIGITS}g}") if isfinite(value) else None for value in values)


def _are_close(now: Sequence[float | None], then: Sequence[float | None]) -> bool:
    if [value is None for value in now] != [value is None for value in then]:
        return False
    pairs = [(a, b) for a, b in zip(now, then, strict=True) if a is not None and b is not None]
    largest = max((abs(b) for _, b in pairs), default=0.0)
    return all(abs(a - b) <= CLOSE * largest for a, b in pairs)
