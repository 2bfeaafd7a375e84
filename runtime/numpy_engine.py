"""The NumPy program of a bundle: the bits of the shared library, without machine code, and slowly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kdpinn_edge.errors import BundleError, EngineError
from kdpinn_edge.manifest import PROGRAM_FILE, Manifest
from kdpinn_edge.numpy_program import PROFILE, NumpyProgram
from kdpinn_edge.program_file import read_program
from kdpinn_edge.runtime.engine import Array, Engine


class NumpyEngine(Engine):
    """The Program in the file `program`, evaluated in the precision and numerics profile of `manifest`.

    NumPy holds the GIL between operations: several threads give the same bits, and gain little.

    Raises BundleError where it is not the Program that `manifest` names, EngineError for a profile that is not known.
    """

    def __init__(self, manifest: Manifest, program: Path) -> None:
        super().__init__(manifest)
        if manifest.profile != PROFILE:
            raise EngineError(
                f"the numerics profile is {manifest.profile!r}; this version computes {PROFILE!r}: update kdpinn_edge"
            )
        read = read_program(program)
        if read.sha256 != manifest.program_sha256:
            raise BundleError(
                f"{PROGRAM_FILE} holds the Program {read.sha256}, the manifest says {manifest.program_sha256}: "
                "export the bundle again"
            )
        self._program = NumpyProgram(read, manifest.precision)

    def _bind(self, x: Array, y: Array) -> Callable[[], None]:
        def call() -> None:
            y[...] = self._program(x)

        return call
