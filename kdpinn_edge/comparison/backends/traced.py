"""A Program in the words of a tensor library: what torch, JAX and CasADi compute is traced from one text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdpinn_edge.program.ir import Add, Affine, Concat, Map, Mul, Program, Scale, Slice


@dataclass(frozen=True)
class Words:
    """The functions of a library for the operations of a Program; + and * are its operators.

    `affine` and `scale` take (weight, bias, x), `part` takes (x, start, stop). Points lie along one axis of x, and the
    entries of a variable along the other; which is which is the library's choice.
    """

    affine: Callable[..., Any]
    scale: Callable[..., Any]
    function: Mapping[str, Callable[[Any], Any]]
    concat: Callable[[list[Any]], Any]
    part: Callable[[Any, int, int], Any]


def traced(program: Program, constants: Sequence[Sequence[Any]], words: Words, x: Any) -> Any:
    """Evaluate `program` at the points x; `constants` are each op's (weight, bias) in the library's arrays, or ()."""
    env: dict[str, Any] = {}
    start = 0
    for var in program.inputs:
        env[var.name] = words.part(x, start, start + var.size)
        start += var.size
    for op, constant in zip(program.ops, constants, strict=True):
        match op:
            case Affine(x=a):
                y = words.affine(*constant, env[a.name])
            case Scale(x=a):
                y = words.scale(*constant, env[a.name])
            case Map(x=a, fn=fn):
                y = words.function[fn](env[a.name])
            case Add(a=a, b=b):
                y = env[a.name] + env[b.name]
            case Mul(a=a, b=b):
                y = env[a.name] * env[b.name]
            case Concat(xs=xs):
                y = words.concat([env[a.name] for a in xs])
            case Slice(out=out, x=a, start=start):
                y = words.part(env[a.name], start, start + out.size)
        env[op.out.name] = y
    outputs = [env[var.name] for var in program.outputs]
    return outputs[0] if len(outputs) == 1 else words.concat(outputs)
