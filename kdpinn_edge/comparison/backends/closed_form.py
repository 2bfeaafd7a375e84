"""The closed form of the solution in place of the network, in C with the functions of <math.h>.

It is for a bundle that names the equation of a shipped problem that has one.
"""

from __future__ import annotations

from functools import partial

from kdpinn_edge.classical.formula_c import formula_source
from kdpinn_edge.comparison.backend import Backend, Case
from kdpinn_edge.comparison.backends.c_source import Source, prepare
from kdpinn_edge.comparison.backends.solved import solved_problem
from kdpinn_edge.derive.closed_form import closed_form_program

LEVEL = "-Ofast"


def generate(case: Case, n: int) -> Source:
    """Write the C of the formula, whatever n."""
    program = closed_form_program(solved_problem(case))
    return Source("closed_form", formula_source(program, case.manifest.precision))


CFFI = ("cffi", "numpy")
CLOSED_FORM = Backend(
    name="closed form, cffi",
    layer="call from Python",
    promise="another function",
    packages=CFFI,
    extra="",
    prepare=partial(prepare, generate=generate, level=LEVEL, in_c_loop=False),
    runtime=CFFI,
)
CLOSED_FORM_C_LOOP = Backend(
    name="closed form, C loop",
    layer="kernel in C",
    promise="another function",
    packages=CFFI,
    extra="",
    prepare=partial(prepare, generate=generate, level=LEVEL, in_c_loop=True),
)
