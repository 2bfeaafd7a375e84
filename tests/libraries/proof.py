"""What is proved of a network of a library: its Program against itself, and the compiled code against both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import snippets
import torch
from numpy.typing import NDArray
from torch import Tensor

import kdpinn_edge
from kdpinn_edge import Program, capture, derivatives, interpret
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.program.ir import columns

PAGE = Path(__file__).parents[2] / "docs" / "bring_your_own.md"
POINTS = 129
VALUES = {torch.float64: 1e-12, torch.float32: 2e-5}
"""Largest relative difference of Program and network, by what the network calculates in; float32 rounds to 6e-8."""
DERIVATIVES = 1e-10
"""Largest relative difference of a derivative of the Program and of torch's, in float64."""
ROUNDINGS = 4
"""The manifest's error is measured at points of its own; at other ones it may be so many times as large."""

Names = Sequence[str | tuple[str, int]]
Call = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Case:
    """A network as the library has it, its columns and box, and how the library calls it for points (n, n_in).

    `derivatives` are names of one letter, as in ("u", "ux", "uxx").
    """

    model: Any
    inputs: Names
    outputs: Names
    lower: Any
    upper: Any
    call: Call
    derivatives: tuple[str, ...] = ()
    dtype: torch.dtype = torch.float64
    method: str | None = None


def prove(case: Case) -> Program:
    """Capture a network and check all that is promised of it."""
    box = (case.lower, case.upper)
    options = {} if case.method is None else {"method": case.method}
    program = capture(case.model, name="net", inputs=case.inputs, outputs=case.outputs, domain=box, **options)
    x = points(program, *box)
    check_values(program, case.call, x, case.dtype)
    check_derivatives(program, case.call, x, case.derivatives)
    check_compiled(program, *box, case.derivatives)
    return program


def points(program: Program, lower: Any, upper: Any) -> NDArray[np.float64]:
    """Points of a box."""
    return np.random.default_rng(1).uniform(lower, upper, (POINTS, program.n_in))


def check_values(program: Program, call: Call, x: NDArray[np.float64], dtype: torch.dtype = torch.float64) -> None:
    """Check the Program against the network."""
    expected = call(torch.from_numpy(x).to(dtype)).detach().double().numpy()
    found = interpret(program, x.astype(np.float32).astype(np.float64) if dtype is torch.float32 else x)
    assert expected.shape == found.shape
    assert relative(found, expected) <= VALUES[dtype]


def check_derivatives(program: Program, call: Call, x: NDArray[np.float64], requests: Sequence[str]) -> None:
    """Check derivatives of the Program against autograd's."""
    if not requests:
        return
    points = torch.from_numpy(x).requires_grad_(True)
    y = call(points)
    found = interpret(derivatives(program, list(map(request, requests))), x)
    for column, (output, *by) in enumerate(requests):
        value = y[:, columns(program.outputs).index(output)]
        for name in by:
            (gradient,) = torch.autograd.grad(value.sum(), points, create_graph=True, materialize_grads=True)
            value = gradient[:, columns(program.inputs).index(name)]
        expected = value.detach().numpy()
        assert relative(found[:, [column]], expected[:, None]) <= DERIVATIVES, (output, by)


def check_compiled(program: Program, lower: Any, upper: Any, requests: Sequence[str] = ()) -> None:
    """Check compiled code against the NumPy program, bit by bit, and against the Program within the stated error."""
    box = tuple(np.broadcast_to(np.asarray(bound, np.float64), (program.n_in,)) for bound in (lower, upper))
    jet = list(map(request, requests))
    for precision in ("float32", "float64"):
        engine = kdpinn_edge.compile(program, domain=box, derivatives=jet, precision=precision)
        x = points(program, lower, upper).astype(precision)
        found = engine(x)
        assert np.array_equal(found, NumpyProgram(program, precision)(x))
        error = abs(found - interpret(program, x.astype(np.float64))).max(axis=0)
        assert (error <= ROUNDINGS * np.array(engine.manifest.functions["eval"].errors.max_abs)).all()


def request(letters: str) -> str:
    """The name of a derivative: u_xx of uxx."""
    return f"{letters[0]}_{letters[1:]}" if letters[1:] else letters


def relative(found: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    """The largest difference in a column, relative to the largest value in it."""
    scale = np.maximum(abs(expected).max(axis=0), np.finfo(np.float64).tiny)
    return float((abs(found - expected).max(axis=0) / scale).max())


def run_snippets(section: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **given: Any) -> dict[str, Any]:
    """Run the code of a section of the page in `folder`, and return its names. `given` is the user's."""
    monkeypatch.chdir(folder)
    return snippets.run(snippets.read(PAGE, section), given)


def check_bundle(folder: Path) -> None:
    """Check that the library of a bundle returns the bits of its NumPy program, for values and jet."""
    library, reference = kdpinn_edge.load(folder), kdpinn_edge.load(folder, "numpy")
    x = np.random.default_rng(2).uniform(0.1, 0.9, (POINTS, library.manifest.n_in)).astype(np.float32)
    assert np.array_equal(library(x), reference(x))
    if "jet" in library.manifest.functions:
        found, expected = library.jet(x), reference.jet(x)
        assert all(np.array_equal(found[name], expected[name]) for name in expected)
