"""Units of derivatives: quotients, and what cannot be known."""

from __future__ import annotations

import pytest

from kdpinn_edge.bundle.manifest import Input, Output
from kdpinn_edge.bundle.units import derivative_units, quotient


@pytest.mark.parametrize(
    ("unit", "by", "expected"),
    [
        ("K", [], "K"),
        ("K", ["m"], "K/m"),
        ("K", ["m", "m"], "K/m²"),
        ("K", ["m", "s"], "K/(m s)"),
        ("K", ["m", "s", "s", "m"], "K/(m² s²)"),
        ("m", ["s"] * 12, "m/s¹²"),
        ("1", ["m"], "1/m"),
        ("1", ["1", "1"], "1"),
        ("K", ["1"], "K"),
        ("m", ["m"], "1"),
        ("m", ["m", "m"], "1/m"),
        ("m/s", ["m"], "(m/s)/m"),
        ("Pa", ["m/s"], "Pa/(m/s)"),
        ("°C", ["µm", "µm"], "(°C)/µm²"),
        (None, ["m"], None),
        ("K", ["m", None], None),
    ],
)
def test_quotients(unit: str | None, by: list[str | None], expected: str | None) -> None:
    assert quotient(unit, by) == expected


INPUTS = (Input("x", unit="m"), Input("y", unit="m"), Input("nu", unit="m²/s"), Input("t", unit="s"))
OUTPUTS = (Output("v", "K"), Output("p"))


def test_requests() -> None:
    requests = (
        "v",
        "v_x",
        "v_xy",
        "v_nu",
        "nu",
        "laplacian(v, x, y)",
        "laplacian(v, x, t)",
        "laplacian(v)",
        "p",
        "p_x",
    )
    assert derivative_units(requests, INPUTS, OUTPUTS) == (
        "K",
        "K/m",
        "K/m²",
        "K/(m²/s)",
        "m²/s",
        "K/m²",
        None,
        None,
        None,
        None,
    )
