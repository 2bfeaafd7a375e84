"""Certificates: what they state holds at points of any Program; what does not follow from the cells is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
from artifacts import Artifacts
from function_cases import FUNCTION_CASES
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import bdtr
from scripts import script
from strategies import programs
from typer.testing import CliRunner

from kdpinn_edge import certify, cli, read_program, zoo
from kdpinn_edge.bundle.manifest import CERTIFICATE_FILE, Input, read_manifest
from kdpinn_edge.bundle.posed import posed
from kdpinn_edge.bundle.read import Bundle, open_bundle
from kdpinn_edge.certificates.cells import Cells, read_cells
from kdpinn_edge.certificates.certificate import read_certificate
from kdpinn_edge.certificates.checker import prove
from kdpinn_edge.certificates.elementary import LIBRARY_ERROR, mapped
from kdpinn_edge.certificates.enclosure import Enclosure
from kdpinn_edge.certificates.forms import Form
from kdpinn_edge.certificates.monomials import left_out, monomials
from kdpinn_edge.certificates.paths import passes
from kdpinn_edge.certificates.quantiles import CONFIDENCE, SHARES, rank
from kdpinn_edge.certificates.rounding import Rounding
from kdpinn_edge.certificates.statement import is_safe
from kdpinn_edge.certificates.symbols import Symbols
from kdpinn_edge.errors import CertificateError
from kdpinn_edge.functions import FUNCTIONS, find_function, kernel
from kdpinn_edge.functions.slope import Operators, formula, values
from kdpinn_edge.numerics.lanes import PROFILES, is_fast
from kdpinn_edge.numerics.lanes import profile as lanes_profile
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.problems import problem
from kdpinn_edge.program.interp import interpret
from kdpinn_edge.program.ir import Add, Affine, Map, Mul, Op, Program, Scale, Select, Var, columns

X, T, U = Var("x", 1), Var("t", 1), Var("u", 1)
BOX = (Input("x", -1.0, 1.0), Input("t", 0.0, 1.0))
POWERS = ("power(3.0)", "power(2.0)", "power(-2.0)", "power(1.5)", "power(0.3)", "power(-0.5)")


def scaled(out: Var, x: Var, weight: float, bias: float) -> Scale:
    return Scale(out, x, np.array([weight]), np.array([bias]))


def points_in(lower: Any, upper: Any, n: int, dtype: Any, seed: int) -> Any:
    """Points of the cell that the precision has, its corners among them."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(lower, upper, (n, len(lower)))
    corner = rng.random(x.shape) < 0.2
    x[corner] = np.where(rng.random(x.shape) < 0.5, lower, upper)[corner]
    return np.clip(x.astype(dtype), lower.astype(dtype), upper.astype(dtype))


@settings(deadline=None, max_examples=150)
@given(
    programs(any_function=False),
    st.sampled_from([*PROFILES]),
    st.floats(-20, 0),
    st.integers(0, 2**32 - 1),
)
def test_bounds_hold_for_any_program(program: Program, profile: str, size: float, seed: int) -> None:
    precision = "float32" if is_fast(profile) or seed % 2 else "float64"
    rng = np.random.default_rng(seed)
    centre, half = rng.uniform(-1, 1, program.n_in), 2.0**size * rng.random(program.n_in)
    dtype = np.dtype(precision)
    lower, upper = (np.clip(side, -1, 1).astype(dtype).astype(np.float64) for side in (centre - half, centre + half))
    bounds = Enclosure(program, precision, profile)(lower[None], upper[None])

    x = points_in(lower, upper, 64, dtype, seed)
    computed = NumpyProgram(program, precision, profile)(x).T.astype(np.longdouble)
    exact = interpret(program, x.astype(np.longdouble)).T
    own_error = 1e-17 * (1 + np.abs(exact)) if precision == "float64" else 0
    finite = np.isfinite(bounds.error[:, 0])
    for value in (computed, exact):
        assert (value[finite] >= bounds.lower[finite] - own_error).all()
        assert (value[finite] <= bounds.upper[finite] + own_error).all()
    assert (np.abs(computed - exact)[finite] <= (bounds.error + 8 * own_error)[finite]).all()
    if bounds.smooth.all():
        steps = np.abs(np.diff(x.astype(np.float64), axis=0)).T
        most = np.einsum("oi,in->on", bounds.slopes[:, :, 0], steps)
        assert (np.abs(np.diff(exact, axis=1)) <= most * (1 + 1e-12) + 1e-15 * (1 + np.abs(exact[:, 1:]))).all()


@pytest.mark.parametrize("name", [*FUNCTIONS, *POWERS])
def test_functions_stay_within_their_ranges_and_slopes(name: str) -> None:
    function = find_function(name)
    rng = np.random.default_rng(3)
    centre = rng.uniform(-1, 1, 2000) * min(function.arguments, 30.0)
    half = 10.0 ** rng.uniform(-9, 1, 2000)
    shares = np.zeros((5, 1, len(centre)))
    shares[:2, 0] = centre, half
    cells = Form(monomials(1, 4), shares, 1e-3 * half[None])
    argument = cells.interval
    form, value, slope = mapped(name, cells, argument)
    known = np.isfinite(form.rest[0])
    assert known.any()
    e, rho = rng.uniform(-1, 1, (2, 100, 1))
    e[:2], rho[:2] = [[-1.0], [1.0]], [[-1.0], [1.0]]
    e, rho = e.astype(np.longdouble), rho.astype(np.longdouble)
    x = (centre + half * e + cells.rest * rho)[:, known]
    assert (x >= argument.lower[:, known] - 1e-12).all()
    y = function.exact(x)
    assert (y >= value.lower[0, known]).all()
    assert (y <= value.upper[0, known]).all()
    followed = sum(share * e**k for k, share in enumerate(form.shares[:, 0, known].astype(np.longdouble)))
    assert (np.abs(y - followed) <= form.rest[0, known] * (1 + 1e-12)).all()
    (steep,) = values(formula([function.slope]), Operators(lambda fn: find_function(fn).exact), x, y)
    steep = np.broadcast_to(steep, x.shape)
    slack = 1e-15 * np.abs(steep) + 1e-300
    assert (steep >= slope.lower[0, known] - slack).all()
    assert (steep <= slope.upper[0, known] + slack).all()


@pytest.mark.parametrize(("n", "degree"), [(0, 0), (1, 4), (2, 3), (3, 2), (5, 1)])
def test_products_of_polynomials_are_theirs_but_for_a_bound(n: int, degree: int) -> None:
    basis = monomials(n, degree)
    rng = np.random.default_rng(n)
    a, b = rng.normal(size=(2, len(basis), 1))
    e = rng.uniform(-1, 1, (n, 500))
    powers = np.ones((len(basis), 500))
    for row in range(1, len(basis)):  # times[0] is the product with 1, and times[1 + j] that with e of input j
        factor = next(j for j in range(n) if row in basis.times[1 + j])
        powers[row] = e[factor] * powers[basis.times[1 + factor].index(row)]
    difference = (a * powers).sum(axis=0) * (b * powers).sum(axis=0) - (basis.product(a, b) * powers).sum(axis=0)
    most = left_out(basis.by_degree(a), basis.by_degree(b))
    assert (np.abs(difference) <= most + 1e-13).all()
    assert np.abs(difference).max() >= 0.02 * most.max()
    assert (powers[list(basis.squares)] >= 0).all()


def test_large_terms_cancel_within_a_cell() -> None:
    """The slope of tanh by its weight, as a difference of features with weights of ±100,000."""
    h, g, step = Var("h", 2), Var("g", 2), 1e-5
    ops = (
        Affine(h, X, np.array([[1.5 + step], [1.5]]), np.array([0.2, 0.2])),
        Map(g, h, "tanh"),
        Affine(U, g, np.array([[1 / step, -1 / step]]), np.zeros(1)),
    )
    edges = np.linspace(-1, 1, 65)[:, None]
    bounds = Enclosure(Program("features", (X,), (U,), ops), "float64", "fma-2")(edges[:-1], edges[1:])
    x = np.linspace(edges[:-1, 0], edges[1:, 0], 200)
    exact, tanh = x / np.cosh(1.5 * x + 0.2) ** 2, np.tanh(1.5 * x + 0.2)
    slope = np.abs((1 - 2 * 1.5 * x * tanh) * (1 - tanh**2)).max(axis=0)
    assert (bounds.upper[0] - exact.max(axis=0) < 0.01).all()
    assert (exact.min(axis=0) - bounds.lower[0] < 0.01).all()
    assert (bounds.slopes[0, 0] < 1.1 * slope + 0.02).all()


def test_numpy_has_its_functions_as_exactly_as_enclosures_assume() -> None:
    rng = np.random.default_rng(0)
    for name, case in FUNCTION_CASES.items():
        function = find_function(name)
        x = case.defined(rng.uniform(-1, 1, 300) * min(function.arguments, 100.0))
        with mpmath.workdps(40):
            exact = [case.exact(mpmath.mpf(float(each))) for each in x]
        for found, expected in zip(function.exact(x), exact, strict=True):
            assert (
                abs(mpmath.mpf(float(found)) - expected) <= LIBRARY_ERROR / 16 * abs(expected) + mpmath.mpf(2) ** -1000
            )


H, Y, Z = Var("h", 1), Var("y", 1), Var("z", 1)


def newton(steps: int) -> Program:
    """So many steps of Newton's method for 1/√(x + 2), from 1/2: y (3/2 - h y y), h = (x + 2)/2."""
    ops: list[Op] = [scaled(H, X, 0.5, 1.0), scaled(Y, X, 0.0, 0.5)]
    y = Y
    for i in range(steps):
        hy, hyy, factor, next_y = (Var(f"{name}{i}", 1) for name in ("hy", "hyy", "factor", "y"))
        ops += [Mul(hy, H, y), Mul(hyy, hy, y), scaled(factor, hyy, -1.0, 1.5), Mul(next_y, y, factor)]
        y = next_y
    return Program("newton", (X,), (y,), tuple(ops))


def test_what_is_corrected_later_is_no_error() -> None:
    x = np.linspace(-1, 1, 2001)[:, None]
    bounds = Enclosure(newton(6), "float32", "fma-2")(x[:-1], x[1:])
    assert (np.abs(bounds.lower[0] - 1 / np.sqrt(x[1:, 0] + 2)) < 1e-6).all()
    assert (np.abs(bounds.upper[0] - 1 / np.sqrt(x[:-1, 0] + 2)) < 1e-6).all()
    assert bounds.error.max() < 6 * 2.0**-24  # of numbers up to 1: the last step alone rounds four times


def test_paths_end_where_all_of_them_meet() -> None:
    program = newton(2)
    found = passes(program, program.outputs)
    assert found["y1"] is None
    assert found["y0"] == "y1"
    assert found["y"] == "y0"
    assert found["hyy0"] == "factor0"
    assert found["h"] == "y1"
    two = passes(program, [Var("y0", 1), Var("y1", 1)])
    assert two["y0"] is None
    assert "hy1" not in passes(program, [Var("y0", 1)])


def test_symbols_begin_where_a_number_meets_itself() -> None:
    plan = Symbols(newton(2))
    assert plan.begin == {"h", "y", "y0"}
    assert plan.end == {"y0": {"y"}, "y1": {"h", "y0"}}
    assert plan.begin_back == {"hyy0", "y0", "hy1", "hyy1", "y1"}
    assert plan.end_back == {"y": {"hyy0", "y0"}, "h": {"hy1"}, "y0": {"hyy1", "y1"}}


@pytest.mark.parametrize("profile", [*PROFILES])
def test_computed_values_pass_the_points_of_a_curve(profile: str) -> None:
    for name, function in FUNCTIONS.items():
        for at, level in function.curve.passes:
            for precision in ("float32",) if is_fast(profile) else ("float32", "float64"):
                size = 2.0 ** np.random.default_rng(2).uniform(-60, 6, 100_000)
                for x in (at + size, at - size):
                    x = x.astype(precision)
                    with lanes_profile(profile), np.errstate(all="ignore"):
                        y = kernel(name, profile)(x)
                    assert ((y <= level) | (x > at)).all()
                    assert ((y >= level) | (x < at)).all()


@pytest.mark.parametrize("profile", [*PROFILES])
def test_levels_are_returned_exactly(profile: str) -> None:
    with_level = {name: function for name, function in FUNCTIONS.items() if function.accurate.level}
    assert with_level.keys() == {"tanh", "erf", "sigmoid", "expm1"}
    for name, function in with_level.items():
        for precision in ("float32",) if is_fast(profile) else ("float32", "float64"):
            x = np.append(np.geomspace(1, 1e6, 20_001), np.inf)
            bounds = Rounding(Program("one", (X,), (X,), ()), precision, profile)
            levels = bounds._levels(function, function.computed(fast=is_fast(profile)))
            assert len(levels) == (0 if name == "tanh" and is_fast(profile) else 2 if function.symmetry == "odd" else 1)
            for level, beyond in levels:
                with lanes_profile(profile), np.errstate(all="ignore"):
                    y = kernel(name, profile)((beyond * x).astype(precision))
                assert (y == level).all()


def test_what_is_near_a_number_is_rounded_by_little() -> None:
    ops = (Map(A, X, "erf"), Mul(B, A, T), Map(Z, X, "sigmoid"), Add(U, B, Z))
    program = Program("near", (X, T), (U,), ops)
    for x, most in ((20.0, 2.0**-24 + 3e-9), (-40.0, 1e-12)):  # sigmoid is 1, or next to nothing beside t
        bounds = Enclosure(program, "float32", "fma-2")(np.array([[x, 0.3]]), np.array([[x + 2, 0.4]]))
        assert bounds.error[0, 0] < most


def test_cells_are_read_as_they_were_cut() -> None:
    rng = np.random.default_rng(1)
    cells = Cells(np.array([0.0, -1.0, 2.0]), np.array([1.0, 1.0, 7.0]))
    for _ in range(6):
        open_cells = np.flatnonzero(cells.axis < 0)
        which = rng.choice(open_cells, max(1, len(open_cells) // 2), replace=False)
        cells.cut(which, rng.integers(0, 3, len(which)))
    whole = cells.axis < 0
    lower, upper = read_cells(cells.lower[0], cells.upper[0], cells.text)
    expected = {tuple(row) for row in np.hstack([cells.lower, cells.upper])[whole]}
    assert {tuple(row) for row in np.hstack([lower, upper])} == expected
    assert np.prod(upper - lower, axis=1).sum() == pytest.approx(10)


@pytest.mark.parametrize("levels", [[], [""], ["."] * 2, ["a"], ["a", "."], ["c", ".."], ["aa"]])
def test_cells_that_do_not_cover_the_box_are_refused(levels: list[str]) -> None:
    with pytest.raises(CertificateError, match="cells"):
        read_cells(np.zeros(2), np.ones(2), levels)


@pytest.mark.parametrize("share", SHARES)
def test_ranks_are_those_of_the_binomial_distribution(share: float) -> None:
    k = rank(20_000, share)
    assert bdtr(k - 1, 20_000, share) >= CONFIDENCE > bdtr(k - 2, 20_000, share)


@pytest.fixture(scope="module")
def bundle(artifacts: Artifacts) -> Path:
    """The small network of the heat equation, with a derivative and the residual."""
    program, equation = read_program(zoo.program("heat_small")), problem("heat")
    inputs, outputs = posed(equation)
    return artifacts.bundle(
        program, name="heat", inputs=inputs, outputs=outputs, derivatives=["u", "u_x"], residual=equation
    )


@pytest.fixture(scope="module")
def certified(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with a certificate. Nobody writes to it."""
    copy = tmp_path_factory.mktemp("certified") / "heat"
    shutil.copytree(bundle, copy)
    certify(copy, cells=4000)
    return copy


def test_a_certificate_is_sharp_and_holds(certified: Path) -> None:
    manifest, certificate = read_manifest(certified), read_certificate(certified)
    assert certificate is not None
    assert [*certificate.functions] == ["eval", "jet", "residual"]
    rng = np.random.default_rng(5)
    lower, upper = (np.array([getattr(side, end) for side in certificate.domain]) for end in ("lower", "upper"))
    x = rng.uniform(lower, upper, (20_000, 2)).astype(np.float32)
    for function, proved in certificate.functions.items():
        program = open_bundle(certified).program(function)
        computed, exact = NumpyProgram(program, "float32", manifest.profile)(x), interpret(program, x)
        for i, claim in enumerate(proved.outputs):
            assert claim.name == columns(program.outputs)[i]
            assert claim.lower <= min(computed[:, i].min(), exact[:, i].min())
            assert claim.upper >= max(computed[:, i].max(), exact[:, i].max())
            largest = np.abs(computed[:, i] - exact[:, i]).max()
            assert largest <= claim.error
            if function == "eval":
                assert claim.error < 20 * largest
                assert claim.upper - claim.lower < 1.01 * np.ptp(computed[:, i])
        for quantile in proved.quantiles or ():
            assert (np.mean(np.abs(computed) <= quantile.at_most, axis=0) >= quantile.share - 0.005).all()
    (u, u_x) = certificate.functions["jet"].outputs
    assert certificate.functions["eval"].outputs[0].slopes is not None
    assert certificate.functions["eval"].outputs[0].slopes[0] >= max(-u_x.lower, u_x.upper) * 0.9
    assert u.name == "u"


def test_the_checker_proves_it_again(certified: Path) -> None:
    manifest, certificate = read_manifest(certified), read_certificate(certified)
    assert certificate is not None
    programs = programs_of(open_bundle(certified))
    cells = sum(text.count(".") for proved in certificate.functions.values() for text in proved.cells)
    assert prove(certificate, manifest, programs) == cells


def programs_of(bundle: Bundle) -> Any:
    return {name: bundle.program(name) for name in bundle.manifest.functions}


def narrow(record: dict[str, Any]) -> None:
    record["functions"]["eval"]["outputs"][0]["upper"] *= 0.99


def exact(record: dict[str, Any]) -> None:
    record["functions"]["jet"]["outputs"][1]["error"] *= 0.9


def flat(record: dict[str, Any]) -> None:
    record["functions"]["eval"]["outputs"][0]["slopes"][1] *= 0.9


def coarse(record: dict[str, Any]) -> None:
    record["functions"]["eval"]["cells"] = ["."]


def half(record: dict[str, Any]) -> None:
    record["functions"]["eval"]["cells"] = record["functions"]["eval"]["cells"][:-1]


def other(record: dict[str, Any]) -> None:
    record["functions"]["eval"]["program_sha256"] = "0" * 64


def wide(record: dict[str, Any]) -> None:
    record["domain"][0]["upper"] = 2.0


def profile(record: dict[str, Any]) -> None:
    record["profile"] = "muladd-1" if record["profile"] == "fma-2" else "fma-2"


def likely(record: dict[str, Any]) -> None:
    record["functions"]["residual"]["quantiles"][0]["at_most"][0] *= 0.5


def missing(record: dict[str, Any]) -> None:
    del record["functions"]["eval"]["outputs"][0]["error"]


def endless(record: dict[str, Any]) -> None:
    record["functions"]["eval"]["outputs"][0]["upper"] = None


def longer(record: dict[str, Any]) -> None:
    record["functions"]["eval"]["outputs"][0]["slopes"].append(1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (narrow, "the cells prove only"),
        (exact, "the cells prove only"),
        (flat, "the cells prove only"),
        (coarse, "the cells prove only"),
        (half, "level|end before"),
        (other, "is about a eval that is the Program 000"),
        (wide, "is about the domain"),
        (profile, "is about the profile"),
        (likely, "the quantiles are"),
        (missing, "error: missing"),
        (endless, "a finite number"),
        (longer, "another length"),
    ],
)
def test_a_certificate_that_was_edited_is_refused(
    certified: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    copy = tmp_path / "heat"
    shutil.copytree(certified, copy)
    record = json.loads((copy / CERTIFICATE_FILE).read_text())
    change(record)
    (copy / CERTIFICATE_FILE).write_text(json.dumps(record))
    manifest = read_manifest(copy)
    programs = programs_of(open_bundle(copy))
    with pytest.raises(CertificateError, match=message):
        prove(read_certificate(copy), manifest, programs)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 1, "schema": 1}', '{"schema": NaN}', "[" * 100_000])
def test_what_is_no_certificate_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / CERTIFICATE_FILE).write_text(text)
    with pytest.raises(CertificateError, match="not a certificate"):
        read_certificate(tmp_path)


A, B = Var("a", 1), Var("b", 1)
PLANTED = {
    "overflow": ((Mul(A, X, T), scaled(B, A, 89, 0), Map(U, B, "exp")), "x ∈ [0.99", "u = exp(v1)", "returns inf at"),
    "infinity inside": ((scaled(A, X, 100, 0), Map(B, A, "exp"), Map(U, B, "tanh")), "x ∈ [0.8", "v1 = exp(v0)", ""),
    "not a number": ((scaled(A, X, 1, 0.99999), Map(U, A, "log")), "x ∈ [-1, -0.99", "u = log(v0)", "returns nan at"),
    "a pole": ((scaled(A, T, 1, -0.7), Map(B, A, "reciprocal"), Mul(U, B, X)), "t ∈ [0.7, 0.7]", "v1 = reciprocal", ""),
}
"""So few points have no finite output that no export sees them: operations, and what the refusal says."""


@pytest.mark.parametrize("name", PLANTED)
def test_a_number_that_is_not_finite_is_refused_with_its_box(artifacts: Artifacts, tmp_path: Path, name: str) -> None:
    ops, box, operation, witness = PLANTED[name]
    found = artifacts.bundle(Program("planted", (X, T), (U,), ops), name="planted", inputs=BOX)
    copy = tmp_path / "planted"
    shutil.copytree(found, copy)
    with pytest.raises(CertificateError, match="no certificate: in the box") as refused:
        certify(copy, cells=10_000)
    for part in (box, operation, witness):
        assert part in str(refused.value)
    assert not (copy / CERTIFICATE_FILE).exists()


def test_a_jump_has_no_slope_but_a_bound(artifacts: Artifacts, tmp_path: Path) -> None:
    ops = (scaled(A, X, -1, 0.3), scaled(B, T, 2, 0), Select(U, A, B, X))
    found = artifacts.bundle(Program("jump", (X, T), (U,), ops), name="jump", inputs=BOX)
    shutil.copytree(found, tmp_path / "jump")
    (claim,) = certify(tmp_path / "jump", cells=500).functions["eval"].outputs
    assert claim.slopes is None
    assert -0.01 < claim.lower <= 0 < 2 <= claim.upper < 2.01
    assert claim.error >= 1.7


def test_arguments_beyond_the_verified_ones_are_stated(artifacts: Artifacts, tmp_path: Path) -> None:
    ops = (scaled(A, X, 150, 0), Map(U, A, "sin"))
    found = artifacts.bundle(Program("fast", (X, T), (U,), ops), name="quick", inputs=BOX)
    shutil.copytree(found, tmp_path / "quick")
    proved = certify(tmp_path / "quick", cells=500).functions["eval"]
    assert proved.unverified is not None
    assert proved.unverified.lower[0] == -1
    assert proved.outputs[0].error >= 2


def test_open_sides_and_functions_that_are_not_there_are_refused(artifacts: Artifacts, bundle: Path) -> None:
    program = Program("open", (X, T), (U,), (Mul(U, X, T),))
    found = artifacts.bundle(program, name="open_side", inputs=(BOX[0], Input("t", 0.0, None)))
    with pytest.raises(CertificateError, match="the input t has no upper bound"):
        certify(found)
    with pytest.raises(CertificateError, match="has no jet; expected: eval"):
        certify(found, functions=["jet"])


def test_a_product_overflows_where_it_is_rounded() -> None:
    program = Program("large", (X,), (U,), (Affine(U, X, np.array([[3e38]]), np.array([-2e38])),))
    point = np.array([[1.2]])
    for profile, finite in (("fma-2", True), ("muladd-1", False)):
        enclosure = Enclosure(program, "float32", profile)
        assert is_safe(enclosure(point, point), enclosure.rounding).all() == finite
        assert np.isfinite(NumpyProgram(program, "float32", profile)(point.astype(np.float32))).all() == finite


def test_many_inputs_are_certified_too() -> None:
    rng = np.random.default_rng(0)
    s, h, g = Var("s", 100), Var("h", 20), Var("g", 20)
    ops = (
        Affine(h, s, rng.normal(size=(20, 100)) / 10, np.zeros(20)),
        Map(g, h, "tanh"),
        Affine(U, g, rng.normal(size=(1, 20)) / 5, np.zeros(1)),
    )
    program = Program("wide", (s,), (U,), ops)
    lower, upper = np.full((1, 100), 0.4), np.full((1, 100), 0.5)
    bounds = Enclosure(program, "float32", "fma-2")(lower, upper)
    x = rng.uniform(0.4, 0.5, (2000, 100)).astype(np.float32)
    computed, exact = NumpyProgram(program, "float32")(x), interpret(program, x)
    assert bounds.lower.min() <= computed.min() <= computed.max() <= bounds.upper.max()
    assert np.abs(computed - exact).max() <= bounds.error.max() < 1e-5


def test_the_commands(certified: Path, tmp_path: Path) -> None:
    copy = tmp_path / "heat"
    shutil.copytree(certified, copy)
    run = CliRunner()
    found = run.invoke(cli.app, ["certify", str(copy), "--function", "eval", "--cells", "2000", "--json"])
    assert found.exit_code == 0, found.output
    assert [*json.loads(found.stdout)["certificate"]["functions"]] == ["eval"]
    assert "rounding at most" in run.invoke(cli.app, ["info", str(copy)]).stdout
    checked = json.loads(run.invoke(cli.app, ["check", str(copy), "--json"]).stdout)["checks"]
    (verdict,) = [each for each in checked if each["name"] == "certificate"]
    assert verdict["result"] == "passed", verdict
    record = json.loads((copy / CERTIFICATE_FILE).read_text())
    profile(record)
    (copy / CERTIFICATE_FILE).write_text(json.dumps(record))
    refused = run.invoke(cli.app, ["info", str(copy)])
    assert refused.exit_code == 2
    assert "is about the profile" in refused.stderr


def test_the_page_has_every_shipped_model_and_says_what_its_rows_say() -> None:
    bench = script("benchmarks/verify_certificates.py")
    for block, models in (
        ("values in float32", zoo.names()),
        ("values in float64", bench.RANDOM_FEATURES),
        ("derivatives in float32", [name for name in zoo.names() if name.endswith("_student")]),
    ):
        text = bench.block_of(bench.PAGE, block)
        rows = [bench.read_row(line) for line in text.splitlines()[2:] if line.startswith("|")]
        assert {row.model for row in rows} >= {*models}, "make verify-certificates"
        assert bench.page(rows) == text.rstrip()
        assert all(row.outside == 0 for row in rows)
        assert block.startswith("derivatives") or max(max(row.ratios) for row in rows) < 20
