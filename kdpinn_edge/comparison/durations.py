"""Durations and rates as people write them, and durations back."""

from __future__ import annotations

import re

from kdpinn_edge.errors import BenchError

NS = {"ns": 1, "us": 1_000, "µs": 1_000, "μs": 1_000, "ms": 1_000_000, "s": 1_000_000_000}  # both signs for micro

HZ = {"Hz": 1, "kHz": 1_000, "MHz": 1_000_000, "GHz": 1_000_000_000}


def parse_duration(text: str) -> int:
    """Read `text`, a number and a unit, as nanoseconds: 10ms, 250us, 0.5 s. Raises BenchError for anything else."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-zµμ]+)\s*", text)
    if found is None or found[2] not in NS or round(float(found[1]) * NS[found[2]]) < 1:
        raise BenchError(f"{text!r} is not a duration; expected: a positive number and ns, us, ms or s, as in 10ms")
    return round(float(found[1]) * NS[found[2]])


def parse_rate(text: str) -> int:
    """Read `text`, a number and a unit, as a rate per second: 216MHz, 1.5 GHz. Raises BenchError for anything else."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([kMG]?Hz)\s*", text)
    if found is None or round(float(found[1]) * HZ[found[2]]) < 1:
        raise BenchError(f"{text!r} is not a rate; expected: a positive number and {', '.join(HZ)}, as in 216MHz")
    return round(float(found[1]) * HZ[found[2]])


def duration(ns: float) -> str:
    """Write `ns` in the unit that suits it, with three digits, as in 1.52 ms."""
    unit = next((unit for unit in ("s", "ms", "µs") if ns >= NS[unit]), "ns")
    value = ns / NS[unit]
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:,.{digits}f} {unit}"


def short_duration(ns: float) -> str:
    """Write a duration that somebody chose, without zeros behind the point: 10 ms, 2.5 s."""
    value, unit = duration(ns).split(" ")
    return f"{value.rstrip('0').rstrip('.') if '.' in value else value} {unit}"
