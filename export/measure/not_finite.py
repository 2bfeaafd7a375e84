"""NaN and infinities: what an artifact makes of them, against the NumPy program.

The self-test has no such points: comparing a NaN raises the flag for invalid operations, and a program that traps it
would end there.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.bundle.manifest import FunctionName
from kdpinn_edge.bundle.probe import not_finite_points
from kdpinn_edge.errors import ExportError
from kdpinn_edge.export.measure.loading import loaded_copy
from kdpinn_edge.export.measure.obstacle import obstacle
from kdpinn_edge.export.targets.interface import Interface
from kdpinn_edge.numerics.reference import NumpyProgram

Evaluate = Callable[[str, NDArray[Any], int], NDArray[Any]]
"""By its symbol a function at points (n, n_in): (n, n_out), the second given apart."""


def prove_not_finite(library: bytes, interface: Interface, references: Mapping[FunctionName, NumpyProgram]) -> None:
    """Call the library where this machine can, or emulate it where that is possible; elsewhere nothing is proved.

    Raises ExportError where it gives other bits than the NumPy program.
    """
    evaluate = _evaluated(library, interface)
    if evaluate is None:
        return
    for function, reference in references.items():
        x = not_finite_points(interface.inputs).astype(reference.dtype)
        found = evaluate(interface.symbol(function), x, reference.program.n_out)
        different = (found.view(np.uint8) != reference(x).view(np.uint8)).any(axis=1)
        if different.any():
            point = x[int(different.argmax())].tolist()
            raise ExportError(
                f"{interface.library}: {interface.name}_{function} gives other bits than the NumPy program at {point}, "
                f"on {interface.target.name}"
            )


def _evaluated(library: bytes, interface: Interface) -> Evaluate | None:
    target = interface.target
    if target.runs_here():
        loaded = loaded_copy(library, interface.library)

        def call(symbol: str, x: NDArray[Any], n_out: int) -> NDArray[Any]:
            y = np.empty((len(x), n_out), x.dtype)
            loaded[symbol](x.ctypes.data_as(ctypes.c_void_p), y.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(len(x)))
            return y

        return call
    if obstacle(target) is not None:
        return None
    from kdpinn_edge.export.measure.emulator import Machine

    return Machine(target, library).values
