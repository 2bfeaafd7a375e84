"""How a function is written in the operators of ONNX: what is exported, what can be read back, what peers compose.

    Recipe = Step*                            the value is that of the last step
    Step   = (operator, operands, name)       an operator of ONNX that works elementwise
    operands                                  "x", the name of an earlier step, or a Constant

Writing: one node per step. Reading: `matched` finds the recipe in a graph. Composing: `composed` computes it with a
library's own operators, by their ONNX names, so that a library needs no line for a function that it can be made of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

V = TypeVar("V")


@dataclass(frozen=True)
class Constant:
    """A number that a step takes, and what its tensor is called."""

    name: str
    value: float


@dataclass(frozen=True)
class Step:
    """One elementwise operator; the last step of a recipe has no name."""

    operator: str
    operands: tuple[str | Constant, ...] = ("x",)
    name: str = ""


Recipe = tuple[Step, ...]


def operand_name(operand: str | Constant) -> str:
    """The name of an operand."""
    return operand.name if isinstance(operand, Constant) else operand


def one(operator: str) -> Recipe:
    """The recipe of a function that is an operator of ONNX itself."""
    return (Step(operator),)


def polynomial(x: str, coefficients: Sequence[float]) -> Recipe:
    """The polynomial Σ cᵢ xⁱ in the step or argument x by Horner's rule; its value is the step p0."""
    *rest, highest = coefficients
    steps: list[Step] = []
    p: str | Constant = Constant(f"c{len(rest)}", highest)
    for i, c in reversed(list(enumerate(rest))):
        steps += [Step("Mul", (x, p), f"p{i}_{x}"), Step("Add", (f"p{i}_{x}", Constant(f"c{i}", c)), f"p{i}")]
        p = f"p{i}"
    return tuple(steps)


def operators(recipe: Recipe) -> frozenset[str]:
    """The operators that a recipe takes."""
    return frozenset(step.operator for step in recipe)


def chosen(recipes: Sequence[Recipe], accepts: Callable[[str], bool]) -> Recipe | None:
    """The first recipe of which every operator is accepted; None where there is none."""
    return next((recipe for recipe in recipes if all(map(accepts, operators(recipe)))), None)


def composed(
    recipe: Recipe, library: Mapping[str, Callable[..., V]], x: V, constant: Callable[[float], V] | None = None
) -> V:
    """The value at x, computed with the operators of `library`; `constant`, if any, makes its numbers of ours."""
    known: dict[str, V] = {"x": x}

    def operand(each: str | Constant) -> V:
        if isinstance(each, str):
            return known[each]
        number: V = each.value if constant is None else constant(each.value)  # type: ignore[assignment]
        return number

    for step in recipe:
        known[step.name] = library[step.operator](*map(operand, step.operands))
    return known[""]


def matched(
    recipe: Recipe, name: str, parts: Mapping[str, tuple[str, Sequence[str]]], last: tuple[str, Sequence[str]]
) -> str | None:
    """The tensor that this recipe is applied to, where the node `last` ends it; None where it does not.

    A node is (operator, inputs). `parts` has by its tensor, NAME_STEP, each that it may be made of. A constant is
    recognised by its name; its value is for the caller to compare.
    """
    known: dict[str, str] = {step.name: f"{name}_{step.name}" for step in recipe if step.name}
    for step in recipe:
        operator, inputs = parts.get(known[step.name], ("", ())) if step.name else last
        if operator != step.operator or len(inputs) != len(step.operands):
            return None
        for found, operand in zip(inputs, step.operands, strict=True):
            constant = f"{name}_{operand.name}" if isinstance(operand, Constant) else None
            if found != (constant or known.setdefault(str(operand), found)):
                return None
    return known.get("x")


def unsupported(fn: str, recipes: Iterable[Recipe], library: Iterable[str]) -> str:
    """The operators of ONNX that a library lacks for the function called `fn`, as the end of a sentence."""
    lacking = (", ".join(sorted(operators(recipe) - set(library))) for recipe in recipes)
    return f"{fn} needs the operator {' or '.join(lacking)}"
