"""What the values of a backend are judged against, at the probe points of a bundle and at those that are timed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kdpinn_edge.bundle.parity import Parity
from kdpinn_edge.bundle.probe import timed_points
from kdpinn_edge.bundle.read import open_bundle
from kdpinn_edge.comparison.backend import Array, Promise
from kdpinn_edge.comparison.record import Subject
from kdpinn_edge.errors import BenchError
from kdpinn_edge.program.interp import interpret


class RefusedError(BenchError):
    """Values that break a backend's promise; `error` is how far off they are, None where they are not numbers."""

    def __init__(self, reason: str, error: float | None = None) -> None:
        super().__init__(reason)
        self.error = error


class Reference:
    """The bundle in the folder `bundle`, its hashes checked, and its Program's values.

    Raises BundleError for a damaged bundle.
    """

    def __init__(self, bundle: Path, rmse: float | None = None) -> None:
        opened = open_bundle(bundle)
        manifest = opened.manifest
        evaluated = manifest.functions["eval"]
        self._manifest = manifest
        self._program = opened.program()
        self._parity = Parity(self._program, manifest)
        self._expected: dict[int, Array] = {}
        self.probe: Array = self._parity.x
        self.subject = Subject(
            name=manifest.name,
            program_sha256=evaluated.program_sha256,
            precision=manifest.precision,
            profile=manifest.profile,
            target=manifest.target.name,
            n_in=manifest.n_in,
            n_out=evaluated.n_out,
            multiply_adds=evaluated.operations.multiply_adds,
            activations=evaluated.operations.activations,
            scale=self._parity.scale,
            allowed_error=self._parity.allowed,
            rmse=rmse,
            storage_error=max(evaluated.storage_errors.max_abs) if evaluated.storage_errors else None,
        )

    def points(self, n: int) -> Array:
        """The n points (n, n_in) at which calls are timed, in the precision of the bundle."""
        return timed_points(self._manifest.inputs, n).astype(self.probe.dtype)

    def judge(self, y: Array, promise: Promise) -> float:
        """The error of the values y at `probe`. Raises RefusedError where they break the promise."""
        errors = self._errors(y, self._parity.exact)
        if promise == "same bits" and not self._parity.is_exact(y):
            error = float(errors.max())
            raise RefusedError(
                f"has other bits than the NumPy program, and is off by {error:.2g} from the float64 Program", error
            )
        return self._held(errors, promise)

    def judge_timed(self, y: Array, n: int, promise: Promise) -> None:
        """Judge the values y at `points(n)` as `judge` does, bits apart."""
        if n not in self._expected:
            self._expected[n] = interpret(self._program, self.points(n))
        self._held(self._errors(y, self._expected[n]), promise)

    def _errors(self, y: Array, exact: Array) -> Array:
        """The largest error of each output."""
        if y.shape != exact.shape or y.dtype != self.probe.dtype:
            raise RefusedError(f"returns {y.shape} of {y.dtype}; expected: {exact.shape} of {self.probe.dtype}")
        errors: Array = np.abs(y - exact).max(axis=0)
        if not np.isfinite(errors).all():
            raise RefusedError("returns values that are not finite")
        return errors

    def _held(self, errors: Array, promise: Promise) -> float:
        error = float(errors.max())
        if promise != "another function" and (errors > self._parity.allowances).any():
            raise RefusedError(
                f"is off by {error:.2g} from the float64 Program; expected: up to {self._parity.allowed:.2g}", error
            )
        return error
