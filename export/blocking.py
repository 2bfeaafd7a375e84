"""How much of a block is computed at once: chosen by a model of the cycles that its matrix products take.

Sums of R rows, S streams and v vectors advance together. In the schedule for tiles a vector holds points, and one term
of every sum costs S·v loads of inputs and R of weights; in the schedule for one point a vector holds rows (R = 1), and
it costs v loads of weights and S of inputs. Both cost S·R·v fused multiply-adds. Two of each can start in a cycle. A
sum waits LATENCY cycles for its previous term, so with P partial sums a term takes LATENCY / P cycles at least. All
sums have to stay in registers, beside the operands: what does not fit costs more than any of this.

The model ranks what was measured (docs/numerics.md); it does not say how long anything takes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

from kdpinn_edge.export.lowering import Step
from kdpinn_edge.numpy_program import partial_sums

LATENCY = 5  # 4 on the processors of today, and one for what disturbs
MOST_ROWS = 8
MOST_VECTORS_OF_POINTS = 2
MOST_VECTORS_OF_ROWS = 8


def most_streams(registers: int) -> int:
    """How many matrix products can share the loads of their weights: two partial sums of each fit into registers."""
    return (registers - 2) // 2


def rows_at_once(step: Step, vectors: int, registers: int) -> int:
    """How many rows of a block the schedule for tiles computes at once, with `vectors` vectors of points."""
    return _best(step, step.size, MOST_ROWS, lambda rows: _tile_cycles(step, rows, vectors, registers))[1]


def vectors_per_tile(steps: Sequence[Step], registers: int) -> int:
    """How many vectors of points a tile has: as many as make the matrix products cheapest per point."""

    def per_point(vectors: int) -> float:
        def block(step: Step) -> float:
            term = _best(step, step.size, MOST_ROWS, lambda rows: _tile_cycles(step, rows, vectors, registers))[0]
            return term * step.products[0].x.size

        return sum(block(step) for step in steps if step.products and not step.is_few) / vectors

    return min(range(MOST_VECTORS_OF_POINTS, 0, -1), key=per_point)


def vectors_at_once(step: Step, V: int, registers: int) -> int:
    """How many vectors of rows of a block the schedule for one point computes at once."""

    def cycles(vectors: int) -> float:
        return _cycles(step, 1, vectors, vectors + len(step.products), registers)

    return _best(step, -(-step.size // V), MOST_VECTORS_OF_ROWS, cycles)[1]


def _tile_cycles(step: Step, rows: int, vectors: int, registers: int) -> float:
    return _cycles(step, rows, vectors, len(step.products) * vectors + rows, registers)


def _cycles(step: Step, rows: int, vectors: int, loads: int, registers: int) -> float:
    streams, sums = len(step.products), partial_sums(step.products[0].x.size, step.size)
    at_once = streams * rows * vectors
    if sums * at_once + vectors + 1 > registers:
        return inf
    return max(at_once / 2, loads / 2, LATENCY / sums)


def _best(step: Step, size: int, most: int, cycles: Callable[[int], float]) -> tuple[float, int]:
    """The fewest cycles for `size` units, and how many of them at once reach that: without a rest, if possible."""
    if not step.products or step.is_few:
        return 0.0, 1

    def total(at_once: int) -> tuple[float, bool, int]:
        whole, rest = divmod(size, at_once)
        return whole * cycles(at_once) + (cycles(rest) if rest else 0.0), rest > 0, -at_once

    best = min(range(1, min(size, most) + 1), key=total)
    return total(best)[0], best
