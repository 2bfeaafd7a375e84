"""Models compiled in process: the interface and the bits of the exported library, and nothing on disk."""

from __future__ import annotations

import copy
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from artifacts import Artifacts
from compiled import same_bits
from entrants import evaluated
from strategies import mlp, wild

from kdpinn_edge import compile, load
from kdpinn_edge.bundle.manifest import Input, Output, Precision
from kdpinn_edge.derive.derivatives import derivatives
from kdpinn_edge.derive.residual import residual as residual_of
from kdpinn_edge.engines import EngineName
from kdpinn_edge.errors import CaptureError, DerivativeError, EngineError, ExportError, ProfileError, ProgramError
from kdpinn_edge.export.targets.table import target
from kdpinn_edge.importers.model import find_model
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.problems import problem
from kdpinn_edge.program.ir import Affine

PROFILE = target("native").profile
BOX = ((-1.0, 0.0), (1.0, 1.0))


def net() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_program_has_the_bits_of_the_numpy_program(precision: Precision) -> None:
    program, requests = mlp(2, 12, 2, 1), ["u", "u_x0", "u_x1_x1"]
    engine = compile(program, derivatives=requests, precision=precision)
    x = wild(program, 150, precision)
    assert same_bits(engine(x), NumpyProgram(program, precision, PROFILE)(x))
    jet = engine.jet(x)
    assert list(jet) == requests
    expected = NumpyProgram(derivatives(program, requests), precision, PROFILE)(x)
    assert same_bits(np.stack([*jet.values()], axis=1), expected)
    assert same_bits(engine.eval(x, threads=2), engine(x))


def test_a_module_is_captured() -> None:
    module = net()
    engine = compile(module, inputs=("x", "t"), outputs=("u",), domain=BOX)
    x = np.random.default_rng(0).uniform(0, 1, (50, 2)).astype(np.float32)
    with torch.no_grad():
        np.testing.assert_allclose(engine(x), module(torch.from_numpy(x)).numpy(), rtol=0, atol=1e-5)
    assert [(side.name, side.lower, side.upper) for side in engine.manifest.inputs] == [("x", -1, 1), ("t", 0, 1)]
    assert engine.manifest.functions["eval"].errors.max_abs[0] < 1e-5


def test_the_residual_of_a_problem() -> None:
    model, burgers = find_model("burgers"), problem("burgers")
    engine = compile(model.program, residual=burgers)
    x = np.random.default_rng(0).uniform(0, 1, (20, 2)).astype(np.float32)
    expected = NumpyProgram(residual_of(model.program, burgers), "float32", PROFILE)(x)
    assert same_bits(engine.residual(x), expected)


def test_several_engines_live_together() -> None:
    programs = [mlp(2, width, 1, 1) for width in (4, 5, 6)]
    engines = [compile(program) for program in programs]
    x = wild(programs[0], 40, "float32")
    for engine, program in zip(engines, programs, strict=True):
        assert same_bits(engine(x), NumpyProgram(program, "float32", PROFILE)(x))


def test_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.mkdtemp", lambda *_: pytest.fail("a folder was made"))
    compile(mlp(2, 4, 1, 1))
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_compiled_anew(artifacts: Artifacts) -> None:
    program = mlp(2, 8, 2, 1)
    bundle = artifacts.bundle(program, name="net", derivatives=["u_x0"])
    anew, library = load(bundle, engine="numba"), load(bundle)
    x = wild(program, 60, "float32")
    assert same_bits(anew(x), library(x))
    assert same_bits(anew.jet(x)["u_x0"], library.jet(x)["u_x0"])


def test_a_bundle_of_another_profile(artifacts: Artifacts) -> None:
    bundle = artifacts.bundle(mlp(2, 4, 1, 1), name="net", target="x86-64-v2")
    with pytest.raises(ProfileError, match="the numerics profile of net is muladd-1; this machine"):
        load(bundle, engine="numba")


@pytest.mark.parametrize("name", ["library", "numpy", "onnx", "numba"])
def test_an_engine_travels_and_is_checked_again_where_it_arrives(
    artifacts: Artifacts, name: EngineName, tmp_path: Path
) -> None:
    """The folder need not be there any more."""
    folder = tmp_path / "bundle"
    shutil.copytree(artifacts.bundle(mlp(2, 12, 2, 1), name="net"), folder)
    engine = load(folder, engine=name)
    shutil.rmtree(folder)
    x = wild(mlp(2, 12, 2, 1), 50, "float32")
    sent = pickle.dumps(engine)
    for arrived in (pickle.loads(sent), copy.deepcopy(engine)):  # noqa: S301
        assert type(arrived) is type(engine)
        assert same_bits(arrived(x), engine(x))


def test_what_was_changed_on_the_way_is_refused(artifacts: Artifacts) -> None:
    program = mlp(2, 12, 2, 1)
    sent = pickle.dumps(load(artifacts.bundle(program, name="net")))
    weights = next(op.weight for op in program.ops if isinstance(op, Affine))[:, 0].astype(np.float32).tobytes()
    assert weights in sent
    with pytest.raises(EngineError, match="does not pass its self-test"):
        pickle.loads(sent.replace(weights, bytes(len(weights))))  # noqa: S301


def test_an_engine_serves_the_workers_of_another_library(artifacts: Artifacts) -> None:
    engine = load(artifacts.bundle(mlp(2, 12, 2, 1), name="net"))
    x = wild(mlp(2, 12, 2, 1), 50, "float32")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert same_bits(pool.submit(evaluated, engine, x).result(), engine(x))


def test_an_engine_that_there_is_not(artifacts: Artifacts) -> None:
    bundle = artifacts.bundle(mlp(2, 4, 1, 1), name="net")
    with pytest.raises(EngineError, match="engine 'tvm' is unknown"):
        load(bundle, engine="tvm")  # type: ignore[arg-type]


def test_columns_with_bounds_in_a_text() -> None:
    program = mlp(2, 4, 1, 1)
    engine = compile(program, inputs="x0[m]=-1:2, x1", outputs="u[K]")
    assert engine.manifest.inputs == (Input("x0", -1.0, 2.0, "m"), Input("x1"))
    assert engine.manifest.functions["eval"].outputs == (Output("u", "K"),)
    x = wild(program, 9, "float32")
    assert same_bits(engine(x), compile(program)(x))
    with pytest.raises(ProgramError, match="inputs states bounds of x0, and domain is given"):
        compile(program, inputs="x0=0:1, x1", domain=(0, 1))


def test_bad_input_is_named() -> None:
    program = mlp(2, 4, 1, 1)
    for error, message, options in (
        (ExportError, "inputs is .*; expected: nothing, or the columns of the Program", {"inputs": ("a", "b")}),
        (ExportError, "domain is .*; expected: .lower, upper., each with a number for x0, x1", {"domain": (1, 2, 3)}),
        (ExportError, "lower 1.0 is not below upper 0.0", {"domain": (1.0, 0.0)}),
        (ExportError, "precision 'float16' is unknown", {"precision": "float16"}),
        (DerivativeError, "u_q", {"derivatives": ["u_q"]}),
    ):
        with pytest.raises(error, match=message):
            compile(program, **options)  # type: ignore[arg-type]
    with pytest.raises(ExportError, match="a torch module does not say what its columns are called"):
        compile(net())
    with pytest.raises(CaptureError):
        compile(net(), inputs=("x",), outputs=("u",))


FRAGMENTED = """
import ctypes
from strategies import mlp
from kdpinn_edge import compile

libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
compile(mlp(2, 4, 1, 1))
reserved = [libc.mmap(None, 4 << 30, 0, 0x4022, -1, 0) for _ in range(200)]  # PROT_NONE, private, without swap
for place in reserved:
    libc.munmap(place + (2 << 30), 24 << 10)
engines = [compile(mlp(2, width, 2, 1)) for width in range(4, 8)]
"""


def test_little_memory_is_left_in_one_piece() -> None:
    """Holes of 24 KiB, 4 GiB apart: code and constants of an engine have to lie near each other all the same."""
    subprocess.run([sys.executable, "-c", FRAGMENTED], check=True, cwd=Path(__file__).parent)
