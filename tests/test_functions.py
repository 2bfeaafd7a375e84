"""The functions of one model from Python: values, named derivatives, residual; bound, on threads, and missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from artifacts import Artifacts
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from strategies import mlp

from kdpinn_edge.bundle.manifest import FUNCTIONS, FunctionName
from kdpinn_edge.derive.derivatives import derivatives
from kdpinn_edge.errors import EngineError
from kdpinn_edge.program.interp import interpret
from kdpinn_edge.program.ir import Program
from kdpinn_edge.runtime import Engine, load
from kdpinn_edge.runtime.load import EngineName
from kdpinn_edge.runtime.onnx_engine import OnnxEngine
from kdpinn_edge.runtime.threads import TILE

Array = NDArray[Any]

ENGINES: tuple[EngineName, ...] = ("library", "onnx", "numpy")
PROGRAM = mlp(2, 8, 2, 2)
REQUESTS = ("u[1]", "u[0]_x0", "u[1]_x0_x1", "laplacian(u[0])")
LEFT = derivatives(PROGRAM, ["u[0]_x1", "u[1]_x0_x0"])
PROGRAMS: dict[FunctionName, Program] = {"eval": PROGRAM, "jet": derivatives(PROGRAM, REQUESTS), "residual": LEFT}


@pytest.fixture(scope="module")
def bundle(artifacts: Artifacts) -> Path:
    return artifacts.bundle(PROGRAM, name="net", derivatives=REQUESTS, residual=LEFT)


@pytest.fixture(scope="module")
def values_only(artifacts: Artifacts) -> Path:
    return artifacts.bundle(PROGRAM, name="net")


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, bundle: Path) -> Engine:
    name: EngineName = request.param
    return load(bundle, name)


def points(n: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).uniform(-1, 1, (n, 2)).astype(np.float32)


def evaluated(engine: Engine, function: FunctionName, x: Array, threads: int = 1) -> Array:
    """The values of any function as one array (n, n_out), by the method that is called like it."""
    match function:
        case "eval":
            return engine.eval(x, threads=threads)
        case "jet":
            return np.stack([*engine.jet(x, threads=threads).values()], axis=1)
        case "residual":
            return engine.residual(x, threads=threads)


@pytest.mark.parametrize("n", [0, 1, 200])
def test_a_jet_is_named_arrays(engine: Engine, n: int) -> None:
    x = points(n)
    jet = engine.jet(x)
    assert tuple(jet) == REQUESTS
    exact = interpret(PROGRAMS["jet"], x)
    for i, values in enumerate(jet.values()):
        assert values.shape == (n,)
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, exact[:, i], rtol=0, atol=1e-5)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_function_means_its_program(engine: Engine, function: FunctionName) -> None:
    x = points(300)
    y = evaluated(engine, function, x)
    assert y.shape == (300, PROGRAMS[function].n_out)
    np.testing.assert_allclose(y, interpret(PROGRAMS[function], x), rtol=0, atol=1e-5)
    bound = np.full_like(y, 7)
    engine.bind(x, bound, function=function)()
    assert bound.tobytes() == y.tobytes()


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("name", ["library", "numpy"])
def test_the_bits_depend_neither_on_threads_nor_on_n(bundle: Path, name: EngineName, function: FunctionName) -> None:
    engine = load(bundle, name)
    x = points(5 * TILE)
    expected = evaluated(engine, function, x)

    @settings(max_examples=30)
    @given(n=st.integers(0, 5 * TILE), threads=st.integers(1, 7))
    def same(n: int, threads: int) -> None:
        assert evaluated(engine, function, x[:n], threads).tobytes() == expected[:n].tobytes()

    same()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_nan_stays_with_its_point(engine: Engine, function: FunctionName) -> None:
    x = points(100)
    expected = evaluated(engine, function, x)
    x[41, 0] = np.nan
    y = evaluated(engine, function, x)
    assert np.isnan(y[41]).all()
    np.testing.assert_array_equal(np.delete(y, 41, axis=0), np.delete(expected, 41, axis=0))


def test_onnx_runtime_runs_every_function(bundle: Path) -> None:
    engine, x = load(bundle, "onnx"), points(50)
    assert isinstance(engine, OnnxEngine)
    for function in FUNCTIONS:
        (y,) = engine.bind_run(x, function=function)()
        np.testing.assert_array_equal(y, evaluated(engine, function, x))


def test_what_a_function_does_not_accept(engine: Engine) -> None:
    x = points(3)
    with pytest.raises(
        EngineError, match=r"y has shape \(3, 2\); expected: \(n, 4\), the columns being u\[1\], u\[0\]_x0"
    ):
        engine.bind(x, np.empty((3, 2), np.float32), function="jet")
    for call in (engine.jet, engine.residual):
        with pytest.raises(EngineError, match="x has dtype float64"):
            call(x.astype(np.float64))
        with pytest.raises(EngineError, match="threads is 0"):
            call(x, threads=0)
    with pytest.raises(EngineError, match="function 'gradient' is unknown; expected: eval, jet, residual"):
        engine.bind(x, np.empty((3, 2), np.float32), function="gradient")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ENGINES)
def test_a_function_that_was_not_exported(values_only: Path, name: EngineName) -> None:
    engine, x = load(values_only, name), points(3)
    with pytest.raises(
        EngineError, match=r"'net' has no jet: export it with --derivatives .*derivatives=\['u', 'u_x'\]"
    ):
        engine.jet(x)
    with pytest.raises(EngineError, match=r"'net' has no residual: export it with --residual, .*residual=problem\)"):
        engine.residual(x)
    with pytest.raises(EngineError, match="'net' has no jet"):
        engine.bind(x, x.copy(), function="jet")
    assert engine(x).shape == (3, 2)
