"""Units of FMUs in terms of base units: what is known, and what stays a name."""

from __future__ import annotations

from math import pi

import pytest

from kdpinn_edge.export.artifacts.fmu_units import base_unit


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("1", {}),
        ("m", {"m": "1"}),
        ("K/m²", {"K": "1", "m": "-2"}),
        ("m^2/s", {"m": "2", "s": "-1"}),
        ("1/(m²/s)²", {"m": "-4", "s": "2"}),
        ("W/(m² K)", {"kg": "1", "s": "-3", "K": "-1"}),
        ("J/kg/K", {"m": "2", "s": "-2", "K": "-1"}),
        ("N·m", {"kg": "1", "m": "2", "s": "-2"}),
        ("kg m s-2", {"kg": "1", "m": "1", "s": "-2"}),
        ("mm/s", {"m": "1", "s": "-1", "factor": "0.001"}),
        ("g/cm³", {"kg": "1", "m": "-3", "factor": "1000.0"}),
        ("km/h", {"m": "1", "s": "-1", "factor": repr(5 / 18)}),
        ("µm", {"m": "1", "factor": "1e-06"}),
        ("mbar", {"kg": "1", "m": "-1", "s": "-2", "factor": "100.0"}),
        ("min", {"s": "1", "factor": "60.0"}),
        ("V s/A", {"kg": "1", "m": "2", "s": "-2", "A": "-2"}),
        ("°C", {"K": "1", "offset": "273.15"}),
        ("deg", {"rad": "1", "factor": repr(pi / 180)}),
        ("%", {"factor": "0.01"}),
        ("mol/L", {"mol": "1", "m": "-3", "factor": "1000.0"}),
    ],
)
def test_what_is_known(unit: str, expected: dict[str, str]) -> None:
    found = base_unit(unit)
    assert found is not None
    assert found.attributes() == expected


@pytest.mark.parametrize(
    "unit",
    ["furlong", "W/m K", "°C/m", "m/", "(m", "m)", "", "10 m", "m**2", "kmin", "mm/s·K", "€", "m/(s", "kkg", "/s"],
)
def test_what_stays_a_name(unit: str) -> None:
    assert base_unit(unit) is None
