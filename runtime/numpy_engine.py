"""The NumPy program of a bundle: the bits of the shared library, without machine code, and slowly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kdpinn_edge.bundle.manifest import PROGRAM_FILES, FunctionName, Manifest
from kdpinn_edge.errors import BundleError
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.program.file import parse_program
from kdpinn_edge.runtime.engine import Array, Engine


class NumpyEngine(Engine):
    """An engine for the Programs in these contents of files, in the precision and numerics profile of `manifest`.

    NumPy holds the GIL between operations: several threads give the same bits, and gain little.

    Raises BundleError where one is not the Program that `manifest` names, EngineError for an unknown profile.
    """

    def __init__(self, manifest: Manifest, programs: Mapping[FunctionName, bytes]) -> None:
        super().__init__(manifest)
        self._contents = programs
        self._programs: dict[FunctionName, NumpyProgram] = {}
        for function, contents in programs.items():
            file, expected = PROGRAM_FILES[function], manifest.functions[function].program_sha256
            program = parse_program(contents, file)
            if program.sha256 != expected:
                raise BundleError(
                    f"{file} holds the Program {program.sha256}, the manifest says {expected}: export the bundle again"
                )
            self._programs[function] = NumpyProgram(program, manifest.precision, manifest.profile)

    def __reduce__(self) -> tuple[Any, ...]:
        return NumpyEngine, (self.manifest, self._contents)

    def _bind(self, function: FunctionName, x: Array, y: Array) -> Callable[[], None]:
        program = self._programs[function]

        def call() -> None:
            y[...] = program(x)

        return call
