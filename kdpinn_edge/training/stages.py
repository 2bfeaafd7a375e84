"""The stages `train` and `teach`: from a problem, or a teacher, to a run folder with weights and a record of errors."""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from kdpinn_edge.problems import problem
from kdpinn_edge.training.config import DistillConfig, TrainConfig
from kdpinn_edge.training.device import find_device
from kdpinn_edge.training.domain import Box, Domain
from kdpinn_edge.training.fit import fit
from kdpinn_edge.training.lesson import Lesson, command
from kdpinn_edge.training.objective import Objective, Physics
from kdpinn_edge.training.one_thread import one_thread
from kdpinn_edge.training.pinn import Pinn
from kdpinn_edge.training.progress import ProgressReport, silent
from kdpinn_edge.training.run_folder import open_run, run_files, versions, write_json
from kdpinn_edge.training.weights import write_weights


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
    force: bool = False,
    report: ProgressReport = silent,
) -> Trained:
    """Problem → Teacher: minimise the physics loss (`objective.Physics`) and leave the teacher in `folder`.

    A KeyboardInterrupt ends the run early: the best weights so far are written, and `finished` is False. With
    `resume` the run in `folder`, which must have the same config, goes on where it stopped and ends with the weights
    of an uninterrupted run. `force` replaces the run that the folder holds; any other folder is never replaced.
    Raises ProblemError for an unknown problem, TrainError where the folder does not fit or the config's device is not
    there. Whatever the device, the network that is returned is on the CPU.

        teacher = train("burgers", "runs/teacher", TrainConfig(seed=1)).net
    """
    config = config or TrainConfig()
    net = Pinn(problem(problem_name), config.hidden, config.seed, config.activation).to(find_device(config.device))
    source = {"role": "teacher", "command": command("train", problem_name, config, TrainConfig())}
    return _run(net, Physics(net.problem), Box(net.problem), config, source, Path(folder), report, resume, force)


def teach(
    lesson: Lesson,
    folder: str | os.PathLike[str],
    config: DistillConfig | None = None,
    *,
    resume: bool = False,
    force: bool = False,
    report: ProgressReport = silent,
) -> Trained:
    """Teacher → Student: minimise divergence from the teacher plus physics loss (`objective.distillation`).

    Interrupt, resume, force and errors are as for `train`.
    """
    config = (config or DistillConfig()).fitted(lesson.problem)
    device = find_device(config.device)
    if isinstance(lesson.teacher, Pinn):
        lesson.teacher.to(device)
    objective = lesson.objective(config)
    objective.targets(lesson.domain.candidates(1, torch.Generator()).to(device))  # before anything is written
    net = Pinn(lesson.problem, config.hidden, config.seed, config.activation).to(device)
    source = {"role": "student", "command": lesson.command(config), "teacher": dict(lesson.named)}
    return _run(net, objective, lesson.domain, config, source, Path(folder), report, resume, force)


def _run(
    net: Pinn,
    objective: Objective,
    domain: Domain,
    config: TrainConfig,
    source: dict[str, Any],
    folder: Path,
    report: ProgressReport,
    resume: bool,
    force: bool,
) -> Trained:
    description = {**source, "problem": net.problem.name, "seed": config.seed, "config": asdict(config)}
    open_run(folder, description, resume=resume, force=force)
    state = fit(net, objective, domain, config, folder, report, resume=resume)
    net.eval().cpu()
    weights, record_file = run_files(folder)
    write_weights(net, weights)
    with one_thread():
        found = domain.reference().errors(net)
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
