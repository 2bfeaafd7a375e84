"""Optimisers over one flat parameter vector θ: each a map from θ and its memory to the next θ and memory.

Memory is a tuple of tensors whose shapes never change, on the device of θ but for single numbers. It is kept when
points are drawn anew, so nothing that was learned about the curvature is lost with them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, inf, isfinite, pi, prod, sqrt
from typing import Protocol

import torch
from torch import Tensor

ATTEMPTS = 8
TRIALS = 25
GRAM_ROWS = 128
BEND = 0.1
RELATIVE = 1e-14
SOLVED = 1e-12

Memory = tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class Landscape:
    """The loss L of one batch.

    fresh       no step was taken on this batch yet
    loss        θ -> L
    slope       θ -> L and its gradient
    residuals   θ -> residuals (m,)
    linear      θ -> residuals (m,) and their Jacobian (m, parameters), with L = |residuals|²/n
    n           points of the batch
    """

    fresh: bool
    loss: Callable[[Tensor], float]
    slope: Callable[[Tensor], tuple[float, Tensor]]
    residuals: Callable[[Tensor], Tensor]
    linear: Callable[[Tensor], tuple[Tensor, Tensor]]
    n: int


class Optimiser(Protocol):
    """`start` gives the first memory, `step` the next θ, a loss, and the next memory."""

    def start(self, theta: Tensor) -> Memory:
        """Make the memory before the first step."""

    def step(self, theta: Tensor, memory: Memory, on: Landscape) -> tuple[Tensor, float, Memory]:
        """Make one step; the loss is the last one that was calculated."""


@dataclass(frozen=True)
class Adam:
    """Adam (D. Kingma and J. Ba, 2015), with a rate that falls from `rate` to 0 on half a cosine over `steps`."""

    rate: float
    steps: int

    def start(self, theta: Tensor) -> Memory:
        """Make the memory: both moments and the number of steps taken."""
        return torch.zeros_like(theta), torch.zeros_like(theta), _numbers(0)

    def step(self, theta: Tensor, memory: Memory, on: Landscape) -> tuple[Tensor, float, Memory]:
        """Step to θ − rate m/(√v + ε), both moments corrected for their start from zero."""
        first, second, count = memory
        loss, gradient = on.slope(theta)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient.square()
        done = int(count)
        mean, spread = first / (1 - 0.9 ** (done + 1)), second / (1 - 0.999 ** (done + 1))
        rate = _falling(self.rate, done, self.steps)
        return theta - rate * mean / (spread.sqrt() + 1e-8), loss, (first, second, count + 1)


@dataclass(frozen=True)
class Soap:
    """SOAP (N. Vyas et al., 2024): Adam in the eigenbasis of Shampoo's preconditioner, one per parameter matrix W.

        L ← βL + (1 − β) GGᵀ,   R ← βR + (1 − β) GᵀG,   W ← W − rate U Adam(UᵀGV) Vᵀ

    G is the gradient of W, β is 0.95 in all means, and the rate falls as Adam's does. U and V tend to the eigenvectors
    of L and R: they are 1 at first, which is Adam, and every `frequency` steps U ← qr(LU) and V ← qr(RV). θ consists of
    parameters of these `shapes`; a vector is a matrix of one column.
    """

    shapes: tuple[tuple[int, ...], ...]
    steps: int
    rate: float = 1e-2
    frequency: int = 10

    def start(self, theta: Tensor) -> Memory:
        """Make the memory: both moments, the number of steps taken, all L and R, all U and V."""
        sizes = [size for W in self._matrices(theta) for size in W.shape]
        means = [theta.new_zeros(size, size) for size in sizes]
        bases = [torch.eye(size, dtype=theta.dtype, device=theta.device) for size in sizes]
        return torch.zeros_like(theta), torch.zeros_like(theta), _numbers(0), *means, *bases

    def step(self, theta: Tensor, memory: Memory, on: Landscape) -> tuple[Tensor, float, Memory]:
        """Step to θ − rate m/(√v + ε), divided in the bases: v is a mean of squares there, m of plain gradients."""
        first, second, count, *rest = memory
        means, bases = rest[: len(rest) // 2], rest[len(rest) // 2 :]
        to, back = [basis.T for basis in bases], bases
        loss, gradient = on.slope(theta)
        first = 0.95 * first + 0.05 * gradient
        second = 0.95 * second + 0.05 * self._turned(gradient, to).square()
        done = int(count)
        start = 1 - 0.95 ** (done + 1)
        delta = self._turned(self._turned(first / start, to) / ((second / start).sqrt() + 1e-8), back)
        grams = [gram for G in self._matrices(gradient) for gram in (G @ G.T, G.T @ G)]
        means = [0.95 * mean + 0.05 * gram for mean, gram in zip(means, grams, strict=True)]
        if (done + 1) % self.frequency == 0:
            # As a file would hold them: a product's last bits depend on the order of its operands in memory.
            bases = [torch.linalg.qr(mean @ basis).Q.contiguous() for mean, basis in zip(means, bases, strict=True)]
        theta = theta - _falling(self.rate, done, self.steps) * delta
        return theta, loss, (first, second, count + 1, *means, *bases)

    def _matrices(self, flat: Tensor) -> list[Tensor]:
        """The parts of a vector like θ, each as a matrix."""
        parts = flat.split_with_sizes([prod(shape) for shape in self.shapes])
        return [part.view(shape[0], -1) for part, shape in zip(parts, self.shapes, strict=True)]

    def _turned(self, flat: Tensor, sides: list[Tensor]) -> Tensor:
        """A W Bᵀ for every matrix of a vector like θ, A and B in turn from `sides`."""
        turned = zip(sides[::2], self._matrices(flat), sides[1::2], strict=True)
        return torch.cat([(A @ W @ B.T).flatten() for A, W, B in turned])


@dataclass(frozen=True)
class LevenbergMarquardt:
    """Damped Gauss-Newton steps (K. Levenberg, 1944; D. Marquardt, 1963), the first of them with `damping`.

        δ = −(JᵀJ + nμI)⁻¹ Jᵀr = −Jᵀ(JJᵀ + nμI)⁻¹ r

    solved in whichever form is smaller: parameters or residuals. μ falls where the linear model predicts the gain well
    and rises where it does not; a step that does not lower L is tried again with 3 μ.

    With `bends` a step follows the curve on which r changes evenly, to second order (M. Transtrum and J. Sethna, 2012):
    δ + ½ a, where a solves for the second derivative of r along δ, a difference over BEND of δ, as δ does for r.
    """

    damping: float
    bends: bool = False

    def start(self, theta: Tensor) -> Memory:
        """Make the memory: the damping μ."""
        return (_numbers(self.damping),)

    def step(self, theta: Tensor, memory: Memory, on: Landscape) -> tuple[Tensor, float, Memory]:
        """Step to θ + δ; or keep θ as it is, with a larger μ, when ATTEMPTS steps fail."""
        damping = float(memory[0])
        r, J = on.linear(theta)
        loss = float(r.square().sum()) / on.n
        gram = _gram(J.T if _is_wide(J) else J)
        for _ in range(ATTEMPTS):
            damped = gram.clone()
            damped.diagonal().add_(on.n * damping)
            factor, info = torch.linalg.cholesky_ex(damped)
            if int(info) == 0:
                delta = _descent(J, factor, r)
                predicted = loss - float((r + J @ delta).square().sum()) / on.n
                if self.bends:
                    curvature = ((on.residuals(theta + BEND * delta) - r) / BEND - J @ delta) * (2 / BEND)
                    delta = delta + _descent(J, factor, curvature) / 2
                new_loss = on.loss(theta + delta)
                gain = loss - new_loss
                if gain > 0:
                    if gain > 0.75 * predicted:
                        damping /= 3
                    elif gain < 0.25 * predicted:
                        damping *= 2
                    return theta + delta, new_loss, (_numbers(damping),)
            damping *= 3
        return theta, loss, (_numbers(damping),)


def _is_wide(J: Tensor) -> bool:
    """Whether residuals are the smaller form."""
    return J.shape[0] <= J.shape[1]


def _descent(J: Tensor, factor: Tensor, r: Tensor) -> Tensor:
    """The δ of these r, by the Cholesky factor of the damped matrix in the smaller form."""
    solution = torch.cholesky_solve((r if _is_wide(J) else J.T @ r)[:, None], factor)[:, 0]
    return -(J.T @ solution) if _is_wide(J) else -solution


def _gram(A: Tensor) -> Tensor:
    """AᵀA, of which the half below the diagonal is not calculated."""
    n = A.shape[1]
    gram = A.new_empty(n, n)
    for start in range(0, n, GRAM_ROWS):
        end = start + GRAM_ROWS
        gram[start:end, start:] = A[:, start:end].T @ A[:, start:]
        gram[end:, start:end] = gram[start:end, end:].T
    return gram


@dataclass(frozen=True)
class OutputLayer:
    """Gauss-Newton steps in the last `n` parameters, those of the output layer; all others stay as they are.

        δ = argmin |r + J δ|²

    by singular values, of which those below RELATIVE of the largest are taken for 0. With random hidden layers this is
    an extreme learning machine (G.-B. Huang et al., 2006), and for a linear equation its one linear least-squares
    problem (V. Dwivedi and B. Srinivasan, 2020).
    """

    n: int

    def start(self, theta: Tensor) -> Memory:
        """Make the memory: whether the least-squares problem of this batch was linear, and therefore is solved."""
        return (_numbers(0),)

    def step(self, theta: Tensor, memory: Memory, on: Landscape) -> tuple[Tensor, float, Memory]:
        """Step to θ + δ; or keep θ as it is where that is no gain."""
        loss = on.loss(theta)
        if bool(memory[0]) and not on.fresh:
            return theta, loss, memory
        r, J = on.linear(theta)
        J = J[:, -self.n :]
        delta = torch.linalg.lstsq(J.cpu(), -r[:, None].cpu(), rcond=RELATIVE, driver="gelsd").solution[:, 0].to(r)
        moved = theta.clone()
        moved[-self.n :] += delta
        new_loss, predicted = on.loss(moved), float((r + J @ delta).square().sum()) / on.n
        if not new_loss < loss:
            return theta, loss, (_numbers(1),)
        return moved, new_loss, (_numbers(abs(new_loss - predicted) <= SOLVED * loss),)


@dataclass(frozen=True)
class SelfScaledBroyden:
    """Dense quasi-Newton steps whose estimate H of the inverse Hessian is scaled by τ before each update.

        H ← (H − Hy yᵀH/yᵀHy + φ yᵀHy v vᵀ)/τ + s sᵀ/yᵀs,   v = s/yᵀs − Hy/yᵀHy

    s and y are the steps of θ and of the gradient; τ and φ are those of M. Al-Baali (1998) and J. Urbán, P. Stefanou
    and J. Pons (2025, SSBroyden). H has parameters² entries.
    """

    def start(self, theta: Tensor) -> Memory:
        """Make the memory: H, the gradient, the loss, and the number of updates of H."""
        H = torch.eye(len(theta), dtype=theta.dtype, device=theta.device)
        return H, torch.zeros_like(theta), _numbers(0, 0)

    def step(self, theta: Tensor, memory: Memory, on: Landscape) -> tuple[Tensor, float, Memory]:
        """Step to θ − αHg, with α from a line search; where there is none, keep θ and start H anew."""
        H, gradient, (known, updates) = memory
        loss, gradient = on.slope(theta) if on.fresh or updates == 0 else (float(known), gradient)
        direction = -(H @ gradient)
        found = searched(on, theta, loss, gradient, direction, _first_step(gradient, int(updates)))
        if found is None:
            return theta, loss, self.start(theta)
        alpha, new_loss, new_gradient = found
        s, y = alpha * direction, new_gradient - gradient
        b = -alpha * float(s @ gradient) / float(y @ s)
        return theta + s, new_loss, (_updated(H, s, y, b, int(updates)), new_gradient, _numbers(new_loss, updates + 1))


def _updated(H: Tensor, s: Tensor, y: Tensor, b: float, updates: int) -> Tensor:
    """The next H, where b = sᵀH⁻¹s/yᵀs."""
    curvature, Hy = float(y @ s), H @ y
    yHy = float(y @ Hy)
    h = yHy / curvature
    a = max(b * h - 1, 1e-12)
    low = min(1.0, h * (1 - sqrt(a / (1 + a))))
    theta = max((low - 1) / a, min(1 / low, (1 - b) / b))
    sigma = 1 + a * theta
    if updates == 0:
        tau = h / sigma
    else:
        root = abs(sigma) ** (1 / (1 - len(s))) if len(s) > 1 else 1.0
        tau = min(1.0, 1 / b) * min(root, 1 / theta) if theta > 0 else min(min(1.0, 1 / b) * root, sigma)
    v = s / curvature - Hy / yHy
    phi = (1 - theta) / sigma
    H = H.addr(Hy, Hy, alpha=-1 / yHy).addr_(v, v, alpha=phi * yHy)
    return H.div_(tau).addr_(s, s, alpha=1 / curvature)


@dataclass(frozen=True)
class LimitedMemory:
    """L-BFGS (J. Nocedal, 1980): H from the last `pairs` steps s and y alone, whatever batches they were taken on."""

    pairs: int = 50

    def start(self, theta: Tensor) -> Memory:
        """Make the memory: the steps s and y, the newest last; the gradient; the loss and the number of pairs."""
        none = theta.new_zeros(self.pairs, len(theta))
        return none, none, torch.zeros_like(theta), _numbers(0, 0)

    def step(self, theta: Tensor, memory: Memory, on: Landscape) -> tuple[Tensor, float, Memory]:
        """Step to θ − αHg, with α from a line search; where there is none, keep θ and drop the pairs."""
        S, Y, gradient, (known, count) = memory
        loss, gradient = on.slope(theta) if on.fresh or count == 0 else (float(known), gradient)
        direction = -_inverse_times(S[self.pairs - int(count) :], Y[self.pairs - int(count) :], gradient)
        found = searched(on, theta, loss, gradient, direction, _first_step(gradient, int(count)))
        if found is None:
            return theta, loss, self.start(theta)
        alpha, new_loss, new_gradient = found
        s, y = alpha * direction, new_gradient - gradient
        S, Y = torch.cat((S[1:], s[None])), torch.cat((Y[1:], y[None]))
        return theta + s, new_loss, (S, Y, new_gradient, _numbers(new_loss, min(int(count) + 1, self.pairs)))


def _inverse_times(S: Tensor, Y: Tensor, gradient: Tensor) -> Tensor:
    """H g by the recursion over the pairs."""
    q, shares = gradient, []
    for s, y in zip(S.flip(0), Y.flip(0), strict=True):
        shares.append((s @ q) / (y @ s))
        q = q - shares[-1] * y
    if len(S):
        q = q * ((S[-1] @ Y[-1]) / (Y[-1] @ Y[-1]))
    for s, y in zip(S, Y, strict=True):
        q = q + (shares.pop() - (y @ q) / (y @ s)) * s
    return q


def searched(
    on: Landscape, theta: Tensor, loss: float, gradient: Tensor, direction: Tensor, alpha: float
) -> tuple[float, float, Tensor] | None:
    """Search for a step along `direction` that meets both conditions of P. Wolfe (1969), its loss and its gradient.

    Bisection, from `alpha` on (A. Lewis and M. Overton, 2013). None where the direction does not descend, or TRIALS
    steps do not do.
    """
    downhill = float(gradient @ direction)
    if not downhill < 0:
        return None
    low, high = 0.0, inf
    for _ in range(TRIALS):
        new_loss, new_gradient = on.slope(theta + alpha * direction)
        if not new_loss <= loss + 1e-4 * alpha * downhill:
            high = alpha
        elif float(new_gradient @ direction) < 0.9 * downhill:
            low = alpha
        else:
            return alpha, new_loss, new_gradient
        alpha = (low + high) / 2 if isfinite(high) else 2 * alpha
    return None


def _first_step(gradient: Tensor, updates: int) -> float:
    """1, or a step of length 1 where the scale of the problem is not known yet."""
    return 1.0 if updates else min(1.0, 1 / (float(gradient.norm()) or 1.0))


def _falling(rate: float, done: int, steps: int) -> float:
    """From `rate` to 0 on half a cosine."""
    return rate * (1 + cos(pi * done / steps)) / 2


def _numbers(*values: float | Tensor) -> Tensor:
    """What is counted and compared, on the CPU."""
    return torch.tensor([float(value) for value in values], dtype=torch.float64)
