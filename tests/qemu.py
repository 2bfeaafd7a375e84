"""How QEMU runs a program that has no operating system."""

from __future__ import annotations

SEMIHOSTING = (
    "-bios",
    "none",
    "-display",
    "none",
    "-chardev",
    "stdio,id=out",
    "-semihosting-config",
    "enable=on,chardev=out",
)
"""No firmware and no window; what the program writes by semihosting goes to stdout."""
