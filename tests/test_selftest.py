"""What the self-test sees of the floating-point environment, and what it leaves of it."""

from __future__ import annotations

import ctypes
import platform
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from artifacts import Artifacts
from compiled import RUNNABLE
from conftest import Need
from nets import NETS, with_jet
from sampled import named, sampled
from strategies import LIMITED

from kdpinn_edge.bundle.manifest import Input, Precision
from kdpinn_edge.bundle.probe import not_finite_points
from kdpinn_edge.bundle.selftest import OTHER_ENVIRONMENT, selftest_fault
from kdpinn_edge.errors import EngineError, ExportError
from kdpinn_edge.export.golden import golden_points
from kdpinn_edge.export.measure.emulator import Machine
from kdpinn_edge.export.measure.not_finite import prove_not_finite
from kdpinn_edge.export.targets.interface import Interface
from kdpinn_edge.export.targets.table import TARGETS, Target
from kdpinn_edge.functions import FUNCTIONS
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.program.ir import Affine, Map, Mul, Program, Var
from kdpinn_edge.runtime import load

ENVIRONMENT = r"""
#define _GNU_SOURCE
#include <fenv.h>
#include <stdint.h>

/* How each mode changes what a self-test returns; what it raises by default; the code of a call with traps. */
static const int MODES[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};

int32_t rounding(int32_t (*selftest)(void), int32_t mode)
{
    fesetround(MODES[mode]);
    const int32_t found = selftest();
    fesetround(FE_TONEAREST);
    return found;
}

int32_t raised(int32_t (*selftest)(void))
{
    feclearexcept(FE_ALL_EXCEPT);
    const int32_t found = selftest();
    return found != 0 ? -100 : fetestexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW);
}

int32_t trapping(int32_t (*selftest)(void))
{
    feenableexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW);
    const int32_t found = selftest();
    fedisableexcept(FE_ALL_EXCEPT);
    return found;
}

#if defined(__x86_64__)
#include <xmmintrin.h>
int32_t flushing(int32_t (*selftest)(void), int32_t results, int32_t operands)
{
    const unsigned before = _mm_getcsr();
    _mm_setcsr(before | (results ? 0x8000u : 0) | (operands ? 0x40u : 0));
    const int32_t found = selftest();
    _mm_setcsr(before);
    return found;
}

int32_t flushed(int32_t (*evaluate)(const void *, void *, int64_t), const void *x, void *y, int64_t n)
{
    const unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040u);
    const int32_t found = evaluate(x, y, n);
    _mm_setcsr(before);
    return found;
}
#endif
"""
BOX = (Input("x", -1.0, 1.0), Input("t", 0.0, 1.0))
CALL, POINTER = ctypes.CFUNCTYPE(ctypes.c_int32), ctypes.c_void_p
X86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="sets the register of x86-64")


def odd_net() -> Program:
    """u = sin(x) tanh(t): small where an input is, as a network with hard conditions."""
    p, x, t, u = (Var(name, 1) for name in ("p", "x", "t", "u"))
    sine, tangent, scaled = Var("sine", 1), Var("tangent", 1), Var("scaled", 1)
    ops = (
        Map(sine, x, "sin"),
        Affine(scaled, t, np.array([[0.5]]), np.zeros(1)),
        Map(tangent, scaled, "tanh"),
        Mul(p, sine, tangent),
        Affine(u, p, np.array([[1.5]]), np.zeros(1)),
    )
    return Program("odd", (x, t), (u,), ops)


@pytest.fixture
def environment(artifacts: Artifacts, need: Need) -> ctypes.CDLL:
    """The C functions above."""
    options = ("-O1", "-frounding-math", "-shared", "-fPIC", "-x", "c", "-")

    def build(path: Path) -> None:
        command = [need("cc"), *options, "-o", str(path), "-lm"]
        subprocess.run(command, input=ENVIRONMENT, text=True, check=True)

    return ctypes.CDLL(str(artifacts.made("environment.so", build, ENVIRONMENT)))


KINDS = [(target, precision) for target in RUNNABLE for precision in ("float32", "float64")]


@pytest.fixture(params=KINDS, ids=lambda kind: f"{kind[0].name}-{kind[1]}")
def library(request: pytest.FixtureRequest, artifacts: Artifacts) -> ctypes.CDLL:
    """A model with derivatives, for each target that this machine runs."""
    target, precision = request.param
    return ctypes.CDLL(str(bundle(artifacts, target.name, precision) / "libodd.so"))


def bundle(artifacts: Artifacts, target: str, precision: Precision) -> Path:
    options: dict[str, Any] = {
        "inputs": BOX,
        "derivatives": ["u", "u_x", "u_xx"],
        "target": target,
        "precision": precision,
    }
    return artifacts.bundle(odd_net(), name="odd", **options)


def test_the_default_environment_passes_and_raises_nothing(environment: ctypes.CDLL, library: ctypes.CDLL) -> None:
    assert library.odd_selftest() == 0
    assert environment.raised(library.odd_selftest) == 0
    assert environment.trapping(library.odd_selftest) == 0


@pytest.mark.parametrize("mode", range(3))
def test_another_rounding_is_seen(environment: ctypes.CDLL, library: ctypes.CDLL, mode: int) -> None:
    assert environment.rounding(library.odd_selftest, mode) == OTHER_ENVIRONMENT


@X86
@pytest.mark.parametrize("flush", [(1, 0), (0, 1), (1, 1)])
def test_flushing_is_seen(environment: ctypes.CDLL, library: ctypes.CDLL, flush: tuple[int, int]) -> None:
    assert environment.flushing(library.odd_selftest, *flush) == OTHER_ENVIRONMENT
    assert library.odd_selftest() == 0


@pytest.mark.parametrize(
    ("target", "register", "bits"),
    [
        ("aarch64", "FPCR", 1 << 24),
        pytest.param("aarch64", "FPCR", 3 << 22, marks=pytest.mark.proof),
        pytest.param("armv7", "FPSCR", 1 << 24, marks=pytest.mark.proof),
        ("cortex-m4", "FPSCR", 1 << 24),
        ("cortex-m7", "FPSCR", 1 << 22),
        ("riscv64", "FCSR", 4 << 5),
    ],
)
def test_it_is_seen_on_an_emulated_processor(artifacts: Artifacts, target: str, register: str, bits: int) -> None:
    """Flush-to-zero, rounding to zero and up, and ties away from zero, as the processor has them."""
    folder = bundle(artifacts, target, "float32")
    machine = Machine(TARGETS[target], (folder / load(folder, "numpy").manifest.library).read_bytes())
    assert machine.call("odd_selftest").result == 0
    machine.uc.reg_write(machine.processor.register(register), bits)
    assert machine.call("odd_selftest").result == OTHER_ENVIRONMENT


@X86
def test_golden_points_have_subnormal_numbers_that_flushing_changes(
    environment: ctypes.CDLL, artifacts: Artifacts
) -> None:
    """Of every function, and not only by the probe that the self-test begins with."""
    folder = bundle(artifacts, "native", "float32")
    manifest, library = load(folder).manifest, ctypes.CDLL(str(folder / "libodd.so"))
    functions = with_jet(odd_net())
    x = golden_points(BOX, functions, "float32", manifest.profile, keeps_subnormals=True)
    assert (np.abs(x) <= 1).all()
    for function, program in functions.items():
        y = np.empty((len(x), program.n_out), np.float32)
        expected = NumpyProgram(program, "float32", manifest.profile)(x)
        assert np.isfinite(expected).all()
        if function == "eval":
            environment.flushed(library.odd_eval, *(POINTER(a.ctypes.data) for a in (x, y)), ctypes.c_int64(len(x)))
            assert (y != expected).any()
        assert ((expected != 0) & (np.abs(expected) < np.finfo(np.float32).smallest_normal)).any(), function


def test_golden_points_of_a_processor_that_flushes_have_none() -> None:
    functions = with_jet(odd_net())
    x = golden_points(BOX, functions, "float32", "fma-2", keeps_subnormals=False)
    assert (np.abs(x) > 1e-30).all()


def every_function() -> Program:
    """Each function of eight numbers on either side of 0; of positive ones where it is not defined everywhere."""
    x, z, positive = Var("x", 1), Var("z", 8), Var("positive", 8)
    spread = Affine(z, x, np.linspace(-3, 3, 8)[:, None], np.linspace(-1, 1, 8)[::-1] / 7)
    maps = tuple(Map(Var(f"y_{fn}", 8), positive if fn in LIMITED else z, fn) for fn in FUNCTIONS)
    return Program("every", (x,), tuple(each.out for each in maps), (spread, Map(positive, z, "exp"), *maps))


@pytest.mark.parametrize(("target", "precision"), sampled(RUNNABLE, ["float32", "float64"]), ids=named)
def test_every_function_raises_nothing_in_its_domain(
    environment: ctypes.CDLL, artifacts: Artifacts, target: Target, precision: Precision
) -> None:
    """Neither the self-test nor a call, however many points it has."""
    options: dict[str, Any] = {"inputs": (Input("x", -1.0, 1.0),), "precision": precision, "target": target.name}
    library = ctypes.CDLL(str(artifacts.bundle(every_function(), name="every", **options) / "libevery.so"))
    assert environment.raised(library.every_selftest) == 0
    x = np.linspace(-1, 1, 1001).astype(precision)
    y = np.empty((len(x), every_function().n_out), precision)
    for n in (1, 7, len(x)):
        call = CALL(lambda n=n: library.every_eval(x.ctypes.data_as(POINTER), y.ctypes.data_as(POINTER), n))
        assert environment.raised(call) == 0


def test_an_engine_says_what_is_wrong(environment: ctypes.CDLL, artifacts: Artifacts) -> None:
    folder = bundle(artifacts, "native", "float32")
    libm = ctypes.CDLL("libm.so.6")
    upward = {"x86_64": 0x800, "aarch64": 0x400000}[platform.machine()]
    libm.fesetround(upward)
    try:
        with pytest.raises(EngineError, match="floating-point environment of this thread is not the default one"):
            load(folder)
    finally:
        libm.fesetround(0)
    assert load(folder).outside(np.zeros((1, 2), np.float32)) == 0


@pytest.mark.parametrize(("code", "words"), [(7, "golden number 7 has other bits"), (-3, "fits this CPU"), (-9, "-9")])
def test_faults_in_words(code: int, words: str) -> None:
    assert words in selftest_fault(code)


def test_nan_and_infinities_are_proved_at_export(artifacts: Artifacts) -> None:
    """The self-test has none, because comparing a NaN raises a flag."""
    folder = bundle(artifacts, "native", "float32")
    manifest, functions = load(folder).manifest, {"eval": odd_net()}
    interface = Interface("odd", "float32", TARGETS[manifest.target.name], BOX, functions)
    prove_not_finite(
        (folder / "libodd.so").read_bytes(), interface, {"eval": NumpyProgram(odd_net(), "float32", manifest.profile)}
    )
    other = NumpyProgram(NETS["tanh"], "float32", manifest.profile)
    with pytest.raises(ExportError, match="gives other bits than the NumPy program at"):
        prove_not_finite((folder / "libodd.so").read_bytes(), interface, {"eval": other})
    x = not_finite_points(BOX)
    assert not np.isfinite(x).all(axis=1).any()
    assert {repr(each) for each in x[~np.isfinite(x)].tolist()} == {"nan", "inf", "-inf"}
