"""The model of the tests of FMUs: one that has every kind of variable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from artifacts import Artifacts

from kdpinn_edge.bundle.manifest import Input, Output
from kdpinn_edge.program.builder import Builder
from kdpinn_edge.program.ir import Program, Var

INPUTS = (
    Input("time", 0.0, 1.0, "s"),
    Input("s[0]", -1.0, 1.0, "m"),
    Input("s[1]", -1.0, 1.0, "m"),
    Input("nu", 0.5, None, "m²/s"),
)
OUTPUTS = (Output("v[0]", "m/s"), Output("v[1]", "m/s"), Output("p", "1"))
JACOBIAN = [f"{y.name}_{x.name}" for y in OUTPUTS for x in INPUTS]
REQUESTS = ["v[0]", *JACOBIAN, "p_nu_nu", "laplacian(p, time, nu)"]
"""All first derivatives, and of those only p_nu has one by nu that is known."""


def network() -> Program:
    """Inputs of which one is called time and one is an array; outputs that are an array and a number."""
    rng = np.random.default_rng(5)
    time, s, nu = Var("time", 1), Var("s", 2), Var("nu", 1)
    builder = Builder([time, s, nu], reserved=["v", "p"])
    hidden = builder.map(
        builder.affine(builder.concat([time, s, nu]), rng.normal(0, 1, (8, 4)), rng.normal(0, 1, 8)), "tanh"
    )
    v = builder.affine(hidden, rng.normal(0, 1, (2, 8)), [0.1, 0.2])
    return builder.program("network", {"v": v, "p": builder.affine(hidden, rng.normal(0, 1, (1, 8)), [0.3])})


NET = network()


def fmu_bundle(artifacts: Artifacts) -> Path:
    """Its bundle, with the FMUs net.fmu and net_fmi3.fmu."""
    return artifacts.bundle(
        NET,
        name="net",
        target="fmu",
        inputs=INPUTS,
        outputs=OUTPUTS,
        derivatives=REQUESTS,
        per_call=["nu"],
        equation="v = f(s) < 1",
    )
