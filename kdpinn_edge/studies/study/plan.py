"""What a study compares: one cell per method, size and seed, each with as many steps as its budget holds."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from kdpinn_edge.errors import StudyError, did_you_mean, listing
from kdpinn_edge.problems import Problem, ProblemSource, is_shipped, problem
from kdpinn_edge.training import DistillConfig, TrainConfig, load_pinn
from kdpinn_edge.training.budget import recipe_within
from kdpinn_edge.training.device import find_device
from kdpinn_edge.training.domain import Box
from kdpinn_edge.training.objective import Objective, Physics, distillation
from kdpinn_edge.training.run_folder import read_json, record_of, typed, write_json
from kdpinn_edge.training.teacher import Teacher, default_teacher

PLAN_FILE = "plan.json"
SIZES = ((8,), (16,) * 3)
SEEDS = 5
CPU_SECONDS = 10.0
OPTIMISER = "lm"
MOST = 3
"""How many times the rounds that fit by a measurement a student may do in its CPU time."""


@dataclass(frozen=True)
class StudyMethod:
    """A way to make a student. `distils` from a teacher, or solves the equation alone; weights as in DistillConfig.

    `with_teacher` adds the time that the teacher took to the budget.
    """

    title: str
    distils: bool = True
    physics_weight: float = 0.0
    slope_weight: float = 0.0
    with_teacher: bool = False

    def config(self, hidden: tuple[int, ...], optimiser: str, device: str) -> TrainConfig:
        """The recipe of seed 0, before its points and rounds are counted."""
        if not self.distils:
            return TrainConfig(hidden, optimiser=optimiser, newton_steps=DistillConfig.newton_steps, device=device)
        return DistillConfig(
            hidden,
            optimiser=optimiser,
            device=device,
            physics_weight=self.physics_weight,
            slope_weight=self.slope_weight,
        )

    def objective(self, teacher: Teacher, config: TrainConfig) -> Objective:
        """The objective that the method minimises."""
        if isinstance(config, DistillConfig):
            return distillation(teacher, config.sigma, self.physics_weight, self.slope_weight)
        return Physics(teacher.problem)


METHODS: Mapping[str, StudyMethod] = {
    "scratch": StudyMethod("from scratch, the student's time", distils=False),
    "scratch_long": StudyMethod("from scratch, teacher's and student's time", distils=False, with_teacher=True),
    "paper": StudyMethod("distilled: values and equation", physics_weight=1.0),
    "values": StudyMethod("distilled: values"),
    "slopes": StudyMethod("distilled: values and slopes", slope_weight=5.0),
}


@dataclass(frozen=True)
class StudyCell:
    """One training run. `name` is its folder's."""

    method: str
    config: TrainConfig

    @property
    def name(self) -> str:
        """The name of the cell's folder, as in "values_16x16x16_seed0"."""
        return f"{self.method}_{size_name(self.config.hidden)}_seed{self.config.seed}"


@dataclass(frozen=True)
class Plan:
    """`cells` in the order in which they are trained; `cpu_seconds` for each, on one thread."""

    problem: str
    teacher: str
    optimiser: str
    cpu_seconds: float
    teacher_cpu_seconds: float
    cells: tuple[StudyCell, ...]
    device: str = "cpu"

    @property
    def seeds(self) -> int:
        """The number of seeds of each method and size."""
        return len({cell.config.seed for cell in self.cells})

    def budget(self, cell: StudyCell) -> float | None:
        """The CPU seconds of a cell; None for SOAP, whose rate falls over rounds that are counted before."""
        if self.optimiser == "soap":
            return None
        return self.cpu_seconds + (self.teacher_cpu_seconds if METHODS[cell.method].with_teacher else 0.0)

    @property
    def commands(self) -> tuple[str, ...]:
        """The commands that make this plan, in this order in one folder: one per set of methods and seeds."""
        seeds = Counter((cell.config.hidden, cell.method) for cell in self.cells)
        sizes: dict[tuple[tuple[str, ...], int], list[tuple[int, ...]]] = {}
        for hidden, count in dict.fromkeys((hidden, count) for (hidden, _), count in seeds.items()):
            methods = tuple(name for name in METHODS if seeds[hidden, name] == count)
            sizes.setdefault((methods, count), []).append(hidden)
        return tuple(self._command(tuple(found), *asked) for asked, found in sizes.items())

    def _command(self, sizes: tuple[tuple[int, ...], ...], methods: tuple[str, ...], seeds: int) -> str:
        """As the command line has it, defaults left out."""
        words = [f"kdpinn-edge study {self.problem}"]
        if self.teacher != default_teacher(self.problem):
            words.append(f"--teacher {self.teacher}")
        if self.teacher_cpu_seconds != record_of(self.teacher).training_cpu_seconds:
            words.append(f"--teacher-seconds {self.teacher_cpu_seconds:g}")
        if sizes != SIZES:
            words += [f"--size {','.join(map(str, hidden))}" for hidden in sizes]
        if methods != tuple(METHODS):
            words += [f"--method {name}" for name in methods]
        for option, found, default in (
            ("seeds", seeds, SEEDS),
            ("seconds", self.cpu_seconds, CPU_SECONDS),
            ("optimiser", self.optimiser, OPTIMISER),
            ("device", self.device, "cpu"),
        ):
            if found != default:
                words.append(f"--{option} {found:g}" if isinstance(found, float) else f"--{option} {found}")
        return " ".join(words)


def make_plan(
    source: ProblemSource,
    *,
    teacher: str | None = None,
    sizes: Sequence[tuple[int, ...]] = SIZES,
    seeds: int = SEEDS,
    methods: Sequence[str] = tuple(METHODS),
    optimiser: str = OPTIMISER,
    cpu_seconds: float = CPU_SECONDS,
    teacher_cpu_seconds: float | None = None,
    device: str = "cpu",
    known: Plan | None = None,
    report: Callable[[str], None] = lambda doing: None,
) -> Plan:
    """Count the points of each method and size, and the most rounds, on this machine, now.

    `teacher_cpu_seconds` is what the teacher takes on this machine; by default it is what `known` says, or the record
    of the teacher, which is of the machine that trained it. `known` is a plan that this one adds to: its cells stay,
    and its counts hold for further seeds. Seeds come first, so that a study that is cut short has every method and
    size. `report` is told what is counted, once the arguments have been found right. Raises StudyError for an unknown
    method, where a budget does not hold one round, and where `known` has another problem, teacher, optimiser, budget or
    device; TrainError where the device is not there.
    """
    if unknown := [name for name in methods if name not in METHODS]:
        raise StudyError(
            f"no method is called {unknown[0]!r}; expected: {', '.join(METHODS)}{did_you_mean(unknown[0], METHODS)}"
        )
    solved = problem(source)
    word = _word(solved)
    if teacher is None and not is_shipped(solved):
        raise StudyError(
            f"{solved.name} has no teacher in the zoo; expected: teacher (--teacher), as in --teacher "
            f"runs/{solved.name}_teacher"
        )
    teacher = teacher or default_teacher(solved.name)
    guide = load_pinn(teacher).to(find_device(device))
    if not guide.problem.is_same_as(solved):
        raise StudyError(f"the teacher {teacher} solves {guide.problem.name}; expected: a teacher of {solved.name}")
    if (taken := teacher_cpu_seconds) is None:
        taken = known.teacher_cpu_seconds if known else record_of(teacher).training_cpu_seconds
    plan = Plan(word, teacher, optimiser, cpu_seconds, taken, (), device)
    before = known.cells if known else ()
    if known and (faults := faults_of(known, plan)):
        raise StudyError(
            "the folder holds another study; expected: a new folder, the same options, or --force to begin anew: "
            f"{faults}"
        )
    recipes = {(cell.method, cell.config.hidden): cell.config for cell in before}
    report("counting the steps that fit into each budget")
    for key in [(name, hidden) for hidden in sizes for name in methods]:
        if key not in recipes:
            name, hidden = key
            budget = cpu_seconds + (taken if METHODS[name].with_teacher else 0.0)
            recipes[key] = _counted(name, guide, METHODS[name].config(hidden, optimiser, device), budget)
    wanted = [
        StudyCell(name, replace(recipes[name, hidden], seed=seed))
        for seed in range(seeds)
        for hidden in sizes
        for name in methods
    ]
    return replace(plan, cells=tuple(dict.fromkeys((*before, *wanted))))


def _word(solved: Problem) -> str:
    """What a plan calls a problem. Raises StudyError for one that no study can be made of."""
    if solved.origin is None and not is_shipped(solved):
        raise StudyError(
            f"{solved.name} is defined in Python, and a study trains in processes that cannot see it; expected: the "
            "problem in a file of its own, by its path, as in ./my_equation.py"
        )
    return solved.origin.path if solved.origin else solved.name


def _counted(name: str, guide: Teacher, config: TrainConfig, cpu_seconds: float) -> TrainConfig:
    recipe = recipe_within(cpu_seconds, METHODS[name].objective(guide, config), Box(guide.problem), config)
    if recipe.newton_rounds < 1:
        raise StudyError(
            f"{name}, {size_name(config.hidden)}: {cpu_seconds:g} s do not hold Adam and one round; expected: more "
            "time or fewer neurons"
        )
    if config.optimiser == "soap":
        return recipe
    return replace(recipe, newton_rounds=MOST * recipe.newton_rounds)


def faults_of(known: Plan, now: Plan) -> str:
    """What two plans differ in that one study has in common; empty where they do not."""
    fixed = ("problem", "teacher", "optimiser", "cpu_seconds", "teacher_cpu_seconds", "device")
    pairs = ((key, getattr(known, key), getattr(now, key)) for key in fixed)
    faults = [f"{key} was {was!r}, is now {found!r}" for key, was, found in pairs if was != found]
    return listing(faults) if faults else ""


def write_plan(plan: Plan, folder: Path) -> None:
    """Write `plan` into the study's folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / PLAN_FILE, asdict(plan))


def read_plan(folder: Path) -> Plan | None:
    """The plan of the study in `folder`; None where there is none yet. Raises StudyError where it cannot be read."""
    path = folder / PLAN_FILE
    if not os.path.lexists(path):
        return None
    document = read_json(path)
    try:
        return replace(typed(document | {"cells": ()}, Plan), cells=_cells(document["cells"]))
    except (KeyError, TypeError, ValueError) as error:
        raise StudyError(
            f"{path}: not the plan of a study ({error}); the usual cause is an edited file, or one of another version: "
            "take a new folder"
        ) from error


def _cells(documents: object) -> tuple[StudyCell, ...]:
    if not isinstance(documents, list):
        raise ValueError(f"cells is {documents!r}; expected: a list")
    return tuple(map(read_cell, documents))


def read_cell(document: dict[str, Any]) -> StudyCell:
    """The cell that a document says. Raises KeyError, TypeError or ValueError where it says none."""
    if set(document) != {"method", "config"}:
        raise ValueError(f"a cell has {', '.join(sorted(document))}; expected: method and config")
    name = document["method"]
    return StudyCell(name, typed(document["config"], DistillConfig if METHODS[name].distils else TrainConfig))


def size_name(hidden: Sequence[int]) -> str:
    """The name of a size, as in "16x16x16"."""
    return "x".join(map(str, hidden))
