"""How a backend looks: one hue per family; a marker and dashes of its own, so that it can be told apart without colour.

The same in every figure and both themes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

MARKERS = ("circle", "square", "triangle", "diamond")
DASHES = ("", "7 3", "2 2.5", "10 3 2 3", "4 3", "10 3 2 3 2 3")
N_HUES = 8  # --hue0 … --hue7 in page.css, told apart by people who see two primaries
FAMILIES = (
    ("kdpinn", "library", "numba", "numpy", "c99", "native"),
    ("torch", "aotinductor"),
    ("onnx", "onnxruntime"),
    ("openvino",),
    ("jax", "xla"),
    ("emx",),
    ("iree", "litert", "executorch"),
    ("casadi",),
)


@dataclass(frozen=True)
class Look:
    """The look of an entry: hue 0 … 7, the marker's shape, the dashes of lines ("" is solid). Thin lines are those of
    another network than the one that the page is about.
    """

    hue: int
    marker: str
    dashes: str
    is_thin: bool = False


def looks(names: Iterable[str]) -> dict[str, Look]:
    """A Look for each of the distinct `names`, in their order: 24 pairs of a marker and dashes, then again."""
    found: dict[str, Look] = {}
    for i, name in enumerate(dict.fromkeys(names)):
        word = re.match(r"[a-z0-9]*", name.lower())
        hue = next((k for k, family in enumerate(FAMILIES) if word and word[0] in family), N_HUES - 1)
        found[name] = Look(hue, MARKERS[i % len(MARKERS)], DASHES[(i + i // 12) % len(DASHES)])
    return found
