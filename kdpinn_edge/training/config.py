"""The recipes. A run is reproducible from its config alone: it stops by count, never by time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

from kdpinn_edge.errors import TrainError, did_you_mean
from kdpinn_edge.problems import Problem
from kdpinn_edge.training.activations import find_activation

RANDOM_FEATURES = "random_features"
OPTIMISERS = ("lm", "geodesic", "ssbroyden", "lbfgs", "soap", RANDOM_FEATURES)
"""Levenberg-Marquardt, the same with geodesic acceleration, self-scaled Broyden, L-BFGS, Adam in the eigenbasis of
Shampoo's preconditioner; and Gauss-Newton steps in the output layer alone, while the hidden layers stay random.
"""


@dataclass(frozen=True)
class TrainConfig:
    """The recipe of a teacher: Adam, then `optimiser`, in rounds that each start with fresh points.

    hidden              sizes of the hidden layers
    activation          one of `activations.ACTIVATIONS`
    seed                of the initial weights and of every draw of points
    n_points            collocation points per round, out of `n_candidates` (see sampling.py)
    adam_rounds         of `adam_steps` steps each, with a rate that falls from `adam_rate` to 0 on half a cosine
    optimiser           one of OPTIMISERS
    newton_rounds       of `newton_steps` steps each
    damping             of the first step of Levenberg-Marquardt
    spread              of random features: hidden weights and biases are drawn from [-spread, spread]
    n_held_out          points that are never trained on; the loss there decides which weights are kept
    device              "cpu", "cuda" or, as in "cuda:1", one of several; each has other last bits
    """

    hidden: tuple[int, ...] = (64, 64, 64, 64)
    seed: int = 0
    n_points: int = 1000
    n_candidates: int = 10_000
    adam_rounds: int = 2
    adam_steps: int = 250
    adam_rate: float = 5e-3
    optimiser: str = "lm"
    newton_rounds: int = 120
    newton_steps: int = 5
    damping: float = 1e-3
    n_held_out: int = 4096
    device: str = "cpu"
    activation: str = "tanh"
    spread: float = 0.5

    def __post_init__(self) -> None:
        find_activation(self.activation)
        if self.optimiser not in OPTIMISERS:
            raise TrainError(
                f"no optimiser is called {self.optimiser!r}; expected: {', '.join(OPTIMISERS)}"
                f"{did_you_mean(self.optimiser, OPTIMISERS)}"
            )
        if self.optimiser == RANDOM_FEATURES and self.adam_rounds:
            raise TrainError(
                f"adam_rounds is {self.adam_rounds}, and Adam would train what random features leave random; expected: "
                f"0, as in {type(self).__name__}.random_features()"
            )
        if not self.spread > 0:
            raise TrainError(f"spread is {self.spread!r}; expected: a number above 0")

    @classmethod
    def random_features(cls, hidden: tuple[int, ...] = (600,), **fields: Any) -> Self:
        """The recipe of a network whose output layer alone is trained, in a single round; other `fields` as given.

        A linear equation takes one step, a linear least-squares problem. For a smooth solution that is the most exact
        teacher and the fastest: seconds. Its weights are large and of both signs, so deploy a student of it.
        """
        recipe = {"n_points": 2400, "adam_rounds": 0, "newton_rounds": 1, "newton_steps": 8}
        return cls(hidden=hidden, optimiser=RANDOM_FEATURES, **recipe | fields)

    @property
    def steps(self) -> int:
        """The number of all steps of the run."""
        return self.adam_rounds * self.adam_steps + self.newton_rounds * self.newton_steps


@dataclass(frozen=True)
class DistillConfig(TrainConfig):
    """The recipe of a student, trained as a teacher is, under the loss of `objective.distillation`.

    sigma               σ of both Gaussians, in the units of the outputs
    physics_weight      λ of the physics loss; 0 for a student that follows its teacher alone. None, the default, is 1
                        where there is an equation, else 0
    slope_weight        of the loss in the first derivatives
    """

    hidden: tuple[int, ...] = (16, 16, 16)
    n_points: int = 3000
    newton_rounds: int = 60
    newton_steps: int = 10
    sigma: float = 1e-2
    physics_weight: float | None = None
    slope_weight: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        faults = {
            "sigma": self.sigma <= 0,
            "physics_weight": self.physics_weight is not None and self.physics_weight < 0,
            "slope_weight": self.slope_weight < 0,
        }
        for name in (name for name, wrong in faults.items() if wrong):
            raise TrainError(f"{name} is {getattr(self, name)!r}; expected: sigma above 0, weights from 0")

    def fitted(self, problem: Problem) -> DistillConfig:
        """The recipe for a student of `problem`, its physics weight decided.

        Raises TrainError where physics has a weight and the problem no equation.
        """
        if problem.equation:
            return replace(self, physics_weight=1.0) if self.physics_weight is None else self
        if self.physics_weight:
            raise TrainError(
                f"{problem.name} is a model without an equation; expected: physics_weight=0 (--physics-weight 0), to "
                "follow it alone"
            )
        return replace(self, physics_weight=0.0)
