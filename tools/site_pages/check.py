"""Checks of the built site: every link leads to a page and a place in it, and nothing is loaded from the network.

    python tools/site_pages/check.py site    exits with 1, and one line for each fault

Addresses of other sites are only read, never asked for: they have to be whole.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"src", "srcset", "poster", "data"}
"""Attributes whose address a browser loads by itself; also href of a link element, and of an image in SVG."""
CSS_ADDRESS = re.compile(r"""(?:url\(\s*["']?|@import\s+["'])([^"')\s]+)""")


@dataclass
class Page(HTMLParser):
    """The addresses and the anchors of a page."""

    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what this element refers to, and what it is called."""
        for name, value in attrs:
            if value is None:
                continue
            if name in LOADED or (name == "href" and tag in ("link", "image", "use")):
                self.loaded.append(value)
            elif name == "href":
                self.links.append(value)
            elif name == "id" or (name == "name" and tag == "a"):
                self.anchors.add(value)
            elif name == "style":
                self.loaded += CSS_ADDRESS.findall(value)


@cache
def read(path: Path) -> Page:
    """The page in a file."""
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def faults(site: Path) -> list[str]:
    """One line for each address that is wrong, with the file that has it."""
    found = []
    for path in sorted(site.rglob("*.html")):
        page = read(path)
        for address in page.loaded + page.links:
            fault = wrong(site, path, address, loaded=address in page.loaded)
            if fault:
                found.append(f"{path.relative_to(site)}: {address}: {fault}")
    for path in sorted(site.rglob("*.css")):
        for address in CSS_ADDRESS.findall(path.read_text(encoding="utf-8")):
            if urlsplit(address).netloc:
                found.append(
                    f"{path.relative_to(site)}: {address}: loaded from the network; expected: a file of the site"
                )
    return found


def wrong(site: Path, path: Path, address: str, *, loaded: bool) -> str | None:
    """What is wrong with an address in the file `path`, or None."""
    parts = urlsplit(address)
    if parts.scheme == "data":
        return None
    if parts.netloc and loaded:
        return "loaded from the network; expected: a file of the site"
    if parts.scheme in ("http", "https"):
        return None if "." in parts.netloc and " " not in address else "no whole address"
    if parts.scheme:
        return None if parts.scheme == "mailto" else "unknown scheme; expected: https, mailto or a file of the site"
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not target.is_relative_to(site) or not target.is_file():
        return "no such file in the site"
    if parts.fragment and target.suffix == ".html" and not anchored(target, unquote(parts.fragment)):
        return f"no element has the id {parts.fragment}"
    return None


def anchored(path: Path, anchor: str) -> bool:
    """Whether the page in a file has this anchor."""
    return anchor in read(path).anchors


def main() -> None:
    """Check the folder that the command line names."""
    site = Path(sys.argv[1]).resolve()
    pages = sorted(site.rglob("*.html"))
    if not pages:
        sys.exit(f"{site} has no page; expected: what `make docs` builds")
    found = faults(site)
    if found:
        sys.exit("\n".join(found))
    links = sum(len(read(path).links) + len(read(path).loaded) for path in pages)
    print(f"{len(pages)} pages, {links:,} links: none dead, nothing loaded from the network")


if __name__ == "__main__":
    main()
