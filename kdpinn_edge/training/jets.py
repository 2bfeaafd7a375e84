"""Jets: a tensor together with some of its derivatives, carried forward through every operation.

    (ab)_i = a_i b + a b_i        (ab)_ij = a_ij b + a_i b_j + a_j b_i + a b_ij
    f(a)_i = f′(a) a_i            f(a)_ij = f′(a) a_ij + f″(a) a_i a_j

and third and fourth derivatives by the same rules. A multi-index names a derivative by the letters of its inputs: "" is
the value, "x" is ∂/∂x, "xx" is ∂²/∂x²; an input with a longer name has a letter of its own (`letters`). A Jet is
`Arithmetic`, so a problem's features and ansatz run on jets unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from kdpinn_edge.derive.names import Derivative, InputColumn, Names
from kdpinn_edge.equation.arithmetic import Arithmetic
from kdpinn_edge.equation.condition import NORMAL, Condition
from kdpinn_edge.errors import ProblemError
from kdpinn_edge.functions import slopes
from kdpinn_edge.functions.slope import Operators, values
from kdpinn_edge.problems import Problem
from kdpinn_edge.training.torch_functions import torch_function

PRIVATE_USE = 0xE000
HIGHEST_ORDER = 4


def multi_indices(terms: Sequence[str], names: Names) -> tuple[str, ...]:
    """The derivatives that a residual in `terms` needs: ("u", "u_x", "u_xx") gives ("", "x", "xx").

    With a derivative come the lower ones that its product rule needs. Raises DerivativeError for a term without a
    meaning, ProblemError above HIGHEST_ORDER.
    """
    found, letter = [], letters(names.inputs)
    for term in terms:
        match names.read(term):
            case InputColumn():
                continue
            case Derivative(_, multi_index) if len(multi_index) <= HIGHEST_ORDER:
                found.append("".join(letter[name] for name in multi_index))
            case _:
                raise ProblemError(f"{term}: expected in training: derivatives up to order {HIGHEST_ORDER}")
    return closed(found)


def letters(inputs: Sequence[str]) -> dict[str, str]:
    """The letter by which multi-indices name each input: its name, or for a longer one a character for private use."""
    return {name: name if len(name) == 1 else chr(PRIVATE_USE + i) for i, name in enumerate(inputs)}


def of(problem: Problem) -> tuple[str, ...]:
    """The derivatives that the residual of `problem` needs."""
    return multi_indices(_of_solution(problem, problem.terms), Names(problem.inputs, problem.outputs))


def of_condition(problem: Problem, condition: Condition) -> tuple[str, ...]:
    """The derivatives that a condition of `problem` needs."""
    known = {*condition.data, *(f"{NORMAL}{name}" for name in problem.inputs)}
    terms = [term for term in _of_solution(problem, condition.terms) if term not in known]
    return multi_indices(terms, Names(problem.inputs, problem.outputs))


def _of_solution(problem: Problem, terms: Sequence[str]) -> list[str]:
    return [term for term in terms if term not in problem.unknowns]


def closed(found: Sequence[str]) -> tuple[str, ...]:
    """The multi-indices `found` and all that their product rules need, the shortest first."""
    parts = {"".join(part) for whole in found for n in range(len(whole) + 1) for part in combinations(whole, n)}
    return tuple(sorted(parts | {""}, key=lambda part: (len(part), part)))


@dataclass(frozen=True, eq=False)
class Jet(Arithmetic):
    """`data` (len(multi_indices), n, width): one stream per multi-index, the value "" first."""

    multi_indices: tuple[str, ...]
    data: Tensor

    def __getitem__(self, multi_index: str) -> Tensor:
        return self._streams[self.multi_indices.index(multi_index)]

    @cached_property
    def _streams(self) -> tuple[Tensor, ...]:
        """Taken apart once: the gradient of each `data[i]` would be as large as `data`, zeros but for one stream."""
        return self.data.unbind()

    def split(self) -> list[Jet]:
        """The columns, each as a jet of width 1."""
        return [
            Jet(self.multi_indices, column) for column in torch.tensor_split(self.data, self.data.shape[-1], dim=-1)
        ]

    def mapped(self, fn: str) -> Jet:
        """The function of a Program that is called `fn`, with the derivatives that follow from its slope."""
        value, order = self[""], len(self.multi_indices[-1])
        y = FASTER.get(fn, torch_function(fn))(value)
        return _chain(self, y, *values(slopes(fn, order), Operators(torch_function), value, y))

    def _plus(self, other: Any) -> Jet:
        if isinstance(other, Jet):
            return Jet(self.multi_indices, self.data + other.data)
        return Jet(self.multi_indices, torch.cat((self.data[:1] + other, self.data[1:])))

    def _times(self, other: Any) -> Jet:
        return _product(self, other) if isinstance(other, Jet) else Jet(self.multi_indices, self.data * other)

    def __neg__(self) -> Jet:
        return Jet(self.multi_indices, -self.data)


def columns(x: Tensor, inputs: Sequence[str], multi_indices: tuple[str, ...]) -> list[Jet]:
    """The columns of the points x (n, n_in) as jets of width 1: the derivative of an input by itself is 1."""
    zero, one = torch.zeros_like(x[:, :1]), torch.ones_like(x[:, :1])
    return [
        Jet(multi_indices, torch.stack([{"": x[:, i : i + 1], letter: one}.get(each, zero) for each in multi_indices]))
        for i, letter in enumerate(letters(inputs).values())
    ]


def concat(jets: Sequence[Jet]) -> Jet:
    """The columns of several jets, side by side."""
    return Jet(jets[0].multi_indices, torch.cat([jet.data for jet in jets], dim=-1))


def affine(x: Jet, weight: Tensor, bias: Tensor) -> Jet:
    """The affine map x Wᵀ + b of a jet; its derivatives see no bias."""
    biases = torch.cat((bias[None], bias.new_zeros(len(x.multi_indices) - 1, len(bias))))
    return Jet(x.multi_indices, x.data @ weight.T + biases[:, None])


FASTER: Mapping[str, Callable[[Tensor], Tensor]] = {"tanh": lambda x: 2 * torch.sigmoid(2 * x) - 1}
"""Functions that torch has in a faster form: tanh 4 times, in float64, and within 3e-16 of torch.tanh."""


def dispersion(x: Jet) -> Jet:
    """2x/(1 + x²), by g = 1/(1 + x²): x² g = 1 − g leaves polynomials in g, and a factor x in even derivatives."""
    v, order = x[""], len(x.multi_indices[-1])
    g = 1 / (1 + v * v)
    derivatives = [g * (4 * g - 2), 4 * v * g * g * (1 - 4 * g)]
    if order >= 3:
        derivatives.append(12 * g * g * (8 * g * (1 - g) - 1))
    if order == 4:
        derivatives.append(48 * v * g * g * g * (1 - 12 * g + 16 * g * g))
    return _chain(x, 2 * v * g, *derivatives)


def _chain(x: Jet, f: Tensor, *derivatives: Tensor) -> Jet:
    """The jet of f(x) from f(x), f′(x), …, as many as `x` has orders, by Faà di Bruno's formula."""

    def stream(multi_index: str) -> Tensor:
        match tuple(multi_index):
            case ():
                return f
            case (_,):
                return derivatives[0] * x[multi_index]
            case i, j:
                return derivatives[0] * x[multi_index] + derivatives[1] * x[i] * x[j]
            case i, j, k:
                mixed = x[i] * x[j + k] + x[j] * x[i + k] + x[k] * x[i + j]
                first, second, third = derivatives[:3]
                return first * x[multi_index] + second * mixed + third * x[i] * x[j] * x[k]
            case i, j, k, m:
                first, second, third, fourth = derivatives
                thrice = x[i] * x[j + k + m] + x[j] * x[i + k + m] + x[k] * x[i + j + m] + x[m] * x[i + j + k]
                twice = x[i + j] * x[k + m] + x[i + k] * x[j + m] + x[i + m] * x[j + k]
                once = x[i] * (x[j] * x[k + m] + x[k] * x[j + m] + x[m] * x[j + k])
                once = once + x[j] * (x[k] * x[i + m] + x[m] * x[i + k]) + x[k] * x[m] * x[i + j]
                product = x[i] * x[j] * x[k] * x[m]
                return first * x[multi_index] + second * (thrice + twice) + third * once + fourth * product
        raise AssertionError(multi_index)

    return _jet(x.multi_indices, stream)


def _product(a: Jet, b: Jet) -> Jet:
    """The jet of a product, by Leibniz' rule."""

    def stream(multi_index: str) -> Tensor:
        match tuple(multi_index):
            case ():
                return a[""] * b[""]
            case (_,):
                return a[multi_index] * b[""] + a[""] * b[multi_index]
            case i, j:
                return a[multi_index] * b[""] + a[i] * b[j] + a[j] * b[i] + a[""] * b[multi_index]
            case i, j, k:
                first = a[i] * b[j + k] + a[j] * b[i + k] + a[k] * b[i + j]
                second = a[j + k] * b[i] + a[i + k] * b[j] + a[i + j] * b[k]
                return a[multi_index] * b[""] + first + second + a[""] * b[multi_index]
            case i, j, k, m:
                threes = ((i, j + k + m), (j, i + k + m), (k, i + j + m), (m, i + j + k))
                halves = ((i + j, k + m), (i + k, j + m), (i + m, j + k))
                total = a[multi_index] * b[""] + a[""] * b[multi_index]
                for part, rest in (*threes, *halves):
                    total = total + a[part] * b[rest] + a[rest] * b[part]
                return total
        raise AssertionError(multi_index)

    return _jet(a.multi_indices, stream)


def _jet(multi_indices: tuple[str, ...], stream: Callable[[str], Tensor]) -> Jet:
    return Jet(multi_indices, torch.stack([stream(multi_index) for multi_index in multi_indices]))
