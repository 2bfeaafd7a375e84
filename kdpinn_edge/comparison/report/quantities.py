"""Numbers as a person reads them: three significant digits, the unit that keeps them short, no false precision."""

from __future__ import annotations

import math

MINUS, THIN, NO_BREAK = "\N{MINUS SIGN}", "\N{NARROW NO-BREAK SPACE}", "\N{NO-BREAK SPACE}"
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def duration(ns: float) -> str:
    """Write nanoseconds in ns, µs, ms or s: 63.5 ns, 14.3 ms."""
    for unit, size in (("ns", 1.0), ("µs", 1e3), ("ms", 1e6)):
        shown = significant(ns / size)
        if float(shown.replace(THIN, "")) < 1000:
            return f"{shown}{NO_BREAK}{unit}"
    return f"{significant(ns / 1e9)}{NO_BREAK}s"


def cycles(count: float) -> str:
    """Write cycles of a processor: 41 300 cycles."""
    return f"{significant(count)}{NO_BREAK}cycles"


def round_duration(ns: float) -> str:
    """Write a duration that somebody chose, without zeros behind the point: 10 ms, 2.5 s."""
    value, unit = duration(ns).split(NO_BREAK)
    return f"{value.rstrip('0').rstrip('.') if '.' in value else value}{NO_BREAK}{unit}"


def size(n_bytes: float) -> str:
    """Write bytes in B, kB, MB or GB, decimal: 24.6 kB."""
    if n_bytes < 1000:
        return f"{n_bytes:.0f}{NO_BREAK}B"
    for unit, scale in (("kB", 1e3), ("MB", 1e6)):
        if n_bytes < 999.5 * scale:
            return f"{significant(n_bytes / scale)}{NO_BREAK}{unit}"
    return f"{significant(n_bytes / 1e9)}{NO_BREAK}GB"


def count(value: int) -> str:
    """Write a count with groups of three digits: 10000 as 10 000."""
    return f"{value:,}".replace(",", THIN)


def short_count(value: int) -> str:
    """Write a count in short: 10000 as 10k, for the ticks of an axis."""
    for unit, scale in (("M", 1_000_000), ("k", 1000)):
        if value >= scale and value % scale == 0:
            return f"{value // scale}{unit}"
    return count(value)


def significant(value: float, digits: int = 3) -> str:
    """Write `value` with three significant digits and without an exponent: 0.0635, 14.3, 153, 15 300 for 15 312."""
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)))
    rounded = round(value, digits - 1 - exponent)
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(rounded))))
    return f"{rounded:,.{decimals}f}".replace(",", THIN).replace("-", MINUS)


def error(value: float) -> str:
    """Write an absolute error with two digits: 8.9 × 10⁻⁷, 0.013."""
    if value == 0 or not math.isfinite(value) or 0.01 <= abs(value) < 1000:
        return significant(value, 2)
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}{THIN}×{THIN}10{str(int(exponent)).translate(SUPERSCRIPTS)}".replace("-", MINUS)


def power_of_ten(value: float) -> str:
    """Write a power of ten: 1e-6 as 10⁻⁶."""
    return f"10{str(round(math.log10(value))).translate(SUPERSCRIPTS)}"


def ratio(value: float) -> str:
    """Write a factor: 3.2, 42, 1 100."""
    return significant(value, 3 if value >= 1000 else 2)


def percent(share: float) -> str:
    """Write a share as a percentage with two digits: 0.030 %."""
    return f"{significant(100 * share, 2)}{NO_BREAK}%"


def percent_above(share: float) -> str:
    """Write a share as a percentage with two digits, rounded up, as an upper bound needs."""
    if share <= 0:
        return percent(0)
    unit = 10.0 ** (math.floor(math.log10(100 * share)) - 1)
    return f"{significant(math.ceil(100 * share / unit) * unit, 2)}{NO_BREAK}%"


def percentile(p: float) -> str:
    """Write the name of a percentile: p50, p99.9."""
    return f"p{p:g}"
