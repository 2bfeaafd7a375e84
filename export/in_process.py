"""A model compiled for this process: the machine code of the library, without the library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import llvmlite.binding as llvm

from kdpinn_edge.bundle.manifest import Manifest
from kdpinn_edge.export.machine_code import object_code
from kdpinn_edge.export.measure.resources import Usage
from kdpinn_edge.export.preparation import Prepared

N_ERROR = 256
"""At how many points the errors are measured."""

NOT_MEASURED = Usage(None, {}, {}, "stack and instructions not measured: the model was compiled in this process")


@dataclass(frozen=True)
class Loaded:
    """Machine code in memory, as long as this object lives: `addresses` are those of its C functions, by name."""

    manifest: Manifest
    addresses: Mapping[str, int]
    engine: Any


def load_object(model: Prepared, max_relative_error: float) -> Loaded:
    """Compile `model`, which was prepared for this machine; nothing is written to disk.

    Raises ExportError where it cannot be lowered, or where in its domain box a value is not finite or rounding makes an
    error of more than `max_relative_error` times the values.
    """
    errors = model.errors(most_points=N_ERROR, max_relative_error=max_relative_error)
    code = object_code(model.kernels, model.interface)
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_triple(model.interface.target.triple).create_target_machine()
    # llvmlite's memory manager lays code and constants side by side: apart by 2 GB, addresses do not reach
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine, use_lmm=True)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    addresses = {symbol: engine.get_function_address(symbol) for symbol in model.interface.symbols}
    return Loaded(model.manifest(NOT_MEASURED, errors), addresses, engine)
