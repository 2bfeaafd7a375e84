"""What a self-test returns, in words."""

from __future__ import annotations

UNSUPPORTED_CPU, OTHER_ENVIRONMENT = -3, -4
"""The error codes of kdpinn_edge.h that a self-test has."""


def selftest_fault(code: int) -> str:
    """Why a self-test that returned `code`, not 0, failed."""
    match code:
        case _ if code > 0:
            return f"golden number {code} has other bits than at export"
        case _ if code == OTHER_ENVIRONMENT:
            return (
                "the floating-point environment of this thread is not the default one: it does not round to nearest "
                "even, or it takes subnormal numbers for zero. The usual cause is another library in the process, or a "
                "call such as torch.set_flush_denormal(True); expected: the default environment"
            )
        case _ if code == UNSUPPORTED_CPU:
            return "nothing in the library fits this CPU"
    return f"it returned the error code {code}"
