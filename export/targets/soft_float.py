"""What code without a floating-point unit calls in place of an instruction.

These are functions of the run-time library that every compiler for such a processor brings: libgcc, or compiler-rt.
Their arithmetic is that of IEEE 754 to the bit, subnormal numbers included, and their time depends on the numbers.
"""

from __future__ import annotations

COMMON = ("add", "sub", "mul", "div")
ARM = frozenset(
    f"__aeabi_{name}"
    for name in (
        *(f"f{name}" for name in COMMON),
        *(f"fcmp{name}" for name in ("eq", "lt", "le", "ge", "gt", "un")),
        *("lmul", "llsl", "llsr", "lasr"),
    )
)
"""Run-time ABI for the Arm Architecture (RTABI32), 4.1.2 and 4.2: arithmetic of float, and of integers of 64 bits."""

RISCV = frozenset(
    f"__{name}"
    for name in (
        *(f"{name}sf3" for name in COMMON),
        *(f"{name}sf2" for name in ("eq", "ne", "lt", "le", "ge", "gt", "unord")),
        *("muldi3", "ashldi3", "lshrdi3", "ashrdi3"),
    )
)
"""GNU Compiler Collection Internals, 4: the same by the names of GCC."""
