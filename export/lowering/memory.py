"""Where each variable of a function lives in its scratch memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from kdpinn_edge.export.lowering.fusion import Step, is_view
from kdpinn_edge.program.ir import Op, Program, Slice, operands


class Memory:
    """Where each variable lives in the scratch memory: a buffer is used again once its last reader has run.

    `extent(op)` is the room that the result of an op needs; the inputs need `n_in` and come first, at `first`. With
    `keep` nothing takes their room.
    """

    def __init__(
        self,
        program: Program,
        steps: Sequence[Step],
        extent: Callable[[Op], int],
        n_in: int,
        *,
        first: int = 0,
        keep: bool = False,
    ) -> None:
        self.at: dict[str, int] = {}
        self.size = first + n_in
        free: list[tuple[int, int]] = []
        buffers = {} if keep else {"": (first, n_in)}
        owner = {var.name: "" for var in program.inputs}
        stored = [[op for op in step.ops if op.out in step.stored] for step in steps]
        for op in (op for ops in stored for op in ops):
            owner[op.out.name] = owner[operands(op)[0].name] if is_view(program, op) else op.out.name
        last = {owner[op.out.name]: i for i, ops in enumerate(stored) for op in ops}
        reads = ((i, var.name) for i, step in enumerate(steps) for op in step.ops for var in operands(op))
        last |= {owner[name]: i for i, name in reads if name in owner}
        last |= {owner[var.name]: len(steps) for var in program.outputs}

        ends = first + np.cumsum([var.size for var in program.inputs])
        self.at |= {var.name: int(end) - var.size for var, end in zip(program.inputs, ends, strict=True)}
        for i, ops in enumerate(stored):
            for op in ops:
                if is_view(program, op):
                    start = op.start if isinstance(op, Slice) else 0
                    self.at[op.out.name] = self.at[operands(op)[0].name] + start
                else:
                    buffers[op.out.name] = self._take(free, extent(op))
                    self.at[op.out.name] = buffers[op.out.name][0]
            free += [buffers.pop(name) for name in [name for name in buffers if last.get(name, -1) <= i]]

    def _take(self, free: list[tuple[int, int]], size: int) -> tuple[int, int]:
        for i, (_, room) in enumerate(free):
            if room >= size:
                return free.pop(i)
        self.size += size
        return self.size - size, size
