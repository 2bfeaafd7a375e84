"""The NumPy program of a bundle: the bits of the shared library, without machine code, and slowly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from kdpinn_edge.bundle.manifest import FunctionName, Manifest
from kdpinn_edge.errors import BundleError
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.program.file import read_program
from kdpinn_edge.runtime.engine import Array, Engine


class NumpyEngine(Engine):
    """An engine for the Programs in the files `programs`, in the precision and numerics profile of `manifest`.

    NumPy holds the GIL between operations: several threads give the same bits, and gain little.

    Raises BundleError where one is not the Program that `manifest` names, EngineError for an unknown profile.
    """

    def __init__(self, manifest: Manifest, programs: Mapping[FunctionName, Path]) -> None:
        super().__init__(manifest)
        self._programs: dict[FunctionName, NumpyProgram] = {}
        for function, path in programs.items():
            program, expected = read_program(path), manifest.functions[function].program_sha256
            if program.sha256 != expected:
                raise BundleError(
                    f"{path.name} holds the Program {program.sha256}, the manifest says {expected}: "
                    "export the bundle again"
                )
            self._programs[function] = NumpyProgram(program, manifest.precision, manifest.profile)

    def _bind(self, function: FunctionName, x: Array, y: Array) -> Callable[[], None]:
        program = self._programs[function]

        def call() -> None:
            y[...] = program(x)

        return call
