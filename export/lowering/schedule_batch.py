"""The batch kernel: points in lanes, weights broadcast; the network stays in registers and in the L1 cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from kdpinn_edge.export.lowering.constants import Place
from kdpinn_edge.export.lowering.fusion import Step
from kdpinn_edge.export.lowering.loops import (
    Body,
    Buffer,
    Code,
    Expr,
    Get,
    Linear,
    Load,
    Number,
    Symbol,
    Type,
    apply,
    linear,
    place,
    splat,
)
from kdpinn_edge.export.lowering.memory import Memory
from kdpinn_edge.export.lowering.schedule import (
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
from kdpinn_edge.program.ir import Concat, Var


def batch_schedule(lowered: Lowered) -> Schedule:
    """The kernel for up to `lowered.points_per_batch` points."""
    return _Batch(lowered).schedule()


class _Batch:
    def __init__(self, lowered: Lowered) -> None:
        self.lowered, self.program, self.constants = lowered, lowered.program, lowered.constants
        self.L = lowered.points_per_batch
        parts = [part for parts in lowered.batch_steps for part in parts]
        held = -(-lowered.held // self.L)  # rows that the numbers take which are the same for all points
        self.memory = Memory(self.program, parts, lambda op: op.out.size, self.program.n_in, first=held)
        self.size = self.memory.size * self.L
        self.vector = Type(lowered.precision, self.L)
        self.number = Type(lowered.precision)
        self.points = Symbol("m", 32, least=1, most=self.L)  # the lanes behind them hold zeros
        self.x, self.y, self.s = buffers(lowered, linear(self.points))

    def schedule(self) -> Schedule:
        steps = statements(self.lowered, self.lowered.batch_steps, self._step)
        self.s.size = Linear(self.size)
        return Schedule(self.x, self.y, self.s, self._load(), steps, self._store())

    def _load(self) -> Body:
        code, L, held, n_x = Code(), self.L, self.lowered.held, self.lowered.n_x
        first = self.memory.at[self.program.inputs[0].name]
        if held:
            with code.loop("i", 0, held) as i:
                number = Load(self.number, self.s, place(0, (1, i)))
                code.store(self.s, place(first * L, (L, i)), splat(number, L))
        with code.counting("i", Linear(0), linear(self.points), bits=32) as i:
            for c in range(n_x):
                at = place((first + held + c) * L, (1, i))
                code.store(self.s, at, Load(self.number, self.x, place(c, (n_x, i))))
        with code.counting("i", linear(self.points), Linear(L), bits=32) as i:
            for c in range(n_x):
                code.store(self.s, place((first + held + c) * L, (1, i)), Number(self.number, 0.0))
        return code.body

    def _store(self) -> Body:
        code, L, n_out = Code(), self.L, self.program.n_out
        rows = [self.memory.at[var.name] + i for var in self.program.outputs for i in range(var.size)]
        for row in rows:
            value = apply("canonical", Load(self.vector, self.s, Linear(row * L)))
            code.store(self.s, Linear(row * L), value)
        with code.counting("i", Linear(0), linear(self.points), bits=32) as i:
            for c, row in enumerate(rows):
                code.store(self.y, place(c, (n_out, i)), Load(self.number, self.s, place(row * L, (1, i))))
        return code.body

    def _step(self, code: Code, step: Step) -> None:
        op, L = step.ops[0], self.L
        if not isinstance(op, Concat):
            self._block(code, step)
            return
        to = self.memory.at[op.out.name] * L
        for x in op.xs:
            with code.loop("i", 0, x.size) as i:
                value = Load(self.vector, self.s, place(self.memory.at[x.name] * L, (L, i)))
                code.store(self.s, place(to, (L, i)), value)
            to += x.size * L

    def _block(self, code: Code, step: Step) -> None:
        """A block, some rows at a time."""
        free = self.memory.size * self.L
        weights = None
        if step.products:
            weights = self._weights(code, step, free)
            free = max(free, weights.end)
        rows = self.lowered.blocking.batch(step).unroll
        whole = step.size - step.size % rows
        for start, stop, unroll in ((0, whole, rows), (whole, step.size, step.size - whole)):
            if start < stop:
                with code.loop("j", start, stop, unroll) as j:
                    self._rows(code, step, weights, j, unroll, free)

    def _weights(self, code: Code, step: Step, free: int) -> _Weights:
        """Where the products of a block read their weights: float16 is widened once per batch, to `free`."""
        product = step.products[0]
        (weight, _), (across, down) = self.constants.of(product), self.constants.strides(product)
        if not self.constants.widens or step.terms_in_lanes:
            return _Weights(weight.array, weight.at, across, down, 0)
        numbers = product.x.size * down
        for start, stop, lanes in chunks(numbers, self.constants, 4):
            with code.loop("i", start, stop, lanes) as i:
                value = Load(Type(self.lowered.precision, lanes), weight.array, place(weight.at, (1, i)))
                code.store(self.s, place(free, (1, i)), value)
        end = free + self.constants.padded(numbers)
        self.size = max(self.size, end)
        return _Weights(self.s, free, across, down, end)

    def _rows(self, code: Code, step: Step, weights: _Weights | None, j: Symbol | int, rows: int, free: int) -> None:
        """`rows` rows of a block, from row j on.

        Where every row is treated alike, and no weight is read, rows that lie side by side are one long vector: all the
        instructions of one kind then stand together, and fewer of them wait. In order it makes no difference.
        """
        L, lowered = self.L, self.lowered

        def number(start: Place, r: int) -> Expr:
            return splat(Load(self.number, start.array, place(start.at + r, (1, j))), L)

        def term(sums: Sums, k: Symbol | int, i: int) -> None:
            if weights is not None:
                self._term(code, step, weights, sums, j, k, i)

        sums: list[list[list[Expr]]] = [[] for _ in range(rows)]
        if weights is not None:
            spills, zero = Spills(self.s, free), Number(self.vector, 0.0)
            sums = summed(code, lowered, step, lowered.blocking.batch(step), range(rows), zero, number, term, spills)
            self.size = max(self.size, spills.end)
        alike = not any(self.constants.varies(op) for op in step.ops)
        flat = weights is None and alike and not self.constants.vectors.in_order
        lanes = rows * L if flat else L
        for r, row in enumerate(sums[:1] if flat else sums):

            def at(var: Var, r: int = r) -> Linear:
                return place((self.memory.at[var.name] + r) * L, (L, j))

            finish(code, step, lowered, [tree_sum(each) for each in row], self.s, at, partial(number, r=r), lanes)

    def _term(
        self,
        code: Code,
        step: Step,
        weights: _Weights,
        sums: Sums,
        j: Symbol | int,
        k: Symbol | int,
        i: int,
    ) -> None:
        """Term k + i of every sum: each input is loaded once for all rows, each weight once for all streams."""
        P = partial_sums(step.products[0].x.size, step.size)
        factor = self._factors(code, weights, len(sums), j, k, i)
        for q, op in enumerate(step.products):
            at = place((self.memory.at[op.x.name] + i) * self.L, (self.L, k))
            u = Get(code.let("u", Load(self.vector, self.s, at)))
            for r, row in enumerate(sums):
                variable = row[q][i % P]
                code.set(variable, apply("fma", factor(r), u, Get(variable)))

    def _factors(
        self, code: Code, weights: _Weights, rows: int, j: Symbol | int, k: Symbol | int, i: int
    ) -> Callable[[int], Expr]:
        """The weight of term k + i in each row, in all lanes: loaded one by one, or together."""

        def at(r: int) -> Linear:
            return place(weights.at + i * weights.down + r * weights.across, (weights.down, k), (weights.across, j))

        V = self.constants.vectors.lanes
        if not (self.constants.vectors.factors_by_lane and weights.across == 1):
            return lambda r: splat(Load(self.number, weights.buffer, at(r)), self.L)
        loaded = []
        for r in range(0, rows, V):
            together = Type(self.lowered.precision, self.constants.padded(min(V, rows - r)))
            loaded.append(Get(code.let(f"g{r // V or ''}", Load(together, weights.buffer, at(r)))))
        return lambda r: splat(apply("lane", loaded[r // V], detail=r % V), self.L)


@dataclass(frozen=True)
class _Weights:
    """A matrix in memory: entry (row, term) lies at `at` + across * row + down * term."""

    buffer: Buffer
    at: int
    across: int
    down: int
    end: int
