"""How a backend looks: one hue per family, one marker and dash per member, the same in every figure and both themes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

MARKERS = ("circle", "square", "triangle", "diamond")
DASHES = ("", "6 3", "2 2.5", "9 3 2 3")
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
    """The look of an entry: hue 0 … 7, the marker's shape, and the dashes of lines ("" is solid)."""

    hue: int
    marker: str
    dashes: str


def looks(names: Iterable[str]) -> dict[str, Look]:
    """A Look for each of the distinct `names`, in their order."""
    found: dict[str, Look] = {}
    members = [0] * N_HUES
    for name in dict.fromkeys(names):
        word = re.match(r"[a-z0-9]*", name.lower())
        hue = next((i for i, family in enumerate(FAMILIES) if word and word[0] in family), N_HUES - 1)
        k = members[hue]
        members[hue] += 1
        found[name] = Look(hue, MARKERS[k % len(MARKERS)], DASHES[k // len(MARKERS) % len(DASHES)])
    return found
