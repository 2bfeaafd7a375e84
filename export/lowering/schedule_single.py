"""The single-point kernel: the neurons of a layer in lanes.

Loads and stores are of whole vectors: what lies behind the end of a variable is neither defined nor used.
"""

from __future__ import annotations

import numpy as np

from kdpinn_edge.export.lowering.blocking import Choice
from kdpinn_edge.export.lowering.constants import Place
from kdpinn_edge.export.lowering.fusion import Step
from kdpinn_edge.export.lowering.loops import (
    Body,
    Code,
    Expr,
    Get,
    Linear,
    Load,
    Number,
    Symbol,
    Type,
    apply,
    place,
    splat,
)
from kdpinn_edge.export.lowering.memory import Memory
from kdpinn_edge.export.lowering.schedule import (
    SUMS,
    Lowered,
    Schedule,
    Spills,
    Sums,
    buffers,
    chunks,
    finish,
    statements,
    summed,
    tree_sum,
)
from kdpinn_edge.numerics.words import partial_sums
from kdpinn_edge.program.ir import Affine, Concat, Op, Var


def single_schedule(lowered: Lowered) -> Schedule:
    """The kernel for one point."""
    return _Single(lowered).schedule()


class _Single:
    def __init__(self, lowered: Lowered) -> None:
        self.lowered, self.program, self.constants = lowered, lowered.program, lowered.constants
        self.V = self.constants.vectors.lanes
        parts = [part for parts in lowered.single_steps for part in parts]
        room = self._aligned(self.program.n_in)
        self.memory = Memory(self.program, parts, self._extent, room, keep=lowered.held > 0)
        self.size = self.memory.size + max(self.V, len(SUMS))  # a load of the last variable may reach so far beyond it
        self.number = Type(lowered.precision)
        self.x, self.y, self.s = buffers(lowered, Linear(1))

    def schedule(self) -> Schedule:
        steps = statements(self.lowered, self.lowered.single_steps, self._step)
        self.s.size = Linear(self.size)
        return Schedule(self.x, self.y, self.s, self._load(), steps, self._store())

    def _aligned(self, size: int) -> int:
        return -(-size // self.V) * self.V

    def _extent(self, op: Op) -> int:
        if not isinstance(op, Concat):
            return self._aligned(op.out.size)
        ends = np.cumsum([x.size for x in op.xs])
        pads = [self.constants.padded(x.size) - x.size for x in op.xs]
        return self._aligned(max(int(end) + pad for end, pad in zip(ends, pads, strict=True)))

    def _load(self) -> Body:
        code = Code()
        for c in range(self.lowered.n_x):
            code.store(self.s, Linear(self.lowered.held + c), Load(self.number, self.x, Linear(c)))
        return code.body

    def _store(self) -> Body:
        code = Code()
        rows = [self.memory.at[var.name] + i for var in self.program.outputs for i in range(var.size)]
        for c, row in enumerate(rows):
            code.store(self.y, Linear(c), apply("canonical", Load(self.number, self.s, Linear(row))))
        return code.body

    def _step(self, code: Code, step: Step) -> None:
        op = step.ops[0]
        if isinstance(op, Concat):
            self._concat(code, op)
        elif isinstance(op, Affine) and step.terms_in_lanes:
            self._few(code, op)
        else:
            self._block(code, step)

    def _concat(self, code: Code, op: Concat) -> None:
        to = self.memory.at[op.out.name]
        for x in op.xs:
            for start, stop, lanes in chunks(x.size, self.constants, 4):
                with code.loop("i", start, stop, lanes) as i:
                    source = Load(Type(self.lowered.precision, lanes), self.s, place(self.memory.at[x.name], (1, i)))
                    code.store(self.s, place(to, (1, i)), source)
            to += x.size

    def _few(self, code: Code, op: Affine) -> None:
        """Terms in lanes: lane i is partial sum i."""
        n_out, n_in = op.weight.shape
        P = partial_sums(n_in, n_out)
        vector = Type(self.lowered.precision, P)
        x, to = self.memory.at[op.x.name], self.memory.at[op.out.name]
        weight, bias = self.constants.of(op)
        across, _ = self.constants.strides(op)
        whole, rest = n_in - n_in % P, n_in % P
        with code.loop("j", 0, n_out) as j:
            start = splat(Load(self.number, bias.array, place(bias.at, (1, j))), P)
            a = code.let("a", apply("first", start, Number(vector, 0.0), detail=1), changes=True)

            def terms(k: Symbol | int) -> Expr:
                factors = Load(vector, weight.array, place(weight.at, (across, j), (1, k)))
                return apply("fma", factors, Load(vector, self.s, place(x, (1, k))), Get(a))

            with code.loop("k", 0, whole, P) as k:
                code.set(a, terms(k))
            if rest:
                code.set(a, apply("first", terms(whole), Get(a), detail=rest))
            code.store(self.s, place(to, (1, j)), apply("total", Get(a)))

    def _block(self, code: Code, step: Step) -> None:
        """A block, some vectors of rows at a time."""
        choice = self.lowered.blocking.single(step)
        for start, stop, lanes in chunks(step.size, self.constants, choice.unroll):
            with code.loop("j", start, stop, lanes) as j:
                self._rows(code, step, choice, j, Type(self.lowered.precision, lanes))

    def _rows(self, code: Code, step: Step, choice: Choice, j: Symbol | int, vector: Type) -> None:
        """As many rows of a block as a vector holds, from row j on."""

        def at(var: Var) -> Linear:
            return place(self.memory.at[var.name], (1, j))

        def number(start: Place, r: int = 0) -> Expr:
            return Load(vector, start.array, place(start.at, (1, j)))

        def term(sums: Sums, k: Symbol | int, i: int) -> None:
            self._term(code, step, sums, j, k, i)

        sums: list[list[Expr]] = []
        if step.products:
            spills, zero = Spills(self.s, self.memory.size), Number(vector, 0.0)
            (sums,) = summed(code, self.lowered, step, choice, [""], zero, number, term, spills)
            self.size = max(self.size, spills.end)
        finish(code, step, self.lowered, [tree_sum(each) for each in sums], self.s, at, number, vector.lanes)

    def _term(self, code: Code, step: Step, sums: Sums, j: Symbol | int, k: Symbol | int, i: int) -> None:
        """Term k + i of every sum: the weights are loaded once for all streams."""
        first = step.products[0]
        (weight, _), (_, down) = self.constants.of(first), self.constants.strides(first)
        variables = [found[i % partial_sums(first.x.size, step.size)] for found in sums[0]]
        at = place(weight.at + i * down, (down, k), (1, j))
        g = Get(code.let("g", Load(variables[0].type, weight.array, at)))
        for op, variable in zip(step.products, variables, strict=True):
            x = Load(self.number, self.s, place(self.memory.at[op.x.name] + i, (1, k)))
            code.set(variable, apply("fma", g, splat(x, variable.type.lanes), Get(variable)))
