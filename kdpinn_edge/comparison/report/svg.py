"""The strokes that figures are made of: logarithmic axes, markers, text. Colours are classes that page.css defines.

Elements are xml.etree's, so whatever a name contains it stays text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, tostring

from markupsafe import Markup

CHARACTER = {"wide": 7.2, "narrow": 6.6}
"""Pixels for one character of a name, at the sizes that page.css sets for each kind of drawing."""

LINE_HEIGHT = 15


@dataclass(frozen=True)
class LogAxis:
    """A map of [low, high], both positive, onto pixels [start, end] by their logarithms."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The pixel of `value`, held within the axis."""
        share = math.log(min(max(value, self.low), self.high) / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.end - self.start)

    def decades(self) -> list[float]:
        """The powers of ten within the axis."""
        return self._multiples(1)

    def ticks(self) -> list[float]:
        """The powers of ten within the axis; with fewer than three, their threefold as well."""
        decades = self.decades()
        return decades if len(decades) >= 3 else self._multiples(1, 3)

    def _multiples(self, *digits: int) -> list[float]:
        exponents = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        return [value for k in exponents for m in digits if self.low <= (value := m * 10.0**k) <= self.high]


def around(values: Sequence[float], *, margin: float = 0.08, least_decades: float = 1.0) -> tuple[float, float]:
    """A range on a logarithmic axis that holds all `values`, with a margin, at least so many decades wide."""
    low, high = math.log10(min(values)), math.log10(max(values))
    middle, reach = (low + high) / 2, max(high - low, least_decades) * (0.5 + margin)
    return 10 ** (middle - reach), 10 ** (middle + reach)


def drawing(width: float, height: float, kind: str, label: str) -> Element:
    """Begin an empty image; `label` says in words what it shows."""
    return Element(
        "svg",
        {
            "viewBox": f"0 0 {number(width)} {number(height)}",
            "class": f"chart {kind}",
            "role": "img",
            "aria-label": label,
        },
    )


def line(parent: Element, x1: float, y1: float, x2: float, y2: float, kind: str) -> Element:
    """Draw a straight stroke."""
    ends = {"x1": number(x1), "y1": number(y1), "x2": number(x2), "y2": number(y2)}
    return SubElement(parent, "line", ends | {"class": kind})


def path(parent: Element, points: Sequence[tuple[float, float]], kind: str, dashes: str = "") -> Element:
    """Draw a stroke through `points`."""
    d = "M" + "L".join(f"{number(x)} {number(y)}" for x, y in points)
    return SubElement(parent, "path", {"d": d, "class": kind} | ({"stroke-dasharray": dashes} if dashes else {}))


def box(parent: Element, x: float, y: float, width: float, height: float, kind: str) -> Element:
    """Draw a rectangle."""
    place = {"x": number(x), "y": number(y), "width": number(width), "height": number(height)}
    return SubElement(parent, "rect", place | {"class": kind})


def text(parent: Element, x: float, y: float, content: str, kind: str = "", anchor: str = "start") -> Element:
    """Write text whose middle line is at y."""
    place = {"x": number(x), "y": number(y), "text-anchor": anchor, "dominant-baseline": "central"}
    element = SubElement(parent, "text", place | ({"class": kind} if kind else {}))
    element.text = content
    return element


def marker(parent: Element, shape: str, x: float, y: float, radius: float = 4.0) -> Element:
    """Draw one point: a circle, square, triangle or diamond of about the same area."""
    if shape == "circle":
        place = {"cx": number(x), "cy": number(y), "r": number(radius)}
        return SubElement(parent, "circle", place | {"class": "marker"})
    side, reach = radius * 0.9, radius * 1.25
    corners = {
        "square": [(x - side, y - side), (x + side, y - side), (x + side, y + side), (x - side, y + side)],
        "triangle": [(x, y - reach), (x + reach, y + reach * 0.8), (x - reach, y + reach * 0.8)],
        "diamond": [(x, y - reach), (x + reach, y), (x, y + reach), (x - reach, y)],
    }[shape]
    element = path(parent, corners, "marker")
    element.set("d", element.get("d", "") + "Z")
    return element


def gutter(names: Sequence[str], most: float, kind: str) -> float:
    """The width that `names` need in a drawing of this kind, at most `most`."""
    return min(most, max(map(len, names)) * CHARACTER[kind])


def fitted(content: str, width: float, kind: str) -> str:
    """Shorten `content` in its middle to fit into `width` pixels: names of one family differ at their ends."""
    most = max(3, round(width / CHARACTER[kind]))
    if len(content) <= most:
        return content
    head = (most - 1) * 2 // 5
    return f"{content[:head].rstrip()}…{content[len(content) - (most - 1 - head) :].lstrip()}"


def spread(places: Sequence[float], low: float, high: float, gap: float = LINE_HEIGHT) -> list[float]:
    """Places at least `gap` apart, as labels need, in the order of `places` and as near to them as that allows.

    Labels that would overlap form a group around the mean of what they label; within [low, high] if they fit there.
    """
    order = sorted(range(len(places)), key=lambda i: places[i])
    groups: list[list[int]] = []
    for i in order:
        groups.append([i])
        while len(groups) > 1 and _first(groups[-1], places, low, high, gap) < gap + _last(
            groups[-2], places, low, high, gap
        ):
            groups[-2:] = [groups[-2] + groups[-1]]
    result = [0.0] * len(places)
    for group in groups:
        for k, i in enumerate(group):
            result[i] = _first(group, places, low, high, gap) + k * gap
    return result


def _first(group: Sequence[int], places: Sequence[float], low: float, high: float, gap: float) -> float:
    """Where the first label of a group goes."""
    reach = (len(group) - 1) * gap
    return max(low, min(sum(places[i] for i in group) / len(group) - reach / 2, high - reach))


def _last(group: Sequence[int], places: Sequence[float], low: float, high: float, gap: float) -> float:
    return _first(group, places, low, high, gap) + (len(group) - 1) * gap


def number(value: float) -> str:
    """Write a coordinate to a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")


def markup(element: Element) -> Markup:
    """The drawing as HTML that needs no more escaping."""
    return Markup(tostring(element, encoding="unicode"))  # noqa: S704 (serialised, so escaped)
