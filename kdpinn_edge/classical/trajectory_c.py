"""`trajectory_source(problem, grid)`: a solver of equations in x and t, or in t alone, as C99, for all of a trajectory.

    u_t = F(u, u_x, u_xx, u_xxx, …), for one or several outputs u, on equal cells along x

Differences of order 4 in space, whose stencils go on beyond the ends of x, where the solution is mirrored or begins
anew; and the Runge-Kutta method of order 4 in time. F is traced from the problem's own residual. It is the method of
lines as textbooks have it, for problems whose residual has every u_t with a constant factor.

One function behind the interface of kdpinn_edge.h: a "point" is the factor of the initial values, 1 for the problem's
own, and its values are the outputs at all nodes and all saved times but the first, time by time and node by node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from kdpinn_edge.bundle.manifest import Precision
from kdpinn_edge.classical.coordinates import coordinates
from kdpinn_edge.classical.formula_c import SCALARS, statements
from kdpinn_edge.derive.residual import Symbol
from kdpinn_edge.errors import ProblemError
from kdpinn_edge.problems import Array, Period, Problem
from kdpinn_edge.program.builder import Builder
from kdpinn_edge.program.ir import Program, Var
from kdpinn_edge.program.simplify import simplify

UNIT = """#include <math.h>

typedef {type} T;

enum {{ OUTPUTS = {outputs}, CELLS = {cells}, SAVED = {saved}, STEPS = {steps}, GHOSTS = {ghosts} }};
enum {{ FIRST = GHOSTS, LAST = GHOSTS + CELLS, WIDTH = CELLS + 1 + 2 * GHOSTS, SIZE = OUTPUTS * WIDTH }};
static const T initial[CELLS + 1][OUTPUTS] = {{{initial}}};

/* rate = F(u); the nodes beyond the ends are made first */
static void slope(T *restrict u, T *restrict rate) {{
    for (int k = 1; k <= GHOSTS; k++) {{
{beyond}
    }}
    for (int i = FIRST; i <= LAST; i++) {{
{body}
    }}
}}

static void step(T *restrict u) {{
    static const T at[4] = {{0, {half}, {half}, 1}}, weight[4] = {{{sixth}, {third}, {third}, {sixth}}};
    T stage[SIZE], rate[SIZE] = {{0}}, sum[SIZE] = {{0}};
    for (int k = 0; k < 4; k++) {{
        for (int i = 0; i < SIZE; i++)
            stage[i] = u[i] + {dt} * at[k] * rate[i];
        slope(stage, rate);
        for (int i = 0; i < SIZE; i++)
            sum[i] += weight[k] * rate[i];
    }}
    for (int i = 0; i < SIZE; i++)
        u[i] += {dt} * sum[i];
}}

static int32_t eval(const T *restrict x, T *restrict y, int64_t n) {{
    for (int64_t k = 0; k < n; k++) {{
        T u[SIZE] = {{0}};
        for (int i = FIRST; i <= LAST; i++)
            for (int q = 0; q < OUTPUTS; q++)
                u[q * WIDTH + i] = x[k] * initial[i - FIRST][q];
        for (int saved = 0; saved < SAVED; saved++) {{
            for (int s = 0; s < STEPS; s++)
                step(u);
            for (int i = FIRST; i <= LAST; i++)
                for (int q = 0; q < OUTPUTS; q++)
                    *y++ = u[q * WIDTH + i];
        }}
    }}
    return 0;
}}
"""
STENCILS = ((1,), 1), ((0, 8, -1), 12), ((-30, 16, -1), 12), ((0, -13, 8, -1), 8)
"""Of the derivative of each order the weights of a node and of its neighbours to the right, and what to divide by.

Those to the left have the same weights, or for an odd order the opposite ones; a cell has length 1.
"""


@dataclass(frozen=True)
class Grid:
    """`cells` along x, 0 where there is no x; the outputs are saved `saved` times, at equal distances up to the end,
    each after `steps`."""

    cells: int
    saved: int
    steps: int


def trajectory_source(problem: Problem, grid: Grid, precision: Precision) -> str:
    """The C of the solver. Raises ProblemError for equations that are not of its form."""
    scalar, suffix = SCALARS[precision]
    program = _rates(problem)
    start = problem.reference(nodes(problem, grid)[: grid.cells + 1])

    def number(value: float) -> str:
        return f"{np.dtype(precision).type(value)!s}{suffix}"

    lines = [*_terms(problem, program, grid, number), *statements(program, precision)]
    lines += (f"rate[{q} * WIDTH + i] = {var.name}_;" for q, var in enumerate(program.outputs))
    return UNIT.format(
        type=scalar,
        outputs=len(problem.outputs),
        cells=grid.cells,
        saved=grid.saved,
        steps=grid.steps,
        ghosts=len(STENCILS) - 1 if len(problem.inputs) > 1 else 0,
        initial=", ".join(f"{{{', '.join(map(number, row))}}}" for row in start),
        beyond="\n".join(f"        {line}" for line in _beyond(problem)),
        body="\n".join(f"        {line}" for line in lines),
        half=number(0.5),
        third=number(1 / 3),
        sixth=number(1 / 6),
        dt=number((problem.upper[-1] - problem.lower[-1]) / (grid.saved * grid.steps)),
    )


def nodes(problem: Problem, grid: Grid) -> Array:
    """The points, time by time, from the initial time on: (x, t), or (t,) where there is no x."""
    space = [axis.points(np.linspace(0, 1, grid.cells + 1)) for axis in coordinates(problem, graded=False)[:-1]]
    t = np.linspace(problem.lower[-1], problem.upper[-1], grid.saved + 1)
    points: Array = np.stack(np.meshgrid(t, *space, indexing="ij"), axis=-1).reshape(-1, len(problem.inputs))[:, ::-1]
    return points


def _terms(problem: Problem, program: Program, grid: Grid, number: Callable[[float], str]) -> Iterator[str]:
    """What F is calculated from, at node i."""
    for term in (var.name for var in program.inputs):
        output, _, along = term.partition("_")
        (centre, *weights), divisor = STENCILS[len(along)]
        node = f"u[{problem.outputs.index(output)} * WIDTH + i"
        sign, first = "-" if len(along) % 2 else "+", [f"{centre} * {node}]"] if centre else []
        sums = [f"{w} * ({node} + {k}] {sign} {node} - {k}])" for k, w in enumerate(weights, 1)]
        cell = nodes(problem, grid)[1, 0] - nodes(problem, grid)[0, 0] if along else 1.0
        yield f"const T {term}_ = {number(1 / (divisor * cell ** len(along)))} * ({' + '.join(first + sums)});"


def _beyond(problem: Problem) -> Iterator[str]:
    """What makes node k beyond each end of x."""
    if len(problem.inputs) == 1:
        return
    name, (low, high) = problem.inputs[0], coordinates(problem, graded=False)[0].edges
    begins_anew = any(isinstance(fact, Period) and fact.input == name for fact in problem.known)
    for q in range(len(problem.outputs)):
        if begins_anew:
            left, right = f"u[{q} * WIDTH + LAST - k]", f"u[{q} * WIDTH + FIRST + k]"
        elif low.parities[q] and high.parities[q]:
            left = f"{low.parities[q]} * u[{q} * WIDTH + FIRST + k]"
            right = f"{high.parities[q]} * u[{q} * WIDTH + LAST - k]"
        else:
            raise ProblemError(
                f"{problem.name}: neither a period nor mirrors at both ends of {name} are known; expected: Period or "
                "Mirror"
            )
        yield f"u[{q} * WIDTH + FIRST - k] = {left};"
        yield f"u[{q} * WIDTH + LAST + k] = {right};"


def _rates(problem: Problem) -> Program:
    """F: the derivatives by t of the outputs, from those terms of the residual that are none."""
    x, rates = "".join(problem.inputs[:-1]), [f"{output}_{problem.inputs[-1]}" for output in problem.outputs]
    orders = range(1, len(STENCILS)) if x else ()
    spatial = {*problem.outputs, *(f"{output}_{x * order}" for output in problem.outputs for order in orders)}
    given = [term for term in problem.terms if term not in rates]
    if len(problem.inputs) > 2 or problem.source or not ({*given} <= spatial and {*rates} <= {*problem.terms}):
        raise ProblemError(
            f"{problem.name} has the terms {', '.join(problem.terms)}; expected: u, u_x, u_xx, u_xxx and u_t of inputs "
            "x and t, or u and u_t of t alone, and no source"
        )
    builder = Builder([Var(name, 1) for name in given])
    taken = [0.0 if term in rates else Symbol(Var(term, 1), builder) for term in problem.terms]
    rest = problem.residual(*taken)
    found = {}
    for q, row in enumerate(np.linalg.inv(_factors(problem, rates)).tolist()):
        total = sum(-share * each for share, each in zip(row, rest, strict=True) if share)
        found[f"rate_{q}"] = total.var
    return simplify(builder.program(problem.name, found))


def _factors(problem: Problem, rates: Sequence[str]) -> Array:
    """The factor of each derivative by t in each equation, a matrix. Raises ProblemError where one is no constant."""
    found = []
    for others in np.random.default_rng(0).uniform(0.5, 1.5, (2, len(problem.terms))):
        values = {term: 0.0 if term in rates else other for term, other in zip(problem.terms, others, strict=True)}
        rest = np.array(problem.residual(*values.values()))
        steeper = [np.array(problem.residual(*(values | {rate: 1.0}).values())) for rate in rates]
        found.append(np.stack([each - rest for each in steeper], axis=1))
    one, other = found
    if one.shape != (len(rates),) * 2 or not np.allclose(one, other, rtol=1e-9) or np.linalg.cond(one) > 1e6:
        raise ProblemError(
            f"{problem.name}: its equations do not say what {', '.join(rates)} are; expected: as many equations, each "
            "with constant factors of these"
        )
    factors: Array = np.round(one, 12)
    return factors
