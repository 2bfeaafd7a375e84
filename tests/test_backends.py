"""kdpinn_edge/comparison/backends: every one that is installed is right, and says what it set. Never how fast."""

from __future__ import annotations

import pickle
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
from artifacts import Artifacts
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import mlp_of_everything
from strategies import programs

from kdpinn_edge.bundle.manifest import PROGRAM_FILE, read_manifest
from kdpinn_edge.comparison.backend import Array, Backend, Case, CFunction, Prepared
from kdpinn_edge.comparison.backend_config import NotInstalledError, check_installed
from kdpinn_edge.comparison.backends import BACKENDS
from kdpinn_edge.comparison.backends.traced import Words, traced
from kdpinn_edge.comparison.reference import Reference, RefusedError
from kdpinn_edge.errors import BenchError
from kdpinn_edge.functions import FUNCTIONS
from kdpinn_edge.importers.model import find_model
from kdpinn_edge.program.file import read_program
from kdpinn_edge.program.interp import interpret
from kdpinn_edge.program.ir import Affine, Program, parameters
from kdpinn_edge.runtime.c_harness import CHarness

ROOT = Path(__file__).parent.parent
FLOAT32_ONLY = ("iree", "litert", "openvino")
IN_DOUBLE = ("onnxruntime, run", "jax, jit", "torch, eager", "casadi -O3, cffi", "emx-onnx-cgen -O3, cffi", "tract")
ONE_THREAD = ("library, C loop", "numba, in process", "numpy program", "emx", "casadi", "closed form", "table", "tract")
NAMED = {backend.name: backend for backend in BACKENDS}
OF_TORCH = "ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"
COMPILES_FOR_LONG = ("torch.compile", "AOTInductor")
MARKS = {
    ("student", "torch.compile"): [pytest.mark.proof, pytest.mark.filterwarnings(OF_TORCH)],
    ("everything", "torch.compile"): [pytest.mark.proof, pytest.mark.filterwarnings(OF_TORCH)],
    ("everything", "jax, jit"): [pytest.mark.proof],
    ("everything", "jax, jit, points in columns"): [pytest.mark.proof],
    ("everything", "AOTInductor"): [pytest.mark.proof, pytest.mark.filterwarnings(OF_TORCH)],
    **{
        (subject, backend.name): [pytest.mark.proof]
        for subject in ("student", "everything")
        for backend in BACKENDS
        if backend.name.startswith("emx-onnx-cgen")
    },
}
SUBJECTS = [
    pytest.param(
        subject,
        backend,
        id=f"{subject}-{backend.name}",
        marks=MARKS.get((subject, backend.name), []),
    )
    for subject in ("student", "everything")
    for backend in BACKENDS
    if (subject, backend.name) in MARKS or backend.name not in COMPILES_FOR_LONG
    if backend.promise != "another function"
]
"""What each backend of the network computes; a proof where it compiles for long."""


@cache
def reference_of(bundle: Path) -> Reference:
    """What all backends of a bundle are judged against."""
    return Reference(bundle)


def case_of(bundle: Path, products: Path) -> Case:
    return Case(bundle, read_manifest(bundle), read_program(bundle / PROGRAM_FILE), products)


@pytest.fixture(scope="module")
def student(artifacts: Artifacts, tmp_path_factory: pytest.TempPathFactory) -> Case:
    found = find_model("burgers")
    bundle = artifacts.bundle(found.program, name="burgers", inputs=found.inputs, outputs=found.outputs)
    return case_of(bundle, tmp_path_factory.mktemp("products"))


@pytest.fixture(scope="module")
def everything(artifacts: Artifacts, tmp_path_factory: pytest.TempPathFactory) -> Case:
    bundle = artifacts.bundle(mlp_of_everything(np.random.default_rng(7)), name="everything")
    return case_of(bundle, tmp_path_factory.mktemp("products"))


@pytest.fixture(scope="module")
def everything_in_double(artifacts: Artifacts, tmp_path_factory: pytest.TempPathFactory) -> Case:
    program = mlp_of_everything(np.random.default_rng(7))
    bundle = artifacts.bundle(program, name="everything", precision="float64")
    return case_of(bundle, tmp_path_factory.mktemp("products"))


def prepare(backend: Backend, case: Case, threads: int | None = 1) -> Prepared:
    """Skips where a package is missing, or the C compiler that some need."""
    try:
        check_installed(backend)
        return backend.prepare(case, threads)
    except NotInstalledError as absent:
        pytest.skip(str(absent))
    except BenchError as error:
        if "'cc' is not on PATH" not in str(error):
            raise
        pytest.skip(str(error))


@pytest.fixture(autouse=True)
def torch_keeps_its_threads() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def bound_values(prepared: Prepared, x: Array, case: Case, harness: CHarness | None = None) -> Array:
    """What the call that would be timed gives, the second time."""
    y = np.full((len(x), case.program.n_out), np.nan, x.dtype)
    call = prepared.bind(x, y)
    if isinstance(call, CFunction):
        assert harness is not None
        with harness.loop(call.library, call.name, x) as loop:
            loop.once()
            return loop.values(x.dtype).reshape(y.shape)
    call()
    result = call()
    return y if result is None else np.asarray(result).copy()


@pytest.mark.parametrize(("subject", "backend"), SUBJECTS)
def test_it_computes_the_program(
    subject: str, backend: Backend, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case: Case = request.getfixturevalue(subject)
    monkeypatch.chdir(tmp_path)
    prepared = prepare(backend, case)
    reference = reference_of(case.bundle)
    assert reference.judge(np.asarray(prepared.evaluate(reference.probe)), backend.promise) < 1e-4
    in_c = backend.layer == "kernel in C"
    for n in (1,) if backend.name in COMPILES_FOR_LONG else (1, 64):
        values = bound_values(prepared, reference.points(n), case, request.getfixturevalue("harness") if in_c else None)
        reference.judge_timed(values, n, backend.promise)
    assert prepared.threads
    assert prepared.artifact_bytes is None or prepared.artifact_bytes > 1000
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.proof] if name.startswith("emx-onnx-cgen") else [])
        for name in (*IN_DOUBLE, *FLOAT32_ONLY)
    ],
)
def test_in_double_precision_it_is_right_or_refused(name: str, everything_in_double: Case) -> None:
    backend = NAMED[name]
    reference = reference_of(everything_in_double.bundle)
    if backend.name in FLOAT32_ONLY:
        with pytest.raises((BenchError, RefusedError), match=r"float64|is off by"):
            reference.judge(prepare(backend, everything_in_double).evaluate(reference.probe), backend.promise)
        return
    y = np.asarray(prepare(backend, everything_in_double).evaluate(reference.probe))
    assert reference.judge(y, backend.promise) < 1e-12


@pytest.mark.parametrize("name", ["torch, eager", "litert", "jax, jit", "casadi -O3, cffi"])
def test_one_changed_weight_is_refused_with_its_error(name: str, everything: Case, tmp_path: Path) -> None:
    ops = list(everything.program.ops)
    at = next(i for i, op in enumerate(ops) if isinstance(op, Affine))
    weight = ops[at].weight.copy()  # type: ignore[union-attr]
    weight[0, 0] += 0.01
    ops[at] = replace(ops[at], weight=weight)  # type: ignore[arg-type]
    wrong_program = replace(everything.program, ops=tuple(ops))
    reference = reference_of(everything.bundle)
    prepared = prepare(NAMED[name], replace(everything, program=wrong_program, folder=tmp_path))
    with pytest.raises(RefusedError, match="is off by") as refusal:
        reference.judge(np.asarray(prepared.evaluate(reference.probe)), NAMED[name].promise)
    assert refusal.value.error is not None
    assert refusal.value.error > reference.subject.allowed_error


def test_threads_are_set_and_said(everything: Case) -> None:
    said = {}
    for backend in BACKENDS:
        if backend.name in COMPILES_FOR_LONG:
            continue
        has_one = backend.name.startswith(ONE_THREAD)
        try:
            check_installed(backend)
        except NotInstalledError:
            continue
        if has_one:
            with pytest.raises(BenchError, match=r"asked for 2 threads; expected: 1"):
                backend.prepare(everything, 2)
        elif backend.name != "torch, eager":  # torch's threads belong to the whole process, and to other tests
            said[backend.name] = backend.prepare(everything, 2).threads
    assert all("2" in text for text in said.values()), said
    assert {"library, cffi", "onnxruntime, run"} <= said.keys()


def test_own_threading_of_the_library_gives_the_same_bits(everything: Case) -> None:
    prepared = NAMED["library, cffi"].prepare(everything, None)
    x = reference_of(everything.bundle).points(100_000)
    one = bound_values(NAMED["library, cffi"].prepare(everything, 1), x, everything)
    assert bound_values(prepared, x, everything).tobytes() == one.tobytes()


def test_the_table_is_sound() -> None:
    names = [backend.name for backend in BACKENDS]
    assert len(set(names)) == len(names)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]

    def brings(extra: str) -> set[str]:
        found: set[str] = set()
        for line in extras.get(extra, ()) if extra else ():
            name = line.split(">")[0].split("=")[0]
            if name.startswith("kdpinn-edge["):
                found |= {p for part in name[len("kdpinn-edge[") : -1].split(",") for p in brings(part)}
            found.add(name)
        return found | {line.split(">")[0] for line in project["dependencies"]} | {"jaxlib"}  # jax brings it

    for backend in BACKENDS:
        assert pickle.loads(pickle.dumps(backend)).name == backend.name  # noqa: S301
        assert set(backend.packages) <= brings(backend.extra), backend.name
        assert set(backend.runtime) <= set(backend.packages), backend.name


def test_a_missing_package_comes_with_the_command_that_installs_it() -> None:
    absent = replace(NAMED["openvino"], packages=("numpy", "kdpinn-edge-no-such-package"))
    with pytest.raises(NotInstalledError, match=r"no-such-package.*pip install 'kdpinn-edge\[peers\]'"):
        check_installed(absent)


def test_the_table_loads_no_peer() -> None:
    peers = ("torch", "jax", "numba", "onnx", "onnxruntime", "openvino", "iree", "ai_edge_litert", "casadi")
    code = f"import sys, kdpinn_edge.comparison.backends; sys.exit(' '.join(set({peers}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert not done.stderr.strip()


NUMPY_WORDS = Words(
    affine=lambda weight, bias, x: x @ weight.T + bias,
    scale=lambda weight, bias, x: weight * x + bias,
    function=lambda fn: FUNCTIONS[fn].exact,
    select=lambda c, a, b: np.where(c > 0, a, b),
    concat=partial(np.concatenate, axis=1),
    part=lambda x, start, stop: x[:, start:stop],
)


@settings(max_examples=200)
@given(programs(), st.integers(0, 2**32 - 1))
def test_tracing_is_interpreting(program: Program, seed: int) -> None:
    x = np.random.default_rng(seed).uniform(-1, 1, (5, program.n_in))
    constants = [parameters(op) for op in program.ops]
    np.testing.assert_array_equal(traced(program, constants, NUMPY_WORDS, x), interpret(program, x))
