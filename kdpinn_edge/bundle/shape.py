"""Shapes: what a JSON file must look like, as a table, and how a file departs from it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True)
class Leaf:
    """One JSON value: what is expected, in words and as a predicate."""

    expected: str
    holds: Callable[[Any], bool]


@dataclass(frozen=True)
class Optional:
    """A JSON value of this shape, or null."""

    shape: Shape


@dataclass(frozen=True)
class Absent:
    """A JSON value of this shape, whose key may be missing."""

    shape: Shape


@dataclass(frozen=True)
class Table:
    """A JSON object with keys of the manifest's own choosing."""

    key: Leaf
    value: Shape


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable()


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53


def is_count(value: Any) -> bool:
    """Whether `value` is a whole number from 0."""
    return _is_whole(value) and value >= 0


def _is_number(value: Any) -> bool:
    return _is_whole(value) or (isinstance(value, float) and math.isfinite(value))


def _are_instructions(value: Any) -> bool:
    points = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
    counts = isinstance(value, dict) and all(points.fullmatch(n) and is_count(value[n]) for n in value)
    return value is None or (counts and value != {})


def matches(pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    """Whether a value is text of this pattern."""
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


TEXT = Leaf("printable text, not empty", lambda value: _is_text(value) and value != "")
TEXT_OR_EMPTY = Leaf("printable text", _is_text)
TEXT_OR_NULL = Leaf("printable text or null", lambda value: value is None or _is_text(value))
COUNT = Leaf("a whole number from 0", is_count)
POSITIVE = Leaf("a whole number from 1", lambda value: is_count(value) and value > 0)
MAGNITUDE = Leaf("a finite number from 0", lambda value: _is_number(value) and value >= 0)
COUNT_OR_NULL = Leaf("a whole number from 0, or null", lambda value: value is None or is_count(value))
INSTRUCTIONS = Leaf("counts by numbers of points, or null", _are_instructions)
BOUND = Leaf("a finite number or null", lambda value: value is None or _is_number(value))
SHA256 = Leaf("64 lower-case hex digits", matches(DIGEST))
Shape = Leaf | Table | Optional | Absent | list[Any] | dict[str, Any]


def misfits(value: Any, shape: Shape, where: str) -> list[str]:
    """Where `value` departs from `shape`; `where` is its place in the file, as in inputs[0].lower."""
    place = where or "the file"
    match shape:
        case Leaf(expected=expected, holds=holds):
            return [] if holds(value) else [f"{place}: {_shown(value)}; expected: {expected}"]
        case Absent(shape=inner):
            return misfits(value, inner, where)
        case Optional(shape=inner):
            return [] if value is None else misfits(value, inner, where)
        case Table(key=key, value=entry):
            if not isinstance(value, dict) or not value:
                return [f"{place}: {_shown(value)}; expected: an object with at least one entry"]
            keys = [fault for name in value for fault in misfits(name, key, f"a key of {place}")]
            return keys + [fault for name in value for fault in misfits(value[name], entry, f"{where}[{name!r}]")]
        case [item]:
            if not isinstance(value, list) or not value:
                return [f"{place}: {_shown(value)}; expected: a list with at least one entry"]
            return [fault for i, entry in enumerate(value) for fault in misfits(entry, item, f"{where}[{i}]")]
        case dict():
            if not isinstance(value, dict):
                return [f"{place}: {_shown(value)}; expected: an object with {', '.join(shape)}"]
            prefix = f"{where}." if where else ""
            needed = [key for key in shape if not isinstance(shape[key], Absent)]
            missing = [f"{prefix}{key}: missing" for key in needed if key not in value]
            unknown = [f"{prefix}{key}: unknown; expected: {', '.join(shape)}" for key in value if key not in shape]
            known = [fault for key in shape if key in value for fault in misfits(value[key], shape[key], prefix + key)]
            return missing + unknown + known
    raise AssertionError(f"not a shape: {shape!r}")


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."
