"""Trains the shipped models again, each by one command, and writes their cards: `make zoo`, `make cards`.

    python tools/zoo.py make [NAME …]     train what runs/zoo does not hold yet and put it into the zoo
    python tools/zoo.py seeds [NAME …]    train models, by default the teachers, with seeds beside that of the zoo, two
                                          at a time, write zoo_seeds.json and print its table
    python tools/zoo.py cards [NAME …]    write docs/zoo.md, with what each model takes, measured now; the rows of
                                          models that are not named stay as they are

A student follows the teacher of its problem that is in the zoo, so teachers come first.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from kdpinn_edge import zoo
from kdpinn_edge.classical.accuracy import against_reference
from kdpinn_edge.errors import ProgramError
from kdpinn_edge.export.measure.resources import N_POINTS
from kdpinn_edge.importers.model import find_model, publish
from kdpinn_edge.numerics.fixed_point import PROFILE
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.problems import Problem, problem
from kdpinn_edge.program.file import read_program
from kdpinn_edge.program.ir import Map
from kdpinn_edge.program.simplify import multiply_adds
from kdpinn_edge.studies.study.cost import NetCost, net_cost
from kdpinn_edge.studies.study.measure import NetAccuracy, accuracy
from kdpinn_edge.training.run_folder import read_json, run_files, write_json

ROOT = Path(__file__).parents[1]
RUNS = ROOT / "runs" / "zoo"
PAGE = ROOT / "docs" / "zoo.md"
SEEDED_FILE = Path(__file__).with_name("zoo_seeds.json")
"""What models came to over several seeds, by name: medians, least and largest."""
SEEDS = 5
"""How many seeds a model has, unless `--seeds` says otherwise."""
PC, BOARD = "x86-64-v3", "cortex-m7"
MANY = max(N_POINTS)

RANDOM_FEATURES = "--points 2400 --optimiser random_features --rounds 1 --steps 8"
RECIPES: dict[str, str] = {
    "allen_cahn_teacher": "train allen_cahn --hidden 20,20,20 --points 2000 --rounds 60 --steps 10",
    "allen_cahn_small": "distill allen_cahn --hidden 8,8 --physics-weight 0.0",
    "allen_cahn_student": "distill allen_cahn --rounds 120 --physics-weight 0.0",
    "beam_teacher": f"train beam --hidden 300 {RANDOM_FEATURES} --spread 1.0",
    "beam_small": "distill beam --hidden 8,8 --points 500 --optimiser geodesic --physics-weight 0.0",
    "beam_student": "distill beam --hidden 12,12 --points 500 --optimiser geodesic --rounds 40 --physics-weight 0.0",
    "black_scholes_teacher": "train black_scholes --hidden 16,16 --rounds 60",
    "black_scholes_small": "distill black_scholes --hidden 4 --points 300 --rounds 100 --physics-weight 0.0",
    "black_scholes_student": "distill black_scholes --hidden 8 --points 300 --rounds 200 --physics-weight 0.0",
    "burgers_teacher": "train burgers --hidden 20,20,20 --points 2500 --optimiser geodesic --rounds 20 --steps 10",
    "burgers_small": "distill burgers --hidden 8,8 --optimiser geodesic --physics-weight 0.0",
    "burgers_student": "distill burgers --points 2000 --optimiser geodesic --rounds 40 --physics-weight 0.0",
    "burgers_fast": "distill burgers --hidden 12,12 --activation lorentzian --optimiser geodesic --physics-weight 0.0",
    "burgers_nu_teacher": "train burgers_nu --hidden 24,24,24 --points 3000 --optimiser geodesic --rounds 11 "
    "--steps 10",
    "burgers_nu_small": "distill burgers_nu --hidden 12,12 --points 1000 --optimiser geodesic --physics-weight 0.0",
    "burgers_nu_student": "distill burgers_nu --hidden 20,20,20 --optimiser geodesic --rounds 25 --physics-weight 0.0",
    "cavity_teacher": "train cavity --hidden 20,20,20 --points 2000 --optimiser geodesic --rounds 30",
    "cavity_small": "distill cavity --hidden 8,8 --points 400 --optimiser geodesic --rounds 12 --physics-weight 0.0",
    "cavity_student": (
        "distill cavity --hidden 12,12 --points 800 --optimiser geodesic --rounds 15 --physics-weight 0.0"
    ),
    "fisher_kpp_teacher": "train fisher_kpp --hidden 16,16 --points 800 --rounds 60 --steps 10",
    "fisher_kpp_small": "distill fisher_kpp --hidden 8 --points 300 --rounds 100 --physics-weight 0.0",
    "fisher_kpp_student": "distill fisher_kpp --hidden 12,12 --points 600 --physics-weight 0.0",
    "gray_scott_teacher": "train gray_scott --hidden 20,20,20 --points 2000 --optimiser geodesic --rounds 60",
    "gray_scott_small": "distill gray_scott --hidden 10,10 --points 600 --optimiser geodesic --physics-weight 0.0",
    "gray_scott_student": "distill gray_scott --hidden 16,16 --points 1000 --optimiser geodesic --physics-weight 0.0",
    "heat_teacher": f"train heat --hidden 600 {RANDOM_FEATURES}",
    "heat_small": "distill heat --hidden 8 --points 300 --rounds 200 --physics-weight 0.0",
    "heat_student": "distill heat --hidden 8,8 --physics-weight 0.0",
    "helmholtz_teacher": f"train helmholtz --hidden 600 {RANDOM_FEATURES}",
    "helmholtz_small": "distill helmholtz --hidden 8,8 --points 300 --rounds 200 --physics-weight 0.0",
    "helmholtz_student": "distill helmholtz --hidden 16,16 --rounds 100 --physics-weight 0.0",
    "kdv_teacher": "train kdv --hidden 24,24,24 --points 3000 --optimiser geodesic --rounds 80",
    "kdv_small": "distill kdv --hidden 16,16 --points 1000 --optimiser geodesic --physics-weight 0.0",
    "kdv_student": "distill kdv --points 1500 --optimiser geodesic --physics-weight 0.0",
    "kovasznay_teacher": "train kovasznay --hidden 20,20,20 --points 1200 --rounds 60",
    "kovasznay_small": "distill kovasznay --hidden 8,8 --points 300 --rounds 200 --physics-weight 0.0",
    "kovasznay_student": "distill kovasznay --points 1200 --physics-weight 0.0",
    "lotka_volterra_teacher": "train lotka_volterra --hidden 16,16 --points 300 --steps 10",
    "lotka_volterra_small": "distill lotka_volterra --hidden 8 --points 300 --rounds 200 --physics-weight 0.0",
    "lotka_volterra_student": "distill lotka_volterra --hidden 8,8 --points 300 --rounds 100 --physics-weight 0.0",
    "poisson_teacher": f"train poisson --hidden 300 {RANDOM_FEATURES} --spread 2.0",
    "poisson_small": "distill poisson --hidden 8 --points 300 --rounds 40 --physics-weight 0.0",
    "poisson_student": "distill poisson --hidden 12,12 --points 400 --rounds 30 --physics-weight 0.0",
    "schroedinger_teacher": "train schroedinger --hidden 24,24,24 --points 1500 --optimiser geodesic --rounds 60",
    "schroedinger_small": "distill schroedinger --hidden 12,12 --points 600 --optimiser geodesic --physics-weight 0.0",
    "schroedinger_student": "distill schroedinger --hidden 12,12,12 --points 800 --optimiser geodesic "
    "--physics-weight 0.0",
    "taylor_green_teacher": "train taylor_green --hidden 16,16 --points 700 --rounds 40 --steps 10",
    "taylor_green_small": "distill taylor_green --hidden 8,8 --points 300 --rounds 200 --physics-weight 0.0",
    "taylor_green_student": "distill taylor_green --hidden 12,12 --points 600 --rounds 200 --physics-weight 0.0",
    "wave_teacher": f"train wave --hidden 600 {RANDOM_FEATURES}",
    "wave_small": "distill wave --hidden 8,8 --points 300 --rounds 200 --physics-weight 0.0",
    "wave_student": "distill wave --hidden 16,16 --rounds 100 --physics-weight 0.0",
}
"""What makes each model, after `kdpinn-edge`."""

INTRODUCTION = """# The zoo

<!-- no block is run: each command trains a network; make zoo runs them all -->

The zoo holds the trained networks that the package ships: for each equation a teacher, a student, and a smaller one,
`_small`; and `burgers_fast`, whose activation costs less than tanh. The name of an equation alone, as in
`kdpinn-edge export burgers`, stands for its student, `burgers_student`. No model is beaten by another one of the same
equation in the accuracy of every output, parameters, bytes and instructions at once.

The teachers of `beam`, `heat`, `helmholtz`, `poisson` and `wave` are random features
([Training](training.md#random-features)). They are made to be followed, in float64: in float32 their large weights,
which cancel each other, leave an error of 4e-4 to 5e-3. The other teachers are small themselves, with up to 1,500
parameters, and accurate: where a student is no faster, ship the teacher. The errors of `cavity` are those of its
pressure within 0.02 of two corners, where it is infinite; its velocities are accurate, as the cards say.

Errors are against the reference on the problem's grid: the relative L2 error in float64, which `kdpinn-edge problems`
prints, in float32, as the exported library computes, and in integers, as `--arithmetic int16` does
([Fixed point](fixed_point.md)); *largest* and *slopes* (the relative L2 error of all first
derivatives) are in float32 too. *Bytes* count code and constants. *Instructions* are counted exactly: for one point,
and after the slash for each of {many}. PC is the target `{pc}`, M7 the target `{board}`; `kdpinn-edge bench MODEL` says
how long they take on your machine.

`make zoo` trains the models again; `make cards` writes this page.
"""
SEEDED = """
## Several seeds

Each model's command with as many seeds as the table says, from `--seed 0` on, which is shipped: medians, with the range
in brackets. Errors are in float64; *mean error* is mean |u − u*|. `python tools/zoo.py seeds MODEL` trains the others
and prints its row. All seeds of a student follow the teacher that is shipped.
"""
CARD = """### {name}

{equation}

```sh
{command}
```

Seed {seed}{teacher}; {seconds:g} s of CPU time; torch {torch}, Python {python}, {machine}. In float64 the
relative L2 error is {relative_l2:.2e}{outputs}, the largest error {max_abs:.2e}, at {points:,} points,
against a reference within {reference:.0e}.
{licence}. SHA-256 of the weights: `{sha256}`
"""


def make(names: Sequence[str]) -> None:
    """Train and publish, in the order of RECIPES."""
    for name in names:
        publish(_trained(name, 0), name)


def seeds(names: Sequence[str], count: int) -> None:
    """Train models until they have `count` seeds, of which seed 0 is shipped; write and print what they came to."""
    wanted = [(name, seed) for seed in range(1, count) for name in names]
    with ThreadPoolExecutor(2) as pool:
        for _ in pool.map(lambda each: _trained(*each), wanted):
            pass
    known = read_json(SEEDED_FILE)
    for name in names:
        further = [read_json(run_files(_trained(name, seed))[1]) for seed in range(1, count)]
        known[name] = _over_seeds([zoo.record(name), *further])
    write_json(SEEDED_FILE, known)
    print(*_seeded({name: known[name] for name in names}), sep="\n")


def _over_seeds(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of the records of one model's runs: medians, and the least, the largest error."""
    errors = [record["errors"] for record in records]
    all_l2 = [each["relative_l2"] for each in errors]
    return {
        "seeds": len(records),
        "relative_l2": median(all_l2),
        "range": [min(all_l2), max(all_l2)],
        "outputs_l2": [median(each) for each in zip(*(each["outputs_l2"] for each in errors), strict=True)],
        "mean_abs": median(each["mean_abs"] for each in errors),
        "cpu_seconds": median(record["training_cpu_seconds"] for record in records),
    }


def _trained(name: str, seed: int) -> Path:
    """The folder of the finished run of this model with this seed."""
    folder = RUNS / f"{name}_seed{seed}"
    if not _finished(folder):
        option = ["--seed", str(seed)] if seed else []
        resume = ["--resume"] if (folder / "config.json").exists() else []
        command = [sys.executable, "-m", "kdpinn_edge", *RECIPES[name].split(), *option, *resume, "--out", str(folder)]
        subprocess.run(command, check=True)  # noqa: S603
    return folder


def _finished(folder: Path) -> bool:
    record = run_files(folder)[1]
    return record.exists() and bool(read_json(record)["finished"])


def cards(names: Sequence[str]) -> None:
    """Write PAGE from the records of the zoo, SEEDED_FILE, and what these models take, measured now.

    Raises SystemExit where one of them is dominated by another one: it has no place in the zoo.
    """
    models = {name: find_model(name) for name in names}
    solved = {name: problem(zoo.record(name)["problem"]) for name in RECIPES}
    taken = {name: tuple(net_cost(model, target) for target in (PC, BOARD)) for name, model in models.items()}
    columns = {
        name: [*costs(name), *(each.flash for each in both), *(each.one_point for each in both)]
        for name, both in taken.items()
    }
    if beaten := dominated(columns):
        sys.exit("\n".join(f"{name} is dominated by {better}" for name, better in beaten.items()))
    found = {name: _row(name, accuracy(models[name].program, solved[name]), *both) for name, both in taken.items()}
    rows = [found[name] if name in found else _row_in(PAGE, name) for name in RECIPES]
    head = (
        *("model", "hidden", "parameters", "float64", "float32", "int16", "largest", "slopes"),
        *("bytes, PC", "instructions, PC", "bytes, M7", "instructions, M7"),
    )
    lines = [
        INTRODUCTION.format(pc=PC, board=BOARD, many=MANY),
        *_table(head, rows),
        SEEDED,
        *_seeded(read_json(SEEDED_FILE)),
        "\n## The cards\n",
        *(_card(name) for name in RECIPES),
    ]
    PAGE.write_text("\n".join(lines), encoding="utf-8")


def costs(name: str) -> list[float]:
    """Of a model, each output's error in float64 and what its Program takes: parameters, multiply-adds, activations."""
    record, program = zoo.record(name), read_program(zoo.program(name))
    activations = sum(op.out.size for op in program.ops if isinstance(op, Map))
    return [
        *record["errors"]["outputs_l2"],
        record["architecture"]["parameters"],
        multiply_adds(program),
        activations,
    ]


def dominated(columns: Mapping[str, Sequence[float]]) -> dict[str, str]:
    """The models that another one of the same problem is as good as in every column, and better in one; and by which.

    `columns` has numbers of which less is better, and the same ones for each model.
    """
    return {
        name: other
        for (name, own), (other, others) in permutations(columns.items(), 2)
        if zoo.record(name)["problem"] == zoo.record(other)["problem"]
        and list(own) != list(others)
        and all(theirs <= mine for mine, theirs in zip(own, others, strict=True))
    }


def _row(name: str, found: NetAccuracy, *taken: NetCost) -> tuple[str, ...]:
    made = zoo.record(name)["architecture"]
    return (
        f"`{name}`",
        "×".join(map(str, made["hidden"])),
        f"{made['parameters']:,}",
        f"{zoo.record(name)['errors']['relative_l2']:.1e}",
        f"{found.relative_l2:.1e}",
        in_integers(name),
        f"{found.max_abs:.1e}",
        f"{found.slopes_l2:.1e}",
        *(text for each in taken for text in (f"{each.flash:,}", f"{each.one_point:,} / {each.per_point:,.0f}")),
    )


def _row_in(page: Path, name: str) -> tuple[str, ...]:
    """The row of this model in the page."""
    lines = page.read_text(encoding="utf-8").splitlines()
    return tuple(next(line for line in lines if line.startswith(f"| `{name}` | ")).strip("| ").split(" | "))


def in_integers(name: str) -> str:
    """The error of a model in the numerics profile int16-1, or that it has none."""
    program, solved = read_program(zoo.program(name)), problem(zoo.record(name)["problem"])
    try:
        u = NumpyProgram(program, "float32", PROFILE, (solved.lower, solved.upper))
    except ProgramError:
        return "refused"
    return f"{against_reference(lambda x: u(x.astype(np.float32)), solved).relative_l2:.1e}"


def _seeded(known: Mapping[str, dict[str, Any]]) -> list[str]:
    """The table of models over several seeds."""
    rows = [_seeded_row(name, found, problem(zoo.record(name)["problem"])) for name, found in known.items()]
    return _table(("model", "seeds", "relative L2", "of each output", "mean error", "CPU-s"), rows)


def _seeded_row(name: str, found: dict[str, Any], solved: Problem) -> tuple[str, ...]:
    low, high = found["range"]
    return (
        f"`{name}`",
        str(found["seeds"]),
        f"{found['relative_l2']:.1e} [{low:.1e}, {high:.1e}]",
        _of_outputs(solved, found["outputs_l2"]),
        f"{found['mean_abs']:.1e}",
        f"{found['cpu_seconds']:.0f}",
    )


def _card(name: str) -> str:
    record = zoo.record(name)
    errors, versions = record["errors"], record["versions"]
    teacher = f", from `{record['teacher']['name']}`" if "teacher" in record else ""
    outputs = _of_outputs(problem(record["problem"]), errors["outputs_l2"])
    return CARD.format(
        name=name,
        equation=record["equation"],
        command=record["command"],
        teacher=teacher,
        seed=record["seed"],
        seconds=record["training_cpu_seconds"],
        torch=versions["torch"],
        python=versions["python"],
        machine=versions["machine"],
        relative_l2=errors["relative_l2"],
        outputs=f" ({outputs})" if "," in outputs else "",
        max_abs=errors["max_abs"],
        points=errors["n_points"],
        reference=errors["reference_max_abs"],
        licence=record["licence"],
        sha256=record["sha256"],
    )


def _of_outputs(solved: Problem, errors: Sequence[float]) -> str:
    return ", ".join(f"{output} {error:.1e}" for output, error in zip(solved.outputs, errors, strict=True))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="The zoo.")
    parser.add_argument("what", choices=("make", "seeds", "cards"))
    parser.add_argument("names", nargs="*", metavar="NAME", help="models; by default all")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many seeds, 0 and up (default: %(default)s)")
    given = parser.parse_args()
    if unknown := sorted(set(given.names) - set(RECIPES)):
        parser.error(f"no model is called {unknown[0]}; expected: {', '.join(RECIPES)}")
    names = [name for name in RECIPES if name in given.names or not given.names]
    if given.what == "cards":
        cards(names)
    elif given.what == "seeds":
        seeds([name for name in names if given.names or name.endswith("_teacher")], given.seeds)
    else:
        make(names)


if __name__ == "__main__":
    main()
