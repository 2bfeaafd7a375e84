"""Inputs that are constant during a call: the bits of all inputs at every point, whatever evaluates them."""

from __future__ import annotations

import ctypes
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from artifacts import Artifacts
from compiled import same_bits
from conftest import Need
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from loops_numpy import Machine as LoopMachine
from strategies import programs, wild
from test_c_source import WARNINGS
from typer.testing import CliRunner

from kdpinn_edge import check, cli, compile, load
from kdpinn_edge.bundle.manifest import FunctionName, Input, Output, Precision, read_manifest
from kdpinn_edge.derive.derivatives import derivatives
from kdpinn_edge.derive.per_call import parse_per_call, split
from kdpinn_edge.errors import BundleError, EngineError, ProgramError
from kdpinn_edge.export.bundle import export_bundle
from kdpinn_edge.export.lowering.kernel import Kernel
from kdpinn_edge.export.measure.emulator import Machine
from kdpinn_edge.export.preparation import prepare_functions
from kdpinn_edge.export.targets.table import TARGETS, Target, target
from kdpinn_edge.numerics.lanes import profile
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.program.builder import Builder
from kdpinn_edge.program.file import write_program
from kdpinn_edge.program.ir import Program, Var, columns, operands

REQUESTS = ["u", "u_x", "u_xt"]


def deeponet() -> Program:
    """A product of a branch of sensors and a trunk of x and t, which do not lie side by side, and a layer of all."""
    rng = np.random.default_rng(0)
    x, s, t, nu = Var("x", 1), Var("s", 9), Var("t", 1), Var("nu", 1)
    builder = Builder([x, s, t, nu], reserved=["u", "k"])

    def layer(v: Var, size: int) -> Var:
        weight = rng.normal(0, v.size**-0.5, (size, v.size))
        return builder.map(builder.affine(v, weight, rng.normal(0, 0.1, size)), "tanh")

    branch = layer(layer(s, 12), 12)
    trunk = layer(builder.concat([x, t]), 12)
    both = builder.mul(builder.mul(branch, trunk), layer(builder.concat([x, s, t, nu]), 12))
    u = builder.affine(both, rng.normal(0, 0.3, (1, 12)), [0.1])
    return builder.program("deeponet", {"u": u, "k": builder.map(nu, "sin")})


NET = deeponet()
FUNCTIONS = {"eval": NET, "jet": derivatives(NET, REQUESTS)}
CONSTANT = np.isin(columns(NET.inputs), columns((Var("s", 9), Var("nu", 1))))


def points(n: int, precision: Precision = "float32") -> tuple[Any, Any, Any]:
    """p, x, and all inputs at every point."""
    x = np.random.default_rng(n).uniform(-1, 1, (n, NET.n_in)).astype(precision)
    p = np.linspace(-1, 1, int(CONSTANT.sum()), dtype=precision)
    x[:, CONSTANT] = p
    return p, np.ascontiguousarray(x[:, ~CONSTANT]), x


@st.composite
def cases(draw: st.DrawFn) -> tuple[Program, list[str]]:
    """A Program, and which of its inputs are constant."""
    program = draw(programs(inputs=[Var(name, draw(st.integers(1, 3))) for name in "xyz"[: draw(st.integers(2, 3))]]))
    names = [var.name for var in program.inputs]
    return program, draw(st.lists(st.sampled_from(names), min_size=1, max_size=len(names) - 1, unique=True))


def is_constant(program: Program, names: list[str]) -> np.ndarray:
    return np.array([var.name in names for var in program.inputs for _ in range(var.size)])


@given(case=cases())
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_the_two_parts_are_the_program(case: tuple[Program, list[str]]) -> None:
    program, names = case
    constant = is_constant(program, names)
    x = wild(program, 7, "float64")
    x[:, constant] = x[0, constant]
    parts = split(program, names)
    held = np.broadcast_to(NumpyProgram(parts.constant, "float64")(x[:1, constant]), (7, parts.constant.n_out))
    y = NumpyProgram(parts.varying, "float64")(np.concatenate([held, x[:, ~constant]], axis=1))
    assert same_bits(y, NumpyProgram(program, "float64")(x))
    known = {var.name for var in parts.constant.outputs}
    for op in parts.varying.ops:
        assert not all(var.name in known for var in operands(op))


def made(functions: dict[FunctionName, Program], names: list[str], precision: Precision, chosen: Target) -> Kernel:
    inputs = tuple(map(Input, columns(functions["eval"].inputs)))
    outputs = {name: tuple(map(Output, columns(program.outputs))) for name, program in functions.items()}
    prepared = prepare_functions(
        functions,
        name="model",
        precision=precision,
        inputs=inputs,
        outputs=outputs,
        target=chosen.name,
        per_call=names,
    )
    return prepared.kernels[0]


def loops(kernel: Kernel) -> LoopMachine:
    return LoopMachine(kernel.routines, kernel.arrays)


@given(
    case=cases(),
    chosen=st.sampled_from([each for each in TARGETS.values() if not each.variants]),
    precision=st.sampled_from(["float32", "float64"]),
    n=st.sampled_from([1, 3, 70]),
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
def test_loops_and_text_of_any_target(
    case: tuple[Program, list[str]], chosen: Target, precision: Precision, n: int
) -> None:
    program, names = case
    if precision not in chosen.by_precision:
        reject()
    constant = is_constant(program, names)
    kernel = made({"eval": program}, names, precision, chosen)
    x = wild(program, n, precision)
    x[:, constant] = x[0, constant]
    expected = NumpyProgram(program, precision, chosen.profile)(x)
    arguments = x[0, constant], x[:, ~constant].ravel()
    with np.errstate(all="ignore"), profile(chosen.profile):
        for call in (loops(kernel).call, lambda name, *given: getattr(kernel.load(), f"{name}_all")(*given)):
            y = np.zeros((n, program.n_out), precision)
            assert call("eval_for", *arguments, y.reshape(-1), n) == 0
            assert same_bits(y, expected)


def test_the_self_test_replays_both_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdpinn_edge.export.golden.N_GOLDEN", 4)
    kernel = made(FUNCTIONS, ["s", "nu"], "float32", TARGETS["c99"])
    before = sum(kernel.constants[f"GOLDEN_{name}"].size for name in ("EVAL", "JET", "EVAL_FOR"))
    with np.errstate(all="ignore"):
        assert loops(kernel).call("selftest") == kernel.load().selftest() == 0
        kernel.constants["GOLDEN_JET_FOR"][1] += 1
        assert loops(kernel).call("selftest") == kernel.load().selftest() == before + 2


@pytest.fixture(scope="module")
def bundle(artifacts: Artifacts) -> Path:
    return artifacts.bundle(NET, name="deeponet", derivatives=REQUESTS, per_call=["nu", "s"])


@pytest.mark.parametrize("name", ["library", "numpy", "numba"])
def test_engines_have_both_forms(bundle: Path, name: str) -> None:
    engine = load(bundle, name)  # type: ignore[arg-type]
    for n in (0, 1, 2, 7, 64, 65, 300):
        p, x, everything = points(n)
        assert same_bits(engine.eval_for(p, x), engine.eval(everything))
        assert same_bits(engine.eval_for(p[:], x, threads=2), engine.eval(everything))
        jet, expected = engine.jet_for(p, x), engine.jet(everything)
        assert list(jet) == list(expected) == REQUESTS
        assert all(same_bits(jet[each], expected[each]) for each in REQUESTS)
    assert same_bits(engine.eval_for(np.repeat(p, 2)[::2], np.asfortranarray(x)), engine.eval(everything))


def test_a_check_holds_both_forms_to_the_bits(bundle: Path) -> None:
    found = {each.name: each for each in check(bundle)}
    assert {each.result for each in found.values()} == {"passed"}
    assert "64 of them by a call of their own" in found["jet, per call"].detail


def test_onnx_has_both_forms(bundle: Path) -> None:
    engine = load(bundle, "onnx")
    p, x, everything = points(20)
    np.testing.assert_array_equal(engine.eval_for(p, x), engine.eval(everything))


def test_a_program_compiled_in_process() -> None:
    engine = compile(NET, per_call=["nu", "s"], precision="float64")
    p, x, everything = points(130, "float64")
    assert same_bits(engine.eval_for(p, x), NumpyProgram(NET, "float64", target("native").profile)(everything))


def test_c99_is_clean_and_has_the_bits(artifacts: Artifacts, need: Need, tmp_path: Path) -> None:
    folder = artifacts.bundle(NET, name="deeponet", derivatives=REQUESTS, per_call=["nu", "s"], target="c99")
    header = (folder / "deeponet.h").read_text()
    assert "DEEPONET_N_P = 10, /* inputs that are constant during a call: s[9], nu */" in header
    library = tmp_path / "deeponet.so"
    options = ["-std=c99", "-O1", *WARNINGS, "-shared", "-fPIC", "-o", str(library)]
    subprocess.run([need("cc"), *options, str(folder / "deeponet.c"), "-lm"], check=True)
    c = ctypes.CDLL(str(library))
    assert c.deeponet_selftest() == 0
    p, x, everything = points(90)
    y = np.zeros((90, 2), np.float32)
    pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in (p, x, y)]
    assert c.deeponet_eval_for(*pointers, ctypes.c_int64(90)) == 0
    assert same_bits(y, NumpyProgram(NET, "float32")(everything))
    for i in range(3):
        some = [None if j == i else pointer for j, pointer in enumerate(pointers)]
        assert c.deeponet_eval_for(*some, ctypes.c_int64(1)) == -1
    assert c.deeponet_eval_for(None, None, None, ctypes.c_int64(0)) == 0
    assert c.deeponet_eval_for(*pointers, ctypes.c_int64(-1)) == -2


@pytest.mark.parametrize("name", ["cortex-m4", pytest.param("aarch64", marks=pytest.mark.proof)])
def test_an_emulated_library_has_the_bits(artifacts: Artifacts, name: str) -> None:
    """On 32 bits the number of points lies on the stack."""
    folder = artifacts.bundle(NET, name="deeponet", per_call=["nu", "s"], target=name)
    manifest = read_manifest(folder)
    p, x, everything = points(37)
    machine = Machine(TARGETS[name], (folder / manifest.library).read_bytes())
    y, call = machine.evaluate("deeponet_eval_for", x, 2, p)
    assert call.result == 0
    assert call.stack <= (manifest.stack or 0)
    assert same_bits(y, NumpyProgram(NET, "float32")(everything))


def test_the_manifest_names_the_constant_columns(bundle: Path, tmp_path: Path) -> None:
    record = json.loads((bundle / "manifest.json").read_text())
    assert record["per_call"] == [f"s[{i}]" for i in range(9)] + ["nu"]
    for wrong, fault in (
        (["nu", "s[0]"], "in this order"),
        (["y"], "expected: some of"),
        ([], "a list with at least one"),
    ):
        (tmp_path / "manifest.json").write_text(json.dumps(record | {"per_call": wrong}))
        with pytest.raises(BundleError, match=fault):
            read_manifest(tmp_path)
    del record["per_call"]
    (tmp_path / "manifest.json").write_text(json.dumps(record))
    assert read_manifest(tmp_path).per_call == ()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["mu"], r"no input 'mu'; expected: some of x\[1\], s\[9\], t\[1\], nu\[1\]"),
        (["nu", "nu"], "'nu' occurs twice"),
        (["x", "s", "t", "nu"], "are all inputs"),
        ("nu", "is the text 'nu'; expected: a list"),
    ],
)
def test_names_that_do_not_fit_are_refused_before_any_work(names: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match=message):
        export_bundle(NET, tmp_path / "out", name="deeponet", per_call=names, report=pytest.fail)
    assert not list(tmp_path.iterdir())


def test_the_command_line_takes_names_with_their_sizes(tmp_path: Path) -> None:
    assert parse_per_call(" nu, s[9] ", NET.inputs) == ("nu", "s")
    write_program(NET, tmp_path / "net.npz")
    for text, message in (
        ("s[8]", "s[8] in 's[8]': the input is s[9]; expected: s, or s[9]"),
        ("s[", "'s[' in 's[' names no input"),
        ("mu", "no input 'mu'"),
    ):
        options = ["--name", "deeponet", "--out", str(tmp_path / "out"), "--per-call", text]
        result = CliRunner().invoke(cli.app, ["export", str(tmp_path / "net.npz"), *options])
        assert result.exit_code == 2
        assert message in " ".join(result.stderr.replace("│", "").split())
    assert not (tmp_path / "out").exists()


def test_an_engine_says_what_it_expects(bundle: Path) -> None:
    engine = load(bundle, "numpy")
    p, x, _ = points(3)
    for arguments, message in (
        ((p[None], x), r"p has shape \(1, 10\); expected: \(10,\), the inputs s\[0\], .*, nu, which all points"),
        ((p[:9], x), r"p has shape \(9,\); expected: \(10,\)"),
        ((p.astype(np.float64), x), "p has dtype float64; expected: float32"),
        ((p.tolist(), x), r"p is a list; expected: a NumPy array \(10,\)"),
        ((p, x[:, :1]), r"x has shape \(3, 1\); expected: \(n, 2\), the columns being x, t"),
    ):
        with pytest.raises(EngineError, match=message):
            engine.eval_for(*arguments)
    with pytest.raises(EngineError, match="has no residual"):
        engine.residual_for(p, x)


def test_an_engine_without_constant_inputs_says_how_to_export_them() -> None:
    engine = compile(NET)
    p, x, _ = points(3)
    with pytest.raises(EngineError, match="has no inputs that are constant during a call: export it with --per-call"):
        engine.eval_for(p, x)
