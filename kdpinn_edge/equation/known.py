"""What is known of the shape of a solution before it is computed: where it is mirrored, zero, repeated, or steep."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mirror:
    """The solution is its own mirror image in the plane `input` = `at`, each output times its sign, 1 or −1.

    That the box ends there is no matter. An odd function is `Mirror("x", 0.0, (-1,))`; an even one of period 2 has
    mirrors in 0 and in 1.
    """

    input: str
    at: float
    signs: tuple[int, ...]


@dataclass(frozen=True)
class Zero:
    """Every output is 0 in the plane `input` = `at`, which is a side of the box."""

    input: str
    at: float


@dataclass(frozen=True)
class Period:
    """The solution begins anew where the box ends along `input`: values and derivatives are those of the other side."""

    input: str


@dataclass(frozen=True)
class Front:
    """The solution changes over a distance of about `width` near `input` = `at`, and more slowly the farther away."""

    input: str
    at: float
    width: float
