"""Enclosures of the functions of a Program: their values and slopes on intervals, and what they make of affine forms.

Between two arguments a function takes its extremes at the ends and where it turns, and its slope takes them at the
ends and at the inflections: the record of each function says where these are (`functions/record.py`, `Curve`).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np

from kdpinn_edge.certificates.forms import (
    SQUARES,
    Form,
    add,
    add_products,
    aligned,
    chosen,
    constant,
    mul,
    scale,
    sharper,
    within,
)
from kdpinn_edge.certificates.intervals import SLACK, TINY, Interval, Mask
from kdpinn_edge.functions import find_function
from kdpinn_edge.functions.record import Function
from kdpinn_edge.functions.slope import Applied, Formula, differentiated, formula, values
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
        parabola = _parabola(name, argument, x, centre, middle, value)
        if parabola is not None:
            line = chosen((parabola.rest < line.rest) & (centre == x.centre), parabola, line)
        line = sharper(line, value)
    outside = ~_defined(function, argument)
    return (
        Form(line.linear, np.where(outside, np.inf, line.rest), line.symbols),
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
        np.abs(lower)
        + np.abs(upper)
        + np.abs(middle)
        + np.abs(a) * (np.abs(x.centre) + np.abs(argument.lower) + left + right + x.radius)
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

    linear = a * x.linear
    linear[0] = lower + a * (x.centre - argument.lower) + (0.5 * low + 0.5 * high)
    rest = 0.5 * (high - low) + np.abs(a) * x.rest + rounding
    rest[_any_within(function, function.curve.jumps, argument)] = np.inf
    return Form(linear, rest * (1 + SLACK) + TINY, x.symbols)


def _parabola(name: str, argument: Interval, x: Form, centre: Array, middle: Array, value: Interval) -> Form | None:
    """The function as its second-order Taylor polynomial at the centre of x, where it is `middle`, and a rest.

    What the second derivative varies by bounds the rest. Its values on `argument` are those of its formula, for values
    of the function within `value`. None where it jumps, or products of inputs have no symbols.
    """
    bend, n_in = _bend(name), len(x.gradient)
    if bend is None or n_in not in SQUARES:
        return None
    steep, curved = _slope_at(name, centre, middle), _bend_on(bend, Interval(centre, centre), Interval(middle, middle))
    anywhere = _bend_on(bend, argument, value)
    a, half = 0.5 * steep.lower + 0.5 * steep.upper, 0.25 * curved.lower + 0.25 * curved.upper
    varies = np.maximum(0.5 * anywhere.upper - half, half - 0.5 * anywhere.lower)
    tilt = np.maximum(steep.upper - a, a - steep.lower)
    reach = np.maximum(argument.upper - centre, centre - argument.lower)
    (own,), symbols = aligned(x)
    straight, other = np.abs(x.gradient).sum(axis=0), np.abs(own[1 + n_in :]).sum(axis=0) + x.rest
    linear = a * own
    linear[0] = middle
    add_products(linear, half * x.gradient, x.gradient)
    rest = np.abs(a) * x.rest + np.abs(half) * (2 * straight + other) * other + (varies * reach + tilt) * reach
    magnitude = np.abs(a) * (straight + other) + np.abs(half) * (straight + other) ** 2
    rounding = LIBRARY_ERROR * np.abs(middle) + SLACK * (np.abs(middle) + magnitude)
    return Form(linear, (rest + rounding) * (1 + SLACK) + TINY, symbols)


def slope_form(name: str, x: Form, y: Form, known: Interval | None) -> Form:
    """The slope of the function of this name at x, where its value is y; its slopes are within `known`, if that is."""
    with np.errstate(all="ignore"):
        (found,) = values(_slope(name), Forms(x), x, y)
        return found if known is None else sharper(found, known)


def certain(name: str, x: Interval) -> Mask:
    """Where no jump of the function of this name lies within x, so that exact and rounded values have the same side."""
    function = find_function(name)
    return ~_any_within(function, function.curve.jumps, x)


@cache
def _slope(name: str) -> Formula:
    return formula([find_function(name).slope])


@cache
def _bend(name: str) -> Formula | None:
    """The second derivative of the function of this name; None where it, or its slope, jumps."""
    function = find_function(name)
    bend = formula([differentiated(function.slope, function.slope, lambda fn: find_function(fn).slope)])
    parts = [part for line in (_slope(name), bend) for part, _ in line.steps]
    within_it = [find_function(part.fn) for part in parts if isinstance(part, Applied)]
    return None if any(each.curve.jumps for each in (function, *within_it)) else bend


def _bend_on(bend: Formula, x: Interval, y: Interval) -> Interval:
    """All values of a second derivative for arguments within x and values of the function within y."""
    like = Form(x.lower[None], np.zeros_like(x.lower))
    (found,) = values(bend, _Points(like), within(x, like), within(y, like))
    return found.interval


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
    point = Form(x[None], np.zeros_like(x))
    value = Form(y[None], LIBRARY_ERROR * np.abs(y) + TINY)
    (found,) = values(_slope(name), _Points(point), point, value)
    return found.interval


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
