"""Capture of networks that cannot be copied, and what they are afterwards: as they were."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kdpinn_edge.errors import CaptureError
from kdpinn_edge.importers.pytorch.module import capture
from kdpinn_edge.program.interp import interpret

torch.set_num_threads(1)
XT = ("x", "t")
POINTS = np.random.default_rng(0).uniform(-1, 1, (5, 2))


def mlp(wrap: Callable[..., Any] = lambda layer: layer) -> nn.Sequential:
    return nn.Sequential(wrap(nn.Linear(2, 6)), nn.Tanh(), wrap(nn.Linear(6, 6)), nn.Tanh(), nn.Linear(6, 1))


def trained(module: Any) -> Any:
    """The module after one step, with tensors in it that have a history."""
    module(torch.rand(8, 2)).square().mean().backward()
    torch.optim.SGD(module.parameters(), 1e-2).step()
    return module


class Keeps(nn.Module):
    """Keeps what it returns, counts its calls, and notes them."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.last, self.calls, self.notes = mlp(), None, 0, ["made"]
        self.register_buffer("counted", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.counted += 1
        self.notes.append("called")
        self.last = self.net(x)
        return self.last


class Carries(nn.Module):
    """Carries whatever cannot be copied: a lock, an iterator, a view, an optimiser, points, a history."""

    def __init__(self) -> None:
        super().__init__()
        self.net = mlp()
        self.lock, self.batches, self.names = threading.Lock(), (i for i in range(3)), {"x": 1}.values()
        self.optimizer = torch.optim.LBFGS(self.net.parameters())
        self.points = torch.rand(9, 2, requires_grad=True)
        self.history: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        with self.lock:
            return self.net(x)

    def step(self) -> Carries:
        def closure() -> Tensor:
            self.optimizer.zero_grad()
            self.u = self(self.points)
            loss = torch.autograd.grad(self.u.sum(), self.points, create_graph=True)[0].square().mean()
            loss.backward()
            self.history.append(loss)
            return loss

        self.optimizer.step(closure)
        return self


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 5, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(torch.tanh(self.layer(x)), self.layer.weight.T)[:, :1]


utils = nn.utils
HELD: dict[str, Callable[[], nn.Module]] = {
    "old weight norm": lambda: trained(mlp(utils.weight_norm)),
    "weight norm": lambda: trained(mlp(utils.parametrizations.weight_norm)),
    "old spectral norm": lambda: trained(mlp(utils.spectral_norm)),
    "spectral norm": lambda: trained(mlp(utils.parametrizations.spectral_norm)),
    "orthogonal": lambda: trained(mlp(utils.parametrizations.orthogonal)),
    "keeps its output": lambda: trained(Keeps()),
    "carries a lock and points": lambda: Carries().step(),
    "tied": lambda: trained(Tied()),
    "dropout": lambda: trained(nn.Sequential(mlp(), nn.Dropout(0.5))),
    "batch norm": lambda: trained(nn.Sequential(nn.BatchNorm1d(2), mlp())),
}


def state(module: nn.Module) -> dict[str, Any]:
    """All that a module is, but numbers apart: what its attributes are, and of tensors what they hold."""
    found: dict[str, Any] = {}
    for path, each in module.named_modules():
        for name, value in vars(each).items():
            content = list(value) if isinstance(value, list) else dict(value) if isinstance(value, dict) else value
            found[f"{path}.{name}"] = content
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        found[f"numbers of {name}"] = (id(tensor), tensor.dtype, tensor.requires_grad, tensor.tolist(), id(tensor.grad))
    return found


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("build", HELD.values(), ids=HELD)
def test_a_network_is_captured_and_left_as_it_is(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    module = build()
    before, random = state(module), torch.random.get_rng_state()
    program = capture(module, name="p", inputs=XT, outputs=("u",))
    after = state(module)
    assert list(before) == list(after)
    changed = [name for name in before if before[name] is not after[name] and str(before[name]) != str(after[name])]
    assert changed == []
    assert torch.equal(random, torch.random.get_rng_state())
    with torch.no_grad():
        y = module.eval().double()(torch.from_numpy(POINTS)).numpy()
    np.testing.assert_allclose(interpret(program, POINTS), y, rtol=1e-12, atol=1e-13)


def test_a_network_in_a_function_is_left_as_it_is() -> None:
    module = trained(nn.Sequential(Keeps(), nn.Dropout(0.5)))
    before = state(module)
    program = capture(lambda z: module(z) + 1, name="p", inputs=XT, outputs=("u",))
    assert str(before) == str(state(module))
    assert module.training
    with torch.no_grad():
        y = module.eval().double()(torch.from_numpy(POINTS)).numpy() + 1
    np.testing.assert_allclose(interpret(program, POINTS), y, rtol=1e-12, atol=1e-13)


def test_a_network_that_fails_is_left_as_it_is() -> None:
    def forward(x: Tensor) -> Tensor:
        raise ValueError(f"no more of {module(x)[0]}")

    module = Keeps()
    before = state(module)
    with pytest.raises(CaptureError, match="ValueError: no more of"):
        capture(forward, name="p", inputs=XT, outputs=("u",))
    assert str(before) == str(state(module))


class Counts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * self.calls


def test_results_that_count_calls_are_refused() -> None:
    module = Counts()
    with pytest.raises(CaptureError, match=r"at the first call and .* at the second, for the same point"):
        capture(module, name="p", inputs=XT, outputs=("u", "v"))
    assert module.calls == 0


def test_parameters_without_numbers_are_refused() -> None:
    for module in (nn.LazyLinear(1), nn.Linear(2, 1, device="meta")):
        with pytest.raises(
            CaptureError, match=r"Linear.weight has no numbers yet; expected: a network that was called"
        ):
            capture(module, name="p", inputs=XT, outputs=("u",))
