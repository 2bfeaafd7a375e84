"""Enclosures of the functions of a Program: their values and slopes on intervals, and what they make of affine forms.

Between two arguments a function takes its extremes at the ends and where it turns, and its slope takes them at the
ends and at the inflections: the record of each function says where these are (`functions/record.py`, `Curve`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np

from kdpinn_edge.certificates.forms import Form, add, chosen, constant, mul, scale, sharper, shifted, within
from kdpinn_edge.certificates.intervals import SLACK, TINY, Interval, Mask
from kdpinn_edge.certificates.monomials import monomials
from kdpinn_edge.functions import find_function, slopes
from kdpinn_edge.functions.record import Function
from kdpinn_edge.functions.slope import Applied, values
from kdpinn_edge.program.ir import Array

LIBRARY_ERROR = 2.0**-44
"""The largest relative error of NumPy's exp, log, sin and the like in float64 that is allowed for: 512 units.

The GNU C library states at most a few units for each of them (manual, Known Maximum Errors in Math Functions), and
NumPy's own vector code at most 4. `tests/test_certificates.py` holds them against mpmath.
"""


def mapped(name: str, x: Form, argument: Interval) -> tuple[Form, Interval, Interval]:
    """The function of this name of x, which lies within `argument`: as a form and as an interval; and its slope there.

    Where values are not finite or not defined, the rest is infinite, and the interval is endless.
    """
    function = find_function(name)
    with np.errstate(all="ignore"):
        centre = np.clip(x.centre, argument.lower, argument.upper)
        lower, upper, middle = function.exact(np.stack([argument.lower, argument.upper, centre]))
        slope = _slopes(name, argument, lower, upper)
        value = _range(function, argument, lower, upper)
        line = _line(name, argument, x, centre, (lower, upper, middle), slope)
        polynomial = _polynomial(name, argument, x, centre, middle, value)
        if polynomial is not None:
            line = chosen(polynomial.rest < line.rest, polynomial, line)
        line = sharper(line, value)
    outside = ~_defined(function, argument)
    return (
        replace(line, rest=np.where(outside, np.inf, line.rest)),
        Interval(np.where(outside, -np.inf, value.lower), np.where(outside, np.inf, value.upper)),
        Interval(np.where(outside, -np.inf, slope.lower), np.where(outside, np.inf, slope.upper)),
    )


def _line(
    name: str, argument: Interval, x: Form, centre: Array, at: tuple[Array, Array, Array], slope: Interval
) -> Form:
    """The function as a straight line and a rest: a x + b ± rest, where its values at the ends and the centre are `at`.

    Without an inflection f is convex or concave. For any a, e(x) = f(x) - f(lower) - a (x - lower) is so, too: if it is
    convex, it lies below the larger of its values at the ends and above its tangent at the centre. With the a of the
    secant these are close together. Where there is an inflection the slope bounds how far f is from a line.
    """
    function = find_function(name)
    lower, upper, middle = at
    left, right = centre - argument.lower, argument.upper - centre
    reach = np.maximum(left, right)
    a = np.clip((upper - lower) / (left + right), slope.lower, slope.upper)
    a = np.where(np.isnan(a), 0.5 * slope.lower + 0.5 * slope.upper, a)

    end = upper - lower - a * (left + right)
    bulge = middle - lower - a * left
    magnitude = (
        np.abs(lower) + np.abs(upper) + np.abs(middle) + np.abs(a) * (x.size + np.abs(argument.lower) + left + right)
    )
    rounding = (4 * LIBRARY_ERROR + SLACK) * magnitude
    tangent = _slope_at(name, centre, middle)
    tilt = np.maximum(tangent.upper - a, a - tangent.lower) * reach
    convex, concave = bulge < np.minimum(end, 0.0) - rounding, bulge > np.maximum(end, 0.0) + rounding
    low = np.where(concave, np.minimum(end, 0.0), np.minimum(bulge - tilt, np.minimum(end, 0.0)))
    high = np.where(convex, np.maximum(end, 0.0), np.maximum(bulge + tilt, np.maximum(end, 0.0)))

    steep = np.maximum(slope.upper - a, a - slope.lower) * reach
    bent = _any_within(function, function.curve.inflections, argument)
    low, high = np.where(bent, bulge - steep, low), np.where(bent, bulge + steep, high)

    shares = a * x.shares
    shares[0] = lower + a * (x.shares[0] - argument.lower) + (0.5 * low + 0.5 * high)
    rest = 0.5 * (high - low) + np.abs(a) * x.rest + rounding
    rest[_any_within(function, function.curve.jumps, argument)] = np.inf
    return replace(x, shares=shares, rest=rest * (1 + SLACK) + TINY)


def _polynomial(name: str, argument: Interval, x: Form, centre: Array, middle: Array, value: Interval) -> Form | None:
    """The function as its Taylor polynomial at `centre`, where it is `middle`, and a rest.

    The rest follows from how much the highest derivative varies. Its values on `argument` are those of its formula, for
    values of the function within `value`. None where the function or a derivative jumps, or forms are linear.
    """
    degree = x.basis.degree
    if degree < 2 or not _smooth(name, degree):
        return None
    point = _point(centre)
    at_centre = _derivatives(name, degree, point, _approximate(middle))
    *_, anywhere = _derivatives(name, degree, within(argument, point), within(value, point))
    reach = np.maximum(argument.upper - centre, centre - argument.lower)
    coefficients, unknown, power = [middle], LIBRARY_ERROR * np.abs(middle), np.ones_like(reach)
    for order, found in enumerate(at_centre, 1):
        share = 1 / math.factorial(order)
        coefficients.append(share * (0.5 * found.lower + 0.5 * found.upper))
        found = found.hull(anywhere) if order == degree else found
        off = np.maximum(share * found.upper - coefficients[-1], coefficients[-1] - share * found.lower)
        power = power * reach
        unknown = unknown + (off + SLACK * share * found.magnitude) * power
    step = shifted(x, -centre)
    result = scale(step, coefficients[-1], coefficients[-2])
    for coefficient in reversed(coefficients[:-2]):
        result = shifted(mul(result, step), coefficient)
    return result.widened(unknown)


def slope_form(name: str, x: Form, y: Form, known: Interval | None) -> Form:
    """The slope of the function of this name at x, where its value is y; its slopes are within `known`, if that is."""
    with np.errstate(all="ignore"):
        (found,) = values(slopes(name, 1), Forms(x), x, y)
        return found if known is None else sharper(found, known)


def certain(name: str, x: Interval) -> Mask:
    """Where no jump of the function of this name lies within x, so that exact and rounded values have the same side."""
    function = find_function(name)
    return ~_any_within(function, function.curve.jumps, x)


@cache
def _smooth(name: str, degree: int) -> bool:
    """Whether neither the function of this name nor any of so many derivatives jumps."""
    parts = [part for part, _ in slopes(name, degree).steps]
    within_it = [find_function(part.fn) for part in parts if isinstance(part, Applied)]
    return not any(each.curve.jumps for each in (find_function(name), *within_it))


def _derivatives(name: str, degree: int, x: Form, y: Form) -> list[Interval]:
    """All values of so many derivatives for arguments within x and values of the function within y."""
    return [each.interval for each in values(slopes(name, degree), _Points(x), x, y)]


def _point(values: Array) -> Form:
    """Numbers (k, n) that depend on nothing."""
    return Form(monomials(0, 0), values[None], np.zeros_like(values))


def _approximate(results: Array) -> Form:
    """What a function may be where NumPy's float64 says `results` (k, n)."""
    return _point(results).widened(LIBRARY_ERROR * np.abs(results) + TINY)


class Forms:
    """The algebra of slopes on forms of the shape of `like`."""

    def __init__(self, like: Form) -> None:
        self._like = like

    def number(self, value: float) -> Form:
        """The constant `value`."""
        return constant(np.full(len(self._like.rest), value), self._like)

    def scaled(self, a: Form, weight: float, bias: float) -> Form:
        """The value weight * a + bias."""
        return scale(a, np.array([weight]), np.array([bias]))

    def sum(self, a: Form, b: Form) -> Form:
        """The sum a + b."""
        return add(a, b)

    def product(self, a: Form, b: Form) -> Form:
        """The product a * b."""
        return mul(a, b)

    def applied(self, fn: str, a: Form) -> Form:
        """The function called `fn`, of a."""
        return mapped(fn, a, a.interval)[0]


class _Points(Forms):
    """The same on forms that depend on no input, such as points: a function of them needs no slope."""

    def applied(self, fn: str, a: Form) -> Form:
        """The function called `fn`, of a."""
        function, argument = find_function(fn), a.interval
        ends = function.exact(np.stack([argument.lower, argument.upper]))
        result = within(_range(function, argument, *ends), a)
        result.rest[~_defined(function, argument)] = np.inf
        return result


def _range(function: Function, x: Interval, at_lower: Array, at_upper: Array) -> Interval:
    lower, upper = np.minimum(at_lower, at_upper), np.maximum(at_lower, at_upper)
    for turn, inside in _critical(function, function.curve.turns, x):
        value = function.exact(turn)
        lower = np.where(inside, np.fmin(lower, value), lower)
        upper = np.where(inside, np.fmax(upper, value), upper)
    lower, upper = lower - LIBRARY_ERROR * np.abs(lower) - TINY, upper + LIBRARY_ERROR * np.abs(upper) + TINY
    return Interval(np.maximum(lower, function.lower), np.minimum(upper, function.upper))


def _slopes(name: str, x: Interval, at_lower: Array, at_upper: Array) -> Interval:
    """The slopes of the function between the ends of x, where it has these values."""
    function = find_function(name)
    first, last = _slope_at(name, x.lower, at_lower), _slope_at(name, x.upper, at_upper)
    lower, upper = np.minimum(first.lower, last.lower), np.maximum(first.upper, last.upper)
    for at, inside in _critical(function, function.curve.inflections, x):
        slope = _slope_at(name, at, function.exact(at))
        lower = np.where(inside, np.minimum(lower, slope.lower), lower)
        upper = np.where(inside, np.maximum(upper, slope.upper), upper)
    return Interval(lower, upper)


def _slope_at(name: str, x: Array, y: Array) -> Interval:
    (slope,) = _derivatives(name, 1, _point(x), _approximate(y))
    return slope


def _critical(function: Function, places: tuple[float, ...], x: Interval) -> Iterator[tuple[Array, Mask]]:
    """Each place, and where it lies within x. Of places that come again the first two are enough: they are opposite."""
    period = function.curve.period
    for place in places:
        if period is None:
            candidates = [np.full_like(x.lower, place)]
        else:
            first = place + period * np.ceil((x.lower - place) / period * (1 - SLACK) - SLACK)
            candidates = [first - period, first, first + period]
        for at in candidates:
            margin = SLACK * (1 + np.abs(at) + np.abs(x.lower))
            yield at, (x.lower - margin <= at) & (at <= x.upper + margin)


def _any_within(function: Function, places: tuple[float, ...], x: Interval) -> Mask:
    """Where any of the places lies within x."""
    found = np.zeros(x.lower.shape, bool)
    for _, inside in _critical(function, places, x):
        found |= inside
    return found


def _defined(function: Function, x: Interval) -> Mask:
    """Where x is finite and no argument in it is one that the function is not defined for."""
    known: Mask = np.isfinite(x.lower) & np.isfinite(x.upper)
    if function.curve.undefined is not None:
        first, last = function.curve.undefined
        known &= (x.upper < first) | (x.lower > last)
    return known
