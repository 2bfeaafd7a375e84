"""Samples as a teacher: points, the values there and, where they are known, the first derivatives.

    x (n, n_in), u (n, n_out), du (n, n_out, n_in)

With one input or output its axis may be missing. A tenth of the samples decides which weights are kept, another tenth
is what errors are reported at, and the student is trained on the rest.
"""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from kdpinn_edge.archives import read_arrays
from kdpinn_edge.errors import TrainError, listing
from kdpinn_edge.problems import Array, Problem
from kdpinn_edge.reading import GIB, opened, read_whole
from kdpinn_edge.training.jets import Jet, letters
from kdpinn_edge.training.solution_errors import ReferencePoints
from kdpinn_edge.training.teacher import fingerprint

Rows = NDArray[np.int64]

FEWEST = 50
"""Of which five decide, and five are reported."""
KEYS = ("x", "u", "du")
LARGEST = GIB
"""Bytes that a file of samples may have, and unpacked its arrays."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples at distinct points: x (n, n_in), u (n, n_out), du (n, n_out, n_in) or None; float64 and finite."""

    x: Array
    u: Array
    du: Array | None = None

    @property
    def sha256(self) -> str:
        """The SHA-256 of their numbers."""
        return fingerprint([self.x, self.u] if self.du is None else [self.x, self.u, self.du])

    @cached_property
    def _shuffled(self) -> Rows:
        return np.random.default_rng(0).permutation(len(self.x))

    @property
    def _share(self) -> int:
        return len(self.x) // 10

    @property
    def reported(self) -> Rows:
        """The rows at which errors are reported."""
        return self._shuffled[: self._share]

    @property
    def judged(self) -> Rows:
        """The rows by which the weights that are kept are chosen."""
        return self._shuffled[self._share : 2 * self._share]

    @property
    def trained(self) -> Rows:
        """The rows that are trained on."""
        return self._shuffled[2 * self._share :]

    @cached_property
    def row_of(self) -> dict[bytes, int]:
        """The row of every point, by its bytes."""
        return {point.tobytes(): i for i, point in enumerate(self.x)}


def is_samples_file(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is an archive of NumPy with the arrays x and u; nothing of them is read."""
    try:
        with opened(path, LARGEST) as (file, _), zipfile.ZipFile(file) as archive:
            return {"x.npy", "u.npy"} <= set(archive.namelist())
    except Exception:  # damaged bytes reach zipfile, which raises what it likes
        return False


def read_samples(path: str | os.PathLike[str], n_in: int, n_out: int) -> Samples:
    """The samples in an .npz file with the arrays x, u and maybe du. Raises TrainError where there are none."""
    try:
        found = read_arrays(read_whole(path, LARGEST), LARGEST)
    except Exception as error:  # damaged bytes reach zipfile, zlib and tokenize, which raise what they like
        raise TrainError(f"{path}: not samples ({error}); expected: np.savez(path, x=x, u=u), or with du=du") from error
    if unknown := [key for key in found if key not in KEYS]:
        raise TrainError(f"{path}: the arrays {', '.join(unknown)} are unknown; expected: x, u and maybe du")
    if not {"x", "u"} <= set(found):
        raise TrainError(f"{path}: holds {', '.join(found) or 'nothing'}; expected: x, u and maybe du")
    return check_samples(found["x"], found["u"], found.get("du"), n_in, n_out)


def check_samples(x: ArrayLike, u: ArrayLike, du: ArrayLike | None, n_in: int, n_out: int) -> Samples:
    """The samples, those at one point averaged. Raises TrainError, with every fault, where they are none."""
    given = {"x": x, "u": u} | ({} if du is None else {"du": du})
    arrays = {name: _array(name, values) for name, values in given.items()}
    n = len(arrays["x"]) if arrays["x"].ndim else 0
    shapes = {"x": (n, n_in), "u": (n, n_out), "du": (n, n_out, n_in)}
    faults = []
    for name, array in arrays.items():
        accepted = {(n, *(side for side in shapes[name][1:] if side > 1)), shapes[name]}
        accepted |= {(n, n_in)} if name == "du" and n_out == 1 else set()
        if array.dtype.kind not in "biuf":
            faults.append(f"{name} holds {array.dtype}; expected: real numbers")
        elif array.shape not in accepted or not n:
            faults.append(f"{name} has shape {array.shape}; expected: {shapes[name]}, for {n} points")
        elif not (finite := np.isfinite(array.reshape(n, -1)).all(axis=1)).all():
            faults.append(f"{name} is not finite in {np.sum(~finite)} of {n} rows, the first is {np.argmin(finite)}")
    if not faults and (count := len(np.unique(arrays["x"].reshape(n, -1), axis=0))) < FEWEST:
        faults.append(f"there are samples at {count} different points; expected: {FEWEST} or more")
    if faults:
        raise TrainError(f"the samples cannot be followed: {listing(faults)}")
    numbers = {name: np.asarray(array, np.float64).reshape(shapes[name]) for name, array in arrays.items()}
    points, which = np.unique(numbers["x"], axis=0, return_inverse=True)
    if len(points) == n:
        return Samples(numbers["x"].copy(), numbers["u"], numbers.get("du"))
    averaged = {name: _averaged(numbers[name], which.ravel(), len(points)) for name in numbers if name != "x"}
    return Samples(points, averaged["u"], averaged.get("du"))


def _array(name: str, values: object) -> NDArray[Any]:
    try:
        return np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values)
    except Exception as error:  # of libraries whose arrays these are
        raise TrainError(f"the samples cannot be followed: {name} is no array of NumPy ({error})") from error


def _averaged(values: Array, which: Rows, n: int) -> Array:
    """The mean of the values of each of n groups."""
    sums = np.zeros((n, *values.shape[1:]))
    np.add.at(sums, which, values)
    counts = np.bincount(which, minlength=n).reshape(-1, *[1] * (values.ndim - 1))
    mean: Array = sums / counts
    return mean


@dataclass(frozen=True, eq=False)
class SamplesTeacher:
    """Samples as a teacher: it is asked at their points only."""

    samples: Samples
    problem: Problem

    def __call__(self, x: Tensor) -> Tensor:
        """The values at the points x, (n, n_out)."""
        return torch.from_numpy(self.samples.u[self._rows(x)]).to(x.device)

    def jet(self, x: Tensor, multi_indices: tuple[str, ...]) -> Jet:
        """The values and first derivatives at the points x, each (n, n_out). Raises TrainError where there are none."""
        if multi_indices == ("",):
            return Jet(multi_indices, self(x)[None])
        if self.samples.du is None:
            raise TrainError(
                "the samples have no derivatives; expected: samples (x, u, du), or slope_weight=0 (--slope-weight 0)"
            )
        du = torch.from_numpy(self.samples.du[self._rows(x)]).to(x.device)
        of = dict(zip(letters(self.problem.inputs).values(), du.unbind(2), strict=True)) | {"": self(x)}
        return Jet(multi_indices, torch.stack([of[each] for each in multi_indices]))

    def _rows(self, x: Tensor) -> list[int]:
        return [self.samples.row_of[point.tobytes()] for point in x.detach().cpu().numpy()]


@dataclass(frozen=True, eq=False)
class SampledDomain:
    """The points of samples, of which some are held out."""

    samples: Samples
    problem: Problem

    def candidates(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n of the points to train on; all where there are fewer."""
        rows = self.samples.trained
        chosen = torch.randperm(len(rows), generator=generator)[:n].numpy()
        return torch.from_numpy(self.samples.x[rows[chosen]])

    def held_out(self, n: int, generator: torch.Generator) -> Tensor:
        """The first n of the points by which the weights that are kept are chosen."""
        return torch.from_numpy(self.samples.x[self.samples.judged[:n]])

    def reference(self, *, coarser: int = 1) -> ReferencePoints:
        """The samples at which errors are reported."""
        rows = self.samples.reported[::coarser]
        return ReferencePoints(self.samples.x[rows], self.samples.u[rows], "samples that were held out")
