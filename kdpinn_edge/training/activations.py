"""The activations that are trained: as torch computes them, and with their derivatives, as jets.

    tanh          sin
    lorentzian    1/(1 + x²)
    dispersion    2x/(1 + x²)

The last two cost a multiply-add and a division where they are deployed. They are the two sides of a resonance, named
after what is measured there: an even bell, and an odd curve that is linear at 0, as tanh is, and returns to 0. In a
Program `dispersion` is x times `lorentzian`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from kdpinn_edge.errors import TrainError, did_you_mean
from kdpinn_edge.training import jets
from kdpinn_edge.training.jets import Jet
from kdpinn_edge.training.torch_functions import torch_function


@dataclass(frozen=True)
class Activation:
    """A function of tensors, which can be captured, and the same function of jets."""

    value: Callable[[Tensor], Tensor]
    jet: Callable[[Jet], Jet]


def _function(name: str) -> Activation:
    """The function of a Program of this name."""
    return Activation(torch_function(name), lambda x: x.mapped(name))


ACTIVATIONS: Mapping[str, Activation] = {
    **{name: _function(name) for name in ("tanh", "sin", "lorentzian")},
    "dispersion": Activation(lambda x: 2 * (x / (1 + x * x)), jets.dispersion),
}


def find_activation(name: str) -> Activation:
    """The activation of this name. Raises TrainError where there is none."""
    if name not in ACTIVATIONS:
        raise TrainError(
            f"no activation is called {name!r}; expected: {', '.join(ACTIVATIONS)}{did_you_mean(name, ACTIVATIONS)}"
        )
    return ACTIVATIONS[name]
