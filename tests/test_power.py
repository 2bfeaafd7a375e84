"""Powers with constant exponents: a family of functions, each known by a name such as power(1.5)."""

from __future__ import annotations

import mpmath
import numpy as np
import onnxruntime
import pytest
import torch
from compiled import ALWAYS_POINT, ALWAYS_POINTS, RUNNABLE, Library, kernel

from kdpinn_edge.bundle.manifest import Precision
from kdpinn_edge.derive.derivatives import derivatives
from kdpinn_edge.errors import ProgramError
from kdpinn_edge.export.onnx_model import from_onnx, to_onnx
from kdpinn_edge.export.targets.table import TARGETS
from kdpinn_edge.functions import find_function
from kdpinn_edge.functions.power import power_name
from kdpinn_edge.numerics import lanes
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.program.file import read_program, write_program
from kdpinn_edge.program.interp import interpret
from kdpinn_edge.program.ir import Concat, Map, Program, Var
from kdpinn_edge.program.verify import verify

EXPONENTS = (1.5, 2.5, -1.5, -0.5, 7.0, -3.0, 100.0, 0.3, 1.4, -2.2, 12.75, 1 / 3, 1e-05)
X = Var("x", 1)


def raised(*exponents: float) -> Program:
    ops = [Map(Var(f"y{i}", 1), X, power_name(exponent)) for i, exponent in enumerate(exponents)]
    u = Var("u", len(ops))
    return verify(Program("raised", (X,), (u,), (*ops, Concat(u, tuple(op.out for op in ops)))))


@pytest.mark.parametrize("profile", ["fma-2", "muladd-1"])
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("exponent", EXPONENTS)
def test_error(exponent: float, precision: Precision, profile: str) -> None:
    computation = find_function(power_name(exponent)).accurate
    rng = np.random.default_rng(0)
    widest = min(30 / abs(exponent), 30)
    x = np.concatenate([rng.uniform(0.4, 2.4, 300), 10 ** rng.uniform(-widest, widest, 300)]).astype(precision)
    with lanes.profile(profile), np.errstate(all="ignore"):
        y = computation.lanes(x)
    with mpmath.workprec(200):
        exact = [mpmath.mpf(float(v)) ** mpmath.mpf(float(np.asarray(exponent, precision))) for v in x]
        error = np.array([float(abs(mpmath.mpf(float(a)) - b)) for a, b in zip(y, exact, strict=True)])
    unit = np.spacing(np.abs(np.array(exact, np.float64)).astype(precision)).astype(np.float64)
    assert (error / unit).max() <= computation.max_ulp[precision]


def test_what_is_not_positive() -> None:
    x = np.array([0.0, -2.0, np.inf, np.nan])
    for exponent in EXPONENTS:
        with np.errstate(all="ignore"):
            expected = np.power(x, exponent)
            np.testing.assert_allclose(find_function(power_name(exponent)).accurate.lanes(x), expected, rtol=1e-13)


@pytest.mark.parametrize("exponent", [1.5, 2.5, 3.5, 1.4, -1.5, 7.0])
def test_derivatives_are_those_of_torch_at_zero_too(exponent: float) -> None:
    program = derivatives(raised(exponent), ["u", "u_x", "u_xx"])
    x = torch.tensor([0.0, 0.25, 3.0], dtype=torch.float64, requires_grad=True)
    u = x**exponent
    (u_x,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    (u_xx,) = torch.autograd.grad(u_x.sum(), x)
    expected = torch.stack([u, u_x, u_xx], 1).detach().numpy()
    finite = np.isfinite(expected)
    found = interpret(program, x.detach().numpy()[:, None])
    np.testing.assert_allclose(found[finite], expected[finite], rtol=1e-13)
    assert not np.isfinite(found[~finite]).any()


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_library_and_onnx(precision: Precision) -> None:
    program = raised(*EXPONENTS)
    x = np.random.default_rng(0).uniform(0.5, 2, (37, 1)).astype(precision)
    for crossover in (ALWAYS_POINTS, ALWAYS_POINT):
        library = Library(program, precision, RUNNABLE[-1], crossover)
        np.testing.assert_array_equal(library(x), NumpyProgram(program, precision, RUNNABLE[-1].profile)(x))
    model = to_onnx(program, precision)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": x})
    np.testing.assert_allclose(y, interpret(program, x), rtol=1e-4 if precision == "float32" else 1e-12)
    if precision == "float64":
        assert from_onnx(model) == program


def test_the_printed_kernel_names_the_exponent() -> None:
    text = kernel({"eval": raised(1.5, 0.3)}, "float32", TARGETS["c99"], 0).code
    assert "power(x, e0)" in text
    assert "e1 = 0.3" in text


def test_a_file_keeps_the_name(tmp_path: object) -> None:
    program, path = raised(-2.2), f"{tmp_path}/p.npz"
    write_program(program, path)
    assert read_program(path) == program


@pytest.mark.parametrize("exponent", [0.0, 1.0, 0.5, -1.0, 1001.0, float("nan"), float("inf")])
def test_exponents_without_a_name(exponent: float) -> None:
    with pytest.raises(ProgramError, match="a power with the exponent"):
        power_name(exponent)


@pytest.mark.parametrize(
    "name", ["power(2)", "power(1.50)", "power(nan)", "power(1e5)", "power(0.5)", "power(--1)", "power()"]
)
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(ProgramError, match=r"is unknown; expected: tanh, .*, or as in power\(1.5\)"):
        find_function(name)
