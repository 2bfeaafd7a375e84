"""A model inside PyTorch, JAX, Numba and SciPy: the bits of the engine, and its derivatives."""

from __future__ import annotations

import ctypes
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
import torch
from artifacts import Artifacts
from compiled import same_bits
from strategies import mlp, points
from torch.func import hessian, jacfwd, jacrev, vmap
from torch_program import torch_program

from kdpinn_edge import compile, load
from kdpinn_edge.errors import EngineError
from kdpinn_edge.runtime import Engine

NET = mlp(3, 12, 2, 2)
X = points(NET, 8)
SIGNATURE = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return compile(NET, derivatives=["jacobian", "hessian"], precision="float64")


@pytest.fixture(scope="module")
def valued() -> Engine:
    return compile(NET, precision="float64")


@pytest.fixture
def jax() -> Iterator[Any]:
    """JAX with numbers of 64 bits; it takes a second to import, so only these tests do."""
    import jax

    jax.config.update("jax_enable_x64", True)
    yield jax
    jax.config.update("jax_enable_x64", False)


def test_torch_has_the_bits(engine: Engine) -> None:
    x = torch.tensor(X, requires_grad=True)
    y = engine.torch()(x)
    assert same_bits(y.detach().numpy(), engine(X))
    y[:, 1].sum().backward()
    assert same_bits(x.grad.numpy(), engine.jacobian(X)[:, 1])
    every_other = torch.tensor(np.repeat(X, 2, axis=0))[::2]
    assert same_bits(engine.torch()(every_other.reshape(2, 4, 3)).numpy(), engine(X).reshape(2, 4, 2))


def test_autograd_differentiates_twice(engine: Engine) -> None:
    x = torch.tensor(X, requires_grad=True)
    assert torch.autograd.gradcheck(engine.torch(), (x,))
    assert torch.autograd.gradgradcheck(engine.torch(), (x,))


def test_torch_func_differentiates_twice(engine: Engine) -> None:
    f, x = engine.torch(), torch.tensor(X)
    assert same_bits(vmap(f, in_dims=1, out_dims=1)(x.T.contiguous()).T.numpy(), engine(X))
    assert same_bits(vmap(jacrev(f))(x).numpy(), engine.jacobian(X))
    np.testing.assert_allclose(vmap(jacrev(jacrev(f)))(x), vmap(hessian(torch_program(NET)))(x), rtol=1e-11, atol=1e-12)


def test_a_torch_loss_finds_the_point_that_gave_the_values(engine: Engine) -> None:
    f, wanted = engine.torch(), engine.torch()(torch.tensor(X[:1]))
    x = torch.tensor(X[:1] + 0.02, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [x], max_iter=80, line_search_fn="strong_wolfe", tolerance_grad=1e-14, tolerance_change=0
    )

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        error = (f(x) - wanted).square().sum()
        error.backward()
        return error

    assert loss() > 1e-6
    optimiser.step(loss)
    assert loss() < 1e-18


@pytest.mark.parametrize("differentiate", [jacfwd, hessian])
def test_forward_mode_of_torch_is_refused(engine: Engine, differentiate: Callable[..., Any]) -> None:
    with pytest.raises(EngineError, match="reverse mode and not forward"):
        differentiate(engine.torch())(torch.tensor(X[0]))


@pytest.mark.parametrize(
    ("x", "fault"),
    [
        (torch.tensor(X, dtype=torch.float32), r"float32; expected: float64.* x.to\(torch.float64\)"),
        (torch.zeros(4, 2, dtype=torch.float64), r"shape \(4, 2\); expected: \(…, 3\), the columns being x0, x1, x2"),
        (torch.zeros((), dtype=torch.float64), r"shape \(\)"),
        (torch.zeros(4, 3, dtype=torch.float64, device="meta"), "is on meta; expected: a tensor on the CPU"),
        (X, "is a ndarray; expected: a tensor"),
        (torch.tensor(X).to_sparse(), r"the layout torch.sparse_coo; expected: a dense tensor, as in x.to_dense\(\)"),
        (torch.zeros(1, 3).double().expand(2**40, 3), "points take .* GiB of new memory"),
        (torch.zeros(4, 3).double().expand(2**40, 4, 3).transpose(0, 1), "points take .* GiB of new memory"),
    ],
)
def test_what_torch_cannot_be_given(engine: Engine, x: Any, fault: str) -> None:
    with pytest.raises(EngineError, match=fault):
        engine.torch()(x)


def test_torch_takes_a_view_that_is_negated(engine: Engine) -> None:
    view = torch.complex(torch.zeros(X.shape).double(), torch.tensor(X)).conj().imag
    assert view.is_neg()
    assert same_bits(engine.torch()(view).numpy(), engine(-X))


def test_functions_of_frameworks_travel_as_the_engine_does(engine: Engine, jax: Any) -> None:
    for function, x in ((engine.torch(), torch.tensor(X)), (engine.jax(), jax.numpy.array(X))):
        assert same_bits(np.asarray(pickle.loads(pickle.dumps(function))(x)), engine(X))  # noqa: S301


def test_derivatives_that_are_not_there_are_named(engine: Engine, valued: Engine) -> None:
    x = torch.tensor(X[0])
    assert same_bits(valued.torch()(x.requires_grad_()).detach().numpy(), valued(X[:1])[0])
    with pytest.raises(EngineError, match="has no jet: export it with"):
        valued.torch()(x).sum().backward()
    with pytest.raises(EngineError, match="a third derivative of 'model'"):
        jacrev(jacrev(jacrev(engine.torch())))(x)


def test_jax_has_the_bits(jax: Any, engine: Engine) -> None:
    f, x = engine.jax(), jax.numpy.array(X)
    for called in (f, jax.jit(f), jax.vmap(f), jax.jit(jax.vmap(f))):
        assert same_bits(np.asarray(called(x)), engine(X))
    assert same_bits(np.asarray(jax.jit(jax.vmap(jax.jacrev(f)))(x)), engine.jacobian(X))
    assert f(x.reshape(2, 4, 3)).shape == (2, 4, 2)


def test_jax_differentiates_twice_in_either_mode(jax: Any, engine: Engine) -> None:
    f, x = engine.jax(), jax.numpy.array(X)
    np.testing.assert_allclose(jax.vmap(jax.jacfwd(f))(x), engine.jacobian(X), rtol=1e-15)
    for outer in (jax.jacrev, jax.jacfwd):
        np.testing.assert_allclose(jax.vmap(outer(jax.jacrev(f)))(x), engine.hessian(X), rtol=1e-15)


def test_a_loop_of_jax_calls_it(jax: Any, engine: Engine) -> None:
    f = engine.jax()

    def loss(x: Any) -> Any:
        return (f(x) ** 2).sum()

    found = jax.jit(lambda x: jax.lax.fori_loop(0, 5, lambda _, v: v - 0.1 * jax.grad(loss)(v), x))(
        jax.numpy.array(X[0])
    )
    x = X[:1].copy()
    for _ in range(5):
        x = x - 0.2 * (engine(x)[:, :, None] * engine.jacobian(x)).sum(1)
    np.testing.assert_allclose(found, x[0], rtol=1e-13)


def test_many_points_reach_jax(jax: Any, engine: Engine) -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (200_000, 3))
    assert same_bits(np.asarray(jax.jit(engine.jax())(x)), engine(x))


def test_what_jax_cannot_be_given(jax: Any, engine: Engine, valued: Engine) -> None:
    x = jax.numpy.array(X[0])
    with pytest.raises(EngineError, match=r"dtype float32; expected: float64.*jax_enable_x64"):
        engine.jax()(x.astype(jax.numpy.float32))
    with pytest.raises(EngineError, match=r"shape \(2,\); expected: \(…, 3\)"):
        jax.jit(engine.jax())(x[:2])
    with pytest.raises(EngineError, match="has no jet"):
        jax.jacrev(valued.jax())(x)
    with pytest.raises(EngineError, match="a third derivative"):
        jax.jacrev(jax.hessian(engine.jax()))(x)


def test_float32_stays_float32() -> None:
    import jax

    engine = compile(NET, derivatives=["jacobian"])
    x = X.astype(np.float32)
    assert same_bits(engine.torch()(torch.tensor(x)).numpy(), engine(x))
    assert same_bits(np.asarray(engine.jax()(jax.numpy.array(x))), engine(x))


def test_an_address_is_that_of_the_c_function(engine: Engine, artifacts: Artifacts) -> None:
    library = load(artifacts.bundle(NET, name="net", derivatives=["jacobian"], precision="float64"))
    for each, function in ((engine, "jet"), (library, "eval")):
        y = np.empty((len(X), each.manifest.functions[function].n_out))
        assert SIGNATURE(each.address(function))(X.ctypes.data, y.ctypes.data, len(X)) == 0
        assert same_bits(y, np.stack([*each.jet(X).values()], axis=1) if function == "jet" else each(X))
    with pytest.raises(EngineError, match="NumpyEngine has no machine code"):
        load(artifacts.bundle(NET, name="net", derivatives=["jacobian"], precision="float64"), "numpy").address()
    with pytest.raises(EngineError, match="has no residual"):
        engine.address("residual")


def test_numba_and_scipy_call_it(engine: Engine) -> None:
    from scipy import LowLevelCallable
    from scipy.integrate import quad

    evaluate = SIGNATURE(engine.address())

    @numba.cfunc("double(intc, CPointer(double))")
    def first_output(n: Any, x: Any) -> Any:
        y = np.empty(2)
        evaluate(numba.carray(x, (3,)).ctypes, y.ctypes, 1)
        return y[0]

    found, _ = quad(LowLevelCallable(first_output.ctypes), -1, 1, args=(0.5, 0.25))
    expected, _ = quad(lambda x: engine(np.array([[x, 0.5, 0.25]]))[0, 0], -1, 1)
    assert found == expected


def test_nothing_is_imported_before_it_is_asked_for(artifacts: Artifacts) -> None:
    bundle: Path = artifacts.bundle(NET, name="net", derivatives=["jacobian"], precision="float64")
    program = (
        "import sys\nfrom kdpinn_edge.runtime import load\n"
        f"engine = load({str(bundle)!r})\nengine.address()\n"
        "assert not {'torch', 'jax', 'casadi', 'numba'} & set(sys.modules)\n"
        "engine.jax()\nassert 'jax' in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
