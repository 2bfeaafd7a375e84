"""Units in terms of the base units of FMI: kg, m, s, A, K, mol, cd and rad.

"mm/s" is 0.001 m/s, "W/(m² K)" is kg/(s³ K), and "°C" is K with an offset. A unit that is not in the table, or that can
be read in two ways, as W/m K, has none: it stays a name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import pi

BASE = ("kg", "m", "s", "A", "K", "mol", "cd", "rad")
Exponents = tuple[int, ...]


@dataclass(frozen=True)
class BaseUnit:
    """The exponents of BASE, and how numbers are converted: value in base units = factor · value + offset."""

    exponents: Exponents
    factor: Fraction = Fraction(1)
    offset: Fraction = Fraction(0)

    def attributes(self) -> dict[str, str]:
        """Those of the element BaseUnit, of FMI 2.0 and 3.0 alike, where they are not what is assumed without them."""
        said = {name: str(power) for name, power in zip(BASE, self.exponents, strict=True) if power}
        converted = {"factor": self.factor, "offset": self.offset}
        usual = {"factor": 1, "offset": 0}
        return said | {name: repr(float(each)) for name, each in converted.items() if each != usual[name]}


def _of(factor: Fraction | int = 1, offset: Fraction | int = 0, **powers: int) -> BaseUnit:
    return BaseUnit(tuple(powers.get(name, 0) for name in BASE), Fraction(factor), Fraction(offset))


SI: Mapping[str, BaseUnit] = {
    "g": _of(Fraction(1, 1000), kg=1),
    **{name: _of(**{name: 1}) for name in BASE if name != "kg"},
    "Hz": _of(s=-1),
    "N": _of(kg=1, m=1, s=-2),
    "Pa": _of(kg=1, m=-1, s=-2),
    "J": _of(kg=1, m=2, s=-2),
    "W": _of(kg=1, m=2, s=-3),
    "C": _of(A=1, s=1),
    "V": _of(kg=1, m=2, s=-3, A=-1),
    "F": _of(kg=-1, m=-2, s=4, A=2),
    **dict.fromkeys(("Ω", "ohm", "Ohm"), _of(kg=1, m=2, s=-3, A=-2)),
    "S": _of(kg=-1, m=-2, s=3, A=2),
    "Wb": _of(kg=1, m=2, s=-2, A=-1),
    "T": _of(kg=1, s=-2, A=-1),
    "H": _of(kg=1, m=2, s=-2, A=-2),
    **dict.fromkeys(("L", "l"), _of(Fraction(1, 1000), m=3)),
    "bar": _of(100_000, kg=1, m=-1, s=-2),
}
OTHERS: Mapping[str, BaseUnit] = {
    "1": _of(),
    "%": _of(Fraction(1, 100)),
    "min": _of(60, s=1),
    "h": _of(3600, s=1),
    "d": _of(86400, s=1),
    **dict.fromkeys(("°", "deg"), _of(Fraction(pi) / 180, rad=1)),
    **dict.fromkeys(("°C", "degC"), _of(offset=Fraction(27315, 100), K=1)),
}
"""Units that have no prefix."""
PREFIXES: Mapping[str, Fraction] = {
    prefix: Fraction(10) ** power
    for prefix, power in (
        *(("p", -12), ("n", -9), ("µ", -6), ("μ", -6), ("u", -6), ("m", -3), ("c", -2)),
        *(("h", 2), ("k", 3), ("M", 6), ("G", 9), ("T", 12)),
    )
}
"""Micro has two letters in Unicode, and one in ASCII."""

TOKEN = re.compile(r"\s*(?:([/·*()])|(1(?!\d)|[A-Za-zµμΩ°%]+))")
POWER = re.compile(r"\^?([-+]?\d{1,2})|(⁻?[⁰¹²³⁴⁵⁶⁷⁸⁹]{1,2})")
PLAIN = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")


def base_unit(unit: str) -> BaseUnit | None:
    """What `unit` is, or None where that is not known."""
    try:
        return _Reader(unit).whole()
    except ValueError:
        return None


class _Reader:
    """The text of a unit, and how far it has been read. Raises ValueError for what is none."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text.strip(), 0

    def whole(self) -> BaseUnit:
        alone = OTHERS.get(self._text)
        if alone is not None:
            return alone
        found = self._product()
        if self._at < len(self._text):
            raise ValueError("a parenthesis too many")
        return found

    def _product(self) -> BaseUnit:
        found, divided = self._power(), False
        while (sign := self._sign()) not in ("", ")"):
            if divided and sign != "/":
                raise ValueError("a product behind a quotient")
            divided = sign == "/"
            found = _times(found, self._power(), -1 if divided else 1)
        return found

    def _sign(self) -> str:
        """The next sign between two units; a space is one as well."""
        token = TOKEN.match(self._text, self._at)
        if token is None:
            if self._text[self._at :].strip():
                raise ValueError("an unknown letter")
            return ""
        if token[1] in ("/", "·", "*"):
            self._at = token.end()
        return str(token[1]) if token[1] in ("/", ")") else "·"

    def _power(self) -> BaseUnit:
        token = TOKEN.match(self._text, self._at)
        if token is None or token[1] not in ("(", None):
            raise ValueError("no unit")
        self._at = token.end()
        if token[1]:
            found = self._product()
            if self._text[self._at : self._at + 1] != ")":
                raise ValueError("no end of a parenthesis")
            self._at += 1
        else:
            found = _symbol(token[2])
        power = POWER.match(self._text, self._at)
        if power is None:
            return found
        self._at = power.end()
        return _times(_of(), found, int(power[1] or power[2].translate(PLAIN)))


def _times(first: BaseUnit, second: BaseUnit, power: int) -> BaseUnit:
    exponents = tuple(a + power * b for a, b in zip(first.exponents, second.exponents, strict=True))
    return BaseUnit(exponents, first.factor * second.factor**power)


def _symbol(name: str) -> BaseUnit:
    """A unit with or without prefix; one with an offset is none of a product."""
    known = SI.get(name) or OTHERS.get(name)
    if known is None and name[1:] in SI and name[0] in PREFIXES:
        known = _times(_of(PREFIXES[name[0]]), SI[name[1:]], 1)
    if known is None or known.offset:
        raise ValueError(f"{name} is not known")
    return known
