"""A prepared model → its functional mock-up units: the machine code of every platform, and the two archives."""

from __future__ import annotations

from kdpinn_edge.bundle.fmu import PLATFORMS
from kdpinn_edge.bundle.manifest import Grade
from kdpinn_edge.export.artifacts.fmu import fmus
from kdpinn_edge.export.machine_code import object_code
from kdpinn_edge.export.preparation import Prepared, prepare_functions
from kdpinn_edge.program.ir import columns


def fmu_files(model: Prepared, grade: Grade, equation: str | None) -> dict[str, bytes]:
    """File name → contents of the FMUs of `model`, which was prepared for the target fmu with this grade."""
    interface = model.interface
    constant = [var.name for var in model.programs["eval"].inputs if columns((var,))[0] in interface.per_call]
    objects = {}
    for platform in PLATFORMS.values():
        made = prepare_functions(
            model.programs,
            name=interface.name,
            precision=interface.precision,
            storage=None if model.storage == interface.precision else model.storage,
            grade=grade,
            target=platform.target,
            inputs=interface.inputs,
            outputs=model.outputs,
            per_call=constant,
        )
        objects[platform.target] = object_code(made.kernels, made.interface)
    return fmus(interface, model.outputs, equation, model.kernels[0], objects)
