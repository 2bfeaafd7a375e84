"""LLVM IR for processors that lack an instruction which the lane vocabulary takes for granted."""

from __future__ import annotations

import re

INTEGER = {"float": "i32", "double": "i64"}


def without_fma(text: str) -> str:
    """IR text in which every fma is a product and a sum, each rounded: without flags LLVM never fuses them again."""

    def defined(match: re.Match[str]) -> str:
        real, suffix = match.groups()
        return (
            f"define internal {real} @muladd.{suffix}({real} %a, {real} %b, {real} %c) {{\n"
            f"  %product = fmul {real} %a, %b\n  %sum = fadd {real} %product, %c\n  ret {real} %sum\n}}"
        )

    text = re.sub(r"^declare (.+?) @llvm\.fma\.(\w+)\(.*$", defined, text, flags=re.M)
    return text.replace("@llvm.fma.", "@muladd.")


def without_select(text: str) -> str:
    """IR text in which every choice between numbers is made by masks: LLVM would branch, and time depend on data.

    It knows the pattern of masks, and would make a choice of it again: an empty piece of assembly hides the mask.
    """
    shapes: set[tuple[int, str]] = set()

    def called(match: re.Match[str]) -> str:
        lanes, real = int(match[1]), match[3]
        shapes.add((lanes, real))
        vector = f"<{lanes} x {real}>"
        return (
            f"call {vector} @chosen.v{lanes}{real}(<{lanes} x i1> {match[2]}, {vector} {match[4]}, {vector} {match[5]})"
        )

    text = re.sub(
        r"\bselect\s+<(\d+) x i1> (\S+), <\1 x (float|double)> (.+), <\1 x \3> (.+)$", called, text, flags=re.M
    )
    return text + "".join(_chosen(lanes, real) for lanes, real in sorted(shapes))


def _chosen(lanes: int, real: str) -> str:
    """The function that takes lane by lane the bits of a where the condition holds, else those of b."""
    integer, vector = INTEGER[real], f"<{lanes} x {real}>"
    lines = []

    def line(name: str, instruction: str) -> str:
        lines.append(f"  %{name} = {instruction}\n")
        return f"%{name}"

    result = "undef"
    for i in range(lanes):
        c = line(f"c{i}", f"extractelement <{lanes} x i1> %condition, i32 {i}")
        wide = line(f"wide{i}", f"sext i1 {c} to {integer}")
        mask = line(f"mask{i}", f'call {integer} asm "", "=r,0"({integer} {wide})')
        a, b = (line(f"{v}{i}", f"extractelement {vector} %{v}, i32 {i}") for v in ("a", "b"))
        p, q = (line(f"{n}{i}", f"bitcast {real} {v} to {integer}") for n, v in (("p", a), ("q", b)))
        differing = line(f"differing{i}", f"xor {integer} {p}, {q}")
        taken = line(f"taken{i}", f"and {integer} {differing}, {mask}")
        bits = line(f"bits{i}", f"xor {integer} {taken}, {q}")
        number = line(f"number{i}", f"bitcast {integer} {bits} to {real}")
        result = line(f"result{i}", f"insertelement {vector} {result}, {real} {number}, i32 {i}")
    head = (
        f"\ndefine internal {vector} @chosen.v{lanes}{real}(<{lanes} x i1> %condition, {vector} %a, {vector} %b) {{\n"
    )
    return head + "".join(lines) + f"  ret {vector} {result}\n}}\n"
