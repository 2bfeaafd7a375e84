"""The single-point kernel: the neurons of a layer in lanes.

Loads and stores are of whole vectors: what lies behind the end of a variable is neither defined nor used.
"""

from __future__ import annotations

import numpy as np

from kdpinn_edge.export.lowering.constants import Place, is_zero
from kdpinn_edge.export.lowering.fusion import Step, is_view
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
    Variable,
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
    buffers,
    chunks,
    finish,
    names_of_sums,
    passes,
    started,
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
        steps = []
        for parts in self.lowered.single_steps:
            code = Code(narrow=self.lowered.narrow)
            for part in parts:
                self._step(code, part)
            steps.append(code.body)
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
        if not step.stored or is_view(self.program, op):
            return
        code.comment(str(step))
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
                spills = Spills(self.s, self.memory.size)
                sums = self._sums(code, step, j, lanes, spills) if step.products else []
                self.size = max(self.size, spills.end)

                def at(var: Var) -> Linear:
                    return place(self.memory.at[var.name], (1, j))

                def number(start: Place, lanes: int = lanes) -> Expr:
                    return Load(Type(self.lowered.precision, lanes), start.array, place(start.at, (1, j)))

                finish(code, step, self.lowered, [tree_sum(each) for each in sums], self.s, at, number, lanes)

    def _sums(self, code: Code, step: Step, j: Symbol | int, lanes: int, spills: Spills) -> list[list[Expr]]:
        """The partial sums of `lanes` rows from j on, for each product."""
        products, vector = step.products, Type(self.lowered.precision, lanes)
        n_in, P = products[0].x.size, partial_sums(products[0].x.size, step.size)
        zero = Number(vector, 0.0)
        done: list[list[Expr]] = [[zero] * P for _ in products]
        for each in passes(n_in, P, self.lowered.blocking.single(step)):
            sums = [
                started(code, names_of_sums(P, q, ""), each.sums, self._bias(op, j, vector), zero)
                for q, op in enumerate(products)
            ]
            if each.whole:
                with code.loop("k", 0, each.whole, each.stride) as k:
                    for i in each.loop:
                        self._term(code, products, [found[i % P] for found in sums], j, k, i)
            for i in each.rest:
                self._term(code, products, [found[i % P] for found in sums], j, each.whole, i)
            for stream, variables in zip(done, sums, strict=True):
                for p, variable in variables.items():
                    stream[p] = Get(variable)
                if P - 1 not in each.sums:
                    spills.spill(code, stream, each.sums)
        return done

    def _bias(self, op: Affine, j: Symbol | int, vector: Type) -> Expr | None:
        _, bias = self.constants.of(op)
        return None if is_zero(op.bias) else Load(vector, bias.array, place(bias.at, (1, j)))

    def _term(
        self,
        code: Code,
        products: tuple[Affine, ...],
        sums: list[Variable],
        j: Symbol | int,
        k: Symbol | int,
        i: int,
    ) -> None:
        """Term k + i of every sum: the weights are loaded once for all streams."""
        (weight, _), (_, down) = self.constants.of(products[0]), self.constants.strides(products[0])
        at = place(weight.at + i * down, (down, k), (1, j))
        g = Get(code.let("g", Load(sums[0].type, weight.array, at)))
        for op, variable in zip(products, sums, strict=True):
            x = Load(self.number, self.s, place(self.memory.at[op.x.name] + i, (1, k)))
            code.set(variable, apply("fma", g, splat(x, variable.type.lanes), Get(variable)))
