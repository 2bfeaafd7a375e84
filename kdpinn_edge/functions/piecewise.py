"""abs, relu and step. At 0, where abs and relu have a kink, their slopes are 0, as in torch."""

from __future__ import annotations

import numpy as np

from kdpinn_edge.functions.recipe import Step, one
from kdpinn_edge.functions.record import Array, Computation, Curve, Function, both
from kdpinn_edge.functions.slope import Applied, Number, X
from kdpinn_edge.numerics.lanes import Lanes, absolute, less, select


def magnitude(x: Lanes) -> Lanes:
    """|x|, which kernels call so, since Python and the lanes have an abs and an absolute of their own."""
    return absolute(x)


def relu(x: Lanes) -> Lanes:
    """max(x, 0); NaN and -0 stay."""
    return select(less(x, 0.0), 0.0, x)


def step(x: Lanes) -> Lanes:
    """1 for x > 0, else 0; NaN stays."""
    return select(less(0.0, x), 1.0, select(less(x, 1.0), 0.0, x))


def _exact_relu(x: Array) -> Array:
    return np.where(x < 0, 0, x)


def _exact_step(x: Array) -> Array:
    return np.heaviside(x, 0)


ABS = Function(
    name="abs",
    exact=np.abs,
    accurate=Computation(magnitude, both(0.0)),
    slope=Applied("step", X) - Applied("step", -X),
    onnx=(one("Abs"),),
    aten=("abs",),
    torch="abs",
    arguments=100.0,
    lower=0.0,
    symmetry="even",
    curve=Curve(turns=(0.0,)),
)
RELU = Function(
    name="relu",
    exact=_exact_relu,
    accurate=Computation(relu, both(0.0)),
    slope=Applied("step", X),
    onnx=(one("Relu"),),
    aten=("relu",),
    torch="relu",
    arguments=100.0,
    lower=0.0,
)
STEP = Function(
    name="step",
    exact=_exact_step,
    accurate=Computation(step, both(0.0)),
    slope=Number(0.0),
    onnx=((Step("Sign", name="sign"), Step("Relu", ("sign",))),),
    arguments=100.0,
    lower=0.0,
    upper=1.0,
    curve=Curve(jumps=(0.0,)),
)
PIECEWISE = (ABS, RELU, STEP)
