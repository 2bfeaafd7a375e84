"""Correct a deployed network by a classical scheme that its own residual drives, with the bundle and SciPy alone.

    kdpinn-edge export burgers --residual --out burgers
    python examples/hybrid.py burgers

The network w misses the solution u of Burgers' equation by e = u − w. Put into u_t + u u_x = ν u_xx, this says

    e_t + (w e + e²/2)_x = ν e_xx − r,    r = w_t + w w_x − ν w_xx

where r is the residual that the library computes. With w = r = 0 it is Burgers' equation itself, so that one scheme
solves both, on the same grid: for u alone, and for e. `--help` lists the columns of the two tables that it prints.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from math import pi
from time import process_time
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_banded

from kdpinn_edge.display import table_text
from kdpinn_edge.errors import KdpinnError
from kdpinn_edge.problems import problem
from kdpinn_edge.problems.burgers import NU
from kdpinn_edge.runtime import load
from kdpinn_edge.runtime.engine import Engine

Array = NDArray[np.float64]
Result = TypeVar("Result")

BURGERS = problem("burgers")
CELLS = (64, 128, 256, 512, 1024, 2048)
"""Powers of two: x and t of every node are exact in float32."""
TIMES = 32
"""Errors are measured at so many equal steps in time, on every grid."""
NEWTON_ENDS = 1e-10
"""The size of the last Newton step, in units of u."""
NEWTON_AT_MOST = 20
RESOLVED = 0.5
"""Below this part of the residual that the grid misses, the correction is to be trusted."""
COLUMNS = """\
Relative L2 errors, against the exact solution at the nodes and 33 times:
  network   w alone
  scheme    the solution by the scheme alone
  hybrid    w + e, with e by the same scheme on the same grid
  spectral  Fourier modes, as many as cells, with Runge-Kutta of order 4 in twice as many time steps
  missed    the part of the residual that the grid does not see: its relative L2 difference at the centres of cells from
            the mean of the four corners. It needs no exact solution.
  trust     yes, where less than half is missed; elsewhere, take the network alone
  hybrid is  better, or harmful: at least as wrong as the network alone
CPU time of one run, in ms; the hybrid's includes network and residual. Newton steps are those per time step."""


@dataclass(frozen=True)
class Grid:
    """Equal cells on −1 ≤ x ≤ 1, and half as many steps from t = 0 to 1: dx and dt are equal."""

    cells: int

    @property
    def x(self) -> Array:
        """All nodes, (cells + 1,)."""
        return np.linspace(-1, 1, self.cells + 1)

    @property
    def t(self) -> Array:
        """All times, (cells / 2 + 1,)."""
        return np.linspace(0, 1, self.cells // 2 + 1)


@dataclass(frozen=True)
class Solution:
    """u at all times and nodes (len(t), len(x)), and the Newton steps that a time step took."""

    u: Array
    newton_steps: float


@dataclass(frozen=True)
class Comparison:
    """One row of the tables: relative L2 errors, the part of the residual that is missed, CPU seconds, Newton steps."""

    cells: int
    errors: dict[str, float]
    missed: float
    seconds: dict[str, float]
    newton_steps: dict[str, float]

    @property
    def is_trusted(self) -> bool:
        """Whether the grid resolves the residual; no exact solution is needed to say so."""
        return self.missed < RESOLVED

    @property
    def harms(self) -> bool:
        """Whether the hybrid is at least as wrong as the network alone, by the exact solution."""
        return self.errors["hybrid"] >= self.errors["network"]


def tabulated(function: Callable[[Array], Array], x: Array, t: Array) -> Array:
    """`function` of points (n, 2) at all t and x: a table (len(t), len(x))."""
    points = np.stack(np.broadcast_arrays(x, t[:, None]), axis=-1).reshape(-1, 2)
    return np.asarray(function(points), np.float64).reshape(len(t), len(x))


def solve(start: Array, w: Array, r: Array, guess: Array | None = None) -> Solution:
    """e from e(x, 0) = start, with e = 0 at the walls; w, r and e are tables (times, nodes).

    Central differences and the trapezoidal rule, both of order 2; each time step is solved by Newton's method, which
    begins at `guess`, or else at the time step before.
    """
    dx, dt = 2 / (w.shape[1] - 1), 1 / (len(w) - 1)
    e = np.zeros_like(w)
    e[0] = start
    newton_steps = 0
    for k in range(1, len(w)):
        known = e[k - 1, 1:-1] + dt / 2 * _rate(e[k - 1], w[k - 1], r[k - 1], dx)
        e[k, 1:-1] = (e[k - 1] if guess is None else guess[k])[1:-1]
        for _ in range(NEWTON_AT_MOST):
            too_little = known + dt / 2 * _rate(e[k], w[k], r[k], dx) - e[k, 1:-1]
            step = solve_banded((1, 1), _jacobian(w[k] + e[k], dx, dt), too_little)
            e[k, 1:-1] += step
            newton_steps += 1
            if np.abs(step).max() < NEWTON_ENDS:
                break
        else:
            raise ArithmeticError(f"Newton's method did not end at time step {k}; expected: a finer grid")
    return Solution(e, newton_steps / (len(w) - 1))


def _rate(e: Array, w: Array, r: Array, dx: float) -> Array:
    """e_t at the inner nodes."""
    flux = (w + e / 2) * e
    rate: Array = (flux[:-2] - flux[2:]) / (2 * dx) + NU * (e[2:] - 2 * e[1:-1] + e[:-2]) / dx**2 - r[1:-1]
    return rate


def _jacobian(u: Array, dx: float, dt: float) -> Array:
    """The three diagonals of 1 − dt/2 · the derivative of `_rate` by e, where u = w + e."""
    flow, diffusion = dt / (4 * dx) * u, dt * NU / (2 * dx**2)
    bands = np.zeros((3, len(u) - 2))
    bands[0, 1:] = flow[2:-1] - diffusion
    bands[1] = 1 + 2 * diffusion
    bands[2, :-1] = -flow[1:-2] - diffusion
    return bands


def spectral(grid: Grid) -> Array:
    """u at the nodes and times of the grid by Fourier modes, as many as cells; diffusion is integrated exactly."""
    k = pi * np.arange(grid.cells // 2 + 1)
    dt = 1 / grid.cells
    half = np.exp(-NU * k**2 * dt / 2)

    def rate(v: NDArray[np.complex128]) -> NDArray[np.complex128]:
        product: NDArray[np.complex128] = -0.5j * k * np.fft.rfft(np.fft.irfft(v, grid.cells) ** 2)
        return product

    v = np.fft.rfft(-np.sin(pi * grid.x[:-1]))
    modes = [v]
    for step in range(1, grid.cells + 1):
        a = rate(v)
        b = rate(half * (v + dt / 2 * a))
        c = rate(half * v + dt / 2 * b)
        d = rate(half * (half * v + dt * c))
        v = half**2 * (v + dt / 6 * a) + dt / 3 * half * (b + c) + dt / 6 * d
        if step % 2 == 0:
            modes.append(v)
    u = np.fft.irfft(np.array(modes), grid.cells)
    return np.hstack([u, u[:, :1]])


@cache
def exact_values(cells: int) -> Array:
    """The exact solution at TIMES + 1 times and all nodes of the grid."""
    return tabulated(BURGERS.reference, Grid(cells).x, np.linspace(0, 1, TIMES + 1))


def missed(residual: Callable[[Array], Array], grid: Grid, r: Array) -> float:
    """The part of the residual that the grid does not see, where r is the residual at its nodes."""
    x, t = (np.convolve(side, [0.5, 0.5], "valid") for side in (grid.x, grid.t))
    there = tabulated(residual, x, t)
    mean = (r[1:, 1:] + r[1:, :-1] + r[:-1, 1:] + r[:-1, :-1]) / 4
    return float(np.linalg.norm(there - mean) / np.linalg.norm(there))


def compare(engine: Engine, cells: int) -> Comparison:
    """Network, scheme, hybrid and spectral solver on one grid. `engine` is Burgers' with its residual."""
    grid = Grid(cells)

    def network(points: Array) -> Array:
        return engine(points.astype(engine.dtype))

    def residual(points: Array) -> Array:
        return engine.residual(points.astype(engine.dtype))

    w, w_seconds = _timed(partial(tabulated, network, grid.x, grid.t))
    r, r_seconds = _timed(partial(tabulated, residual, grid.x, grid.t))
    start, nothing = -np.sin(pi * grid.x), np.zeros_like(w)
    scheme, scheme_seconds = _timed(partial(solve, start, nothing, nothing))
    from_network = solve(start, nothing, nothing, guess=w)
    e, e_seconds = _timed(partial(solve, start - w[0], w, r))
    modes, modes_seconds = _timed(partial(spectral, grid))
    every, exact = slice(None, None, (len(grid.t) - 1) // TIMES), exact_values(cells)
    found = {"network": w, "scheme": scheme.u, "hybrid": w + e.u, "spectral": modes}
    return Comparison(
        cells,
        {name: float(np.linalg.norm(u[every] - exact) / np.linalg.norm(exact)) for name, u in found.items()},
        missed(residual, grid, r),
        {
            "network": w_seconds,
            "scheme": scheme_seconds,
            "hybrid": w_seconds + r_seconds + e_seconds,
            "spectral": modes_seconds,
        },
        {"scheme": scheme.newton_steps, "from the network": from_network.newton_steps, "hybrid": e.newton_steps},
    )


def tables(rows: Sequence[Comparison]) -> str:
    """Both tables as text: the errors on each grid, and what they cost."""
    errors = [
        (
            str(row.cells),
            *(f"{error:.1e}" for error in row.errors.values()),
            f"{row.missed:.2f}",
            "yes" if row.is_trusted else "no",
            "harmful" if row.harms else "better",
        )
        for row in rows
    ]
    costs = [
        (
            str(row.cells),
            *(f"{seconds * 1e3:.1f}" for seconds in row.seconds.values()),
            *(f"{steps:.2f}" for steps in row.newton_steps.values()),
        )
        for row in rows
    ]
    steps = (f"Newton: {name}" for name in rows[0].newton_steps)
    return "\n\n".join(
        (
            table_text("Relative L2 error", ("cells", *rows[0].errors, "missed", "trust", "hybrid is"), errors),
            table_text("CPU time, ms, and Newton steps", ("cells", *rows[0].seconds, *steps), costs),
        )
    )


def _timed(call: Callable[[], Result]) -> tuple[Result, float]:
    """What `call` returns, and its seconds of CPU time."""
    began = process_time()
    result = call()
    return result, process_time() - began


def main() -> None:
    """Compare on each grid, and print errors and costs."""
    options = argparse.ArgumentParser(
        description="Correct a network of Burgers' equation by a classical scheme.",
        epilog=COLUMNS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("bundle", help="a model of burgers, exported with --residual")
    options.add_argument("--cells", type=int, nargs="+", default=CELLS, help="of each grid, a multiple of 64")
    given = options.parse_args()
    if any(cells < 2 * TIMES or cells % (2 * TIMES) for cells in given.cells):
        options.error(f"--cells {' '.join(map(str, given.cells))}; expected: multiples of {2 * TIMES}")
    try:
        engine = load(given.bundle)
        if engine.manifest.equation != BURGERS.equation:
            options.error(f"{given.bundle} is of {engine.manifest.equation}; expected: a model of {BURGERS.equation}")
        rows = [compare(engine, cells) for cells in given.cells]
    except KdpinnError as error:
        options.error(str(error))
    print(tables(rows))


if __name__ == "__main__":
    main()
