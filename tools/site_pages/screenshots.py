"""Pictures of the site in Chromium, beside those that a person has looked at.

    python tools/site_pages/screenshots.py check    exits with 1 where a page looks different, asks for more than its
                                                    files, complains, or is wider than the window
    python tools/site_pages/screenshots.py write    keeps the pictures of now: look at them before you commit them

Every text is set in DejaVu Sans (Debian: fonts-dejavu-core), as a page lays itself out by the fonts of a machine.
Their hinting differs all the same, so pixels are not compared. A picture is reduced to the mean brightness of cells of
20 × 20 pixels, in which a line of text is a grey. Two runs differ by up to 0.001 of full brightness; a page without its
style, pictures or sidebar, in the other theme or 40 % narrower by 0.025 to 0.85.
"""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ROOT = Path(__file__).parents[2]
SITE = ROOT / "site"
GOLDEN = ROOT / "tests" / "golden" / "site"
PAGES = {"home": "index.html", "gallery": "gallery.html", "live": "gallery/burgers.html"}
WINDOWS = {390: 844, 1400: 900}
THEMES = ("light", "dark")
CELL = 20
TOLERANCE = 0.02
COLOURS = 64  # of a picture that is kept: a quarter of its size in bytes, and nothing that a person would miss

sys.path.insert(0, str(ROOT / "tests"))

READY = """
(async () => {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(`
    * { font-family: "DejaVu Sans" !important }
    pre, pre *, code, code *, .program { font-family: "DejaVu Sans Mono" !important }
  `);
  document.adoptedStyleSheets = [sheet];
  const verdict = document.querySelector("#verdict");
  while (verdict && !verdict.className) await new Promise(requestAnimationFrame);
  await Promise.all([...document.images].map((image) => { image.loading = "eager"; return image.decode(); }));
  for (let i = 0; i < 4; i++) await new Promise(requestAnimationFrame);
  return document.documentElement.scrollWidth;
})()
"""
HAS_FONT = """
(() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d");
  const width = (font) => { canvas.font = `20px ${font}`; return canvas.measureText("which font is it").width; };
  return width("'DejaVu Sans', monospace") !== width("monospace");
})()
"""


def pictures() -> Iterator[tuple[str, Image.Image, list[str]]]:
    """The name of each picture, the picture, and what is wrong with its page."""
    from chromium import chromium

    executable = shutil.which("chromium")
    if executable is None:
        sys.exit("screenshots: chromium is not on PATH; on Debian: apt-get install chromium")
    with chromium(executable) as browser:
        if not browser.evaluate(HAS_FONT):
            sys.exit("screenshots: the font DejaVu Sans is missing; on Debian: apt-get install fonts-dejavu-core")
        for page, path in PAGES.items():
            for width, height in WINDOWS.items():
                for theme in THEMES:
                    browser.open(SITE / path, width, height, theme)
                    found = browser.evaluate(READY)
                    faults = list(browser.complaints)
                    faults += [
                        f"asks for {each}" for each in browser.requests if not each.startswith(("file:", "data:"))
                    ]
                    faults += [f"is {found} pixels wide"] if found > width else []
                    picture = Image.open(io.BytesIO(browser.screenshot(whole=False))).convert("RGB")
                    yield f"{page}-{width}-{theme}", picture, faults


def difference(picture: Image.Image, golden: Image.Image) -> float:
    """The mean difference in brightness of all cells, from 0 to 1; 1 for pictures of different size."""
    if picture.size != golden.size:
        return 1.0
    return float(np.abs(cells(picture) - cells(golden)).mean())


def cells(picture: Image.Image) -> NDArray[np.float64]:
    """The mean brightness of each cell, from 0 to 1."""
    width, height = (side // CELL for side in picture.size)
    grey = np.asarray(picture.convert("L"), np.float64)[: height * CELL, : width * CELL] / 255
    brightness: NDArray[np.float64] = grey.reshape(height, CELL, width, CELL).mean(axis=(1, 3))
    return brightness


def main() -> None:
    """Check or write, as the command line says."""
    if sys.argv[1:] not in (["check"], ["write"]):
        sys.exit(__doc__)
    if not (SITE / "index.html").exists():
        sys.exit(f"{SITE} has no page: make docs")
    bad = 0
    for name, picture, faults in pictures():
        path = GOLDEN / f"{name}.png"
        if sys.argv[1] == "write":
            GOLDEN.mkdir(exist_ok=True)
            picture.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
        off = difference(picture, Image.open(path).convert("RGB"))
        if off > TOLERANCE:
            faults.append(f"looks different from {path.relative_to(ROOT)}")
        print(f"{name:20} {off:.4f} {'; '.join(faults)}")
        bad += bool(faults)
    if bad:
        sys.exit(f"{bad} pages are wrong; where one is as it should be: look at it, then screenshots.py write")


if __name__ == "__main__":
    main()
