"""The audit: it finds what the residual is, a figure is whole or not there, and the exit code can be trusted."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from artifacts import Artifacts
from edited import edit
from sampled import sampled
from typer.testing import CliRunner, Result

from kdpinn_edge import cli
from kdpinn_edge.bundle.manifest import Input, read_manifest
from kdpinn_edge.checks.audit import Audit, ResidualQuantile, _axes, _panels, audit, check_figure, draw
from kdpinn_edge.errors import AuditError, EngineError
from kdpinn_edge.export.bundle import export_bundle
from kdpinn_edge.program.ir import Add, Map, Mul, Program, Scale, Var

X, T, NU = Var("x", 1), Var("t", 1), Var("nu", 1)
SIDES = (Input("x", -1.0, 1.0, "m"), Input("t", 0.0, 2.0, "s"), Input("nu", 0.5, 1.0))


def scale(out: Var, x: Var, weight: float, bias: float) -> Scale:
    return Scale(out, x, np.array([weight]), np.array([bias]))


@pytest.fixture(scope="module")
def three_inputs(artifacts: Artifacts) -> Path:
    """With the residual x (t + 1) nu."""
    u, a, b, r = Var("u", 1), Var("a", 1), Var("b", 1), Var("residual", 1)
    program = Program("wave", (X, T, NU), (u,), (Mul(u, X, T),))
    residual = Program("wave", (X, T, NU), (r,), (scale(a, T, 1, 1), Mul(b, X, a), Mul(r, b, NU)))
    return artifacts.bundle(program, name="wave", inputs=SIDES, residual=residual, equation="x (t + 1) ν = 0")


@pytest.fixture(scope="module")
def one_input(artifacts: Artifacts) -> Path:
    """With two residuals, x and e^(100 x): the second is infinite in float32 from x = 0.89 on."""
    u, a, r, s = Var("u", 1), Var("a", 1), Var("residual_1", 1), Var("residual_2", 1)
    program = Program("line", (X,), (u,), (Add(u, X, X),))
    residual = Program("line", (X,), (r, s), (scale(r, X, 1, 0), scale(a, X, 100, 0), Map(s, a, "exp")))
    return artifacts.bundle(program, name="line", inputs=(Input("x", -1.0, 0.5),), residual=residual)


def edited(bundle: Path, tmp_path: Path, **side: float | None) -> Path:
    """A copy of the bundle whose first input has another side."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in bundle.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    first, *others = read_manifest(copy).inputs
    edit(copy, inputs=(replace(first, **side), *others))
    return copy


def made(shape: tuple[int, ...], n_equations: int = 1) -> Audit:
    """An audit of random residuals."""
    axes = tuple(np.linspace(0, 1, n) for n in shape)
    inputs = tuple(Input(f"x{i}", 0.0, 1.0) for i in range(len(shape)))
    values = np.abs(np.random.default_rng(0).normal(size=(*shape, n_equations)))
    return Audit(
        name="made",
        equation=None,
        engine="library",
        profile="fma-2",
        inputs=inputs,
        equations=tuple(f"r{i}" for i in range(n_equations)),
        axes=axes,
        residual=values,
        largest=(10.0,) * n_equations,
    )


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.app, ["audit", *map(str, arguments)])


def test_the_sweep_finds_the_residual_everywhere(three_inputs: Path) -> None:
    found = audit(three_inputs, per_axis=9)
    x, t, nu = np.meshgrid(np.linspace(-1, 1, 9), np.linspace(0, 2, 9), np.linspace(0.5, 1, 5), indexing="ij")
    np.testing.assert_allclose(found.residual[..., 0], np.abs(x * (t + 1) * nu), rtol=1e-6, atol=0)
    assert found.n_points == 9 * 9 * 5
    assert (found.name, found.equation, found.equations) == ("wave", "x (t + 1) ν = 0", ("residual",))


@pytest.mark.parametrize("engine", ["numpy", "onnx"])
def test_every_engine_finds_the_same(three_inputs: Path, engine: str) -> None:
    other = audit(three_inputs, per_axis=7, engine=engine)  # type: ignore[arg-type]
    np.testing.assert_allclose(other.residual, audit(three_inputs, per_axis=7).residual, rtol=1e-6)
    assert other.engine == engine


def test_the_largest_residual_has_its_place(three_inputs: Path) -> None:
    (row,) = audit(three_inputs, per_axis=5).rows([100.0])
    assert row.value == 3.0
    assert abs(row.at["x"]) == 1.0
    assert (row.at["t"], row.at["nu"]) == (2.0, 1.0)


@pytest.mark.parametrize("percentile", [0.0, 1.0, 50.0, 90.0, 99.0, 99.9, 100.0])
@pytest.mark.parametrize("shape", [(7,), (10, 10), (5, 4, 3)])
def test_a_percentile_is_a_value_that_occurs(shape: tuple[int, ...], percentile: float) -> None:
    found = made(shape, 2)
    for i, row in enumerate(found.rows([percentile])):
        values = found.residual[..., i]
        assert row.relative == row.value / 10
        assert row.value == np.quantile(values, percentile / 100, method="inverted_cdf")
        where = tuple(
            int(np.argmin(abs(axis - row.at[s.name]))) for axis, s in zip(found.axes, found.inputs, strict=True)
        )
        assert values[where] == row.value


def test_two_equations_and_one_input(one_input: Path) -> None:
    found = audit(one_input, per_axis=4)
    assert found.rows([100.0]) == [
        ResidualQuantile("residual_1", 100.0, 1.0, 1.0, {"x": -1.0}),
        ResidualQuantile("residual_2", 100.0, pytest.approx(np.exp(50), rel=1e-6), pytest.approx(1.0), {"x": 0.5}),
    ]


@pytest.mark.parametrize(
    ("n_inputs", "few"), [(1, ()), (2, ()), (3, (5,)), (4, (5, 5)), (5, (2,) * 3), (6, (2,) * 4), (8, (1,) * 6)]
)
def test_more_inputs_take_fewer_values(three_inputs: Path, n_inputs: int, few: tuple[int, ...]) -> None:
    manifest = replace(read_manifest(three_inputs), inputs=tuple(Input(f"x{i}", -1.0, 3.0) for i in range(n_inputs)))
    axes = _axes(manifest, 9)
    assert tuple(map(len, axes)) == (9, 9, *few)[:n_inputs]
    assert all(axis[0] == -1 and axis[-1] == 3 for axis in axes if len(axis) > 1)
    assert all(axis[0] == 1 for axis in axes if len(axis) == 1)


def test_every_slice_has_its_panel(three_inputs: Path) -> None:
    found = audit(three_inputs, per_axis=3)
    panels = list(_panels(found))
    assert [title for title, _ in panels] == [f"nu = {nu}" for nu in (0.5, 0.625, 0.75, 0.875, 1)]
    assert panels[4][1].tolist() == [[1, 2, 3], [0, 0, 0], [1, 2, 3]]
    assert [title for title, _ in _panels(made((3,), 2))] == ["r0", "r1"]
    assert [title for title, _ in _panels(made((3, 3)))] == [""]
    assert next(_panels(made((3, 3, 2, 2), 2)))[0] == "r0, x2 = 0, x3 = 0"


SIGNATURE = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}


@pytest.mark.parametrize("suffix", SIGNATURE)
def test_a_figure_is_whole(tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"audit{suffix}"
    draw(made((20, 20, 2)), target)
    assert target.read_bytes().startswith(SIGNATURE[suffix])
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


@pytest.mark.parametrize(("shape", "n_equations"), sampled([(30,), (20, 20), (5, 5, 2, 2)], [1, 3]))
def test_a_figure_of_any_shape(tmp_path: Path, shape: tuple[int, ...], n_equations: int) -> None:
    draw(made(shape, n_equations), tmp_path / "audit.png")
    assert (tmp_path / "audit.png").stat().st_size > 10_000


def test_no_residual_at_all_is_reported_and_drawn(tmp_path: Path) -> None:
    found = replace(made((5, 5)), residual=np.zeros((5, 5, 1)), largest=(0.0,))
    assert {(row.value, row.relative) for row in found.rows()} == {(0.0, 0.0)}
    draw(found, tmp_path / "audit.png")


def test_a_figure_that_fails_leaves_nothing_and_keeps_its_predecessor(tmp_path: Path) -> None:
    (tmp_path / "audit.png").write_text("before")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))  # as a disk that is nearly full
    try:
        with pytest.raises(OSError, match=r"audit\.png"):
            draw(made((5, 5)), tmp_path / "audit.png")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == [tmp_path / "audit.png"]
    assert (tmp_path / "audit.png").read_text() == "before"


def test_a_wrong_suffix_is_refused_before_the_sweep(three_inputs: Path, tmp_path: Path) -> None:
    with pytest.raises(AuditError, match=r"'\.jpeg' is unknown; expected: \.png, \.svg, \.pdf"):
        check_figure(tmp_path / "audit.jpeg")
    with pytest.raises(AuditError, match="there is no folder"):
        check_figure(tmp_path / "none" / "audit.png")
    result = run(three_inputs, "--out", tmp_path / "audit.jpeg", "--engine", "onnx")
    assert (result.exit_code, result.stdout) == (2, "")
    assert ".jpeg" in result.stderr


def test_what_cannot_be_swept_is_named(three_inputs: Path, one_input: Path, tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="per_axis is 1"):
        audit(three_inputs, per_axis=1)
    with pytest.raises(AuditError, match="wave: the domain of x is open"):
        audit(edited(three_inputs, tmp_path, upper=None), engine="numpy")


def test_a_residual_that_is_not_finite_is_named(one_input: Path, tmp_path: Path) -> None:
    with pytest.raises(AuditError, match=r"line: the residual is not finite at x = 0\.9\d*$"):
        audit(edited(one_input, tmp_path, upper=1.0), engine="numpy", per_axis=101)


def test_a_bundle_without_residual_says_how_to_get_one(tmp_path: Path) -> None:
    export_bundle(Program("plain", (X,), (Var("u", 1),), (Add(Var("u", 1), X, X),)), tmp_path / "b", name="plain")
    with pytest.raises(EngineError, match="residual"):
        audit(tmp_path / "b")
    result = run(tmp_path / "b")
    assert result.exit_code == 2
    assert "--residual" in result.stderr


def test_the_limit_decides_the_exit_code(three_inputs: Path) -> None:
    """At 50 % of the points |x (t + 1) nu| is about 0.6, at most it is 3."""
    assert run(three_inputs, "--per-axis", "21").exit_code == 0
    assert run(three_inputs, "--per-axis", "21", "--limit", "3", "--percentile", "100").exit_code == 0
    missed = run(three_inputs, "--per-axis", "21", "--limit", "2.9", "--percentile", "100")
    assert missed.exit_code == 1
    assert "residual: 3 at 100 % of the points; the limit is 2.9" in " ".join(missed.stderr.split())
    assert run(three_inputs, "--per-axis", "21", "--limit", "1", "--percentile", "50").exit_code == 0
    assert run(three_inputs, "--per-axis", "21", "--limit", "0.3", "--percentile", "50").exit_code == 1


def test_the_command_prints_one_document_and_draws(three_inputs: Path, tmp_path: Path) -> None:
    result = run(three_inputs, "--per-axis", "5", "--out", tmp_path / "a.svg", "--json", "--limit", "1")
    document = json.loads(result.stdout)
    assert result.exit_code == 1
    assert (document["passed"], document["points"], document["engine"]) == (False, 125, "library")
    assert document["profile"] == "fma-2"
    assert [row["percentile"] for row in document["residual"]] == [50, 90, 99, 100]
    assert document["residual"][-1]["value"] == 3.0
    assert (tmp_path / "a.svg").exists()


def test_an_audit_needs_no_torch(three_inputs: Path) -> None:
    script = (
        "import sys\n"
        "from kdpinn_edge.checks.audit import audit\n"
        f"audit({str(three_inputs)!r}, per_axis=3)\n"
        "print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "matplotlib", "numba", "llvmlite", "onnx", "scipy"} & set(loaded)
