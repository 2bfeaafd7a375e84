"""Interrupts, put off while something must not be left half done."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


def is_put_off() -> bool:
    """Whether an interrupt has come that `undisturbed` puts off."""
    return hasattr(signal, "sigpending") and signal.SIGINT in signal.sigpending()


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let no signal of this thread interrupt what is done in here: it comes afterwards.

    Where signals cannot be put off, as on Windows, they are not.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGALRM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
