"""The static archive of one object, as `ar` and `ranlib` write it: what every linker for bare metal reads."""

from __future__ import annotations

from collections.abc import Sequence

MAGIC = b"!<arch>\n"


def archive(object_code: bytes, member: str, symbols: Sequence[str]) -> bytes:
    """`object_code` as the only member, with an index that says it defines `symbols`.

    Dates and owners are 0, so that equal objects give equal bytes. The index is that of System V: a count and one
    offset per symbol, big-endian, then the names. `member` has at most 15 characters: a longer one is cut.
    """
    names = b"".join(symbol.encode() + b"\0" for symbol in symbols)
    size = 4 + 4 * len(symbols) + len(names)
    begin = len(MAGIC) + 60 + size + size % 2
    index = b"".join(number.to_bytes(4, "big") for number in [len(symbols), *[begin] * len(symbols)]) + names
    return MAGIC + _member("/", index) + _member(f"{member[:15]}/", object_code)


def _member(name: str, content: bytes) -> bytes:
    head = f"{name:16}{0:<12}{0:<6}{0:<6}{644:<8}{len(content):<10}`\n"
    return head.encode() + content + b"\n" * (len(content) % 2)


def only_member(data: bytes) -> bytes:
    """The object in an archive that `archive` wrote. Raises ValueError where it is none."""
    if not data.startswith(MAGIC):
        raise ValueError("it does not begin as an archive does")
    at = len(MAGIC)
    contents = []
    while at < len(data):
        size = int(data[at + 48 : at + 58])
        contents.append(data[at + 60 : at + 60 + size])
        at += 60 + size + size % 2
    _, member = contents
    return member
