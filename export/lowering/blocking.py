"""How much of a block is computed at once, and from how many points on in batches: chosen by a model of the cycles.

Sums of R rows, S streams and v vectors advance together. In the batch kernel a vector holds points, and one term of
every sum costs S·v loads of inputs and R of weights; in the single-point kernel a vector holds rows (R = 1), and it
costs v loads of weights and S of inputs. Both cost S·R·v fused multiply-adds. All sums have to stay in registers,
beside the operands: what does not fit costs more than any of this.

Two multiply-adds start in a cycle, and LOADS loads: of the two that could, beside the multiply-adds that wait for them.
A sum waits LATENCY cycles for its previous term, so with P partial sums a term takes LATENCY / P cycles at least.
Around the products a vector takes some cycles per function and one per other operation, and a point waits STEP cycles
for each step to be done before the next one can start.

A processor that is `in_order` starts one instruction in a cycle, LOOP of them for each turn of a loop. There the
partial sums of a row may advance one after the other instead of interleaved: the first is spilled to memory, and more
rows find room in the registers.

docs/numerics.md has what was measured beside what the model says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

from kdpinn_edge.export.lowering.fusion import Step
from kdpinn_edge.export.targets.table import Vectors
from kdpinn_edge.numerics.words import partial_sums
from kdpinn_edge.program.ir import Affine, Map

LATENCY = 4
LOADS = 1.6
LOOP = 4
STEP = 20
ROWS_TO_FINISH = 2  # of a batch, or vectors of them of a point, in a step without products
VECTORS_TO_FINISH = 4  # at most
CACHED = 1 << 14  # weights; of more, each vector takes a cycle to arrive


@dataclass(frozen=True)
class Limits:
    """How much is tried at once, and how many cycles an activation takes.

    `terms` of a partial sum that advances alone are in one turn of the loop, of a batch and of a point; with 0, none
    does. It does so only where it has at least `alone_from` terms: to let the others wait takes time.
    """

    rows: Sequence[int]
    vectors_of_points: Sequence[int]
    vectors_of_rows: Sequence[int]
    activation: int
    terms: tuple[int, int]
    alone_from: int = 0


OUT_OF_ORDER = Limits(range(1, 5), (1, 2), (1, 2, 4, 8), 8, (0, 0))
OUT_OF_ORDER_FEW = Limits(range(1, 5), (1, 2), (1, 2, 4, 8), 8, (4, 0), alone_from=24)
IN_ORDER = Limits((1, 2, 4, 8), (1, 2, 4), (1, 2, 4, 8), 30, (2, 2))
IN_ORDER_FEW = Limits((1, 2, 4, 8), (1, 2, 4), (1, 2, 4, 8), 30, (1, 1))
SCALAR = Limits(range(1, 13), (1, 2), (1, 2, 4, 8, 16), 34, (2, 4))  # more points would take a board's memory


@dataclass(frozen=True)
class Choice:
    """What takes the fewest cycles: how many units are unrolled, and whether their partial sums are interleaved.

    One turn of the loop has `terms` terms of each partial sum.
    """

    cycles: float
    unroll: int
    interleaved: bool = True
    terms: int = 1


def powers_of_two(number: int) -> list[int]:
    """The powers of two that add up to `number`, largest first.

    LLVM keeps other vectors between two blocks of instructions one number at a time: 4x48 took seven times as long.
    """
    return [1 << bit for bit in reversed(range(number.bit_length())) if number >> bit & 1]


def most_streams(vectors: Vectors) -> int:
    """How many matrix products can share the loads of their weights: two partial sums of each fit into registers."""
    return (vectors.registers - 2) // 2


def _limits(vectors: Vectors) -> Limits:
    few = vectors.registers <= 16
    if not vectors.in_order:
        return OUT_OF_ORDER_FEW if few else OUT_OF_ORDER
    if vectors.lanes == 1:
        return SCALAR
    return IN_ORDER_FEW if few else IN_ORDER


class Blocking:
    """The choices for one Program on these vector registers; it has steps for batches and steps for one point.

    vectors_per_batch  of points, in a batch
    crossover          up to how many points a batch is slower than the single-point kernel, one by one
    """

    def __init__(self, batch_steps: Sequence[Step], single_steps: Sequence[Step], vectors: Vectors) -> None:
        self._vectors = vectors
        self._limits = _limits(vectors)
        batch_steps, single_steps = (
            [step for step in steps if step.is_block or step.terms_in_lanes] for steps in (batch_steps, single_steps)
        )
        weights = sum(step.products[0].weight.size for step in single_steps if step.products)
        self._weights_wait = 1 if weights > CACHED else 0
        batches = {
            v: sum(self._batch(step, v).cycles for step in batch_steps) / v
            for v in reversed(self._limits.vectors_of_points)
        }
        self.vectors_per_batch = min(batches, key=lambda v: batches[v])
        batch = batches[self.vectors_per_batch] * self.vectors_per_batch
        single = sum(self.single(step).cycles for step in single_steps)
        self.crossover = min(int(batch / single), self.vectors_per_batch * vectors.lanes) if single_steps else 0

    def batch(self, step: Step) -> Choice:
        """How many rows of a block the batch kernel computes at once."""
        return self._batch(step, self.vectors_per_batch)

    def single(self, step: Step) -> Choice:
        """How many vectors of rows of a block the single-point kernel computes at once."""
        wide = -(-step.size // self._vectors.lanes)
        around = STEP + wide * self._work(step)
        if step.terms_in_lanes:
            n_in = step.products[0].x.size
            return Choice(around + step.size * n_in * LATENCY / partial_sums(n_in, step.size), 1)

        def term(vectors: int, sums: int) -> tuple[float, float]:
            operands = 2 if self._vectors.in_order else vectors + 1
            cycles, loads = self._term(step, vectors, sums, len(step.products) + vectors, operands)
            return max(cycles, vectors * self._weights_wait), loads

        return self._best(step, wide, self._limits.vectors_of_rows, around, term, ROWS_TO_FINISH, batch=False)

    def _batch(self, step: Step, vectors: int) -> Choice:
        around = step.size * vectors * self._work(step)
        if step.terms_in_lanes:
            return Choice(around + step.size * step.products[0].x.size * vectors, 1)

        def term(rows: int, sums: int) -> tuple[float, float]:
            weights = -(-rows // self._vectors.lanes) if self._vectors.factors_by_lane else rows
            loads = len(step.products) * vectors + weights
            return self._term(step, rows * vectors, sums, loads, operands=vectors + 1)

        return self._best(
            step,
            step.size,
            self._limits.rows,
            around,
            term,
            min(ROWS_TO_FINISH, VECTORS_TO_FINISH // vectors),
            batch=True,
        )

    def _term(self, step: Step, units: int, sums: int, loads: int, operands: int) -> tuple[float, float]:
        """The cycles and the loads of one term of every sum of `units`, `sums` partial sums of each in registers."""
        unroll = len(step.products) * units
        if sums * unroll + operands > self._vectors.registers:
            return inf, inf
        if self._vectors.in_order:
            return unroll + loads + LOOP / 2, loads
        return max(unroll / 2, loads / LOADS, LATENCY / sums), loads

    def _best(
        self,
        step: Step,
        size: int,
        limits: Sequence[int],
        around: float,
        term: Callable[[int, int], tuple[float, float]],
        to_finish: int,
        *,
        batch: bool,
    ) -> Choice:
        """The fewest cycles for `size` units; of equals together, without a rest, and as many at once as possible.

        `around` are the cycles beside those of the products; without products, `to_finish` units are computed at once.
        Where partial sums may advance alone, registers are few, and fewer loads decide among equals.
        """
        if not step.products:
            return Choice(around, min(size, to_finish))
        n_in = step.products[0].x.size
        P = partial_sums(n_in, step.size)
        terms = self._limits.terms[0 if batch else 1]
        alone = P > 1 and terms > 0 and n_in >= self._limits.alone_from
        spilled = 2 * (P - 1) * size * len(step.products) if self._vectors.in_order else 0

        def costs(unroll: int, interleaved: bool) -> tuple[float, float]:
            whole, rest = divmod(size, unroll)
            rests = [rest] * (rest > 0) if batch else powers_of_two(rest)
            parts = [
                (count, term(n, P if interleaved else 1)) for count, n in ((whole, unroll), *((1, n) for n in rests))
            ]
            cycles, loads = (n_in * sum(count * part[i] for count, part in parts) for i in (0, 1))
            return cycles + (0 if interleaved else spilled), loads if alone else 0

        tried = [(n, interleaved) for n in limits if n <= size for interleaved in ([True, False] if alone else [True])]
        unroll, interleaved = min(tried, key=lambda t: (*costs(*t), not t[1], size % t[0] > 0, -t[0]))
        return Choice(around + costs(unroll, interleaved)[0], unroll, interleaved, terms)

    def _work(self, step: Step) -> int:
        """Cycles per vector around the products."""
        others = [op for op in step.ops if not isinstance(op, Affine)]
        return sum(self._limits.activation if isinstance(op, Map) else 1 for op in others)
