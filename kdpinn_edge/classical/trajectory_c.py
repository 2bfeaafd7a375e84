"""`trajectory_source(problem, grid)`: a solver of an equation in x and t as C99, for its whole trajectory at once.

    u_t = F(u, u_x, u_xx, …) on equal cells between two mirrors of the solution

Differences of order 4 in space, whose stencils go on beyond the mirrors, and the Runge-Kutta method of order 4 in time.
F is traced from the problem's own residual. It is the method of lines as textbooks have it, for problems whose residual
contains u_t with factor 1 and whose solution is mirrored in both ends of x.

One function behind the interface of kdpinn_edge.h: a "point" is the factor of the initial values, 1 for the problem's
own, and its values are u at all saved times (but the first) and all nodes, time by time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kdpinn_edge.bundle.manifest import Precision
from kdpinn_edge.classical.coordinates import coordinates
from kdpinn_edge.classical.formula_c import SCALARS, statements
from kdpinn_edge.derive.residual import Symbol
from kdpinn_edge.errors import ProblemError
from kdpinn_edge.problems import Array, Problem
from kdpinn_edge.program.builder import Builder
from kdpinn_edge.program.ir import Program, Var
from kdpinn_edge.program.simplify import simplify

UNIT = """#include <math.h>
#include <string.h>

typedef {type} T;

enum {{ CELLS = {cells}, SAVED = {saved}, STEPS = {steps}, GHOSTS = 2 }};
static const T initial[CELLS + 1] = {{{initial}}};

/* f = F(u); the nodes beyond the mirrors are made first */
static void slope(T *restrict u, T *restrict f) {{
    const T scale_x = {scale_x}, scale_xx = {scale_xx};
    for (int k = 1; k <= GHOSTS; k++) {{
        u[GHOSTS - k] = {left} * u[GHOSTS + k];
        u[GHOSTS + CELLS + k] = {right} * u[GHOSTS + CELLS - k];
    }}
    for (int i = GHOSTS; i <= GHOSTS + CELLS; i++) {{
        const T u_ = u[i], near = u[i + 1] - u[i - 1], far = u[i + 2] - u[i - 2];
        const T u_x_ = (8 * near - far) * scale_x;
        const T u_xx_ = (16 * (u[i + 1] + u[i - 1]) - (u[i + 2] + u[i - 2]) - 30 * u[i]) * scale_xx;
{body}
        f[i] = {value};
    }}
}}

static void step(T *restrict u) {{
    enum {{ SIZE = CELLS + 1 + 2 * GHOSTS }};
    static const T at[4] = {{0, {half}, {half}, 1}}, weight[4] = {{{sixth}, {third}, {third}, {sixth}}};
    T stage[SIZE], f[SIZE] = {{0}}, sum[SIZE] = {{0}};
    for (int k = 0; k < 4; k++) {{
        for (int i = 0; i < SIZE; i++)
            stage[i] = u[i] + {dt} * at[k] * f[i];
        slope(stage, f);
        for (int i = 0; i < SIZE; i++)
            sum[i] += weight[k] * f[i];
    }}
    for (int i = 0; i < SIZE; i++)
        u[i] += {dt} * sum[i];
}}

static int32_t eval(const T *restrict x, T *restrict y, int64_t n) {{
    for (int64_t k = 0; k < n; k++) {{
        T u[CELLS + 1 + 2 * GHOSTS] = {{0}};
        for (int i = 0; i <= CELLS; i++)
            u[GHOSTS + i] = x[k] * initial[i];
        for (int saved = 0; saved < SAVED; saved++) {{
            for (int i = 0; i < STEPS; i++)
                step(u);
            memcpy(y, u + GHOSTS, (CELLS + 1) * sizeof *y);
            y += CELLS + 1;
        }}
    }}
    return 0;
}}
"""
TERMS = ("u", "u_x", "u_xx")


@dataclass(frozen=True)
class Grid:
    """`cells` between the mirrors; u is saved `saved` times, at equal distances up to the end, each after `steps`."""

    cells: int
    saved: int
    steps: int


def trajectory_source(problem: Problem, grid: Grid, precision: Precision) -> str:
    """The C of the solver. Raises ProblemError for an equation that is not of its form."""
    scalar, suffix = SCALARS[precision]
    program = _slope_program(problem)
    points = nodes(problem, grid)
    step = points[1, 0] - points[0, 0]
    edges = coordinates(problem, graded=False)[0].edges
    parities = [edge.parities[0] for edge in edges]
    if not all(parities):
        raise ProblemError(f"{problem.name}: no mirror is known at both ends of {problem.inputs[0]}; expected: Mirror")
    values = problem.reference(points[: grid.cells + 1])[:, 0]

    def number(value: float) -> str:
        return f"{np.dtype(precision).type(value)!s}{suffix}"

    lines = statements(program, precision)
    return UNIT.format(
        type=scalar,
        cells=grid.cells,
        saved=grid.saved,
        steps=grid.steps,
        initial=", ".join(map(number, values)),
        scale_x=number(1 / (12 * step)),
        scale_xx=number(1 / (12 * step**2)),
        left=parities[0],
        right=parities[1],
        body="\n".join(f"        {line}" for line in lines),
        value=f"{program.outputs[0].name}_",
        half=number(0.5),
        third=number(1 / 3),
        sixth=number(1 / 6),
        dt=number((problem.upper[1] - problem.lower[1]) / (grid.saved * grid.steps)),
    )


def nodes(problem: Problem, grid: Grid) -> Array:
    """The points (x, t), time by time, from the initial time on."""
    axis = coordinates(problem, graded=False)[0]
    x = axis.points(np.linspace(0, 1, grid.cells + 1))
    t = np.linspace(problem.lower[1], problem.upper[1], grid.saved + 1)
    points: Array = np.stack(np.meshgrid(t, x, indexing="ij"), axis=-1).reshape(-1, 2)[:, ::-1]
    return points


def _slope_program(problem: Problem) -> Program:
    """F, as a Program of u, u_x and u_xx."""
    time = f"{problem.outputs[0]}_{problem.inputs[-1]}"
    names = dict(zip((problem.outputs[0], *(f"{problem.outputs[0]}_{'x' * k}" for k in (1, 2))), TERMS, strict=True))
    if len(problem.inputs) != 2 or len(problem.outputs) != 1 or not {*problem.terms} <= {*names, time}:
        raise ProblemError(
            f"{problem.name} has the terms {', '.join(problem.terms)}; expected: one equation of u, u_x, u_xx and u_t"
        )
    builder = Builder([Var(name, 1) for name in TERMS])
    given = [0.0 if term == time else Symbol(Var(names[term], 1), builder) for term in problem.terms]
    (residual,) = problem.residual(*given)
    return simplify(builder.program(problem.name, {"slope": (-residual).var}))
