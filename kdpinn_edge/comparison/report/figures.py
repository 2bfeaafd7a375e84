"""The figures: each is drawn twice, for a desk and for a phone, and page.css shows the one that fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from kdpinn_edge.comparison.report import quantities as q
from kdpinn_edge.comparison.report import svg
from kdpinn_edge.comparison.report.look import Look
from kdpinn_edge.comparison.report.svg import LogAxis

DESK, PHONE = 548, 358
"""Widths in pixels."""

LIMITS_NS = (1e5, 1e6)
"""Drawn faintly beside the limit that is judged."""

MANY = 10_000
"""So many samples have a p99.9: ten lie beyond it."""

Samples = NDArray[np.float64]


@dataclass(frozen=True)
class Point:
    """One value at one x, and what a pointer over it reads."""

    x: float
    y: float
    tip: str


@dataclass(frozen=True)
class Series:
    """One backend's points, in the order of x."""

    name: str
    look: Look
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Distribution:
    """One backend's samples in nanoseconds, ascending."""

    name: str
    look: Look
    samples_ns: Samples
    tip: str


def latency_against_n(series: Sequence[Series], span: tuple[float, float], limit_ns: float, label: str) -> Markup:
    """Draw latency against the number of points, both logarithmic; the time axis has this span."""
    return _both(
        _against_n(series, span, limit_ns, label, "wide", DESK),
        _against_n(series, span, limit_ns, label, "narrow", PHONE),
    )


def distributions(found: Sequence[Distribution], limit_ns: float, label: str) -> Markup:
    """Draw a row for each distribution, all on one time axis."""
    return _both(
        _distributions(found, limit_ns, label, "wide", DESK),
        _distributions(found, limit_ns, label, "narrow", PHONE),
    )


def error_against_latency(series: Sequence[Series], lines: Sequence[tuple[str, float]], label: str) -> Markup:
    """Draw error (x) and latency (y), both logarithmic: the best is at the lower left. `lines` are named errors."""
    return _both(
        _error_against_latency(series, lines, label, "wide", DESK),
        _error_against_latency(series, lines, label, "narrow", PHONE),
    )


def _both(wide: Element, narrow: Element) -> Markup:
    return svg.markup(wide) + svg.markup(narrow)


def _against_n(
    series: Sequence[Series],
    span: tuple[float, float],
    limit_ns: float,
    label: str,
    kind: str,
    width: float,
) -> Element:
    height = 92 + max(280, svg.LINE_HEIGHT * len(series))
    drawing = svg.drawing(width, height, kind, label)
    names = svg.gutter([one.name for one in series], width * 0.36, kind)
    numbers = sorted({point.x for one in series for point in one.points})
    x = LogAxis(*svg.around(numbers, margin=0.03), 54, width - names - 50)
    y = LogAxis(*span, height - 40, 12)
    _ticks_below(drawing, x, y.start, y.end, {n: q.short_count(int(n)) for n in numbers}, kind, width)
    svg.text(drawing, (x.start + x.end) / 2, height - 8, "points per call, n", "axis", "middle")
    _time_axis(drawing, x, y)
    for ns in (*LIMITS_NS, limit_ns):
        if y.low < ns < y.high:
            _limit_line(drawing, x.start, y(ns), x.end, y(ns), is_judged=ns == limit_ns)
    svg.text(drawing, x.start + 5, y(limit_ns) - 8, f"limit {q.round_duration(limit_ns)}", "limit-name")
    ends = [y(one.points[-1].y) for one in series]
    labels = svg.spread(ends, y.end, y.start)
    for one, end, place in zip(series, ends, labels, strict=True):
        group = _group(drawing, one.look, one.name)
        places = [(x(point.x), y(point.y)) for point in one.points]
        svg.path(group, places, "stroke thin" if one.look.is_thin else "stroke", one.look.dashes)
        svg.path(group, [(places[-1][0] + 7, end), (x.end + 8, end), (x.end + 26, place)], "leader")
        for (px, py), point in zip(places, one.points, strict=True):
            _told(svg.marker(group, one.look.marker, px, py), point.tip)
        _name(group, one.look, x.end + 34, place, svg.fitted(one.name, names, kind))
    return drawing


def _distributions(found: Sequence[Distribution], limit_ns: float, label: str, kind: str, width: float) -> Element:
    row, top = 19, 26
    names = svg.gutter([one.name for one in found], width * 0.36, kind)
    bottom = top + row * len(found)
    drawing = svg.drawing(width, bottom + 40, kind, label)
    least = min(float(one.samples_ns[0]) for one in found)
    most = max(float(one.samples_ns[-1]) for one in found)
    x = LogAxis(*svg.around([least, most], margin=0.03), max(names + 24, 60), width - 14)
    _ticks_below(drawing, x, bottom, top, {ns: q.round_duration(ns) for ns in x.ticks()}, kind, width)
    svg.text(drawing, (x.start + x.end) / 2, bottom + 29, "time of one call", "axis", "middle")
    for ns in (*LIMITS_NS, limit_ns):
        if x.low < ns < x.high:
            _limit_line(drawing, x(ns), top - 8, x(ns), bottom, is_judged=ns == limit_ns)
    if x.low < limit_ns < x.high:
        place = min(max(x(limit_ns), x.start + 30), x.end - 30)
        svg.text(drawing, place, top - 16, f"limit {q.round_duration(limit_ns)}", "limit-name", "middle")
    for i, one in enumerate(found):
        group, middle = _group(drawing, one.look, one.name), top + row * (i + 0.5)
        _name(group, one.look, 7, middle, svg.fitted(one.name, names, kind))
        _box(group, one, x, middle)
        _told(svg.box(group, x.start, middle - row / 2, x.end - x.start, row, "sensor"), one.tip)
    return drawing


def _box(group: Element, one: Distribution, x: LogAxis, middle: float) -> None:
    """Quartiles as a box, the 1st to the 99th percentile as a line, p99.9 as a stroke, the slowest call as a dot."""
    shares = (0.01, 0.25, 0.5, 0.75, 0.99, 0.999)
    low, q1, median, q3, high, tail = (x(float(v)) for v in np.quantile(one.samples_ns, shares))
    svg.line(group, low, middle, high, middle, "whisker")
    svg.box(group, q1, middle - 5, max(q3 - q1, 1.5), 10, "quartiles")
    svg.line(group, median, middle - 5, median, middle + 5, "median")
    if len(one.samples_ns) >= MANY:
        svg.line(group, tail, middle - 4, tail, middle + 4, "whisker")
    svg.marker(group, "circle", x(float(one.samples_ns[-1])), middle, 2.2)


def _error_against_latency(
    series: Sequence[Series], lines: Sequence[tuple[str, float]], label: str, kind: str, width: float
) -> Element:
    height = 92 + max(280, svg.LINE_HEIGHT * len(series))
    drawing = svg.drawing(width, height, kind, label)
    names = svg.gutter([one.name for one in series], width * 0.36, kind)
    x = LogAxis(*svg.around([e for _, e in lines] + [one.points[0].x for one in series]), 54, width - names - 50)
    y = LogAxis(*svg.around([one.points[0].y for one in series]), height - 40, 40)
    _time_axis(drawing, x, y)
    _ticks_below(drawing, x, y.start, y.end, {value: q.power_of_ten(value) for value in x.decades()}, kind, width)
    svg.text(drawing, (x.start + x.end) / 2, height - 8, "largest error, absolute", "axis", "middle")
    for i, (name, value) in enumerate(lines):
        svg.line(drawing, x(value), y.start, x(value), 4 + 14 * i, "bound")
        svg.text(drawing, x(value) - 5, 10 + 14 * i, name, "bound-name", "end")
    places = svg.spread([y(one.points[0].y) for one in series], y.end, y.start)
    for one, place in zip(series, places, strict=True):
        (point,) = one.points
        group = _group(drawing, one.look, one.name)
        px, py = x(point.x), y(point.y)
        svg.path(group, [(px + 7, py), (x.end + 8, py), (x.end + 26, place)], "leader")
        _told(svg.marker(group, one.look.marker, px, py, 5), point.tip)
        _name(group, one.look, x.end + 34, place, svg.fitted(one.name, names, kind))
    return drawing


def _ticks_below(
    drawing: Element, x: LogAxis, bottom: float, top: float, names: Mapping[float, str], kind: str, width: float
) -> None:
    """A grid line for each value of a horizontal axis, and its name under it where there is room."""
    free = width
    for value in sorted(names, reverse=True):
        svg.line(drawing, x(value), bottom, x(value), top, "grid")
        reach = len(names[value]) * svg.CHARACTER[kind] / 2
        if x(value) + reach <= free:
            svg.text(drawing, x(value), bottom + 14, names[value], "tick", "middle")
            free = x(value) - reach - 4


def _time_axis(drawing: Element, x: LogAxis, y: LogAxis) -> None:
    """A grid line and a tick for each power of ten of the vertical time axis."""
    for ns in y.ticks():
        svg.line(drawing, x.start, y(ns), x.end, y(ns), "grid")
        svg.text(drawing, x.start - 6, y(ns), q.round_duration(ns), "tick", "end")


def _limit_line(drawing: Element, x1: float, y1: float, x2: float, y2: float, *, is_judged: bool) -> None:
    svg.line(drawing, x1, y1, x2, y2, "limit" if is_judged else "limit faint")


def _group(drawing: Element, look: Look, name: str) -> Element:
    return SubElement(drawing, "g", {"class": f"backend hue{look.hue}", "data-backend": name})


def _name(group: Element, look: Look, x: float, y: float, name: str) -> None:
    svg.marker(group, look.marker, x, y)
    svg.text(group, x + 10, y, name, "name")


def _told(element: Element, tip: str) -> None:
    element.set("data-tip", tip)
