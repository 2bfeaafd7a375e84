"""The code of a Markdown page, run as a reader would run it: in order, in one folder, with one Python session.

    python tests/snippets.py PAGE       runs it here, with this interpreter, after its `pip install` lines

| block | what is done with it |
|---|---|
| ```text | nothing: it is output |
| ```json | it must be JSON |
| first line `# file: NAME`, `// file: NAME` or `/* file: NAME */`, in any language | it is written to NAME |
| ```sh | it is run by bash, which stops at the first command that fails |
| ```python | it is run in the session of the page |
| ```{code-cell} | it is a cell of a notebook, which `make docs` executes |
| ```c | it is a fragment: its #include lines, then `int main(void)` around the rest, compiled and run |

A comment of HTML says what the reader does not have to read:

    <!-- given: CODE -->                   Python that makes what is the reader's own, such as a trained network
    <!-- cc OPTIONS -->                    what the compiler is called with for the C fragment below
    <!-- not run: REASON -->               the block below is not run
    <!-- no block is run: REASON -->       none of this page is
    <!-- run by make TARGET: REASON -->    that make target runs this page, and `make test` does not
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib import invalidate_caches
from pathlib import Path
from textwrap import dedent
from typing import Any

ITEM = re.compile(
    r"^<!-- (?P<directive>.*?) ?-->$|^```(?P<language>[^\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
FILE = re.compile(r"(?:#|//|/\*) file: (\S+)(?: \*/)?\n")
REASON = re.compile(r"(not run|no block is run|run by make (\S+)): \S", re.DOTALL)
INSTALL = re.compile(r"^pip install .*$", re.MULTILINE)
ROOT = Path(__file__).parents[1]
GENERATED = (ROOT / "docs" / "gallery.md", ROOT / "docs" / "reference")
"""What `make docs` writes into docs/, and git ignores."""
NOTEBOOK = "docs"
"""The make target that runs the cells of notebooks."""
RUN = ("json", "sh", "python", "c")
LANGUAGES = (*RUN, "text")
"""What a block may be in; another one has to name a file, or say why it is not run."""


@dataclass(frozen=True)
class Block:
    """One fenced block: where it is, what it is in, and what the comments above it say."""

    line: int
    language: str
    code: str
    skipped: bool = False
    given: bool = False
    compiler_options: str = ""

    @property
    def is_run(self) -> bool:
        """Whether something is done with it."""
        return not self.skipped and (self.file is not None or self.language in RUN)

    @property
    def file(self) -> str | None:
        """The file that it is written to."""
        found = FILE.match(self.code)
        return found[1] if found else None


@dataclass(frozen=True)
class Page:
    """The blocks of a page in order. `run_by` is "" for `make test`, another make target, or None for nothing."""

    path: Path
    blocks: tuple[Block, ...]
    run_by: str | None


def pages(*patterns: str) -> list[Path]:
    """The pages of the repository that are written by hand."""
    found = [path for pattern in patterns for path in sorted(ROOT.glob(pattern))]
    return [path for path in found if not any(path.is_relative_to(each) for each in GENERATED)]


def read(path: Path, section: str | None = None) -> Page:
    """Find the blocks of a page, or of the section with this heading."""
    text = path.read_text(encoding="utf-8")
    first = 1
    if section is not None:
        start = re.search(rf"^## {re.escape(section)}\n", text, re.MULTILINE)
        assert start, f"{path}: no section is called {section!r}"
        first += text.count("\n", 0, start.start())
        text = re.split(r"^## ", text[start.end() :], maxsplit=1, flags=re.MULTILINE)[0]
    blocks: list[Block] = []
    run_by: str | None = ""
    skipped, compiler_options = False, ""
    for item in ITEM.finditer(text):
        line = first + text.count("\n", 0, item.start())
        directive = item["directive"]
        if directive is None:
            blocks.append(Block(line, item["language"], item["code"], skipped, compiler_options=compiler_options))
            skipped, compiler_options = False, ""
        elif directive.startswith("given:"):
            blocks.append(Block(line, "python", dedent(directive.removeprefix("given:").strip(" ")), given=True))
        elif directive.startswith("cc "):
            compiler_options = directive.removeprefix("cc ")
        elif reason := REASON.match(directive):
            if reason[1] == "not run":
                skipped = True
            else:
                run_by = reason[2]
    return Page(path, tuple(blocks), run_by)


def faults(page: Page) -> list[str]:
    """The blocks that say neither how they are run nor why not."""
    return [
        f"{page.path.name}, line {block.line}: a block in {block.language!r} is not run and does not say why; "
        f"expected: {', '.join(LANGUAGES)}, a first line `# file: NAME`, or <!-- not run: REASON --> above it"
        for block in page.blocks
        if page.run_by is not None and not block.skipped and not block.file and block.language not in LANGUAGES
        if not (page.run_by == NOTEBOOK and block.language.startswith("{code-cell}"))
    ]


def run(page: Page, names: dict[str, Any] | None = None) -> dict[str, Any]:
    """Run the blocks in the working directory and return the names of the session, which begins with `names`.

    Lines that install something are left out: what they name is there.
    """
    names = {} if names is None else names
    for block in page.blocks:
        place = f"{page.path.name}, line {block.line}"
        if not block.is_run:
            continue
        if block.file:
            Path(block.file).write_text(block.code, encoding="utf-8")
        elif block.language == "json":
            json.loads(block.code)
        elif block.language == "sh":
            _shell(place, INSTALL.sub("", block.code))
        elif block.language == "python":
            exec(compile(block.code, place, "exec"), names)  # noqa: S102
        else:
            _fragment(place, block)
    return names


def install(page: Page) -> None:
    """Run the lines that install something, for the whole page at once, since given code needs it too."""
    for block in page.blocks:
        if block.language == "sh" and not block.skipped:
            for line in INSTALL.findall(block.code):
                _shell(f"{page.path.name}, line {block.line}", line)
    invalidate_caches()


def _shell(place: str, code: str) -> None:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", code], env=environment, capture_output=True, text=True)
    print(done.stdout)
    assert done.returncode == 0, f"{place}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"


def _fragment(place: str, block: Block) -> None:
    lines = block.code.splitlines()
    includes = [line for line in lines if line.startswith("#include")]
    body = [line for line in lines if not line.startswith("#include")]
    Path("fragment.c").write_text("\n".join([*includes, "int main(void) {", *body, "return 0;", "}", ""]))
    _shell(place, f"cc -std=c99 fragment.c -o fragment {block.compiler_options}\n./fragment\n")


def main() -> None:
    """Run one page, as `make verify-docs` does in a fresh environment."""
    page = read(Path(sys.argv[1]))
    sys.path[0] = ""  # as in a session that was started here
    install(page)
    run(page)


if __name__ == "__main__":
    main()
