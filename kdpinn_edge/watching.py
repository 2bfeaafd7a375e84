"""How long work goes on, where somebody watches: a bar of rich on a terminal, a line that changes in a notebook."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

REFRESH_S = 0.3
WIDTH = 20

T = TypeVar("T")
Report = Callable[[T], None]


@contextmanager
def watched(
    title: str,
    report: Report[T] | None,
    *,
    bar: Callable[[Console, str], AbstractContextManager[Report[T]]],
    told: Callable[[T], tuple[float, str]],
) -> Iterator[Report[T]]:
    """The `report` that is given, or what shows the progress where somebody watches; nothing anywhere else.

    `bar(console, title)` is that of a terminal. In a notebook `told(progress)` is what the line says: the share that is
    done, and how far that is in words.
    """
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    if report is not None:
        yield report
    elif console.is_jupyter:
        yield in_notebook(title, told)
    elif console.is_terminal:
        with bar(console, title) as shown:
            yield shown
    else:
        yield lambda progress: None


def in_notebook(title: str, told: Callable[[T], tuple[float, str]]) -> Report[T]:
    """Show a line below the cell that changes; it needs IPython and no widgets."""
    from IPython.display import display

    handle = display({"text/plain": title}, raw=True, display_id=True)
    shown = -REFRESH_S

    def report(progress: T) -> None:
        nonlocal shown
        share, words = told(progress)
        if share < 1 and monotonic() - shown < REFRESH_S:
            return
        shown = monotonic()
        done = int(WIDTH * min(share, 1.0))
        line = f"{title} {'█' * done}{'░' * (WIDTH - done)} {words}"
        handle.update({"text/plain": line}, raw=True)

    return report
