"""Post-dominators: the variable through which everything passes, on its way to an output, that depends on another."""

from __future__ import annotations

from collections.abc import Sequence

from kdpinn_edge.program.ir import Program, Var, operands


def passes(program: Program, outputs: Sequence[Var]) -> dict[str, str | None]:
    """By variable that `outputs` depend on, the next one that all its paths to them have; None where there is none."""
    following: dict[str, str | None] = {}
    depth: dict[str | None, int] = {None: 0}
    users: dict[str, list[str | None]] = {var.name: [None] for var in outputs}
    for name, inner in [*((op.out.name, operands(op)) for op in reversed(program.ops)), *_inputs(program)]:
        if name not in users:
            continue
        first, *others = users[name]
        for other in others:
            while first != other:
                if depth[first] >= depth[other]:
                    first = following[first]  # type: ignore[index]  # None has depth 0, and they differ
                else:
                    other = following[other]  # type: ignore[index]  # deeper than first, so not None
        following[name], depth[name] = first, depth[first] + 1
        for var in inner:
            users.setdefault(var.name, []).append(name)
    return following


def _inputs(program: Program) -> list[tuple[str, tuple[Var, ...]]]:
    return [(var.name, ()) for var in program.inputs]
