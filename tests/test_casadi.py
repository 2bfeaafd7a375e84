"""A model inside CasADi: bits, derivatives, sparsity, and what is refused."""

from __future__ import annotations

import ctypes
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import casadi as ca
import numpy as np
import pytest
from artifacts import Artifacts
from compiled import same_bits
from conftest import Need
from elftools.elf.elffile import ELFFile
from scripts import script
from strategies import mlp, points

from kdpinn_edge import compile, export_bundle, load
from kdpinn_edge.errors import EngineError, ExportError
from kdpinn_edge.export.artifacts.casadi_files import REQUESTS, casadi_advice
from kdpinn_edge.export.preparation import prepare
from kdpinn_edge.program.builder import Builder
from kdpinn_edge.program.ir import Program, Var
from kdpinn_edge.runtime import Engine

STRICT = ("-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Wshadow", "-Wconversion")


def half_linear() -> Program:
    """From x, v, f to a linear output, one that does not read f, and one that reads everything."""
    rng = np.random.default_rng(0)
    x, v, f = inputs = Var("x", 1), Var("v", 1), Var("f", 1)
    builder = Builder(inputs, reserved=["a", "b", "c"])

    def layer(*read: Var) -> Var:
        hidden = builder.affine(builder.concat(read), rng.normal(0, 1, (6, len(read))), rng.normal(0, 0.1, 6))
        return builder.affine(builder.map(hidden, "tanh"), rng.normal(0, 1, (1, 6)), [0.1])

    linear = builder.add(x, builder.scale(v, [0.05], [0.0]))
    return builder.program("half_linear", {"a": linear, "b": layer(x, v), "c": layer(x, v, f)})


NET = half_linear()
X = points(NET, 6)


@pytest.fixture(scope="module")
def bundle(artifacts: Artifacts) -> Path:
    return artifacts.bundle(NET, name="half", precision="float64", casadi=True)


@pytest.fixture(scope="module")
def engine(bundle: Path) -> Engine:
    return load(bundle)


@pytest.fixture(scope="module")
def function(engine: Engine) -> ca.Function:
    return engine.casadi()


def test_it_has_the_bits_of_the_engine_and_of_its_jet(engine: Engine, function: ca.Function) -> None:
    first, second = function.jacobian(), function.jacobian().jacobian()
    for x in X:
        assert same_bits(np.array(function(x)).T, engine(x[None]))
        assert same_bits(np.array(first(x, 0)), engine.jacobian(x[None])[0])
        by_column = engine.hessian(x[None])[0].transpose(1, 0, 2).reshape(9, 3)
        assert same_bits(np.array(second(x, 0, 0)[0]), by_column)


def test_all_is_called_by_name_and_zeros_are_left_out(function: ca.Function) -> None:
    first, second = function.jacobian(), function.jacobian().jacobian()
    assert [each.class_name() for each in (function, first, second)] == ["External"] * 3
    assert (function.name_in(), function.name_out()) == (["x"], ["y"])
    assert first.name_in() == ["x", "out_y"]
    assert second.name_out() == ["jac_jac_y_x_x", "jac_jac_y_x_out_y"]
    assert [first.sparsity_out(0).has_nz(*at) for at in ((0, 0), (0, 1), (0, 2), (1, 2), (2, 2))] == [1, 1, 0, 0, 1]
    assert second.sparsity_out(0).nnz() == 4 + 9
    x = ca.MX.sym("x", 3)
    assert ca.jacobian(function(x), x).nnz() == 2 + 2 + 3


def test_ipopt_uses_the_exact_hessian(engine: Engine, function: ca.Function) -> None:
    x = ca.MX.sym("x", 3)
    y = function(x)
    problem = {"x": x, "f": y[1] ** 2 + ca.exp(y[2]) + 0.1 * ca.sumsqr(x), "g": y[0]}
    solver = ca.nlpsol("solver", "ipopt", problem, {"print_time": False, "ipopt": {"print_level": 0, "sb": "yes"}})
    found = solver(x0=[0.3, -0.2, 0.1], lbg=0.1, ubg=0.1)
    assert solver.stats()["success"]
    assert solver.stats()["n_call_nlp_hess_l"] > 1
    at = np.array(found["x"]).T
    value, slope, curvature = engine(at)[0], engine.jacobian(at)[0], engine.hessian(at)[0]
    gradient = 2 * value[1] * slope[1] + np.exp(value[2]) * slope[2] + 0.2 * at[0] + float(found["lam_g"]) * slope[0]
    np.testing.assert_allclose(gradient, 0, atol=1e-7)  # the tolerance of IPOPT is 1e-8
    hessian = ca.Function("hessian", [x], [ca.hessian(problem["f"], x)[0]])
    rows = [2 * np.outer(slope[1], slope[1]) + 2 * value[1] * curvature[1], np.exp(value[2]) * curvature[2]]
    expected = sum(rows) + np.exp(value[2]) * np.outer(slope[2], slope[2]) + 0.2 * np.eye(3)
    np.testing.assert_allclose(np.array(hessian(at[0])), expected, rtol=1e-12)


def test_threads_share_it(engine: Engine, function: ca.Function) -> None:
    many = np.random.default_rng(1).uniform(-1, 1, (3000, 3))
    assert same_bits(np.array(function.map(3000, "thread", 4)(many.T)).T.copy(), engine(many))


def test_it_outlives_its_engine_and_its_file(bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    f = pickle.loads(pickle.dumps(load(copy))).casadi()  # noqa: S301
    shutil.rmtree(copy)
    other = load(bundle).casadi()
    assert same_bits(np.array(f.jacobian()(X[0], 0)), np.array(other.jacobian()(X[0], 0)))


def test_the_library_shows_its_own_functions_and_needs_nothing(bundle: Path) -> None:
    with (bundle / "libhalf_casadi.so").open("rb") as file:
        elf = ELFFile(file)
        shown = {s.name for s in elf.get_section_by_name(".dynsym").iter_symbols() if s["st_shndx"] != "SHN_UNDEF"}
        needed = [tag.needed for tag in elf.get_section_by_name(".dynamic").iter_tags("DT_NEEDED")]
    assert needed == []
    assert {name.removeprefix("jac_").removeprefix("jac_").removeprefix("half_cas") for name in shown} == {
        *("", "_n_in", "_n_out", "_name_in", "_name_out", "_sparsity_in", "_sparsity_out", "_work"),
        *("_incref", "_decref", "_checkout", "_release"),
    }
    assert ca.external("half_cas", str(bundle / "libhalf_casadi.so"))(X[0]).shape == (3, 1)


@pytest.mark.parametrize("target", [pytest.param("native", marks=pytest.mark.proof), "x86-64"])
def test_no_function_of_a_plain_library_is_taken_for_one_of_casadi(artifacts: Artifacts, target: str) -> None:
    folder = artifacts.bundle(mlp(3, 6, 1, 1), name="net", target=target, per_call=["x2"], derivatives=["jacobian"])
    with (folder / "libnet.so").open("rb") as file:
        shown = [s.name for s in ELFFile(file).get_section_by_name(".dynsym").iter_symbols() if s.name]
    functions = [name for name in shown if not name.endswith("_work") and name.startswith("net_")]
    assert {"net_eval", "net_jet_for", "net_outside", "net_selftest", "net_model"} < set(functions)
    for name in ("net", *functions):
        with pytest.raises(RuntimeError, match=r'"work" failed|Could not find any function'):
            ca.external(name, str(folder / "libnet.so"))


def test_no_argument_is_zero_and_no_result_is_none(bundle: Path, engine: Engine) -> None:
    library, y = ctypes.CDLL(str(bundle / "libhalf_casadi.so")), np.empty(3)
    nothing, results = (ctypes.c_void_p * 1)(None), (ctypes.c_void_p * 1)(y.ctypes.data)
    assert library.half_cas(nothing, nothing, None, None, 0) == 0
    assert library.half_cas(nothing, results, None, None, 0) == 0
    assert same_bits(y[None], engine(np.zeros((1, 3))))


def test_a_model_in_float32_is_converted(artifacts: Artifacts) -> None:
    engine = load(artifacts.bundle(NET, name="half", casadi=True))
    f, x = engine.casadi(), X.astype(np.float32)
    for each in x:
        assert same_bits(np.array(f(each)).T, engine(each[None]).astype(np.float64))
        assert same_bits(np.array(f.jacobian()(each, 0)), engine.jacobian(each[None])[0].astype(np.float64))


def test_a_jacobian_alone_serves_without_a_second_derivative(artifacts: Artifacts) -> None:
    net = mlp(2, 6, 1, 1)
    f = load(artifacts.bundle(net, name="net", derivatives=["u", "u_x1", "u_x0"], casadi=True)).casadi()
    x = ca.MX.sym("x", 2)
    assert ca.Function("g", [x], [ca.gradient(f(x), x)])([0.1, 0.2]).shape == (2, 1)
    with pytest.raises(RuntimeError, match="jac_net_cas"):
        ca.hessian(f(x), x)


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (
            {"derivatives": ["a", "b_x"]},
            "CasADi needs the Jacobian, and the derivatives lack a_x, a_v, a_f, b_v, b_f, ",
        ),
        ({"target": "wasm"}, "wasm has no functions for CasADi; expected: a target that C links with"),
    ],
)
def test_what_casadi_cannot_have_is_refused(arguments: dict[str, object], fault: str, tmp_path: Path) -> None:
    said: list[str] = []
    with pytest.raises(ExportError, match=fault):
        export_bundle(NET, tmp_path / "out", name="half", casadi=True, report=said.append, **arguments)
    assert not said
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(("requests", "found"), [(["jacobian"], None), (REQUESTS, "210 second derivatives are")])
def test_a_large_hessian_is_announced_with_what_leaves_it_out(requests: Sequence[str], found: str | None) -> None:
    interface = prepare(mlp(20, 2, 1, 1), name="net", derivatives=requests).interface
    advice = casadi_advice(interface)
    assert advice is None if found is None else found in str(advice) and "--derivatives jacobian" in str(advice)


def test_an_engine_without_it_says_how_to_get_it(artifacts: Artifacts) -> None:
    plain = artifacts.bundle(mlp(2, 6, 1, 1), name="net", derivatives=["u", "u_x1", "u_x0"])
    for engine in (load(plain), load(plain, "numpy"), compile(NET)):
        with pytest.raises(EngineError, match="has no library for CasADi; expected: load"):
            engine.casadi()


def test_the_source_compiles_strictly_for_any_target(artifacts: Artifacts, tmp_path: Path, need: Need) -> None:
    c99 = artifacts.bundle(NET, name="half", precision="float64", target="c99", casadi=True)
    assert not [*c99.glob("*.so")]
    flags = [*STRICT, "-O2", "-fPIC", f"-I{c99}", "-mfma"]
    build = [need("cc"), "-std=c99", "-shared", *flags, c99 / "half_casadi.c", c99 / "half.c", "-lm", "-o", "half.so"]
    subprocess.run(build, cwd=tmp_path, check=True)
    f = ca.external("half_cas", str(tmp_path / "half.so"))
    assert same_bits(np.array(f(X[0])).T, compile(NET, precision="float64")(X[:1]))
    subprocess.run([need("c++"), "-x", "c++", "-c", *flags, c99 / "half_casadi.c"], cwd=tmp_path, check=True)


def test_it_is_called_by_the_c_code_that_casadi_generates(
    bundle: Path, function: ca.Function, tmp_path: Path, need: Need
) -> None:
    """The functions that acados generates of a right side, with its options; its integers are int."""
    x, u, along, by = ca.MX.sym("x", 2), ca.MX.sym("u"), ca.MX.sym("along", 2, 2), ca.MX.sym("by", 2)
    point = ca.vertcat(x, u)
    rate = function(point)[:2]
    backward = ca.jtimes(rate, point, by, True)
    made = {
        "values": ca.Function("values", [x, u], [rate]),
        "forward": ca.Function("forward", [x, along, u], [rate, ca.jtimes(rate, x, along)]),
        "backward": ca.Function("backward", [x, by, u], [backward]),
        "second": ca.Function("second", [x, by, u], [ca.jacobian(backward, point)]),
    }
    generator = ca.CodeGenerator("model", {"casadi_int": "int"})
    for each in made.values():
        generator.add(each)
    (tmp_path / "model.c").write_text(generator.dump())
    files = ["model.c", bundle / "half_casadi.c", bundle / "libhalf.a"]
    build = [need("cc"), "-O1", "-shared", "-fPIC", "-Dcasadi_int=int", f"-I{bundle}", *files, "-o", "model.so"]
    subprocess.run(build, cwd=tmp_path, check=True)
    library = ctypes.CDLL(str(tmp_path / "model.so"))
    rng = np.random.default_rng(2)
    for name, each in made.items():
        arguments = [rng.uniform(-1, 1, each.size_in(i)) for i in range(each.n_in())]
        for found, expected in zip(called_in_c(library, each, arguments), each.call(arguments), strict=True):
            assert found == expected.nonzeros(), name


def called_in_c(library: ctypes.CDLL, function: ca.Function, arguments: list[np.ndarray]) -> list[list[float]]:
    """The entries of each result of the function of this name in `library`."""
    sizes = (ctypes.c_int * 4)()
    work = getattr(library, f"{function.name()}_work")
    assert work(*(ctypes.byref(sizes, i * ctypes.sizeof(ctypes.c_int)) for i in range(4))) == 0
    given = [(ctypes.c_double * each.size)(*each.ravel(order="F")) for each in arguments]
    results = [(ctypes.c_double * function.nnz_out(i))() for i in range(function.n_out())]
    arg, res = ((ctypes.c_void_p * n)(*map(ctypes.addressof, x)) for n, x in zip(sizes, (given, results), strict=False))
    iw, w = (ctypes.c_int * (sizes[2] + 1))(), (ctypes.c_double * (sizes[3] + 1))()
    assert getattr(library, function.name())(arg, res, iw, w, 0) == 0
    return [list(each) for each in results]


@pytest.mark.hosts
@pytest.mark.filterwarnings("ignore:The .* feature is not available")  # of do-mpc, and how it calls CasADi:
@pytest.mark.filterwarnings("ignore:\\s*casadi. a numpy function was called:FutureWarning")
def test_do_mpc_fills_the_tanks(tmp_path: Path) -> None:
    """Plans with the library are those with the network in MX; the tolerance of IPOPT is 1e-8."""
    pytest.importorskip("do_mpc")
    tanks = script("examples/tanks_do_mpc.py")
    network = tanks.trained(300)
    x = ca.MX.sym("x", 4)
    y = x
    for layer in network:
        weights = [ca.DM(each.detach().numpy()) for each in layer.parameters()]
        y = ca.mtimes(weights[0], y) + weights[1] if weights else ca.tanh(y)
    models = load(tanks.exported(network, tmp_path / "tanks")).casadi(), ca.Function("tanks", [x], [y])
    rows, beside = (tanks.closed_loop(tanks.controller(model), 30) for model in models)
    assert abs(rows[-1, 2] - tanks.LEVEL) < 0.02
    np.testing.assert_allclose(rows, beside, rtol=0, atol=1e-6)


@pytest.mark.hosts
def test_acados_fills_the_tanks(tmp_path: Path) -> None:
    """The C code that acados generates, compiles and links with the library: exact Hessians, no callback."""
    acados = Path(sys.prefix) / "acados" / "acados"
    if not acados.exists():
        pytest.skip("acados is not installed; make verify-hosts does so")
    tanks = script("examples/tanks_do_mpc.py")
    folder = tanks.exported(tanks.trained(300), tmp_path / "tanks")
    environment = {
        **os.environ,
        "ACADOS_SOURCE_DIR": str(acados / "install"),
        "ACADOS_PYTHON_INTERFACE_PATH": str(acados / "acados_template"),
        "LD_LIBRARY_PATH": str(acados / "install" / "lib"),
        "PYTHONPATH": str(acados.parent),
    }
    command = [sys.executable, Path(__file__).parent / "acados_tanks.py", folder]
    done = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
    status, level = done.stdout.splitlines()[-1].split()
    assert status == "0"
    assert abs(float(level) - tanks.LEVEL) < 0.02


@pytest.mark.hosts
def test_a_controller_makes_the_plans_of_mx() -> None:
    """The benchmark with a network that has learned less; its clock is left to the benchmark."""
    bench = script("benchmarks/bench_casadi.py")
    step = bench.trained(300)
    with TemporaryDirectory() as folder:
        engine = load(bench.exported(step, Path(folder) / "pendulum"))
    models = engine.casadi(), bench.in_mx(step), bench.Callback("step", engine)
    plans = [bench.closed_loop(bench.controller(model), 12)[0] for model in models]
    assert np.abs(plans[0]).max() > 1
    assert all(np.abs(each - plans[0]).max() <= bench.SAME for each in plans)
