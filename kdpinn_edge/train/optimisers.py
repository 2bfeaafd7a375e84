"""Two optimisers over one flat parameter vector, each a function from state to state."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

ATTEMPTS = 8


def adam(
    theta: Tensor, gradient: Tensor, first: Tensor, second: Tensor, step: int, rate: float
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of Adam (Kingma and Ba, 2015): the new θ and its two moments. `step` counts from 1."""
    first = 0.9 * first + 0.1 * gradient
    second = 0.999 * second + 0.001 * gradient.square()
    mean, spread = first / (1 - 0.9**step), second / (1 - 0.999**step)
    return theta - rate * mean / (spread.sqrt() + 1e-8), first, second


def levenberg_marquardt(
    theta: Tensor, residuals: Tensor, jacobian: Tensor, damping: float, loss_at: Callable[[Tensor], float], n: int
) -> tuple[Tensor, float, float]:
    """One accepted step on L(θ) = |r|²/n: the new θ, its loss, and the next damping μ.

        δ = −(JᵀJ + nμI)⁻¹ Jᵀr = −Jᵀ(JJᵀ + nμI)⁻¹ r

    solved in whichever form is smaller: parameters or residuals. residuals (m,), jacobian (m, parameters). μ falls
    where the linear model predicts the gain well and rises where it does not; a step that does not lower L is tried
    again with 3 μ. θ comes back unchanged, with a larger μ, when ATTEMPTS steps fail.
    """
    loss = float(residuals.square().sum()) / n
    wide = jacobian.shape[0] <= jacobian.shape[1]
    gram = jacobian @ jacobian.T if wide else jacobian.T @ jacobian
    right = residuals if wide else jacobian.T @ residuals
    for _ in range(ATTEMPTS):
        damped = gram.clone()
        damped.diagonal().add_(n * damping)
        factor, info = torch.linalg.cholesky_ex(damped)
        if int(info) == 0:
            solution = torch.cholesky_solve(right[:, None], factor)[:, 0]
            delta = -(jacobian.T @ solution) if wide else -solution
            new_loss = loss_at(theta + delta)
            gain = loss - new_loss
            predicted = loss - float((residuals + jacobian @ delta).square().sum()) / n
            if gain > 0:
                if gain > 0.75 * predicted:
                    damping /= 3
                elif gain < 0.25 * predicted:
                    damping *= 2
                return theta + delta, new_loss, damping
        damping *= 3
    return theta, loss, damping
