"""The cells of a box: halved again and again along one input, and written down so that anybody can cut them again.

The text of a subdivision has one string for each level, one letter for each cell of it: `.` is a cell that is not cut,
any other letter of `AXES` the input along which it is halved, its halves being the next two cells of the next level.
Whatever the text, the cells that are not cut cover the box.
"""

from __future__ import annotations

import string
from collections.abc import Sequence

import numpy as np

from kdpinn_edge.certificates.intervals import Places
from kdpinn_edge.errors import CertificateError
from kdpinn_edge.program.ir import Array

AXES = string.ascii_lowercase + string.ascii_uppercase + string.digits
"""The letters of the inputs along which a cell may be cut: the first 62."""
WHOLE = "."
DEEPEST = 200


class Cells:
    """A binary tree of cells, `lower` and `upper` (n, n_in); `axis` is -1 for those that are not cut."""

    def __init__(self, lower: Array, upper: Array) -> None:
        self.lower, self.upper = lower[None].copy(), upper[None].copy()
        self.axis = np.full(1, -1)
        self._first = np.full(1, -1)

    def cut(self, which: Places, axes: Places) -> Places:
        """Halve these cells, each along one of `axes`, and return the places of the halves, pair by pair."""
        places = len(self.axis) + np.arange(2 * len(which))
        lower, upper = halves(self.lower[which], self.upper[which], axes)
        self.axis[which], self._first[which] = axes, places[::2]
        self.lower, self.upper = np.concatenate([self.lower, lower]), np.concatenate([self.upper, upper])
        new = np.full(len(places), -1)
        self.axis, self._first = np.concatenate([self.axis, new]), np.concatenate([self._first, new])
        return places

    @property
    def text(self) -> list[str]:
        """The levels as text."""
        letters = np.array([*AXES, WHOLE])
        levels, level = [], np.zeros(1, int)
        while len(level):
            levels.append("".join(letters[self.axis[level]]))
            first = self._first[level[self.axis[level] >= 0]]
            level = np.stack([first, first + 1], axis=1).ravel()
        return levels


def halves(lower: Array, upper: Array, axes: Places) -> tuple[Array, Array]:
    """The halves of cells (n, n_in), each cut along one of `axes` (n,): (2 n, n_in), pair by pair."""
    rows = np.arange(len(axes))
    middle = 0.5 * lower[rows, axes] + 0.5 * upper[rows, axes]
    lower, upper = np.repeat(lower, 2, axis=0), np.repeat(upper, 2, axis=0)
    upper[2 * rows, axes] = middle
    lower[2 * rows + 1, axes] = middle
    return lower, upper


def read_cells(lower: Array, upper: Array, levels: Sequence[str]) -> tuple[Array, Array]:
    """The cells (n, n_in) of a subdivision of the box, those that are not cut. Raises CertificateError for no text."""
    codes = {letter: i for i, letter in enumerate(AXES[: len(lower)])} | {WHOLE: -1}
    level, whole = (lower[None], upper[None]), []
    for depth, text in enumerate(levels):
        if len(text) != len(level[0]) or not set(text) <= codes.keys():
            raise CertificateError(
                f"level {depth} of the cells has {len(text)} letters; expected: {len(level[0])}, of "
                f"{', '.join(codes)}. The certificate was edited: make it again."
            )
        axes = np.array([codes[letter] for letter in text], int)
        whole.append((level[0][axes < 0], level[1][axes < 0]))
        cut = axes >= 0
        level = halves(level[0][cut], level[1][cut], axes[cut])
    if len(level[0]):
        raise CertificateError("the cells end before the last level. The certificate was edited: make it again.")
    lowers, uppers = zip(*whole, strict=True)
    return np.concatenate(lowers), np.concatenate(uppers)
