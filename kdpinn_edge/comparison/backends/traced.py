"""A Program in the words of a tensor library: what torch, JAX and CasADi compute is traced from one text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from kdpinn_edge.errors import BenchError
from kdpinn_edge.functions import find_function
from kdpinn_edge.functions.recipe import chosen, composed, unsupported
from kdpinn_edge.program.evaluate import evaluate
from kdpinn_edge.program.ir import Affine, Map, Program, Scale

Unary = Callable[[Any], Any]


@dataclass(frozen=True)
class Words:
    """The functions of a library for the operations of a Program; + and * are its operators.

    `affine` and `scale` take (weight, bias, x), `part` takes (x, start, stop), `function` gives the one of a name;
    `select` takes (c, a, b) and gives a where c > 0, else b.
    Points lie along one axis of x, and the entries of a variable along the other; which is which is the library's
    choice.
    """

    affine: Callable[..., Any]
    scale: Callable[..., Any]
    function: Callable[[str], Unary]
    select: Callable[[Any, Any, Any], Any]
    concat: Callable[[Sequence[Any]], Any]
    part: Callable[[Any, int, int], Any]


def traced(program: Program, constants: Sequence[Sequence[Any]], words: Words, x: Any) -> Any:
    """Evaluate `program` at the points x; `constants` are each op's (weight, bias) in the library's arrays, or ()."""
    own = {op.out.name: constant for op, constant in zip(program.ops, constants, strict=True)}
    return evaluate(program, _Traced(words, own), x)


class _Traced:
    """The operations in the words of a library."""

    def __init__(self, words: Words, constants: Mapping[str, Sequence[Any]]) -> None:
        self._words, self._constants = words, constants

    def affine(self, op: Affine, x: Any) -> Any:
        return self._words.affine(*self._constants[op.out.name], x)

    def scale(self, op: Scale, x: Any) -> Any:
        return self._words.scale(*self._constants[op.out.name], x)

    def map(self, fn: str, x: Any) -> Any:
        return self._words.function(fn)(x)

    def add(self, a: Any, b: Any) -> Any:
        return a + b

    def mul(self, a: Any, b: Any) -> Any:
        return a * b

    def select(self, c: Any, a: Any, b: Any) -> Any:
        return self._words.select(c, a, b)

    def concat(self, xs: Sequence[Any]) -> Any:
        return self._words.concat(xs)

    def slice(self, x: Any, start: int, size: int) -> Any:
        return self._words.part(x, start, start + size)


def library_function(
    library: str, own: Mapping[str, Unary], operators: Mapping[str, Callable[..., Any]], fn: str
) -> Unary:
    """The function called `fn`: the library's `own`, or composed of what it calls the operators of ONNX.

    Raises BenchError where it has neither.
    """
    if fn in own:
        return own[fn]
    recipe = chosen(find_function(fn).onnx, operators.__contains__)
    if recipe is None:
        needed = unsupported(fn, find_function(fn).onnx, operators)
        raise BenchError(f"{needed}, which {library} has not; the usual fix: leave this backend out")
    return partial(composed, recipe, operators)


def require_functions(program: Program, function: Callable[[str], object]) -> None:
    """Call `function` with the name of every function in `program`: it raises BenchError for an unknown one."""
    for op in program.ops:
        if isinstance(op, Map):
            function(op.fn)
