"""The files for browsers: `NAME.js`, the model as a JavaScript module, and `index.html`, a page that draws it live.

The page holds that module, the WebAssembly and all else that it needs; its content policy allows its own style and
script by their hashes, and no connection. What a model is called and described by is data in it, never markup.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.bundle.manifest import FunctionName, Input, Output
from kdpinn_edge.bundle.probe import probed
from kdpinn_edge.export.artifacts.templates import filled, template
from kdpinn_edge.export.artifacts.versions import version
from kdpinn_edge.export.targets.interface import Interface
from kdpinn_edge.program.ir import columns

PAGE = "index.html"
NUMBERS = {"float32": "Float32Array", "float64": "Float64Array"}
TITLES: Mapping[FunctionName, str] = {"eval": "values", "jet": "derivatives", "residual": "residual of the equation"}
TIME = ("t", "tau")
SPACE = re.compile(r"[xyzr](\W?\d+\W?)?", re.ASCII)


@dataclass(frozen=True)
class Axes:
    """What the page does with each input, by its column.

    across   the horizontal axis of its curve and its map
    up       the vertical axis of the map: a second one of space, or time; None where there is only the curve
    time     the one that plays, unless it is across
    sliders  those that are set: all but across, time first
    """

    across: int
    up: int | None
    time: int | None
    sliders: tuple[int, ...]


def axes(inputs: Sequence[Input]) -> Axes:
    """Inputs named t or tau are time; x, y, z, r, x1, x[0] are space; others are parameters.

    Where none is space, what stands before time is, as S in (S, t); where nothing does, time is the axis; where there
    is no time either, every input is taken for space.
    """
    everything = range(len(inputs))
    time = next((i for i in everything if inputs[i].name in TIME), None)
    space = [i for i in everything if SPACE.fullmatch(inputs[i].name)]
    if not space:
        space = list(everything[:time]) or [time or 0]
    across = space[0]
    up = space[1] if len(space) > 1 else time if time != across else None
    sliders = sorted((i for i in everything if i != across), key=lambda i: (i != time, i))
    return Axes(across, up, time, tuple(sliders))


def colours() -> NDArray[np.uint8]:
    """256 colours from dark blue over red to light yellow, opaque: (256, 4), in equal steps of OKLab.

    OKLab is the space of B. Ottosson, 2020, where equal distances are seen as equal; lightness grows throughout.
    """
    s = np.linspace(0, 1, 4097)
    hue, chroma = np.radians(275 + 185 * s), 0.08 + 0.1 * np.sin(np.pi * s)
    lab = np.stack([0.2 + 0.75 * s, chroma * np.cos(hue), chroma * np.sin(hue)], axis=1)
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(lab, axis=0), axis=1))])
    even = np.linspace(0, length[-1], 256)
    linear = (np.stack([np.interp(even, length, part) for part in lab.T], axis=1) @ LAB_TO_LMS.T) ** 3 @ LMS_TO_RGB.T
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.column_stack([np.round(255 * srgb), np.full(256, 255)]).astype(np.uint8)


LAB_TO_LMS = np.array(
    [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]]
)
LMS_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def web_files(
    wasm: bytes, interface: Interface, outputs: Mapping[FunctionName, Sequence[Output]], equation: str | None
) -> dict[str, bytes]:
    """File name → contents, for the library `wasm`; `outputs` describes the columns of each function."""
    script = _module(interface)
    page_script, style = f"{script}\n{template('page.js')}", template("page.css")
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(page_script)}' 'wasm-unsafe-eval'; "
        "img-src data:"
    )
    parts = {
        "name": interface.name,
        "policy": policy,
        "style": style,
        "script": page_script,
        "facts": _json(_facts(wasm, interface, outputs, equation)),
    }
    return {PAGE: filled("page.html", parts).encode(), f"{interface.name}.js": script.encode()}


def _module(interface: Interface) -> str:
    """The text of `NAME.js`."""
    centre = [(lower + upper) / 2 for lower, upper in map(probed, interface.inputs)]
    values = {
        "name": interface.name,
        "precision": interface.precision,
        "profile": interface.target.profile,
        "version": version("kdpinn-edge"),
        "numbers": NUMBERS[interface.precision],
        "point": ", ".join(f"{number:g}" for number in centre),
        "inputs": _json(interface.input_names),
        "functions": _json({name: columns(program.outputs) for name, program in interface.functions.items()}),
    }
    return filled("kernel.js", values)


def _facts(
    wasm: bytes, interface: Interface, outputs: Mapping[FunctionName, Sequence[Output]], equation: str | None
) -> dict[str, Any]:
    """What the page knows of the model besides its module."""
    target = interface.target
    found = axes(interface.inputs)
    return {
        "wasm": base64.b64encode(wasm).decode(),
        "colours": base64.b64encode(colours().tobytes()).decode(),
        "equation": equation,
        "across": found.across,
        "up": found.up,
        "time": found.time,
        "sliders": found.sliders,
        "inputs": [
            {"lower": lower, "upper": upper, "unit": column.unit}
            for column, (lower, upper) in zip(interface.inputs, map(probed, interface.inputs), strict=True)
        ],
        "functions": {
            name: {
                "title": TITLES[name],
                "sha256": program.sha256,
                "units": [column.unit for column in outputs[name]],
            }
            for name, program in interface.functions.items()
        },
        "about": [
            ("Domain", ", ".join(map(_domain, interface.inputs))),
            ("Numerics", f"{interface.precision}, profile {target.profile}"),
            ("Target", f"{target.name} with {target.features.replace('+', '')}, {len(wasm) / 1000:.1f} KB"),
        ],
    }


def _domain(column: Input) -> str:
    unit = f" {column.unit}" if column.unit not in (None, "1") else ""
    if column.lower is None and column.upper is None:
        return f"{column.name} is any number{unit}"
    lower = "(−∞" if column.lower is None else f"[{column.lower:g}"
    upper = "∞)" if column.upper is None else f"{column.upper:g}]"
    return f"{column.name} ∈ {lower}, {upper}{unit}".replace("-", "−")


def _json(value: Any) -> str:
    """JSON that a script element can hold: no < in it, so neither an end tag nor a comment."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")


def _hash(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"
