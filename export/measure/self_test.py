"""What an export says of an artifact that does not pass its self-test, wherever that was run."""

from __future__ import annotations

from kdpinn_edge.bundle.selftest import selftest_fault
from kdpinn_edge.errors import ExportError
from kdpinn_edge.export.targets.interface import Interface


def check_tested(interface: Interface, where: str, *, selftest: int, integrity: int) -> None:
    """Raise ExportError unless these two functions of the artifact returned 0, `where`: on this machine, or another."""
    if selftest != 0:
        raise ExportError(f"{interface.library} does not pass its self-test {where}: {selftest_fault(selftest)}")
    if integrity != 0:
        raise ExportError(f"{interface.library} has other bytes in memory {where} than in its file: they were changed")
