"""The optimisers, on problems with known answers."""

from __future__ import annotations

from collections.abc import Callable
from math import cos, pi
from typing import Any

import pytest
import torch
from torch import Tensor

from kdpinn_edge.errors import TrainError
from kdpinn_edge.problems import problem
from kdpinn_edge.training import DistillConfig, Pinn, TrainConfig
from kdpinn_edge.training.config import OPTIMISERS, RANDOM_FEATURES
from kdpinn_edge.training.fit import optimiser
from kdpinn_edge.training.optimisers import (
    Adam,
    Landscape,
    LevenbergMarquardt,
    LimitedMemory,
    Optimiser,
    OutputLayer,
    SelfScaledBroyden,
    Soap,
    searched,
)

QUASI_NEWTON = {"ssbroyden": SelfScaledBroyden(), "lbfgs": LimitedMemory()}
EVERY = {"lm": LevenbergMarquardt(1e-3), "geodesic": LevenbergMarquardt(1e-3, bends=True), **QUASI_NEWTON}


def of_residuals(residuals: Callable[[Tensor], Tensor], *, fresh: bool = False) -> Landscape:
    """L = mean of the squared residuals."""

    def loss(theta: Tensor) -> Tensor:
        return residuals(theta).square().mean()

    def slope(theta: Tensor) -> tuple[float, Tensor]:
        at = theta.detach().requires_grad_()
        value = loss(at)
        (gradient,) = torch.autograd.grad(value, at)
        return float(value.detach()), gradient

    def linear(theta: Tensor) -> tuple[Tensor, Tensor]:
        return residuals(theta), torch.func.jacrev(residuals)(theta)

    n = len(residuals(torch.zeros(99).double()))
    return Landscape(fresh, lambda theta: float(loss(theta)), slope, residuals, linear, n)


def after(steps: int, method: Optimiser, on: Landscape, theta: Tensor) -> Tensor:
    memory = method.start(theta)
    for _ in range(steps):
        theta, _, memory = method.step(theta, memory, on)
    return theta


def quadratic(n: int, condition: float, seed: int = 0) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """Residuals A(θ − θ*) with the given condition of AᵀA, and θ*."""
    generator = torch.Generator().manual_seed(seed)
    rotation = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64)).Q
    solution = torch.randn(n, generator=generator, dtype=torch.float64)
    A = torch.logspace(0, torch.tensor(condition).log10() / 2, n, dtype=torch.float64)[:, None] * rotation
    return (lambda theta: A @ (theta[:n] - solution)), solution


def rosenbrock(theta: Tensor) -> Tensor:
    x = theta[:6]
    return torch.cat((10 * (x[1:] - x[:-1] ** 2), 1 - x[:-1]))


@pytest.mark.parametrize(("name", "steps"), [("lm", 30), ("geodesic", 30), ("ssbroyden", 120), ("lbfgs", 400)])
def test_a_quadratic_is_solved(name: str, steps: int) -> None:
    residuals, solution = quadratic(20, 1e4)
    found = after(steps, EVERY[name], of_residuals(residuals), torch.zeros(20).double())
    torch.testing.assert_close(found, solution, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", EVERY)
def test_the_valley_of_rosenbrock_is_followed_to_its_end(name: str) -> None:
    start = torch.tensor([-1.2, 1.0] * 3, dtype=torch.float64)
    found = after(150, EVERY[name], of_residuals(rosenbrock), start)
    torch.testing.assert_close(found, torch.ones(6).double(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", EVERY)
def test_a_regression_finds_the_numbers_that_made_its_data(name: str) -> None:
    t = torch.linspace(0, 2, 40, dtype=torch.float64)
    made = 1.5 * torch.exp(-2.0 * t) + 0.7 * torch.sin(3.0 * t)

    def residuals(theta: Tensor) -> Tensor:
        return theta[0] * torch.exp(-theta[1] * t) + theta[2] * torch.sin(theta[3] * t) - made

    found = after(120, EVERY[name], of_residuals(residuals), torch.tensor([1.0, 1.0, 1.0, 2.5]).double())
    torch.testing.assert_close(found, torch.tensor([1.5, 2.0, 0.7, 3.0]).double(), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("m", "n"), [(40, 6), (6, 40)])
def test_an_undamped_step_solves_a_linear_problem(m: int, n: int) -> None:
    generator = torch.Generator().manual_seed(0)
    A = torch.randn(m, n, generator=generator, dtype=torch.float64)
    b = torch.randn(m, generator=generator, dtype=torch.float64)
    method, on = LevenbergMarquardt(1e-14), of_residuals(lambda theta: A @ theta[:n] - b)
    theta = torch.zeros(n, dtype=torch.float64)
    theta, loss, (damping,) = method.step(theta, method.start(theta), on)
    torch.testing.assert_close(theta, torch.linalg.lstsq(A, b[:, None], driver="gelsd").solution[:, 0])
    assert damping < 1e-14
    assert loss == pytest.approx(on.loss(theta))


@pytest.mark.parametrize(("m", "n"), [(7, 3), (3, 7)])
def test_a_step_that_bends_knows_the_second_derivative(m: int, n: int) -> None:
    """That of residuals which are quadratic, where a difference is exact: δ + ½ a, both of the same equations."""
    generator = torch.Generator().manual_seed(0)
    A = torch.randn(m, n, generator=generator, dtype=torch.float64)
    B = 0.05 * torch.randn(m, n, n, generator=generator, dtype=torch.float64)
    method, theta = LevenbergMarquardt(0.5, bends=True), torch.zeros(n).double()

    def residuals(theta: Tensor) -> Tensor:
        return A @ theta[:n] + torch.einsum("mij,i,j->m", B, theta[:n], theta[:n]) - 1

    found, loss, _ = method.step(theta, method.start(theta), of_residuals(residuals))
    damped = A.T @ A + 0.5 * m * torch.eye(n).double()
    delta = torch.linalg.solve(damped, A.T @ torch.ones(m).double())
    a = -torch.linalg.solve(damped, A.T @ (2 * torch.einsum("mij,i,j->m", B, delta, delta)))
    torch.testing.assert_close(found, delta + a / 2, rtol=1e-10, atol=1e-10)
    assert loss == pytest.approx(float(residuals(found).square().mean()))


def test_a_curved_valley_is_followed_in_fewer_steps() -> None:
    def cubic(theta: Tensor) -> Tensor:
        return torch.stack((1e3 * (theta[1] - theta[0] ** 3), 1 - theta[0]))

    on, start = of_residuals(cubic), torch.tensor([-1.5, -3.0], dtype=torch.float64)
    assert on.loss(after(10, EVERY["geodesic"], on, start)) < 1e-20
    assert on.loss(after(40, EVERY["lm"], on, start)) > 1


def test_a_step_that_cannot_improve_changes_nothing_but_the_damping() -> None:
    theta, r, J = torch.zeros(2).double(), torch.ones(3).double(), torch.ones(3, 2).double()
    on = Landscape(True, lambda theta: 2.0, lambda theta: (2.0, theta), lambda theta: r, lambda theta: (r, J), 3)
    method = LevenbergMarquardt(1.0)
    found, loss, (damping,) = method.step(theta, method.start(theta), on)
    assert torch.equal(found, theta)
    assert loss == 1.0
    assert damping == 3.0**8


def test_adam_is_torchs() -> None:
    on = of_residuals(rosenbrock)
    theta = torch.full((6,), -0.5, dtype=torch.float64)
    expected = theta.clone().requires_grad_()
    torchs = torch.optim.Adam([expected], lr=1.0)
    ours, rate, steps = theta, 1e-2, 30
    method = Adam(rate, steps)
    memory = method.start(theta)
    for i in range(steps):
        ours, _, memory = method.step(ours, memory, on)
        torchs.param_groups[0]["lr"] = rate * (1 + cos(pi * i / steps)) / 2
        expected.grad = on.slope(expected.detach())[1]
        torchs.step()
    torch.testing.assert_close(ours, expected.detach(), rtol=1e-12, atol=1e-12)


def of_matrix(shape: tuple[int, int], condition: float) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """Residuals A(W − W*)B for a matrix W, of the given condition on both sides, and W*."""
    generator = torch.Generator().manual_seed(0)
    A, B = (
        torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64)).Q
        * torch.logspace(0, torch.tensor(condition).log10(), size, dtype=torch.float64)[:, None]
        for size in shape
    )
    solution = torch.randn(shape, generator=generator, dtype=torch.float64)
    return (lambda theta: (A @ (theta[: solution.numel()].view(shape) - solution) @ B.T).flatten()), solution


def test_soap_begins_as_torchs_adam() -> None:
    residuals, solution = of_matrix((4, 3), 10)
    on, rate, steps = of_residuals(residuals), 1e-2, 30
    expected = torch.zeros(12, dtype=torch.float64, requires_grad=True)
    torchs = torch.optim.Adam([expected], betas=(0.95, 0.95))
    for i in range(steps):
        torchs.param_groups[0]["lr"] = rate * (1 + cos(pi * i / steps)) / 2
        expected.grad = on.slope(expected.detach())[1]
        torchs.step()
    found = after(steps, Soap((tuple(solution.shape),), steps, rate, steps + 1), on, torch.zeros(12).double())
    torch.testing.assert_close(found, expected.detach(), rtol=1e-12, atol=1e-12)


def test_soap_turns_with_the_axes_of_its_matrices() -> None:
    """The same problem in turned axes, with bases that are turned as well: every step is the same, turned."""
    shapes = ((4, 3), (4,))
    generator = torch.Generator().manual_seed(1)
    A, B = (torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64)).Q for n in (4, 3))
    residuals, _ = of_matrix((4, 3), 10)

    def turned(theta: Tensor) -> Tensor:
        return torch.cat(((A @ theta[:12].view(4, 3) @ B.T).flatten(), A @ theta[12:16]))

    def both(theta: Tensor) -> Tensor:
        return torch.cat((residuals(theta), theta[12:16].sin() - theta[:4]))

    method, theta = Soap(shapes, 50, frequency=3), torch.linspace(-1, 1, 16, dtype=torch.float64)
    plain, memory = turned(theta), method.start(theta)
    other = (*memory[:-4], A.T.contiguous(), B.T.contiguous(), A.T.contiguous(), memory[-1])
    for _ in range(20):
        theta, loss, other = method.step(theta, other, of_residuals(lambda theta: both(turned(theta))))
        plain, expected, memory = method.step(plain, memory, of_residuals(both))
        assert loss == pytest.approx(expected, rel=1e-9)
    torch.testing.assert_close(turned(theta), plain, rtol=1e-8, atol=1e-8)


def test_the_bases_of_soap_tend_to_eigenvectors() -> None:
    G = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    on = Landscape(
        False, lambda theta: 0.0, lambda theta: (0.0, G.flatten()), torch.clone, lambda theta: (theta, theta), 1
    )
    method, theta = Soap(((4, 3),), 400, frequency=4), torch.zeros(12).double()
    memory = method.start(theta)
    for _ in range(400):
        theta, _, memory = method.step(theta, memory, on)
    *_, L, R, U, V = memory
    for mean, basis, expected in ((L, U, G @ G.T), (R, V, G.T @ G)):
        torch.testing.assert_close(mean, expected, rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(basis.T @ basis, torch.eye(len(basis)).double(), rtol=0, atol=1e-13)
        diagonal = basis.T @ mean @ basis
        torch.testing.assert_close(diagonal, diagonal.diagonal().diag(), rtol=0, atol=1e-8)


def test_soap_solves_what_its_bases_straighten_and_adam_does_not() -> None:
    residuals, solution = of_matrix((6, 5), 30)
    on, steps, start = of_residuals(residuals), 1000, torch.zeros(30).double()
    soap, adam = (after(steps, method, on, start) for method in (Soap(((6, 5),), steps), Adam(1e-2, steps)))
    assert (soap - solution.flatten()).norm() < 1e-4
    assert (adam - solution.flatten()).norm() > 1


def test_the_estimate_of_broyden_explains_the_last_step() -> None:
    """Hy = s, and H stays symmetric and positive: what any update of the family keeps."""
    on, method = of_residuals(rosenbrock), SelfScaledBroyden()
    theta = torch.tensor([-1.2, 1.0] * 3, dtype=torch.float64)
    memory = method.start(theta)
    for _ in range(20):
        before, gradient = theta, on.slope(theta)[1]
        theta, _, memory = method.step(theta, memory, on)
        H, y, s = memory[0], on.slope(theta)[1] - gradient, theta - before
        torch.testing.assert_close(H @ y, s, rtol=1e-6, atol=1e-10)
        torch.testing.assert_close(H, H.T, rtol=0, atol=1e-10)
        assert torch.linalg.eigvalsh(H).min() > 0


@pytest.mark.parametrize("name", QUASI_NEWTON)
def test_what_was_learned_outlives_a_batch(name: str) -> None:
    """Batches whose minima differ slightly: with its memory a method meets the next one in a few steps."""
    method = QUASI_NEWTON[name]
    residuals, solution = quadratic(20, 1e4)
    theta = torch.zeros(20).double()
    memory = method.start(theta)
    for _ in range(45):
        theta, _, memory = method.step(theta, memory, of_residuals(residuals))
    shift = 1e-1 * torch.ones(20).double()

    def moved(theta: Tensor) -> Tensor:
        return residuals(theta[:20] - shift)

    kept, lost, none = theta, theta, method.start(theta)
    for i in range(12):
        kept, _, memory = method.step(kept, memory, of_residuals(moved, fresh=i == 0))
        lost, _, none = method.step(lost, none, of_residuals(moved, fresh=i == 0))
    target = solution + shift
    assert (kept - target).norm() < (lost - target).norm() / 1.5


def test_a_step_along_a_line_meets_both_conditions() -> None:
    on = of_residuals(rosenbrock)
    theta = torch.tensor([-1.2, 1.0] * 3, dtype=torch.float64)
    loss, gradient = on.slope(theta)
    for alpha in (1e-8, 1e-3, 1.0, 1e3):
        found = searched(on, theta, loss, gradient, -gradient, alpha)
        assert found is not None
        step, new_loss, new_gradient = found
        downhill = -float(gradient @ gradient)
        assert new_loss <= loss + 1e-4 * step * downhill
        assert float(new_gradient @ -gradient) >= 0.9 * downhill
    assert searched(on, theta, loss, gradient, gradient, 1.0) is None


@pytest.mark.parametrize("name", QUASI_NEWTON)
def test_at_a_minimum_nothing_moves(name: str) -> None:
    method, minimum = QUASI_NEWTON[name], torch.ones(6).double()
    theta, loss, memory = method.step(minimum, method.start(minimum), of_residuals(rosenbrock))
    assert torch.equal(theta, minimum)
    assert loss == 0
    assert all(torch.equal(a, b) for a, b in zip(memory, method.start(minimum), strict=True))


def test_the_output_layer_alone_solves_a_linear_problem_in_one_step() -> None:
    residuals, solution = quadratic(12, condition=1e4)
    begin = solution + torch.cat([torch.zeros(7), torch.ones(5)])
    method = OutputLayer(5)
    theta, loss, memory = method.step(begin, method.start(begin), of_residuals(residuals, fresh=True))
    torch.testing.assert_close(theta, solution, rtol=0, atol=1e-10)
    assert torch.equal(theta[:7], begin[:7])
    assert loss < 1e-20
    never = Landscape(
        fresh=False, loss=lambda theta: loss, slope=_unwanted, residuals=_unwanted, linear=_unwanted, n=12
    )
    again, _, _ = method.step(theta, memory, never)  # it is solved, and nothing is calculated any more
    assert torch.equal(again, theta)


def _unwanted(theta: Tensor) -> Any:
    raise AssertionError


def test_the_output_layer_alone_solves_a_nonlinear_problem_in_several_steps() -> None:
    def residuals(theta: Tensor) -> Tensor:
        a, b = theta[-2:]
        return torch.stack([a.exp() - 2, b.sin() + a * b - 0.5, a * b])

    begin = torch.tensor([9.0, 0.2, 0.3], dtype=torch.float64)
    on, method = of_residuals(residuals), OutputLayer(2)
    theta, memory = begin, method.start(begin)
    losses = []
    for _ in range(12):
        theta, loss, memory = method.step(theta, memory, on)
        losses.append(loss)
    assert losses == sorted(losses, reverse=True)
    assert theta[0] == 9
    gradient = torch.func.grad(lambda theta: residuals(theta).square().mean())(theta)
    assert gradient[-2:].abs().max() < 1e-6


def test_more_features_than_points_are_no_obstacle() -> None:
    A = torch.randn(4, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    method, begin = OutputLayer(9), torch.zeros(9, dtype=torch.float64)
    _, loss, _ = method.step(begin, method.start(begin), of_residuals(lambda theta: A @ theta[-9:] - 1))
    assert loss < 1e-25


def test_every_name_is_an_optimiser() -> None:
    net = Pinn(problem("burgers"), (4,))
    some = {"newton_rounds": 2, "newton_steps": 3}
    made = {name: optimiser(TrainConfig(optimiser=name, **some), net) for name in OPTIMISERS if name != RANDOM_FEATURES}
    assert made == {**EVERY, "soap": Soap(((4, net.layers[0].in_features), (4,), (1, 4), (1,)), 6)}
    assert optimiser(TrainConfig.random_features((4,)), net) == OutputLayer(5)
    with pytest.raises(
        TrainError, match=r"no optimiser is called 'bfgs'; expected: lm, geodesic, ssbroyden, lbfgs, soap, random"
    ):
        TrainConfig(optimiser="bfgs")


def test_random_features_have_no_adam_and_a_spread() -> None:
    with pytest.raises(TrainError, match=r"adam_rounds is 2, .*; expected: 0, as in TrainConfig.random_features\(\)"):
        TrainConfig(optimiser=RANDOM_FEATURES)
    with pytest.raises(TrainError, match=r"spread is 0; expected: a number above 0"):
        DistillConfig.random_features((9,), spread=0)
    assert DistillConfig.random_features((9,), seed=3, n_points=50) == DistillConfig(
        hidden=(9,),
        seed=3,
        n_points=50,
        adam_rounds=0,
        optimiser=RANDOM_FEATURES,
        newton_rounds=1,
        newton_steps=8,
    )
