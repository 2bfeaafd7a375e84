"""The model in browsers: the bits of the WebAssembly in Node.js, and what its page shows in Chromium."""

from __future__ import annotations

import base64
import io
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import LOW_CONTRAST, Page
from compiled import Functions, kernel
from conftest import Need
from numpy.typing import NDArray
from PIL import Image
from sampled import sampled

from kdpinn_edge.bundle.manifest import FunctionName, Input, Output, Precision
from kdpinn_edge.derive.derivatives import derivatives
from kdpinn_edge.export.artifacts.linking import link, linker
from kdpinn_edge.export.artifacts.web_page import Axes, axes, colours, web_files
from kdpinn_edge.export.machine_code import object_code
from kdpinn_edge.export.targets.interface import Interface
from kdpinn_edge.export.targets.table import TARGETS
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.program.ir import Affine, Concat, Map, Op, Program, Var, columns

Field = NDArray[np.float64]
WASM = TARGETS["wasm"]
WIDTHS = (390, 1400)
THEMES = ("light", "dark")
N_POINTS = 10_000
ATTACKS = ("</script><script>window.pwned = 1</script>", "<!--<script>", '"><img src=x onerror="window.pwned = 1">')


def net(inputs: Sequence[str], fn: Any, width: int, depth: int, scale: float = 1.0) -> Program:
    """A network of these inputs with one output u; the weights of its first layer are as large as `scale`."""
    rng = np.random.default_rng(0)
    x = Var("point", len(inputs))
    ops: list[Op] = [Concat(x, tuple(Var(name, 1) for name in inputs))]
    for i in range(depth):
        a, h = Var(f"a{i}", width), Var(f"h{i}", width)
        weight = rng.normal(0, np.sqrt(1 / x.size), (width, x.size)) * (scale if i == 0 else 1.0)
        ops += [Affine(a, x, weight, rng.normal(0, 0.5, width)), Map(h, a, fn)]
        x = h
    u = Var("u", 1)
    ops.append(Affine(u, x, rng.normal(0, np.sqrt(1 / width), (1, width)), np.zeros(1)))
    return Program("net", tuple(Var(name, 1) for name in inputs), (u,), tuple(ops))


@dataclass(frozen=True)
class Model:
    """A model compiled to WebAssembly."""

    interface: Interface
    wasm: bytes

    def files(self, units: str | None = "1", equation: str | None = "u_t = u_xx") -> dict[str, bytes]:
        """What is beside it in a bundle."""
        outputs = {
            name: [Output(column, units) for column in columns(program.outputs)]
            for name, program in self.interface.functions.items()
        }
        return {"model.wasm": self.wasm, **web_files(self.wasm, self.interface, outputs, equation)}

    def write(self, folder: Path) -> Path:
        """Write them, and return the page."""
        for name, content in self.files().items():
            (folder / name).write_bytes(content)
        return folder / "index.html"

    def numpy(self, x: NDArray[Any], function: FunctionName = "eval") -> NDArray[Any]:
        """What it has to return at x (n, n_in)."""
        program = self.interface.functions[function]
        return NumpyProgram(program, self.interface.precision, WASM.profile)(x.astype(self.interface.precision))


@cache
def model(inputs: tuple[Input, ...], fn: str, width: int, depth: int, precision: Precision, scale: float) -> Model:
    program = net([column.name for column in inputs], fn, width, depth, scale)
    x = inputs[0].name
    functions: Functions = {"eval": program, "jet": derivatives(program, ["u", f"u_{x}", f"u_{x}{x}"])}
    interface = Interface("model", precision, WASM, inputs, functions)
    compiled = object_code([kernel(functions, precision, WASM, 6)], interface)
    return Model(interface, link(compiled, interface, linker(interface))[interface.library])


ROD = (Input("x", -1.0, 1.0, "m"), Input("t", 0.0, 2.0, "s"), Input("nu", 0.1, 0.5))
PLATE = (Input("x", 0.0, 2.0), Input("y", 0.0, 1.0), Input("t", -1.0, 1.0))


def rod() -> Model:
    return model(ROD, "tanh", 16, 2, "float32", 2.0)


def plate() -> Model:
    return model(PLATE, "sin", 16, 2, "float32", 3.0)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("x t", Axes(0, 1, 1, (1,))),
        ("t x", Axes(1, 0, 0, (0,))),
        ("x t nu", Axes(0, 1, 1, (1, 2))),
        ("nu tau x[0]", Axes(2, 1, 1, (1, 0))),
        ("x y", Axes(0, 1, None, (1,))),
        ("x y t", Axes(0, 1, 2, (2, 1))),
        ("x y z t", Axes(0, 1, 3, (3, 1, 2))),
        ("x nu", Axes(0, None, None, (1,))),
        ("t", Axes(0, None, 0, ())),
        ("S t", Axes(0, 1, 1, (1,))),
        ("t k", Axes(0, None, 0, (1,))),
        ("a", Axes(0, None, None, ())),
        ("a b c", Axes(0, 1, None, (1, 2))),
    ],
)
def test_inputs_have_roles(names: str, expected: Axes) -> None:
    assert axes([Input(name) for name in names.split()]) == expected


def test_colours_are_seen_as_even() -> None:
    """Lightness grows, and no step in OKLab is off by more than what rounding to 8 bits makes of it."""
    srgb = colours()[:, :3] / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    to_lms = np.array([[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
                       [0.0883024619, 0.2817188376, 0.6299787005]])  # fmt: skip
    to_lab = np.array([[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
                       [0.0259040371, 0.7827717662, -0.8086757660]])  # fmt: skip
    lab = np.cbrt(linear @ to_lms.T) @ to_lab.T
    eight = np.linalg.norm(lab[8:] - lab[:-8], axis=1)
    assert (np.diff(lab[::4, 0]) > 0).all()
    assert eight.max() / eight.min() < 1.25
    assert (colours()[:, 3] == 255).all()


IN_NODE = """
import { readFileSync, writeFileSync } from "node:fs";
import { Numbers, functions, instantiate } from "./model.js";
const model = await instantiate(readFileSync("model.wasm"));
const bytes = readFileSync("points");
const x = new Numbers(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
for (const name of Object.keys(functions)) writeFileSync(name, model.evaluate(x, name));
const n_in = 2, at = (i) => x.slice(n_in * i, n_in * (i + 1));
const one_by_one = Array.from({ length: x.length / n_in }, (_, i) => [...model.evaluate(at(i))]);
writeFileSync("one", Numbers.from(one_by_one.flat()));
const refused = [[1, 2], new Uint8Array(2), new Numbers(3)].map((x) => {
  try { return model.evaluate(x); } catch (error) { return `${error.name}: ${error.message}`; }
});
console.log(JSON.stringify({ selftest: model.selftest(), none: model.evaluate(new Numbers(0)).length, refused }));
"""


def points(precision: Precision) -> NDArray[Any]:
    """10 000 points: most in the domain, others of every size, and everything that is special, in every pairing."""
    rng = np.random.default_rng(1)
    info = np.finfo(precision)
    special = [0.0, -0.0, 1.0, -1.0, np.nan, np.inf, -np.inf, info.tiny, info.smallest_subnormal, info.tiny / 3]
    special += [info.max, info.min, 1e-5, 30.0, -88.0, 700.0]
    pairs = np.array(np.meshgrid(special, special)).reshape(2, -1).T
    spread = rng.choice([-1, 1], (2000, 2)) * np.exp(rng.uniform(np.log(info.tiny) - 10, 88, (2000, 2)))
    inside = rng.uniform(-1, 1, (N_POINTS - len(pairs) - len(spread), 2))
    x = np.concatenate([pairs, spread, inside]).astype(precision)
    payload = x[:9].view(f"u{info.bits // 8}")
    payload |= np.where(np.isnan(x[:9]), payload.dtype.type(5), payload.dtype.type(0))
    return x


@pytest.mark.parametrize(
    ("fn", "width", "depth", "precision"),
    [
        ("tanh", 24, 3, "float32"),
        pytest.param("sin", 32, 2, "float32", marks=pytest.mark.proof),
        pytest.param("silu", 16, 3, "float32", marks=pytest.mark.proof),
        ("tanh", 8, 2, "float64"),
    ],
)
def test_node_returns_the_bits(
    need: Need, tmp_path: Path, fn: str, width: int, depth: int, precision: Precision
) -> None:
    node = need("node")
    inputs = (Input("x", -1.0, 1.0), Input("t", -1.0, 1.0))
    found = model(inputs, fn, width, depth, precision, 1.0)
    found.write(tmp_path)
    x = points(precision)
    (tmp_path / "points").write_bytes(x.tobytes())
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "run.js").write_text(IN_NODE)
    done = subprocess.run([node, "run.js"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    array = {"float32": "Float32Array", "float64": "Float64Array"}[precision]
    assert json.loads(done.stdout) == {
        "selftest": 0,
        "none": 0,
        "refused": [f"TypeError: x is not a {array} of 2 numbers per point"] * 3,
    }
    for name in found.interface.functions:
        assert (tmp_path / name).read_bytes() == found.numpy(x, name).tobytes(), name
    assert (tmp_path / "one").read_bytes() == found.numpy(x).tobytes()


def opened(browser: Page, path: Path, width: int = 1400, theme: str = "light") -> Page:
    """The page when it has drawn, without a complaint or a request."""
    browser.open(path, width, theme=theme)
    ready = "document.querySelector('#verdict').className"
    browser.evaluate(f"(async () => {{ while (!{ready}) await new Promise(requestAnimationFrame); }})()")
    settle(browser)
    assert browser.complaints == []
    assert browser.requests == [path.as_uri()]
    assert browser.evaluate("document.documentElement.scrollWidth") == width
    sides = "[...document.querySelectorAll('.plot')].map((plot) => [...plot.children].map((part) => part.offsetHeight))"
    assert all(frame == numbers for frame, numbers, _ in browser.evaluate(sides))
    return browser


def settle(browser: Page) -> None:
    """Let it draw what was changed, and what follows from that."""
    browser.evaluate("(async () => { for (let i = 0; i < 4; i++) await new Promise(requestAnimationFrame); })()")


def slide(browser: Page, name: str, share: float) -> None:
    """Move a slider."""
    slider = f"document.querySelector('input[aria-label={name}]')"
    browser.evaluate(f"{slider}.value = {1000 * share}, {slider}.dispatchEvent(new Event('input'))")
    settle(browser)


def text(browser: Page, selector: str) -> str:
    return str(browser.evaluate(f"document.querySelector('{selector}').textContent"))


def box(browser: Page, selector: str) -> tuple[float, float, float, float]:
    """Left, top, width and height on the whole page."""
    x, y, width, height = browser.evaluate(
        f"(({{x, y, width, height}}) => [x + scrollX, y + scrollY, width, height])"
        f"(document.querySelector('{selector}').getBoundingClientRect())"
    )
    return x, y, width, height


def picture(browser: Page, *selectors: str) -> tuple[NDArray[np.int64], list[tuple[float, float, float, float]]]:
    """The whole page, and where these parts are. Taking it can move them, as text is laid out anew: then again."""
    for _ in range(5):
        boxes = [box(browser, selector) for selector in selectors]
        image = np.array(Image.open(io.BytesIO(browser.screenshot())).convert("RGB")).astype(int)
        settle(browser)
        if boxes == [box(browser, selector) for selector in selectors]:
            return image, boxes
    raise AssertionError(f"the page does not come to rest: {boxes}")


def pixels(browser: Page) -> NDArray[np.uint8]:
    """The map as it was drawn, (height, width, 4)."""
    width, height, data = browser.evaluate(
        "(() => { const canvas = document.querySelector('#map .frame canvas'), { width, height } = canvas;"
        "  const copy = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });"
        "  copy.drawImage(canvas, 0, 0);"
        "  const { data } = copy.getImageData(0, 0, width, height);"
        "  return [width, height, btoa(Array.from(data, (byte) => String.fromCharCode(byte)).join(''))]; })()"
    )
    return np.frombuffer(base64.b64decode(data), np.uint8).reshape(height, width, 4)


def places(column: Input, shares: Field) -> Field:
    assert column.lower is not None
    assert column.upper is not None
    return column.lower + (column.upper - column.lower) * shares


def field(found: Model, along: Mapping[int, Field], at: Mapping[int, float]) -> NDArray[Any]:
    """NumPy's values on the grid of the places along these inputs, `at` the others."""
    grids = np.meshgrid(*along.values(), indexing="ij")
    x = np.empty((grids[0].size, len(found.interface.inputs)))
    for i, grid in zip(along, grids, strict=True):
        x[:, i] = grid.ravel()
    for i, value in at.items():
        x[:, i] = value
    return found.numpy(x).reshape(grids[0].shape)


def extent(found: Model, over: Sequence[int], at: Mapping[int, float]) -> tuple[float, float]:
    """The range of the colours: of the values on a grid with both ends, all times included."""
    counts = (257, 129, 9)
    along = {i: places(found.interface.inputs[i], np.arange(n) / (n - 1)) for i, n in zip(over, counts, strict=False)}
    values = field(found, along, at).astype(float)
    return values.min(), values.max()


def painted(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """The colours of these values."""
    return colours()[np.clip(np.floor((values.astype(float) - low) / (high - low) * 256), 0, 255).astype(int)]


def centres(column: Input, n: int) -> Field:
    return places(column, (np.arange(n) + 0.5) / n)


@pytest.mark.parametrize(("width", "theme"), sampled(WIDTHS, THEMES))
def test_the_page_shows_the_field(browser: Page, tmp_path: Path, width: int, theme: str) -> None:
    """A curve at the time that is set, above a map of all times: each where NumPy says, to a pixel, in its colour."""
    found = rod()
    opened(browser, found.write(tmp_path), width, theme)
    assert text(browser, "#verdict") == "self-test passed"
    assert browser.evaluate(LOW_CONTRAST) == []
    for part in ("model", "u_t = u_xx", "x ∈ [−1, 1] m", "profile muladd-1", "wasm with simd128", "points per frame"):
        assert part in browser.evaluate("document.body.innerText")
    slide(browser, "nu", 0.25)
    low, high = extent(found, (0, 1), {2: 0.2})
    drawn = pixels(browser)
    values = field(found, {1: centres(ROD[1], len(drawn))[::-1], 0: centres(ROD[0], drawn.shape[1])}, {2: 0.2})
    assert (drawn == painted(values, low, high)).all()

    for time in (0.5, 1.5):
        slide(browser, "t", time / 2)
        assert text(browser, "#curve figcaption") == f"u over x in m at t = {time} s, nu = 0.2"
        image, (curve, plan) = picture(browser, "#curve .frame", "#map .frame")
        left, top, across, up = curve
        pad = (high - low) / 20
        accent = [0x2C, 0x4D, 0xBE] if theme == "light" else [0x8A, 0xA6, 0xFF]
        for share in np.linspace(0.02, 0.98, 49):
            value = field(found, {0: np.array([2 * share - 1])}, {1: time, 2: 0.2})[0]
            x, y = round(left + share * across), top + (high + pad - value) / (high - low + 2 * pad) * up
            near = image[round(y) - 2 : round(y) + 3, x - 1 : x + 2]
            if abs(share - 0.5) > 0.05:  # the point that is read is there
                assert np.abs(near - accent).sum(-1).min() < 60, (time, share)
        left, top, across, up = plan
        assert (image[round(top + (1 - time / 2) * up), round(left + 0.2 * across)] == 255).all()
        shares = np.array([0.1, 0.35, 0.6, 0.9])
        shown = image[
            np.ix_(np.round(top + shares[::-1] * up).astype(int), np.round(left + shares * across).astype(int))
        ]
        values = field(found, {1: places(ROD[1], 1 - shares[::-1]), 0: places(ROD[0], shares)}, {2: 0.2})
        assert np.abs(shown - painted(values, low, high)[..., :3]).max() <= 12


def test_time_moves_a_map_of_space(browser: Page, tmp_path: Path) -> None:
    found = plate()
    opened(browser, found.write(tmp_path))
    low, high = extent(found, (0, 1, 2), {})
    before = None
    for time in (-0.5, 0.75):
        slide(browser, "t", (time + 1) / 2)
        drawn = pixels(browser)
        values = field(found, {1: centres(PLATE[1], len(drawn))[::-1], 0: centres(PLATE[0], drawn.shape[1])}, {2: time})
        assert (drawn == painted(values, low, high)).all()
        assert before is None or (before != drawn).any(axis=-1).mean() > 0.5
        before = drawn
    _, _, across, up = box(browser, "#map .frame")
    assert across / up == pytest.approx(2, rel=0.02)  # as the plate is


def test_values_in_the_page_have_the_bits(browser: Page, tmp_path: Path) -> None:
    found = rod()
    opened(browser, found.write(tmp_path))
    x = np.random.default_rng(2).uniform(-2, 2, (100, 3)).astype(np.float32)
    x[7] = np.nan
    for function in found.interface.functions:
        sent = base64.b64encode(x.tobytes()).decode()
        got = browser.evaluate(
            f"(() => {{ const x = new Float32Array(Uint8Array.from(atob('{sent}'), (c) => c.charCodeAt(0)).buffer);"
            f"  return [...new Uint32Array(model.evaluate(x, '{function}').buffer)]; }})()"
        )
        assert got == found.numpy(x, function).view(np.uint32).ravel().tolist()


def test_controls_work(browser: Page, tmp_path: Path) -> None:
    found = rod()
    opened(browser, found.write(tmp_path))
    time = "document.querySelector('input[aria-label=t]').value"
    press = "document.querySelector('button').click()"
    assert browser.evaluate(time) == "0"
    browser.evaluate(press)
    browser.evaluate(f"(async () => {{ while ({time} < 20) await new Promise(requestAnimationFrame); }})()")
    browser.evaluate(press)
    settle(browser)
    stopped = browser.evaluate(time)
    settle(browser)
    assert browser.evaluate(time) == stopped

    drawn = pixels(browser)
    program = text(browser, ".program")
    browser.evaluate(
        "((select) => { select.selectedIndex = 2; select.dispatchEvent(new Event('change')); })"
        "(document.querySelector('select'))"
    )
    settle(browser)
    assert text(browser, "#map figcaption") == "u_x over x in m and t in s at nu = 0.3"
    assert text(browser, ".program") == found.interface.functions["jet"].sha256 != program
    assert (pixels(browser) != drawn).any()

    left, top, across, up = box(browser, "#map .frame")
    for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
        pointer = {"x": round(left + across / 4), "y": round(top + up / 2), "button": "left", "clickCount": 1}
        browser.call("Input.dispatchMouseEvent", type=kind, buttons=int(kind == "mousePressed"), **pointer)
    settle(browser)
    assert 490 <= int(browser.evaluate(time)) <= 510
    said = text(browser, "#map output")
    x, t = (float(part.split(" ")[0].replace("−", "-")) for part in said.split(" = ")[2:4])
    assert (x, t) == (pytest.approx(-0.5, abs=0.01), pytest.approx(1, abs=0.01))
    value = float(said.split(" = ")[1].split(" ")[0].replace("−", "-"))
    assert value == pytest.approx(float(found.numpy(np.array([[x, t, 0.3]]), "jet")[0, 1]), abs=1e-2)

    browser.evaluate("document.querySelector('#curve .frame').focus()")
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft"):
        browser.call("Input.dispatchKeyEvent", type="keyDown", key=key)
    settle(browser)
    moved = text(browser, "#curve output").split(" x = ")[1].split(" ")[0].replace("−", "-")
    assert float(moved) == pytest.approx(x + 0.02, abs=1e-3)
    assert browser.complaints == []


def test_texts_of_a_model_stay_text(browser: Page, tmp_path: Path) -> None:
    path = tmp_path / "index.html"
    path.write_bytes(rod().files(units=ATTACKS[2], equation=" ".join(ATTACKS))["index.html"])
    for width in WIDTHS:
        opened(browser, path, width)
        assert browser.evaluate("typeof window.pwned") == "undefined"
        assert browser.evaluate("document.querySelectorAll('script, img').length") == 2
        assert text(browser, "#equation") == " ".join(ATTACKS)
        assert ATTACKS[2] in text(browser, "#map output")


def test_one_input_is_a_curve(browser: Page, tmp_path: Path) -> None:
    found = model((Input("s"),), "tanh", 4, 1, "float32", 1.0)
    opened(browser, found.write(tmp_path), 390)
    assert "s is any number" in browser.evaluate("document.body.innerText")
    assert text(browser, "#curve figcaption") == "u over s"
    assert browser.evaluate("document.querySelectorAll('figure').length") == 1
    assert browser.evaluate("document.querySelectorAll('input, button').length") == 0


def test_a_model_with_other_bits_is_not_drawn(browser: Page, tmp_path: Path) -> None:
    found = rod()
    weight = next(op for op in found.interface.functions["eval"].ops if isinstance(op, Affine)).weight
    number = np.float32(weight[0, 0]).tobytes()
    assert number in found.wasm
    path = tmp_path / "index.html"
    damaged = Model(found.interface, found.wasm.replace(number, np.float32(weight[0, 0] + 1).tobytes()))
    path.write_bytes(damaged.files()["index.html"])
    opened(browser, path)
    assert "self-test failed (" in text(browser, "#verdict")
    assert browser.evaluate("document.querySelector('main').hidden")
