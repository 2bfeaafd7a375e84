"""The strokes that figures are made of: logarithmic axes, markers, text. Colours are classes that page.css defines.

Elements are xml.etree's, so whatever a name contains it stays text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, tostring

from markupsafe import Markup

CHARACTER = 6.9
"""Pixels for one character of a name, on the wide side: page.css sets 12 pixels, 11 on a phone."""

LINE_HEIGHT = 15


@dataclass(frozen=True)
class LogAxis:
    """Maps [low, high], both positive, onto pixels [start, end] by their logarithms."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The pixel of `value`, held within the axis."""
        share = math.log(min(max(value, self.low), self.high) / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """The powers of ten within the axis; with fewer than three, their double and fivefold as well."""
        decades = [10.0**k for k in range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)]
        kept = [value for value in decades if self.low <= value <= self.high]
        if len(kept) >= 3:
            return kept
        return [m * value for value in decades for m in (1, 2, 5) if self.low <= m * value <= self.high]


def around(values: Sequence[float], *, margin: float = 0.08, least_decades: float = 1.0) -> tuple[float, float]:
    """A range on a logarithmic axis that holds all `values`, with a margin, at least so many decades wide."""
    low, high = math.log10(min(values)), math.log10(max(values))
    middle, reach = (low + high) / 2, max(high - low, least_decades) * (0.5 + margin)
    return 10 ** (middle - reach), 10 ** (middle + reach)


def drawing(width: float, height: float, kind: str, label: str) -> Element:
    """An empty image; `label` says in words what it shows."""
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
    """A straight stroke."""
    ends = {"x1": number(x1), "y1": number(y1), "x2": number(x2), "y2": number(y2)}
    return SubElement(parent, "line", ends | {"class": kind})


def path(parent: Element, points: Sequence[tuple[float, float]], kind: str, dashes: str = "") -> Element:
    """A stroke through `points`."""
    d = "M" + "L".join(f"{number(x)} {number(y)}" for x, y in points)
    return SubElement(parent, "path", {"d": d, "class": kind} | ({"stroke-dasharray": dashes} if dashes else {}))


def box(parent: Element, x: float, y: float, width: float, height: float, kind: str) -> Element:
    """A rectangle."""
    place = {"x": number(x), "y": number(y), "width": number(width), "height": number(height)}
    return SubElement(parent, "rect", place | {"class": kind})


def text(parent: Element, x: float, y: float, content: str, kind: str = "", anchor: str = "start") -> Element:
    """Text whose middle line is at y."""
    place = {"x": number(x), "y": number(y), "text-anchor": anchor, "dominant-baseline": "central"}
    element = SubElement(parent, "text", place | ({"class": kind} if kind else {}))
    element.text = content
    return element


def marker(parent: Element, shape: str, x: float, y: float, radius: float = 4.0) -> Element:
    """One point: a circle, square, triangle or diamond of about the same area."""
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


def gutter(names: Sequence[str], most: float) -> float:
    """The width that `names` need, at most `most`."""
    return min(most, max(map(len, names)) * CHARACTER)


def fitted(content: str, width: float) -> str:
    """`content`, shortened with an ellipsis to fit into `width` pixels."""
    most = max(2, int(width / CHARACTER))
    return content if len(content) <= most else content[: most - 1].rstrip() + "…"


def spread(places: Sequence[float], low: float, high: float, gap: float = LINE_HEIGHT) -> list[float]:
    """Places at least `gap` apart within [low, high], near `places` and in their order, as labels need."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    result = [0.0] * len(places)
    floor = low
    for i in order:
        result[i] = max(places[i], floor)
        floor = result[i] + gap
    ceiling = high
    for i in reversed(order):
        result[i] = min(result[i], ceiling)
        ceiling = result[i] - gap
    return result


def number(value: float) -> str:
    """A coordinate, to a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")


def markup(element: Element) -> Markup:
    """The drawing as HTML that needs no more escaping."""
    return Markup(tostring(element, encoding="unicode"))  # noqa: S704 (serialised, so escaped)
