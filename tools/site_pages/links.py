"""Links that hold on the site as they do in the repository."""

from __future__ import annotations

import os.path
import re
from pathlib import Path, PurePosixPath

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]
MIRRORED = {
    "index": "README.md",
    "benchmarks": "benchmarks/README.md",
    "changelog": "CHANGELOG.md",
    "contributing": "CONTRIBUTING.md",
    "security": "SECURITY.md",
    "code_of_conduct": "CODE_OF_CONDUCT.md",
}
"""Pages whose text is a file outside docs/."""

PAGES = {path: f"docs/{page}.md" for page, path in MIRRORED.items()}
TARGET = re.compile(r"""(?<=\]\()[^()\s]+(?=\))|(?<=\b(?:src)=")[^"]+(?=")|(?<=\bhref=")[^"]+(?=")""")
SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:|#")


def rewrite(app: Sphinx, page: str, source: list[str]) -> None:
    """Put the text of a mirrored file into its page, and let links lead to the pages of such files."""
    path = MIRRORED.get(page)
    if path is None:
        source[0] = relinked(source[0], PurePosixPath("docs") / page)
    else:
        app.env.note_dependency(str(ROOT / path))
        text = relinked((ROOT / path).read_text(encoding="utf-8"), PurePosixPath(path))
        head, separator, rest = source[0].rpartition("---\n")
        source[0] = f"{head}{separator}\n{text}\n{rest}"


def relinked(text: str, path: PurePosixPath) -> str:
    """The Markdown of the file `path` of the repository, its relative links as seen from docs/ and its subfolders."""
    start = path.parent if path.is_relative_to("docs") else PurePosixPath("docs")

    def target(match: re.Match[str]) -> str:
        address, hash_sign, anchor = match[0].partition("#")
        if not address or SCHEME.match(address):
            return match[0]
        found = os.path.normpath(path.parent / address)
        return os.path.relpath(PAGES.get(found, found), start) + hash_sign + anchor

    return TARGET.sub(target, text)
