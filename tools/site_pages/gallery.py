"""The gallery: the browser page of every shipped student, and a picture of what it draws.

python tools/site_pages/gallery.py    makes build/docs/live/gallery and docs/gallery.md
"""

from __future__ import annotations

import base64
import html
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from kdpinn_edge.problems import Problem, names, problem

ROOT = Path(__file__).parents[2]
LIVE = ROOT / "build" / "docs" / "live" / "gallery"
PAGE = ROOT / "docs" / "gallery.md"
COMMAND = Path(sys.executable).with_name("kdpinn-edge")

sys.path.insert(0, str(ROOT / "tests"))

HEAD = """# Gallery

The student of each shipped equation, compiled to WebAssembly by `kdpinn-edge export NAME --target wasm`. A page holds
its kernel and evaluates every pixel in your browser, with the derivatives and the residual of the equation; it needs no
network, so that it also opens from a disk. [The zoo](zoo.md) has their errors and latencies.

<div class="gallery">
"""
MAP = """
(async () => {
  while (!document.querySelector("#verdict").className) await new Promise(requestAnimationFrame);
  const play = document.querySelector("#controls input[type=range]");
  if (play && document.querySelector("#controls button")) {
    play.value = 450;
    play.dispatchEvent(new Event("input"));
  }
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(".probe, .cut { display: none !important }");
  document.adoptedStyleSheets = [sheet];
  for (let i = 0; i < 4; i++) await new Promise(requestAnimationFrame);
  const drawn = document.querySelector("#map .frame") ?? document.querySelector("#curve .frame");
  const { x, y, width, height } = drawn.getBoundingClientRect();
  return { x: x + scrollX, y: y + scrollY, width, height, scale: 1 };
})()
"""
"""Sets the time to 45 % of its range and returns where the map is on the page; of one input there is a curve alone."""


def main() -> None:
    """Export, photograph, and write the page."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("gallery: chromium is not on PATH; on Debian: apt-get install chromium")
    shutil.rmtree(LIVE, ignore_errors=True)
    LIVE.mkdir(parents=True)
    shipped = [problem(name) for name in names()]
    for each in shipped:
        export(each)
    photograph(chromium, [each.name for each in shipped])
    PAGE.write_text(HEAD + "".join(map(card, shipped)) + "</div>\n", encoding="utf-8")


def export(shown: Problem) -> None:
    """Leave the browser page of a problem's student in LIVE."""
    derivatives = [*shown.outputs, *(term for term in shown.terms if "_" in term)]
    bundle = LIVE / shown.name
    arguments = ["export", shown.name, "--target", "wasm", "--derivatives", ", ".join(derivatives), "--residual"]
    subprocess.run([COMMAND, *arguments, "--out", bundle, "--json"], check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    (bundle / "index.html").rename(LIVE / f"{shown.name}.html")
    shutil.rmtree(bundle)


def photograph(executable: str, names: list[str]) -> None:
    """A PNG of each map, beside its page."""
    from chromium import chromium

    with chromium(executable) as browser:
        for name in names:
            browser.open(LIVE / f"{name}.html", width=900)
            clip: dict[str, Any] = browser.evaluate(MAP)
            shot = browser.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
            (LIVE / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))


def card(shown: Problem) -> str:
    """A link to the page, with its picture."""
    return (
        f'<a href="gallery/{shown.name}.html"><img src="gallery/{shown.name}.png" alt="" loading="lazy">'
        f"<span>{shown.name}</span><span>{html.escape(shown.equation)}</span></a>\n"
    )


if __name__ == "__main__":
    main()
