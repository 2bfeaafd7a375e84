"""Ctrl-C that always ends a command, whatever it falls into."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

AGAIN_AFTER_S = 0.5
"""A KeyboardInterrupt that falls into a destructor or a callback is lost: it is raised again until the command ends."""


@contextmanager
def ended_by_interrupt() -> Iterator[None]:
    """End what is done in here by a KeyboardInterrupt, even where an interrupt is swallowed or becomes another error.

    For the main thread, and for work that an interrupt may end anywhere.
    """
    came = False
    has_alarm = hasattr(signal, "setitimer")  # Windows has none

    def interrupted(number: int, frame: object) -> NoReturn:
        nonlocal came
        came = True
        if has_alarm:
            signal.setitimer(signal.ITIMER_REAL, AGAIN_AFTER_S)
        raise KeyboardInterrupt

    def unraisable(lost: Any) -> None:
        if not isinstance(lost.exc_value, KeyboardInterrupt):
            sys.__unraisablehook__(lost)

    numbers = (signal.SIGINT, signal.SIGALRM) if has_alarm else (signal.SIGINT,)
    handlers = {number: signal.signal(number, interrupted) for number in numbers}
    hook, sys.unraisablehook = sys.unraisablehook, unraisable
    try:
        yield
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # all that is left is to say what was done
    except BaseException:
        if came:
            raise KeyboardInterrupt from None
        raise
    finally:
        if has_alarm:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, handlers[signal.SIGALRM])
        sys.unraisablehook = hook
