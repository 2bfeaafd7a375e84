"""The stages `train` and `distill`: from a problem's name to a run folder with weights and a record of their errors."""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kdpinn_edge.bundle.manifest import MANIFEST_FILE
from kdpinn_edge.errors import TrainError
from kdpinn_edge.problems import Problem, problem
from kdpinn_edge.program.ir import Program
from kdpinn_edge.training.config import DistillConfig, TrainConfig
from kdpinn_edge.training.device import find_device
from kdpinn_edge.training.fit import fit
from kdpinn_edge.training.followed import followed_bundle
from kdpinn_edge.training.objective import Objective, Physics, distillation
from kdpinn_edge.training.one_thread import one_thread
from kdpinn_edge.training.pinn import Pinn
from kdpinn_edge.training.progress import ProgressReport, silent
from kdpinn_edge.training.run_folder import open_run, run_files, versions, write_json
from kdpinn_edge.training.solution_errors import ReferencePoints
from kdpinn_edge.training.teacher import Source, default_teacher, find_teacher
from kdpinn_edge.training.weights import write_weights

OPTIONS = {
    "hidden": "hidden",
    "activation": "activation",
    "points": "n_points",
    "optimiser": "optimiser",
    "rounds": "newton_rounds",
    "steps": "newton_steps",
    "physics-weight": "physics_weight",
    "slope-weight": "slope_weight",
    "seed": "seed",
    "device": "device",
}


@dataclass(frozen=True, eq=False)
class Trained:
    """The result of a run: the network with its best weights, its folder, and its record, as in `model.json`.

    `finished` is False where the run was interrupted; `resume=True` continues it.
    """

    net: Pinn
    folder: Path
    record: dict[str, Any]
    finished: bool


def train(
    problem_name: str,
    folder: str | os.PathLike[str],
    config: TrainConfig | None = None,
    *,
    resume: bool = False,
    report: ProgressReport = silent,
) -> Trained:
    """Problem → Teacher: minimise the physics loss (`objective.Physics`) and leave the teacher in `folder`.

    A KeyboardInterrupt ends the run early: the best weights so far are written, and `finished` is False. With
    `resume` the run in `folder`, which must have the same config, goes on where it stopped and ends with the weights
    of an uninterrupted run. Raises ProblemError for an unknown problem, TrainError where the folder does not fit or the
    config's device is not there. Whatever the device, the network that is returned is on the CPU.

        teacher = train("burgers", "runs/teacher", TrainConfig(seed=1)).net
    """
    config = config or TrainConfig()
    net = Pinn(problem(problem_name), config.hidden, config.seed, config.activation).to(find_device(config.device))
    source = {"role": "teacher", "command": _command("train", problem_name, config)}
    return _run(net, Physics(net.problem), config, source, Path(folder), report, resume)


def distill(
    problem_name: str,
    folder: str | os.PathLike[str],
    config: DistillConfig | None = None,
    *,
    teacher: Source | None = None,
    resume: bool = False,
    report: ProgressReport = silent,
) -> Trained:
    """Teacher → Student: minimise divergence from the teacher plus physics loss (`objective.distillation`).

    `teacher` is a zoo name, a run folder, a .safetensors file, a bundle, a program.npz, or a Program, as `capture`
    makes it of any torch module; by default the zoo's teacher of this problem. Interrupt, resume and errors are as for
    `train`.

    Where `problem_name` is a bundle, no equation is known: the student follows it, as a plain network over its domain.

        student = distill("burgers", "runs/student", teacher="runs/teacher").net
    """
    config = config or DistillConfig()
    solved: Problem
    if (Path(problem_name) / MANIFEST_FILE).exists():
        solved, given = followed_bundle(problem_name), teacher or problem_name
        if config.physics_weight > 0:
            raise TrainError(
                f"{problem_name} is a model without an equation; expected: physics_weight=0 (--physics-weight 0), to "
                "follow it alone"
            )
    else:
        solved, given = problem(problem_name), teacher or default_teacher(problem_name)
    device = find_device(config.device)
    guide, named = find_teacher(given, solved, device)
    net = Pinn(solved, config.hidden, config.seed, config.activation).to(device)
    source = {
        "role": "student",
        "command": _command("distill", problem_name, config) + _given(teacher),
        "teacher": named,
    }
    objective = distillation(guide, config.sigma, config.physics_weight, config.slope_weight)
    return _run(net, objective, config, source, Path(folder), report, resume)


def _run(
    net: Pinn,
    objective: Objective,
    config: TrainConfig,
    source: dict[str, Any],
    folder: Path,
    report: ProgressReport,
    resume: bool,
) -> Trained:
    description = {**source, "problem": net.problem.name, "seed": config.seed, "config": asdict(config)}
    open_run(folder, description, resume=resume)
    state = fit(net, objective, config, folder, report, resume=resume)
    net.eval().cpu()
    weights, record_file = run_files(folder)
    write_weights(net, weights)
    with one_thread():
        found = ReferencePoints.on_grid(net.problem).errors(net)
    finished = state.step == config.steps
    record = {
        "problem": net.problem.name,
        "equation": net.problem.equation,
        **source,
        "architecture": {
            "hidden": list(net.hidden),
            "activation": net.activation,
            "parameters": sum(tensor.numel() for tensor in net.parameters()),
        },
        "seed": config.seed,
        "config": asdict(config),
        "finished": finished,
        "training_cpu_seconds": round(state.cpu_seconds, 1),
        "errors": asdict(found) | {"reference_max_abs": net.problem.exact_error},
        "versions": versions(),
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "licence": "Apache-2.0",
    }
    write_json(record_file, record)
    return Trained(net, folder, record, finished)


def _given(teacher: Source | None) -> str:
    """The option that names the teacher; a Program is one that the command line has as a file."""
    if teacher is None:
        return ""
    return f" --teacher {f'{teacher.name}.npz' if isinstance(teacher, Program) else teacher}"


def _command(stage: str, problem_name: str, config: TrainConfig) -> str:
    """The run as the command line has it: its options where they are not at their defaults."""
    words = [f"kdpinn-edge {stage} {problem_name}"]
    for option, field in OPTIONS.items():
        if hasattr(config, field) and (value := getattr(config, field)) != getattr(type(config)(), field):
            words.append(f"--{option} {','.join(map(str, value)) if isinstance(value, tuple) else value}")
    return " ".join(words)
