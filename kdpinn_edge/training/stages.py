"""The stages `train` and `teach`: from a problem, or a teacher, to a run folder with weights and a record of errors."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdpinn_edge.derive.residual import check_problem
from kdpinn_edge.errors import TrainError, TrainingWarning
from kdpinn_edge.problems import Problem, ProblemSource, is_shipped, problem
from kdpinn_edge.training.conditions import Conditions, check_conditions
from kdpinn_edge.training.config import RANDOM_FEATURES, DistillConfig, TrainConfig
from kdpinn_edge.training.device import find_device
from kdpinn_edge.training.domain import Box, Domain
from kdpinn_edge.training.fit import HELD_OUT, fit, is_spent, rounds_done
from kdpinn_edge.training.jets import of as multi_indices_of
from kdpinn_edge.training.lesson import Lesson, command, source_word
from kdpinn_edge.training.objective import Objective, Physics
from kdpinn_edge.training.one_thread import one_thread
from kdpinn_edge.training.pinn import Pinn, ansatz_of
from kdpinn_edge.training.progress import ProgressReport
from kdpinn_edge.training.progress_bar import live, told
from kdpinn_edge.training.residual_errors import growth, residual_errors
from kdpinn_edge.training.run_folder import Config, open_run, run_config, run_files, versions, write_json
from kdpinn_edge.training.sampling import check_finite_start
from kdpinn_edge.training.teacher import fingerprint
from kdpinn_edge.training.trained import Trained
from kdpinn_edge.training.trained_for import trained_for
from kdpinn_edge.training.unknowns import standard_errors
from kdpinn_edge.training.weights import write_weights
from kdpinn_edge.watching import watched


def train(
    source: ProblemSource,
    folder: str | os.PathLike[str] | None = None,
    config: TrainConfig | None = None,
    *,
    seed: int | None = None,
    resume: bool = False,
    force: bool = False,
    cpu_seconds: float | None = None,
    report: ProgressReport | None = None,
) -> Trained:
    """Problem → Teacher: minimise the physics loss (`objective.Physics`) and leave the teacher in `folder`.

    `source` is the name of a problem, the Python file that defines one, or a Problem. The folder is by default
    runs/NAME_teacher. `seed` takes the place of that in the config. `report` is told how the run goes on; by default it
    is a bar where somebody watches, on a terminal or in a notebook.

    A KeyboardInterrupt ends the run early: the best weights so far are written, and `finished` is False. With
    `resume` the run in `folder` goes on where it stopped, and ends with the weights of an uninterrupted run. Its config
    is that of the run, unless one is given, which may have other rounds than it had and nothing else. `force`
    replaces the run that the folder holds; any other folder is never replaced. With `cpu_seconds` the run ends after
    the round in which it has used them, if the config's last is not before; its record has the rounds that were done,
    with which a run ends with the same weights. Raises ProblemError for an unknown
    problem, and one that could not be exported; TrainError where the folder does not fit or the config's device is not
    there. Whatever the device, the network that is returned is on the CPU.

        teacher = train("burgers", "runs/teacher", TrainConfig(seed=1)).net
        train("./fisher.py").plot()
    """
    solved = problem(source)
    run = Path(folder) if folder is not None else Path("runs", f"{solved.name}_teacher")
    config = recipe(config, TrainConfig, run, seed=seed, resume=resume and not force)
    check_trainable(solved)
    if solved.unknowns and config.optimiser == RANDOM_FEATURES:
        raise TrainError(
            f"{solved.name} has unknowns, and random features train the output layer alone; expected: another optimiser"
        )
    net = Pinn(solved, config.hidden, config.seed, config.activation).to(find_device(config.device))

    def told(done: TrainConfig) -> str:
        return command("train", source_word(solved), done, TrainConfig())

    made = {"role": "teacher"}
    return _run(net, Physics(solved), Box(solved), config, told, made, run, report, resume, force, cpu_seconds)


def teach(
    lesson: Lesson,
    folder: str | os.PathLike[str],
    config: DistillConfig | None = None,
    *,
    resume: bool = False,
    force: bool = False,
    cpu_seconds: float | None = None,
    report: ProgressReport | None = None,
) -> Trained:
    """Teacher → Student: minimise divergence from the teacher plus physics loss (`objective.distillation`).

    Interrupt, resume, force, cpu_seconds, report and errors are as for `train`.
    """
    config = recipe(config, DistillConfig, Path(folder), resume=resume and not force).fitted(lesson.problem)
    check_trainable(lesson.problem)
    device = find_device(config.device)
    if isinstance(lesson.teacher, Pinn):
        lesson.teacher.to(device)
    objective = lesson.objective(config)
    objective.targets(lesson.domain.candidates(1, torch.Generator()).to(device))  # before anything is written
    net = Pinn(lesson.problem, config.hidden, config.seed, config.activation).to(device)
    source = {"role": "student", "teacher": dict(lesson.named)}
    run = Path(folder)
    return _run(net, objective, lesson.domain, config, lesson.command, source, run, report, resume, force, cpu_seconds)


def recipe(
    config: Config | None, kind: type[Config], folder: Path, *, seed: int | None = None, resume: bool = False
) -> Config:
    """The config that is given, or that of the run to resume, or the default; with `seed`, where that is given."""
    found = config or (run_config(folder, kind) if resume else kind())
    return found if seed is None else replace(found, seed=seed)


def check_trainable(solved: Problem) -> None:
    """Raise ProblemError, with every fault, where a problem cannot be trained or its network could not be exported."""
    ansatz_of(solved)
    multi_indices_of(solved)
    check_problem(solved)


def _run(
    net: Pinn,
    objective: Objective,
    domain: Domain,
    config: Config,
    said: Callable[[Config], str],
    source: dict[str, Any],
    folder: Path,
    report: ProgressReport | None,
    resume: bool,
    force: bool,
    cpu_seconds: float | None,
) -> Trained:
    solved = net.problem
    posed = {"problem": solved.name} | ({"origin": asdict(solved.origin)} if solved.origin else {})
    if measured := [table for each in solved.soft if each.data for table in (np.asarray(each.at), each.columns)]:
        posed["measurements"] = fingerprint(measured)
    conditions = Conditions(solved, objective.physics_weight)
    check_conditions(net, conditions)
    check_finite_start(net, objective, domain)
    source = {"role": source["role"], "command": said(config), **source}
    description = {**source, **posed, "seed": config.seed, "config": asdict(config)}
    description["trained_for"] = asdict(trained_for(solved))
    open_run(folder, description, resume=resume, force=force)
    with watched(solved.name, report, bar=live, told=told) as reported:
        state = fit(net, objective, domain, config, folder, reported, resume=resume, cpu_seconds=cpu_seconds)
    if is_spent(config, state, cpu_seconds):
        config = replace(config, newton_rounds=rounds_done(config, state.step))
        source["command"] = said(config)
    net.eval().cpu()
    net.problem = solved = solved.settled(net.found)
    weights, record_file = run_files(folder)
    write_weights(net, weights)
    with one_thread():
        reference = domain.reference()
        errors = (
            asdict(reference.errors(net)) | {"reference_max_abs": solved.exact_error, "against": reference.name}
            if reference
            else None
        )
        residuals = asdict(residual_errors(net)) if solved.equation else None
        found = _found(
            net, solved, state.conditions[0] if isinstance(objective, Physics) and state.conditions else None
        )
        growing = [] if is_shipped(solved) or not solved.equation else list(growth(net))
    finished = state.step == config.steps
    record = {
        "problem": solved.name,
        "equation": solved.equation,
        **{key: value for key, value in posed.items() if key != "problem"},
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
        "errors": errors,
        "residuals": residuals,
        **found,
        "warnings": growing,
        "versions": versions(),
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "licence": "Apache-2.0",
    }
    write_json(record_file, record)
    for text in growing:
        warnings.warn(f"{solved.name}: {text}", TrainingWarning, stacklevel=3)
    return Trained(net, folder, record, finished)


def _found(net: Pinn, solved: Problem, weights: Tensor | None) -> dict[str, Any]:
    """What a record says of conditions and unknowns, where there are any; `weights` are those that it ended with."""
    found: dict[str, Any] = {}
    if solved.soft:
        conditions = Conditions(solved)
        rms = conditions.rms(net, conditions.drawn(torch.Generator().manual_seed(0), net.device, more=HELD_OUT))
        found["conditions"] = [{"name": each.name, "rms": value} for each, value in zip(solved.soft, rms, strict=True)]
        if weights is not None:
            for each, weight in zip(found["conditions"], weights.tolist(), strict=True):
                each["weight"] = weight
    if solved.unknowns:
        errors = {} if weights is None else standard_errors(net, weights)
        found["unknowns"] = {
            name: {"value": value, "standard_error": errors.get(name)} for name, value in net.found.items()
        }
    return found
