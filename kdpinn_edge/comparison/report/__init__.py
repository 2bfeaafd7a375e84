"""`write_report(record, path)`: a comparison as one HTML page that needs nothing else, neither a network nor a script.

The page holds its drawings, its style and the record itself. Names in a record come from files and stay text: markup
is escaped, and a content policy in the page allows its own style and script by their hashes, and no connection.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import os
from dataclasses import replace
from importlib.resources import files

import msgspec
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from kdpinn_edge.comparison.record import Block, Cell, Record
from kdpinn_edge.comparison.report import answer, quantities
from kdpinn_edge.comparison.report.page import page
from kdpinn_edge.files import write_whole

EMBEDDED_BYTES = 700_000
"""The most that the record may add to the page. A larger one is thinned; the page says so."""


def write_report(record: Record, path: str | os.PathLike[str]) -> None:
    """Write the page of `record` to `path`, whole or not at all. Raises OSError where it cannot be written."""
    write_whole(path, html(record).encode())


def html(record: Record) -> str:
    """The HTML page of `record`."""
    environment = Environment(
        loader=PackageLoader(__name__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = (_template(name) for name in ("page.css", "page.js"))
    whole = msgspec.json.encode(record)
    embedded, per_block = _compressed(whole), 0
    for per_block in (256, 128, 64, 32, 16, 8, 4) if len(embedded) > EMBEDDED_BYTES else ():
        embedded = _compressed(msgspec.json.encode(thinned(record, per_block)))
        if len(embedded) <= EMBEDDED_BYTES:
            break
    return environment.get_template("page.html.jinja").render(
        page=page(record),
        q=quantities,
        points=answer.points,
        style=Markup(style),  # noqa: S704 (a file of this package)
        script=Markup(script),  # noqa: S704 (a file of this package)
        policy=f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; img-src data:",
        embedded=embedded,
        per_block=per_block,
        sha256=hashlib.sha256(whole).hexdigest(),
    )


def thinned(record: Record, per_block: int) -> Record:
    """Copy `record` with at most `per_block` samples per block: ordered, at evenly spaced ranks, ends included."""

    def block(whole: Block) -> Block:
        if len(whole.samples_ns) <= per_block:
            return whole
        ranks = np.linspace(0, len(whole.samples_ns) - 1, per_block).round().astype(int)
        kept = np.argsort(whole.samples_ns, kind="stable")[ranks]
        on_core = tuple(whole.on_core_ns[k] for k in kept) if whole.on_core_ns else ()
        return replace(whole, samples_ns=tuple(whole.samples_ns[k] for k in kept), on_core_ns=on_core)

    def cell(whole: Cell) -> Cell:
        return replace(whole, blocks=tuple(map(block, whole.blocks)))

    return replace(record, cells=tuple(map(cell, record.cells)))


def _template(name: str) -> str:
    return files(__name__).joinpath("templates", name).read_text(encoding="utf-8")


def _compressed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, compresslevel=6, mtime=0)).decode()


def _hash(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"
