"""Weights are refused within another problem than they were trained for, whatever it is called."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from kdpinn_edge import zoo
from kdpinn_edge.errors import TrainError
from kdpinn_edge.problems import Potentials, Problem, problem
from kdpinn_edge.training import Pinn, TrainConfig, load_pinn, train, write_weights
from kdpinn_edge.training.trained_for import TrainedFor, read

TINY = TrainConfig(
    hidden=(3,), n_points=20, n_candidates=40, adam_rounds=1, adam_steps=2, newton_rounds=1, newton_steps=2
)


def flow(**changes: Any) -> Problem:
    """A problem with every part that weights depend on, defined in a session."""

    def ansatz(m: Any, columns: Sequence[Any], net: Any) -> Sequence[Any]:
        return (columns[0] + columns[1] * net,)

    fields: dict[str, Any] = {
        "name": "flow",
        "equation": "v_t + v_x = sin t",
        "inputs": ("x", "t"),
        "outputs": ("v",),
        "lower": (0.0, 0.0),
        "upper": (1.0, 1.0),
        "terms": ("v_x", "v_t"),
        "residual": lambda v_x, v_t: (v_t + v_x,),
        "source": lambda m, x, t: (m.sin(t),),
        "features": lambda m, x, t: (m.cos(x), t),
        "ansatz": ansatz,
        "potentials": Potentials(("psi",), ("psi_x",), lambda psi_x: (psi_x,)),
    }
    return Problem(**fields | changes)


def same_ansatz(m: Any, columns: Sequence[Any], net: Any) -> Sequence[Any]:
    x, t = columns
    return (x + (3.0 * t * net - 2.0 * t * net),)


def curved_ansatz(m: Any, columns: Sequence[Any], net: Any) -> Sequence[Any]:
    x, t = columns
    return (x + t * (1 + 1e-6 * x) * net,)


@pytest.mark.parametrize(
    ("changes", "changed"),
    [
        ({"features": lambda m, x, t: (m.cos(x), 2.0 * t)}, "features"),
        ({"features": None}, "features"),
        ({"features": lambda m, x, t: (m.cos(x), t, x)}, "features"),
        ({"ansatz": curved_ansatz}, "ansatz"),
        ({"potentials": Potentials(("psi",), ("psi_x",), lambda psi_x: (-psi_x,))}, "ansatz"),
        ({"potentials": Potentials(("psi",), ("psi_t",), lambda psi_t: (psi_t,))}, "ansatz"),
        ({"upper": (1.0, 2.0)}, "domain and its features and its ansatz and its equation"),
        ({"residual": lambda v_x, v_t: (v_t + 2 * v_x,)}, "equation"),
        ({"terms": ("v_t", "v_x"), "residual": lambda v_x, v_t: (v_t + 3 * v_x,)}, "equation"),
        ({"source": lambda m, x, t: (m.cos(t),)}, "equation"),
    ],
)
def test_weights_of_another_problem_of_the_same_name_are_refused(
    changes: dict[str, Any], changed: str, tmp_path: Path
) -> None:
    path = tmp_path / "net.safetensors"
    write_weights(Pinn(flow(), (3,)), path)
    with pytest.raises(TrainError, match=rf"net\.safetensors: .*flow as it was in .* its {changed} changed"):
        load_pinn(path, flow(**changes))


@pytest.mark.parametrize("changes", [{}, {"ansatz": same_ansatz}, {"equation": "v_t = sin t − v_x", "weight": None}])
def test_the_same_problem_may_be_written_otherwise(changes: dict[str, Any], tmp_path: Path) -> None:
    """Rounding, which also differs between machines, is no other problem."""
    net, x = Pinn(flow(), (3,)), torch.rand(9, 2, dtype=torch.float64)
    write_weights(net, tmp_path / "net.safetensors")
    found = load_pinn(tmp_path / "net.safetensors", flow(**changes))
    torch.testing.assert_close(found(x), net(x), rtol=0, atol=1e-14)


def test_what_is_not_finite_is_compared_too() -> None:
    now = TrainedFor("1", (0.0,), (None, 1.0), (2.0,), ())
    assert read(now.text()).changed(now) == []
    assert replace(now, features=(0.5, 1.0)).changed(now) == ["features"]
    assert replace(now, ansatz=(2.0 + 1e-12,)).changed(now) == []
    with pytest.raises(ValueError, match="features"):
        read('{"version": "1", "domain": [], "features": 3, "ansatz": [], "equation": []}')


def strip(path: Path, **said: str) -> None:
    """Let the weights of heat at `path` say of what they were trained for this alone."""
    safetensors.torch.save_file(safetensors.torch.load_file(path), path, {"problem": "heat"} | said)


def test_weights_that_do_not_say_what_they_were_trained_for_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "old.safetensors"
    path.write_bytes(zoo.weights("heat_small").read_bytes())
    expected = load_pinn(path)
    strip(path)
    with pytest.raises(TrainError, match=r"does not say with which features .* of heat.*; write_weights\(net, 'again"):
        load_pinn(path)
    net = Pinn(problem("heat"), hidden=(8,))
    net.load_state_dict(safetensors.torch.load_file(path))
    write_weights(net, path)
    assert all(map(torch.equal, load_pinn(path).parameters(), expected.parameters()))
    strip(path, trained_for="{}")
    with pytest.raises(TrainError, match="'trained_for' says nothing"):
        load_pinn(path)


def test_a_run_of_before_names_its_version_and_its_command(tmp_path: Path) -> None:
    train("heat", tmp_path / "run", TINY)
    weights, record = tmp_path / "run" / "model.safetensors", tmp_path / "run" / "model.json"
    strip(weights)
    document = json.loads(record.read_text())
    del document["sha256"]
    record.write_text(json.dumps(document))
    with pytest.raises(TrainError, match=r"model\.json: not the record of a run"):
        load_pinn(tmp_path / "run")
    document["sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    document["versions"]["kdpinn_edge"] = "0.0.9"
    record.write_text(json.dumps(document))
    with pytest.raises(TrainError, match=r"of kdpinn_edge 0\.0\.9 does not say .*kdpinn-edge train heat --hidden"):
        load_pinn(tmp_path / "run")


def test_a_run_does_not_go_on_with_another_problem(tmp_path: Path) -> None:
    more, run = replace(TINY, newton_rounds=2), tmp_path / "run"
    train(flow(), run, TINY)
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    with pytest.raises(TrainError, match=r"since then its ansatz changed.*--force"):
        train(flow(ansatz=curved_ansatz), run, more, resume=True)
    config = json.loads((run / "config.json").read_text())
    del config["trained_for"]
    (run / "config.json").write_text(json.dumps(config))
    with pytest.raises(TrainError, match=r"config\.json does not say for which features.*--force"):
        train(flow(), run, more, resume=True)
    (run / "config.json").write_bytes(before["config.json"])
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
    train(flow(ansatz=same_ansatz), run, more, resume=True)
