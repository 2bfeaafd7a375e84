"""The students of the zoo beside what needs no network: tables, closed forms, and solvers of a whole trajectory.

python benchmarks/rivals.py                      measures all problems, half a minute of CPU time each
python benchmarks/rivals.py heat wave            those
python benchmarks/rivals.py heat wave --write    their rows of docs/when.md, and docs/when.png, which shows all rows

Everything is C in float32, in the loop of harness.c on one thread. Calls of a rival alternate with calls of the
network, in time on the core; a ratio is the median over turns, each in a process of its own, of what both took in the
least disturbed pairs. A time is the network's least median times that ratio.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from pages import DOCS, insert, table

from kdpinn_edge import problems
from kdpinn_edge.bundle.probe import timed_points
from kdpinn_edge.classical.accuracy import against_reference, relative
from kdpinn_edge.classical.fit import of_error, of_numbers
from kdpinn_edge.classical.formula_c import formula_source
from kdpinn_edge.classical.table import Table, name
from kdpinn_edge.classical.table_c import table_source
from kdpinn_edge.comparison.backends.c_source import NAME as PEER
from kdpinn_edge.comparison.backends.c_source import Interface, Source, build
from kdpinn_edge.comparison.backends.closed_form import LEVEL as FORMULA_LEVEL
from kdpinn_edge.comparison.backends.tables import LEVEL as TABLE_LEVEL
from kdpinn_edge.comparison.machine import this_machine
from kdpinn_edge.derive.closed_form import closed_form_program
from kdpinn_edge.derive.derivatives import derivatives
from kdpinn_edge.export.bundle import export_bundle
from kdpinn_edge.importers.model import Model, find_model
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.problems import Array, Problem, problem
from kdpinn_edge.program.ir import Program, parameters
from kdpinn_edge.runtime import load
from kdpinn_edge.runtime.c_harness import CHarness, CModel, compiled_harness
from kdpinn_edge.studies.study.measure import reference_slopes

PAGE, FIGURE = DOCS / "when.md", DOCS / "when.png"
MANY = 1024
TURNS, TURN_SECONDS = 5, 0.03
LARGER = 4, 16
"""Tables with so many times the numbers of the network: one of them takes as long as it."""
SLOPE_POINTS = 4000
FLOAT_BYTES = 4
NETWORK, AS_ACCURATE, AS_LARGE, AS_FAST, FORMULA = (
    *("network", "table of equal error", "table of equal bytes", "table of equal time"),
    "closed form",
)


@dataclass(frozen=True)
class Rival:
    """One way to evaluate a solution. `ones` and `manies` are its times over the network's, turn by turn."""

    kind: str
    what: str
    stored_bytes: int
    relative_l2: float
    max_abs: float
    slopes_l2: float
    library: Path
    function: str
    ones: tuple[float, ...] = ()
    manies: tuple[float, ...] = ()
    one_ns: float = 0.0
    many_ns: float = 0.0

    @property
    def one(self) -> float:
        """The time of one point over the network's."""
        return median(self.ones)

    @property
    def many(self) -> float:
        """The time per point of many over the network's."""
        return median(self.manies)


def rivals(solved: Problem, folder: Path, harness: CHarness) -> list[Rival]:
    """The student of a problem and everything that competes with it, timed."""
    model = find_model(f"{solved.name}_student")
    numbers = sum(array.size for op in model.program.ops for array in parameters(op))
    found = [_of_network(model, numbers, solved, folder / "network")]
    if solved.closed_form is not None:
        found.append(_of_formula(solved, folder))

    def missed(table: Table) -> float:
        return against_reference(table.rounded("float32"), solved).relative_l2

    table = of_error(solved.reference, solved, found[0].relative_l2, missed)
    if table is not None:
        found.append(_of_table(AS_ACCURATE, table, solved, folder))
    for factor in (1, *LARGER):
        table = of_numbers(solved.reference, solved, factor * numbers // len(solved.outputs))
        if table is not None:
            found.append(_of_table(AS_LARGE if factor == 1 else f"{AS_FAST} {factor}", table, solved, folder))
    return list(_as_fast(_timed(found, model, harness)))


def _as_fast(found: list[Rival]) -> Iterator[Rival]:
    """All, and of the larger tables the most accurate one that takes no longer than the network for many points."""
    larger = [each for each in found if each.kind.startswith(AS_FAST)]
    fast = [each for each in found if each.what and each.many <= 1.0]
    chosen = min(fast, key=lambda each: each.relative_l2, default=None)
    for each in found:
        if each not in larger:
            yield each
    if chosen is not None:
        yield replace(chosen, kind=AS_FAST)


def _of_network(model: Model, numbers: int, solved: Problem, bundle: Path) -> Rival:
    manifest = export_bundle(model.program, bundle, name="rival", inputs=model.inputs)
    engine = load(bundle)
    accuracy = against_reference(lambda x: engine(x.astype(np.float32)).astype(np.float64), solved)
    slopes = _slopes_missed(model.program, solved)
    library = bundle / manifest.library
    return Rival(NETWORK, "", FLOAT_BYTES * numbers, accuracy.relative_l2, accuracy.max_abs, slopes, library, "rival")


def _of_formula(solved: Problem, folder: Path) -> Rival:
    program = closed_form_program(solved)
    computed = NumpyProgram(program, "float32")
    accuracy = against_reference(lambda x: computed(x.astype(np.float32)), solved)
    interface = Interface("float32", len(solved.inputs), len(solved.outputs))
    library = build(Source("closed_form", formula_source(program, "float32")), FORMULA_LEVEL, interface, folder)
    slopes = _slopes_missed(program, solved)
    return Rival(FORMULA, "", 0, accuracy.relative_l2, accuracy.max_abs, slopes, library, PEER)


def _slopes_missed(program: Program, solved: Problem) -> float:
    """The relative L2 error of all first derivatives of a Program, in float32."""
    requests = [f"{output}_{column}" for output in solved.outputs for column in solved.inputs]
    slopes = NumpyProgram(derivatives(program, requests), "float32")
    points, exact = _slopes(solved)
    return relative(slopes(points.astype(np.float32)) - exact, exact)


def _of_table(kind: str, table: Table, solved: Problem, folder: Path) -> Rival:
    table = table.rounded("float32")
    accuracy = against_reference(table, solved)
    points, exact = _slopes(solved)
    slopes = reference_slopes(replace(solved, exact=table), points)
    is_graded = any(axis.coordinate.width for axis in table.axes)
    interface = Interface("float32", len(solved.inputs), len(solved.outputs))
    source = Source(kind.replace(" ", "_"), table_source(table, "float32"))
    return Rival(
        kind=kind,
        what=name(table.axes) + (", graded" if is_graded else ""),
        stored_bytes=FLOAT_BYTES * table.numbers,
        relative_l2=accuracy.relative_l2,
        max_abs=accuracy.max_abs,
        slopes_l2=relative(slopes - exact, exact),
        library=build(source, TABLE_LEVEL, interface, folder),
        function=PEER,
    )


def _slopes(solved: Problem) -> tuple[Array, Array]:
    """Points inside the box, away from its sides by what differences need, and the slopes of the reference there."""
    side = np.array(solved.upper) - solved.lower
    low, high = solved.lower + 1e-3 * side, solved.upper - 1e-3 * side
    points = np.random.default_rng(5).uniform(low, high, (SLOPE_POINTS, len(side)))
    points = points.astype(np.float32).astype(np.float64)
    return points, reference_slopes(solved, points)


def _timed(found: list[Rival], model: Model, harness: CHarness) -> list[Rival]:
    """All, with their times in turns; the network is the first of them, and the partner of the others."""
    network, *others = found
    times: dict[int, list[tuple[float, ...]]] = {}
    nanoseconds: dict[int, float] = {}
    for n in (1, MANY):
        x = timed_points(model.inputs or (), n).astype(np.float32)
        partner = CModel(network.library, network.function, x)
        turns = [
            [harness.beside(each.library, each.function, x, partner, seconds=TURN_SECONDS) for each in others]
            for _ in range(TURNS)
        ]
        nanoseconds[n] = min(ns for turn in turns for _, ns in turn) / n
        times[n] = [tuple(turn[k][0] for turn in turns) for k in range(len(others))]
    made = [replace(network, ones=(1.0,), manies=(1.0,), one_ns=nanoseconds[1], many_ns=nanoseconds[MANY])]
    for each, ones, manies in zip(others, times[1], times[MANY], strict=True):
        ns = nanoseconds[1] * median(ones), nanoseconds[MANY] * median(manies)
        made.append(replace(each, ones=ones, manies=manies, one_ns=ns[0], many_ns=ns[1]))
    return made


# What is shown

HEAD = (
    *("equation", "", "stored", "relative L2", "largest error", "slopes, L2"),
    *("one point", "over the network's", "per point of 1,024", "over the network's"),
)
Row = tuple[str, ...]


def rows(equation: str, found: list[Rival]) -> Iterator[Row]:
    """The rows of one equation, of which the first has its name."""
    for each in found:
        yield (
            f"`{equation}`" if each.kind == NETWORK else "",
            each.kind + (f", {each.what}" if each.what else ""),
            f"{each.stored_bytes / 1000:.1f} kB" if each.stored_bytes else "",
            f"{each.relative_l2:.1e}",
            f"{each.max_abs:.1e}",
            f"{each.slopes_l2:.1e}",
            f"{each.one_ns:.3g} ns",
            ratio(each.ones),
            f"{each.many_ns:.3g} ns",
            ratio(each.manies),
        )


def ratio(ratios: tuple[float, ...]) -> str:
    """The median of the turns, and the least and the largest."""
    if set(ratios) == {1.0}:
        return ""
    return f"{median(ratios):.2g} [{min(ratios):.2g}, {max(ratios):.2g}]"


def rows_of_page(page: str) -> dict[str, list[Row]]:
    """The rows of each equation that a page shows."""
    found: dict[str, list[Row]] = {}
    for line in page.splitlines():
        cells = tuple(cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|"))
        if len(cells) == len(HEAD) and set(cells[0]) != {"-"} and cells != HEAD:
            if cells[0]:
                found[cells[0].strip("`")] = []
            found[list(found)[-1]].append(cells)
    return found


def draw(shown: dict[str, list[Row]], path: Path) -> None:
    """Each rival over the network, in four respects: to the left of the line it is the better one."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.0, 2.0 + 0.4 * len(shown)), layout="constrained")
    respects: tuple[tuple[str, Callable[[Row, Row], float]], ...] = (
        ("bytes stored", lambda each, network: _number(each[2]) / _number(network[2])),
        ("time of one point", lambda each, network: _number(each[7])),
        ("time per point of 1,024", lambda each, network: _number(each[9])),
        ("error", lambda each, network: _number(each[3]) / _number(network[3])),
    )
    marks = {AS_ACCURATE: ("s", "black"), AS_LARGE: ("D", "white"), AS_FAST: ("o", "0.7"), FORMULA: ("*", "tab:red")}
    panels, labelled = figure.subplots(1, len(respects), sharey=True), {}
    for axes, (respect, value) in zip(panels, respects, strict=True):
        for line, (network, *others) in enumerate(shown.values()):
            axes.axhline(line, color="0.92", zorder=0)
            for shift, (kind, (marker, colour)) in zip((-0.24, -0.08, 0.08, 0.24), marks.items(), strict=True):
                for each in others:
                    at = value(each, network)
                    if each[1].startswith(kind) and at > 0:
                        (labelled[kind],) = axes.plot(at, line + shift, marker, color=colour, mec="black", ms=8)
        axes.axvline(1.0, color="black", linewidth=1)
        axes.set_xscale("log")
        axes.set_xlabel(respect)
        axes.grid(visible=True, axis="x", alpha=0.3)
    panels[0].set_yticks(range(len(shown)), list(shown))
    panels[0].invert_yaxis()
    kinds = [kind for kind in marks if kind in labelled]
    figure.legend([labelled[kind] for kind in kinds], kinds, loc="outside lower center", ncols=4)
    figure.suptitle("What needs no network, as a multiple of the network: left of the line the rival is better")
    figure.savefig(path, dpi=110)


def _number(cell: str) -> float:
    """The number that a cell begins with; 0 where it is empty."""
    return float(cell.split()[0]) if cell else 0.0


def main() -> None:
    """Measure, print, and write where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problem", nargs="*", default=problems.names(), help="which of them; all, if none is named")
    parser.add_argument("--write", action="store_true", help=f"into {PAGE.name} and {FIGURE.name}")
    options = parser.parse_args()
    with compiled_harness() as harness:
        for equation in options.problem:
            with TemporaryDirectory() as folder:
                found = list(rows(equation, rivals(problem(equation), Path(folder), harness)))
            print(table(HEAD, found), flush=True)
            if options.write:
                shown = rows_of_page(PAGE.read_text(encoding="utf-8")) | {equation: found}
                every = table(HEAD, (row for name in sorted(shown) for row in shown[name]))
                insert(PAGE, "rivals", f"On one core of {this_machine().cpu}, which others use too.\n\n{every}")
                draw(dict(sorted(shown.items())), FIGURE)


if __name__ == "__main__":
    main()
