"""Every error that kdpinn_edge raises on purpose: one root, one subclass per stage.

A message says what was found, where, what was expected, and the usual fix.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class KdpinnError(Exception):
    """The root of all errors of this package."""


class ProblemError(KdpinnError):
    """An unknown problem, or a point outside what its reference covers."""


class TrainError(KdpinnError):
    """Training or distillation cannot start, resume or read its weights."""


class TrainingWarning(UserWarning):
    """A run came to an end, and something about its result calls for a second look."""


class CaptureError(KdpinnError):
    """A torch module cannot be turned into a Program."""


class ProgramError(KdpinnError):
    """A Program, or a file that should hold one, is malformed."""


class DerivativeError(ProgramError):
    """A derivative is asked for that the Program does not have, or whose name can be read in two ways."""


class ExportError(KdpinnError):
    """A bundle cannot be written, or an artifact did not pass its gates."""


class ProfileError(ExportError):
    """Code of another numerics profile than this machine's is asked for."""


class BudgetError(ExportError):
    """An artifact `takes` more bytes of `what`, "flash" or "stack", than the `limit`."""

    def __init__(self, message: str, *, what: str, takes: int, limit: int) -> None:
        super().__init__(message)
        self.what, self.takes, self.limit = what, takes, limit


class BundleError(KdpinnError):
    """A bundle on disk is incomplete, edited, or of an unknown schema."""


class KeyFileError(KdpinnError):
    """A file holds no key that can sign or verify, or the package that does is missing."""


class EngineError(KdpinnError):
    """An engine cannot be made, or was called with arrays that it does not accept."""


class BoundCallError(EngineError, TypeError):
    """A call that was bound to arrays of this process was to be copied or pickled."""


class NoNativeTargetError(ExportError):
    """No target fits this machine, so nothing can be compiled for it."""


class MisfitError(EngineError):
    """A library was made for another machine than this one."""


class BenchError(KdpinnError):
    """A comparison cannot run."""


class AuditError(KdpinnError):
    """A bundle cannot be swept, or what was found cannot be drawn."""


class CertificateError(KdpinnError):
    """A certificate cannot be given, or does not hold."""


class StudyError(KdpinnError):
    """A study cannot be planned, or its folder holds another one."""


class SearchError(KdpinnError):
    """A search has no goal, or its storage belongs to another one."""


MOST_LISTED = 20


def listing(faults: list[str]) -> str:
    """Write several faults as one message: each on its own line when there is more than one, the first MOST_LISTED."""
    if len(faults) == 1:
        return faults[0]
    more = [f"and {len(faults) - MOST_LISTED:,} more"] if len(faults) > MOST_LISTED else []
    return "".join(f"\n  - {fault}" for fault in (*faults[:MOST_LISTED], *more))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Write which of the `known` names was probably meant by `name`, as a sentence to end a message with; or nothing.

    Upper and lower case count as the same, and the beginning of a name as the name.
    """
    folded = {each.casefold(): each for each in known}
    begun = [each for each in folded if name and each.startswith(name.casefold())]
    close = get_close_matches(name.casefold(), folded, n=1) or begun
    return f". Did you mean {folded[close[0]]!r}?" if close else ""
