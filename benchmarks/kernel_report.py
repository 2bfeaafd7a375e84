"""What bench_kernels.py measured: rows, the tables that show them, and the measures that they are held to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kdpinn_edge.comparison.backends.onnx_runtime import ONNX_RUN

OURS, C_LOOP, ORT_RUN = "kdpinn", ", C loop", ONNX_RUN.name
OURS_IN_C, OURS_ON_TWO = OURS + C_LOOP, f"{OURS}, 2 threads"


@dataclass(frozen=True)
class Time:
    """Nanoseconds per call: the least of the rounds' medians, and the quartiles of these medians."""

    ns: float
    q1_ns: float
    q3_ns: float
    samples: int


@dataclass(frozen=True)
class Row:
    """One engine on one network at one n.

    `multiply_adds` counts those of the matrix products, per point; `error` is the largest absolute one against the
    float64 Program at the points that were timed.
    """

    width: int
    depth: int
    n: int
    engine: str
    multiply_adds: int
    time: Time
    error: float

    @property
    def net(self) -> str:
        """4×64 for four layers of 64."""
        return f"{self.depth}×{self.width}"

    @property
    def ns_per_point(self) -> float:
        """Nanoseconds per point."""
        return self.time.ns / self.n

    @property
    def gflops(self) -> float:
        """10⁹ operations per second, two for each multiply-add of the matrix products and none for anything else."""
        return 2 * self.multiply_adds / self.ns_per_point


@dataclass(frozen=True)
class Verdict:
    """One measure: `worst` is the smallest value over `cells` of them, at `where`. All None and 0 where none is."""

    measure: str
    required: float
    worst: float | None
    where: str
    cells: int
    missed: int

    @property
    def holds(self) -> bool | None:
        """Whether every cell reaches what is required; None where nothing was measured."""
        return None if self.worst is None else self.missed == 0


Cell = tuple[float, str]


class Cells:
    """The rows of a run by network, n and engine."""

    def __init__(self, rows: Iterable[Row], peak_gflops: float) -> None:
        self.rows = sorted(rows, key=lambda row: (row.depth, row.width, row.n))
        self.peak_gflops = peak_gflops
        self._groups: dict[tuple[int, int, int], list[Row]] = {}
        for row in self.rows:
            self._groups.setdefault((row.depth, row.width, row.n), []).append(row)

    def groups(self, *, c_loop: bool = False) -> list[tuple[Row, list[Row]]]:
        """(ours, the peers from the fastest on) at each network and n, on one thread: from Python, or in a C loop."""
        found = []
        for group in self._groups.values():
            rows = sorted(
                (row for row in group if row.engine != OURS_ON_TWO and row.engine.endswith(C_LOOP) == c_loop),
                key=lambda row: row.time.ns,
            )
            ours = next((row for row in rows if row.engine in (OURS, OURS_IN_C)), None)
            if ours is not None:
                found.append((ours, [row for row in rows if row is not ours]))
        return found

    def derived(self, row: Row) -> dict[str, float]:
        """What follows from a row and the peak."""
        return {
            "ns_per_point": row.ns_per_point,
            "gflops": row.gflops,
            "peak_fraction": row.gflops / self.peak_gflops,
        }

    def verdicts(self) -> list[Verdict]:
        """The measures, each with the cell that is furthest from it."""
        against_best = [(ours, peers[0]) for ours, peers in self.groups() if peers]
        large = [(ours, peer) for ours, peer in against_best if ours.n >= 1024]
        return [
            _verdict("× the best peer, width ≤ 64, n ≥ 1 024", 1.25, _ratios(p for p in large if p[0].width <= 64)),
            _verdict("× the best peer, width 128, n ≥ 1 024", 1.15, _ratios(p for p in large if p[0].width == 128)),
            _verdict("× the best peer, n = 64", 1.5, _ratios(p for p in against_best if p[0].n == 64)),
            _verdict(
                "× the best C peer, n = 1 in a C loop",
                1.5,
                _ratios((ours, peers[0]) for ours, peers in self.groups(c_loop=True) if peers and ours.n == 1),
            ),
            _verdict(
                "× ONNX Runtime's run, n = 1 from Python",
                12,
                _ratios(
                    (ours, peer)
                    for ours, peers in self.groups()
                    for peer in peers
                    if ours.n == 1 and peer.engine == ORT_RUN
                ),
            ),
            *(
                _verdict(f"of the FMA peak, 4×{width}, n ≥ 1 024", required, self._fractions(4, width))
                for width, required in ((128, 0.85), (64, 0.78), (32, 0.60))
            ),
            _verdict("× the speed at n = 1 024, at n = 100 000", 1 / 1.05, self._steadiness()),
            _verdict("× one thread, on two, n = 100 000", 1.85, self._two_threads()),
        ]

    def _fractions(self, depth: int, width: int) -> list[Cell]:
        return [
            (ours.gflops / self.peak_gflops, _where(ours))
            for ours, _ in self.groups()
            if (ours.depth, ours.width) == (depth, width) and ours.n >= 1024
        ]

    def _steadiness(self) -> list[Cell]:
        at_n = {(ours.depth, ours.width, ours.n): ours for ours, _ in self.groups()}
        pairs = [(at_n.get((depth, width, 1024)), ours) for (depth, width, n), ours in at_n.items() if n == 100_000]
        return [(few.ns_per_point / many.ns_per_point, many.net) for few, many in pairs if few is not None]

    def _two_threads(self) -> list[Cell]:
        one = {(ours.net, ours.n): ours for ours, _ in self.groups()}
        two = [row for row in self.rows if row.engine == OURS_ON_TWO]
        return [(one[row.net, row.n].time.ns / row.time.ns, _where(row)) for row in two]

    def tables(self) -> str:
        """The rows as Markdown: from Python, in a C loop, on two threads, and the errors."""
        engines = list(dict.fromkeys(row.engine for row in self.rows))
        peers = [name for name in engines if not name.startswith(OURS) and not name.endswith(C_LOOP)]
        parts = [
            "Nanoseconds per point from Python, one thread; in brackets the quartiles of the rounds",
            _table(
                ["net", "n", OURS, "× best peer", "GFLOP/s", "of peak", *peers],
                [[*self._ours(ours, rivals), *_cells(rivals, peers)] for ours, rivals in self.groups()],
            ),
        ]
        if in_c := self.groups(c_loop=True):
            c_peers = [name for name in engines if name.endswith(C_LOOP) and name != OURS_IN_C]
            parts += [
                "Nanoseconds per point in a C program's loop, one thread",
                _table(
                    ["net", "n", OURS, "× best peer", "GFLOP/s", "of peak", *(p.removesuffix(C_LOOP) for p in c_peers)],
                    [[*self._ours(ours, rivals), *_cells(rivals, c_peers)] for ours, rivals in in_c],
                ),
            ]
        if two := self._two_threads():
            parts += [
                "Two threads",
                _table(["net", "× one thread"], [[where, f"{ratio:.2f}"] for ratio, where in two]),
            ]
        worst = {name: max(row.error for row in self.rows if row.engine == name) for name in engines}
        parts += [
            "Largest absolute error against the float64 Program",
            _table(["engine", "error"], [[name, f"{error:.2g}"] for name, error in worst.items()]),
        ]
        return "\n\n".join(parts)

    def _ours(self, ours: Row, rivals: Sequence[Row]) -> list[str]:
        low, high = ours.time.q1_ns / ours.n, ours.time.q3_ns / ours.n
        return [
            ours.net,
            f"{ours.n:,}",
            f"{_figure(ours.ns_per_point)} [{_figure(low)}, {_figure(high)}]",
            f"{rivals[0].time.ns / ours.time.ns:.2f}" if rivals else "–",
            f"{ours.gflops:.1f}",
            f"{ours.gflops / self.peak_gflops:.0%}",
        ]


def verdict_table(verdicts: Iterable[Verdict]) -> str:
    """The measures as Markdown."""
    rows = [
        [
            verdict.measure,
            f"≥ {verdict.required:.3g}",
            "–" if verdict.worst is None else f"{verdict.worst:.3f} ({verdict.where})",
            {None: "not measured", True: "holds", False: f"short in {verdict.missed} of {verdict.cells}"}[
                verdict.holds
            ],
        ]
        for verdict in verdicts
    ]
    return _table(["measure", "required", "worst", ""], rows)


def _verdict(measure: str, required: float, cells: Sequence[Cell]) -> Verdict:
    worst, where = min(cells, default=(None, ""))
    return Verdict(measure, required, worst, where, len(cells), sum(value < required for value, _ in cells))


def _ratios(pairs: Iterable[tuple[Row, Row]]) -> list[Cell]:
    return [(peer.time.ns / ours.time.ns, f"{_where(ours)}, {peer.engine}") for ours, peer in pairs]


def _where(row: Row) -> str:
    return f"{row.net}, n = {row.n:,}"


def _cells(rivals: Sequence[Row], names: Sequence[str]) -> list[str]:
    found = {row.engine: row for row in rivals}
    return [_figure(found[name].ns_per_point) if name in found else "–" for name in names]


def _figure(ns: float) -> str:
    return f"{ns:,.0f}" if ns >= 100 else f"{ns:.1f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
