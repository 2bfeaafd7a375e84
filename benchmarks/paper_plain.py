"""The paper as it is: plain PINNs of its four equations, and students under its own loss, at every weight of it.

python benchmarks/paper_plain.py             five seeds, teachers of 4x50: one to two hours on two cores
python benchmarks/paper_plain.py --small     one seed, teachers of 2x16: three minutes of CPU time
python benchmarks/paper_plain.py --case "burgers, hard conditions" --weight 100     a part, in three minutes

Networks are dense with tanh and see the scaled inputs; starts, walls and periods are terms of the loss; Adam, then
L-BFGS. A student of each weight lambda minimises KL(teacher, student) + lambda (equation + conditions), with sigma
0.01: the weight of a squared residual beside a squared error is 2e-4 lambda. lambda = 0 follows the values alone. The
last case has hard conditions and a teacher whose training was cut short. p is that of the exact rank test of Mann and
Whitney, times the number of weights. What is finished in the folder of --out is not done again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import product
from math import pi
from operator import lt
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from pages import DOCS, insert, table

from kdpinn_edge import Condition, DistillConfig, Problem, TrainConfig, distill, load_pinn, problem, train
from kdpinn_edge.problems.black_scholes import HIGHEST, RATE, STRIKE
from kdpinn_edge.studies.study.significance import p_value, seeds_needed
from kdpinn_edge.training.run_folder import read_json

WRONG = "burgers, hard conditions"
ALONE = "0"
"""The weight of the students that follow the values alone."""
HEAD = "relative L2, median", "range", "CPU time", "better than values alone", "with", "p"
PLAIN: dict[str, Any] = {
    "ansatz": None,
    "features": None,
    "weight": None,
    "potentials": None,
    "net_columns": None,
    "known": (),
}


@dataclass(frozen=True)
class Size:
    """The size of the experiment: `weights` of the equation in the student's loss; `wrong` is the teacher cut short."""

    seeds: int
    weights: tuple[float, ...]
    teacher: TrainConfig
    student: DistillConfig
    wrong: TrainConfig


FULL = Size(
    seeds=5,
    weights=(0.0, 1.0, 1e1, 1e2, 1e3, 1e4),
    teacher=TrainConfig((50,) * 4, optimiser="lbfgs", n_points=2000, newton_rounds=15, newton_steps=100),
    student=DistillConfig((16,) * 3, optimiser="lbfgs", n_points=1000, newton_rounds=15, newton_steps=100),
    wrong=TrainConfig((16,) * 3, n_points=1000, newton_rounds=10),
)
SMALL = Size(
    seeds=1,
    weights=(0.0, 1.0, 1e2, 1e4),
    teacher=TrainConfig((16,) * 2, optimiser="lbfgs", n_points=300, adam_rounds=1, newton_rounds=10, newton_steps=50),
    student=DistillConfig((8,) * 2, optimiser="lbfgs", n_points=300, adam_rounds=1, newton_rounds=4, newton_steps=50),
    wrong=TrainConfig((16,) * 2, n_points=300, adam_rounds=1, newton_rounds=20),
)


def burgers() -> Problem:
    """Burgers' equation, its start and walls as terms of the loss."""
    walls = [Condition(at={"x": at}, terms=("u",), residual=lambda u: (u,)) for at in (-1.0, 1.0)]
    start = Condition(at={"t": 0.0}, terms=("u", "x"), residual=lambda u, x: (u + np.sin(pi * x),))
    return replace(problem("burgers"), **PLAIN, soft=(start, *walls))


def allen_cahn() -> Problem:
    """The Allen-Cahn equation, its start and period as terms of the loss."""
    start = Condition(at={"t": 0.0}, terms=("u", "x"), residual=lambda u, x: (u - x * x * np.cos(pi * x),))
    period = Condition(
        at=({"x": -1.0}, {"x": 1.0}), terms=("u", "u_x"), residual=lambda a, a_x, b, b_x: (a - b, a_x - b_x)
    )
    return replace(problem("allen_cahn"), **PLAIN, soft=(start, period))


def black_scholes() -> Problem:
    """The price of a call in units of the strike: payoff and both ends as terms of the loss."""
    shipped = problem("black_scholes")

    def payoff(price: Any, share: Any) -> Sequence[Any]:
        y = share / STRIKE - 1
        return (price - 0.5 * (y + np.abs(y)),)

    def at_the_end(price: Any, t: Any) -> Sequence[Any]:
        return (price - HIGHEST / STRIKE + np.exp(-RATE * t),)

    return replace(
        shipped,
        **PLAIN,
        outputs=("V",),
        units=(),
        exact=lambda points: shipped.reference(points)[:, :1] / STRIKE,
        closed_form=None,
        soft=(
            Condition(at={"t": 0.0}, terms=("V", "S"), residual=payoff),
            Condition(at={"S": 0.0}, terms=("V",), residual=lambda price: (price,)),
            Condition(at={"S": HIGHEST}, terms=("V", "t"), residual=at_the_end),
        ),
    )


def taylor_green() -> Problem:
    """The vortices of Taylor and Green: no divergence is an equation; start, periods and mean pressure are terms."""
    shipped = problem("taylor_green")

    def start(u: Any, v: Any, x: Any, y: Any) -> Sequence[Any]:
        return u + np.cos(x) * np.sin(y), v - np.sin(x) * np.cos(y)

    def same(u: Any, v: Any, p: Any, u_n: Any, v_n: Any, *there: Any) -> Sequence[Any]:
        return tuple(a - b for a, b in zip((u, v, p, u_n, v_n), there, strict=True))

    periods = [
        Condition(at=({side: 0.0}, {side: 2 * pi}), terms=("u", "v", "p", f"u_{side}", f"v_{side}"), residual=same)
        for side in ("x", "y")
    ]
    mean = Condition(over=("x", "y"), terms=("p",), residual=lambda p: (p,), n_points=1)
    at_first = Condition(at={"t": 0.0}, terms=("u", "v", "x", "y"), residual=start)
    u_x, v_y = shipped.terms.index("u_x"), shipped.terms.index("v_y")
    return replace(
        shipped,
        **PLAIN,
        residual=lambda *terms: (*shipped.residual(*terms), terms[u_x] + terms[v_y]),
        closed_form=None,
        soft=(at_first, *periods, mean),
    )


CASES: Mapping[str, Callable[[], Problem]] = {
    "burgers": burgers,
    "allen_cahn": allen_cahn,
    "black_scholes": black_scholes,
    "taylor_green": taylor_green,
    WRONG: lambda: problem("burgers"),
}


def run(name: str, seed: int, size: Size, folder: Path) -> dict[str, list[float]]:
    """Train the teacher and a student of each weight: relative L2 and CPU seconds, by "teacher" and the weight."""
    solved = CASES[name]()
    home = folder / name.replace(", ", "_").replace(" ", "_")
    home.mkdir(parents=True, exist_ok=True)
    config = replace(size.wrong if name == WRONG else size.teacher, seed=seed)
    found = {"teacher": _made(home / f"teacher_{seed}", lambda run: train(solved, run, config, force=True))}
    teacher = load_pinn(home / f"teacher_{seed}", solved)
    for weight in size.weights:
        recipe = replace(size.student, seed=seed, physics_weight=weight)
        if name == WRONG:
            recipe = replace(recipe, optimiser="lm", newton_rounds=10, newton_steps=10)

        def student(run: Path, recipe: DistillConfig = recipe) -> object:
            return distill(solved, run, recipe, teacher=teacher, force=True)

        found[f"{weight:g}"] = _made(home / f"student_{weight:g}_{seed}", student)
    return found


def _made(run: Path, make: Callable[[Path], object]) -> list[float]:
    """The error and the CPU time of a finished run, which is made where it is not there."""
    if not (run / "model.json").exists():
        make(run)
    record = read_json(run / "model.json")
    return [record["errors"]["relative_l2"], record["training_cpu_seconds"]]


def tables(found: Mapping[str, Sequence[Mapping[str, Sequence[float]]]], size: Size) -> str:
    """For each case the medians over the seeds, with the least and the largest, and each weight beside values alone."""
    shown = [table((f"{name}, {len(seeds)} seeds", *HEAD), _rows(seeds, size)) for name, seeds in found.items()]
    needed = seeds_needed(chosen_from=len(size.weights) - 1)
    if size.seeds < needed:
        shown.append(f"No verdict on any weight is possible with {size.seeds} seeds; {needed} are needed.")
    return "\n\n".join(shown)


def _rows(seeds: Sequence[Mapping[str, Sequence[float]]], size: Size) -> Iterator[Sequence[str]]:
    alone = [each[ALONE][0] for each in seeds]
    for key in ("teacher", *(f"{weight:g}" for weight in size.weights)):
        errors = [each[key][0] for each in seeds]
        title = {"teacher": "teacher", ALONE: "values alone"}.get(key, f"λ = {key}")
        spread = f"{median(errors):.2e}", f"{min(errors):.1e} to {max(errors):.1e}"
        seconds = f"{median(each[key][1] for each in seeds):.0f} s"
        if key in ("teacher", ALONE):
            yield title, *spread, seconds, "", "", ""
            continue
        p = p_value(errors, alone, chosen_from=len(size.weights) - 1)
        wins = f"{sum(map(lt, errors, alone))} of {len(seeds)} teachers"
        yield title, *spread, seconds, f"{median(alone) / median(errors):.2f}×", wins, f"{p:.2g}"


def main() -> None:
    """Run what is not there yet, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--weight", type=float, action="append", help="of the equation, beside 0; default: the sweep")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--case", action="append", choices=list(CASES), help="default: all")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--write", action="store_true", help="into docs/study.md, and docs/paper_plain.json")
    asked = parser.parse_args()
    if asked.write and (asked.small or asked.seeds or asked.weight or asked.case):
        parser.error("--write is for the whole experiment: leave out --small, --seeds, --weight and --case")
    size = SMALL if asked.small else FULL
    size = replace(size, seeds=asked.seeds or size.seeds, weights=(0.0, *(asked.weight or size.weights[1:])))
    folder = asked.out or Path("runs", "paper_plain_small" if asked.small else "paper_plain")
    names = asked.case or list(CASES)
    with ProcessPoolExecutor(asked.jobs, multiprocessing.get_context("spawn")) as pool:
        work = {key: pool.submit(run, *key, size, folder) for key in product(names, range(size.seeds))}
        found = {name: [work[name, seed].result() for seed in range(size.seeds)] for name in names}
    print(f"teacher: {size.teacher}\nstudent: {size.student}\nwrong teacher: {size.wrong}\n")
    text = tables(found, size)
    print(text)
    document = {"size": asdict(size), "found": found, "columns": ["relative_l2", "cpu_seconds"]}
    for path in (folder / "paper_plain.json", *([DOCS / "paper_plain.json"] if asked.write else [])):
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if asked.write:
        insert(DOCS / "study.md", "paper plain", text)


if __name__ == "__main__":
    main()
