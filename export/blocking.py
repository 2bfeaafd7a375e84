"""How much of a block is computed at once, and from how many points on in tiles: chosen by a model of the cycles.

Sums of R rows, S streams and v vectors advance together. In the schedule for tiles a vector holds points, and one term
of every sum costs S·v loads of inputs and R of weights; in the schedule for one point a vector holds rows (R = 1), and
it costs v loads of weights and S of inputs. Both cost S·R·v fused multiply-adds. Two of each can start in a cycle. A
sum waits LATENCY cycles for its previous term, so with P partial sums a term takes LATENCY / P cycles at least. All
sums have to stay in registers, beside the operands: what does not fit costs more than any of this. Around the products
a vector takes ACTIVATION cycles per function and one per other operation, and a point waits STEP cycles for each step
to be done before the next one can start.

docs/numerics.md has what was measured beside what the model says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

from kdpinn_edge.export.lowering import Step
from kdpinn_edge.export.target import Vectors
from kdpinn_edge.ir import Affine, Map
from kdpinn_edge.numpy_program import partial_sums

LATENCY = 5  # 4 on the processors of today, and one for what disturbs
ACTIVATION = 8
STEP = 20
MOST_ROWS = 4
ROWS_TO_FINISH = 2  # of a step without products
MOST_VECTORS_OF_POINTS = 2
MOST_VECTORS_OF_ROWS = 8
CACHED = 1 << 14  # weights; of more, each vector takes a cycle to arrive


def most_streams(vectors: Vectors) -> int:
    """How many matrix products can share the loads of their weights: two partial sums of each fit into registers."""
    return (vectors.registers - 2) // 2


class Blocking:
    """The choices for one Program on these vector registers; it has steps for tiles and steps for one point.

    vectors_per_tile  of points, in a tile
    crossover         up to how many points a tile is slower than the schedule for one point, one by one
    """

    def __init__(self, tile_steps: Sequence[Step], point_steps: Sequence[Step], vectors: Vectors) -> None:
        self._vectors = vectors
        tile_steps, point_steps = (
            [step for step in steps if step.is_block or step.is_few] for steps in (tile_steps, point_steps)
        )
        weights = sum(step.products[0].weight.size for step in point_steps if step.products)
        self._weights_wait = 1 if weights > CACHED else 0
        tiles = {
            v: sum(self._tile(step, v)[0] for step in tile_steps) / v for v in range(MOST_VECTORS_OF_POINTS, 0, -1)
        }
        self.vectors_per_tile = min(tiles, key=lambda v: tiles[v])
        tile = tiles[self.vectors_per_tile] * self.vectors_per_tile
        point = sum(self._point(step)[0] for step in point_steps)
        self.crossover = min(int(tile / point), self.vectors_per_tile * vectors.lanes) if point_steps else 0

    def rows_at_once(self, step: Step) -> int:
        """How many rows of a block the schedule for tiles computes at once."""
        return self._tile(step, self.vectors_per_tile)[1]

    def vectors_at_once(self, step: Step) -> int:
        """How many vectors of rows of a block the schedule for one point computes at once."""
        return self._point(step)[1]

    def _tile(self, step: Step, vectors: int) -> tuple[float, int]:
        """The cycles of a tile, and how many rows at once take as few."""
        around = step.size * vectors * _work(step)
        if step.is_few:
            return around + step.size * step.products[0].x.size * vectors, 1

        def term(rows: int) -> float:
            return self._term(step, rows, vectors, loads=len(step.products) * vectors + rows)

        cycles, rows = _best(step, step.size, MOST_ROWS, term)
        return around + cycles, rows

    def _point(self, step: Step) -> tuple[float, int]:
        """The cycles of one point, and how many vectors of rows at once take as few."""
        wide = -(-step.size // self._vectors.lanes)
        around = STEP + wide * _work(step)
        if step.is_few:
            n_in = step.products[0].x.size
            return around + step.size * n_in * LATENCY / partial_sums(n_in, step.size), 1

        def term(vectors: int) -> float:
            cycles = self._term(step, 1, vectors, loads=len(step.products) + vectors)
            return max(cycles, vectors * self._weights_wait)

        cycles, vectors = _best(step, wide, MOST_VECTORS_OF_ROWS, term)
        return around + cycles, vectors

    def _term(self, step: Step, rows: int, vectors: int, loads: int) -> float:
        at_once = len(step.products) * rows * vectors
        sums = partial_sums(step.products[0].x.size, step.size)
        if sums * at_once + vectors + 1 > self._vectors.registers:
            return inf
        return max(at_once / 2, loads / 2, LATENCY / sums)


def _work(step: Step) -> int:
    """Cycles per vector around the products."""
    return sum(ACTIVATION if isinstance(op, Map) else 1 for op in step.ops if not isinstance(op, Affine))


def _best(step: Step, size: int, most: int, term: Callable[[int], float]) -> tuple[float, int]:
    """The fewest cycles for `size` units, and how many at once reach them: such that no rest is left, if possible."""
    if not step.products:
        return 0.0, min(size, ROWS_TO_FINISH)

    def cycles(at_once: int) -> float:
        whole, rest = divmod(size, at_once)
        return step.products[0].x.size * (whole * term(at_once) + (term(rest) if rest else 0.0))

    best = min(range(1, min(size, most) + 1), key=lambda n: (cycles(n), size % n > 0, -n))
    return cycles(best), best
