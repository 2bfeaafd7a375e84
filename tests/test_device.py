"""Runs on another device: the same points, the same loop, weights and checkpoints on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from elsewhere import THERE, Elsewhere, There
from sampled import VARIED, some
from typer.testing import CliRunner

from kdpinn_edge import cli, zoo
from kdpinn_edge.distillation import distill
from kdpinn_edge.errors import TrainError
from kdpinn_edge.importers.model import captured
from kdpinn_edge.problems import names, problem
from kdpinn_edge.program.file import read_program
from kdpinn_edge.studies.study import make_plan
from kdpinn_edge.training import DistillConfig, Pinn, TrainConfig, TrainingProgress, load_pinn, train
from kdpinn_edge.training.config import OPTIMISERS, RANDOM_FEATURES
from kdpinn_edge.training.domain import uniform
from kdpinn_edge.training.objective import Objective, Physics, distillation
from kdpinn_edge.training.one_thread import one_thread
from kdpinn_edge.training.run_folder import CHECKPOINT_FILE
from kdpinn_edge.training.sampling import draw
from kdpinn_edge.training.teacher import ProgramTeacher
from kdpinn_edge.training.weights import read_tensors

BURGERS = problem("burgers")
ABSENT = "cuda:99"
WITHOUT_ADAM = TrainConfig.random_features(
    (6,), n_points=40, n_candidates=100, newton_rounds=3, newton_steps=3, n_held_out=50
)
CONFIG = TrainConfig(
    hidden=(6, 5),
    n_points=40,
    n_candidates=100,
    adam_rounds=2,
    adam_steps=2,
    newton_rounds=2,
    newton_steps=3,
    n_held_out=50,
)


@pytest.fixture(autouse=True)
def single_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine with one more device, THERE."""
    monkeypatch.setattr("kdpinn_edge.training.stages.find_device", torch.device)
    with Elsewhere():
        yield


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def interrupt(progress: TrainingProgress) -> None:
    if progress.step == 8:
        raise KeyboardInterrupt


def test_a_forgotten_tensor_is_found() -> None:
    """Of the device that the tests below run on."""
    with Elsewhere():
        x = torch.ones(3).to(THERE)
        assert (x * 2 + torch.tensor(1.0)).device == torch.zeros_like(x).device == torch.eye(3, device=x.device).device
        assert x.cpu().tolist() == [1, 1, 1]
        assert float(x.sum()) == 3
        with pytest.raises(RuntimeError, match="same device"):
            x + torch.ones(3)
        with pytest.raises(RuntimeError, match="a generator on the same device"):
            torch.multinomial(x, 1, generator=torch.Generator())
        with pytest.raises(RuntimeError, match="numpy"):
            x.numpy()


@pytest.mark.parametrize("name", some(OPTIMISERS, [TrainConfig().optimiser]))
def test_a_run_elsewhere_is_the_run_here(tmp_path: Path, elsewhere: None, name: str) -> None:
    """It is the CPU that calculates all the same, so not a bit may differ: of points, steps, the choice of weights."""
    config = replace(CONFIG, optimiser=name) if name != RANDOM_FEATURES else WITHOUT_ADAM
    train("heat", tmp_path / "here", config)
    made = train("heat", tmp_path / "there", replace(config, device=str(THERE)), report=interrupt)
    held = read_tensors(tmp_path / "there" / CHECKPOINT_FILE)[0].values()
    assert not any(isinstance(tensor, There) for tensor in (*held, *made.net.parameters()))
    assert made.record["command"].endswith(f"--device {THERE}")
    train("heat", tmp_path / "there", replace(config, device=str(THERE)), resume=True)
    assert weights(tmp_path / "there") == weights(tmp_path / "here")


@pytest.mark.parametrize("teacher", ["program", pytest.param("network", marks=pytest.mark.proof)])
def test_a_teacher_goes_with_its_student(tmp_path: Path, elsewhere: None, teacher: str) -> None:
    source = tmp_path / "teacher"
    train("heat", source, replace(CONFIG, newton_rounds=0))
    config = DistillConfig(**vars(CONFIG), slope_weight=1.0)
    guide = captured(load_pinn(source), "p") if teacher == "program" else source
    distill("heat", tmp_path / "here", config, teacher=guide)
    distill("heat", tmp_path / "there", replace(config, device=str(THERE)), teacher=guide)
    assert weights(tmp_path / "there") == weights(tmp_path / "here")


@pytest.mark.parametrize("name", some(names(), VARIED))
def test_every_problem_can_be_calculated_elsewhere(name: str) -> None:
    solved = problem(name)

    def drawn(net: Pinn, objective: Objective) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        batch = draw(net, objective, uniform(solved, 30, generator), 20, generator)
        return objective.residuals(net.jet(batch.points), batch).detach().cpu()

    net, teacher = Pinn(solved, (4,)), ProgramTeacher(read_program(zoo.program(f"{name}_small")), solved)
    for objective in (Physics(solved), distillation(teacher, 0.1, 1.0, 1.0)):
        here = drawn(net.cpu(), objective)
        with Elsewhere():
            assert torch.equal(drawn(net.to(THERE), objective), here)


def test_steps_are_counted_on_the_device_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("studies.study.plan", "training.budget"):
        monkeypatch.setattr(f"kdpinn_edge.{module}.find_device", torch.device)
    with Elsewhere():
        plan = make_plan(
            "heat",
            sizes=[(3,)],
            seeds=1,
            methods=["slopes"],
            optimiser="lbfgs",
            cpu_seconds=600.0,
            device=str(THERE),
        )
    (command,) = plan.commands
    assert command.endswith(f"--device {THERE}")
    assert {cell.config.device for cell in plan.cells} == {str(THERE)}


@pytest.mark.parametrize("name", [ABSENT, "gpu", "", "cpu:1", "mps"])
def test_a_device_that_is_not_there(tmp_path: Path, name: str) -> None:
    for run in (
        lambda: train("burgers", tmp_path / "run", replace(CONFIG, device=name)),
        lambda: distill("burgers", tmp_path / "run", DistillConfig(device=name)),
        lambda: make_plan("burgers", device=name),
    ):
        with pytest.raises(
            TrainError, match=rf"no device '{name}'; expected on this machine: cpu\. Its torch, \d.*is built"
        ):
            run()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("stage", ["train", "distill", "study"])
def test_the_command_names_what_is_there(tmp_path: Path, stage: str) -> None:
    result = CliRunner().invoke(cli.app, [stage, "burgers", "--device", ABSENT, "--out", str(tmp_path / "run")])
    assert result.exit_code == 2
    assert f"there is no device '{ABSENT}'; expected on this machine: cpu" in result.stderr
    assert not (tmp_path / "run").exists()


def test_the_cpu_is_the_default(tmp_path: Path) -> None:
    for folder, device in (("a", ""), ("b", "--device cpu")):
        words = f"train heat --hidden 5 --points 30 --optimiser random_features --steps 1 {device}"
        result = CliRunner().invoke(cli.app, [*words.split(), "--out", str(tmp_path / folder)])
        assert result.exit_code == 0, result.output
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
