"""The templates of the files that are written, and how they are filled."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.resources import files

Repeated = Mapping[str, Sequence[Mapping[str, str]]]


def template(file: str) -> str:
    """The text of a template."""
    return (files("kdpinn_edge") / "export" / "templates" / file).read_text(encoding="utf-8")


def filled(file: str, words: Mapping[str, str], repeated: Repeated | None = None) -> str:
    """A template with @word@ replaced, and what is between @each name@ and @end@ once for each of `repeated[name]`."""

    def fill(text: str, values: Mapping[str, str]) -> str:
        return re.sub(r"@(\w+)@", lambda match: values[match[1]], text)

    def repeat(match: re.Match[str]) -> str:
        return "".join(fill(match[2], {**words, **each}) for each in (repeated or {})[match[1]])

    return fill(re.sub(r"@each (\w+)@\n(.*?)@end@\n", repeat, template(file), flags=re.S), words)
