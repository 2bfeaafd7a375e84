"""Jacobians and Hessians as requests: the columns that they stand for, their values, and how they are indexed."""

from __future__ import annotations

import subprocess
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from artifacts import Artifacts
from conftest import Need
from strategies import mlp, points
from torch.func import hessian, jacrev, vmap
from torch_program import torch_program

from kdpinn_edge import compile, load
from kdpinn_edge.bundle.manifest import Input, Output
from kdpinn_edge.derive.derivatives import derivatives
from kdpinn_edge.derive.groups import terms_of
from kdpinn_edge.derive.names import Names, parse_requests
from kdpinn_edge.errors import DerivativeError, EngineError
from kdpinn_edge.export.preparation import prepare
from kdpinn_edge.program.ir import columns

FLAT = Names(("x", "t", "nu"), ("u", "v[0]", "v[1]"))
NET = mlp(3, 12, 2, 2)
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Wshadow", "-Wconversion")


@pytest.mark.parametrize(
    ("requests", "names"),
    [
        ("jacobian(u)", "u_x u_t u_nu"),
        ("jacobian(; nu)", "u_nu v[0]_nu v[1]_nu"),
        ("jacobian(v; t, x)", "v[0]_x v[0]_t v[1]_x v[1]_t"),
        ("jacobian(v[1], u;t)", "u_t v[1]_t"),
        ("hessian(u; x, nu)", "u_xx u_x_nu u_nu_nu"),
        ("hessian (u;)", "u_xx u_xt u_x_nu u_tt u_t_nu u_nu_nu"),
        ("u_t, jacobian(u), u, jacobian(u; x)", "u_t u_x u_nu u"),
        ("nu, laplacian(u), jacobian(u; x)", "nu laplacian(u) u_x"),
    ],
)
def test_a_group_stands_for_columns(requests: str, names: str) -> None:
    assert [*terms_of(parse_requests(requests), FLAT)] == names.split()


def test_alone_it_is_all_of_them() -> None:
    assert [*terms_of(["jacobian"], FLAT)] == [f"{u}_{x}" for u, x in product(FLAT.outputs, FLAT.inputs)]
    assert len(terms_of(["hessian"], FLAT)) == 3 * 6
    assert terms_of(["hessian()"], FLAT) == terms_of(["hessian(;)"], FLAT) == terms_of(["hessian"], FLAT)


@pytest.mark.parametrize(
    ("request_text", "fault"),
    [
        ("jacobian(q)", "'q' is no output; expected: u, v[0], v[1]"),
        ("jacobian(x)", "'x' is no output"),
        ("hessian(u; u)", "'u' is no input; expected: x, t, nu"),
        ("hessian(u; x; t)", "'x; t' is no input"),
        ("jacobian(u, u)", "names the output u twice"),
        ("jacobian(v, v[0])", "names the output v[0] twice"),
        ("hessian(u; x, x)", "names the input x twice"),
        ("jacobian(u,)", "a request is empty"),
        ("jacobians", "is no column and no derivative of one"),
    ],
)
def test_a_group_without_meaning_is_refused(request_text: str, fault: str) -> None:
    with pytest.raises(DerivativeError) as caught:
        terms_of([request_text], FLAT)
    assert fault in str(caught.value)


def test_a_column_of_that_name_is_not_taken_for_a_group() -> None:
    names = Names(("x",), ("jacobian",))
    with pytest.raises(DerivativeError, match=r"is a column and all derivatives; write jacobian\(\)"):
        terms_of(["jacobian"], names)
    assert [*terms_of(["jacobian()", "jacobian_xx"], names)] == ["jacobian_x", "jacobian_xx"]


def test_a_column_that_is_named_twice_is_refused_beside_a_group() -> None:
    with pytest.raises(DerivativeError, match="u_x is asked for twice"):
        terms_of(["jacobian", "u_x"], FLAT)


def test_they_agree_with_torch_and_are_symmetric() -> None:
    engine = compile(NET, derivatives=["u[0]", "jacobian", "hessian"], precision="float64")
    x = points(NET, 9)
    function = torch_program(NET)
    first = vmap(jacrev(function))(torch.tensor(x)).numpy()
    second = vmap(hessian(function))(torch.tensor(x)).numpy()
    np.testing.assert_allclose(engine.jacobian(x), first, rtol=1e-11, atol=1e-12)
    found = engine.hessian(x, threads=2)
    np.testing.assert_allclose(found, second, rtol=1e-11, atol=1e-12)
    assert (found == found.transpose(0, 1, 3, 2)).all()
    assert (found[:, 1, 2, 0] == engine.jet(x)["u[1]_x0_x2"]).all()
    assert engine.jacobian(x[:0]).shape == (0, 2, 3)


def test_any_jet_that_has_the_columns_serves() -> None:
    engine = compile(mlp(2, 4, 1, 1), derivatives=["u_x1_x1", "u_x1", "u_x0", "u_x0_x0"], precision="float64")
    x = points(mlp(2, 4, 1, 1), 3)
    jet = engine.jet(x)
    assert (engine.jacobian(x)[:, 0] == np.stack([jet["u_x0"], jet["u_x1"]], axis=1)).all()
    with pytest.raises(EngineError, match="the derivatives lack u_x0_x1; add 'hessian' to those"):
        engine.hessian(x)
    with pytest.raises(EngineError, match="has no jet: export it with --derivatives"):
        compile(mlp(2, 4, 1, 1)).jacobian(x)


def test_their_units_are_those_of_their_columns() -> None:
    described = [Input("x0", unit="m"), Input("x1", unit="s"), Input("x2")]
    outputs = [Output("u[0]", "K"), Output("u[1]", "1")]
    made = prepare(NET, name="net", inputs=described, outputs=outputs, derivatives=["hessian(u[0]; x0, x1)"])
    assert [column.unit for column in made.outputs["jet"]] == ["K/m²", "K/(m s)", "K/s²"]


@pytest.fixture(scope="module")
def bundle(artifacts: Artifacts) -> Path:
    return artifacts.bundle(NET, name="net", derivatives=["u[1]", "jacobian", "hessian"])


def test_the_header_indexes_by_output_and_inputs(bundle: Path, tmp_path: Path, need: Need) -> None:
    (tmp_path / "index.c").write_text(
        '#include <stdio.h>\n#include "net.h"\nenum { AT_COMPILE_TIME = NET_JACOBIAN(1, 2) };\n'
        "int main(void) { int i, j, k;\n"
        'for (i = 0; i < 2; i++) for (j = 0; j < 3; j++) { printf("%d ", NET_JACOBIAN(i, j));\n'
        'for (k = 0; k < 3; k++) printf("%d ", NET_HESSIAN(i, j, k)); }\n'
        'printf("%d", AT_COMPILE_TIME); return 0; }\n'
    )
    subprocess.run([need("cc"), *STRICT, f"-I{bundle}", "index.c", "-o", "index"], cwd=tmp_path, check=True)
    printed = subprocess.run([tmp_path / "index"], capture_output=True, text=True, check=True).stdout
    jet = load(bundle).manifest.functions["jet"].outputs
    *found, at_compile_time = [jet[int(i)].name for i in printed.split()]
    expected = []
    for u, j in product(("u[0]", "u[1]"), range(3)):
        expected.append(f"{u}_x{j}")
        expected += [f"{u}_x{min(j, k)}_x{max(j, k)}" for k in range(3)]
    assert found == expected
    assert at_compile_time == "u[1]_x2"


def test_the_header_has_no_index_of_what_is_not_there(artifacts: Artifacts) -> None:
    header = (artifacts.bundle(NET, name="net", derivatives=["u[0]_x1", "jacobian"]) / "net.h").read_text()
    assert "NET_JACOBIAN" not in header
    assert "NET_HESSIAN" not in header


def test_a_hessian_is_computed_once_for_each_pair() -> None:
    assert len(columns(derivatives(NET, ["hessian"]).outputs)) == 2 * 6
