"""A prepared model → its functional mock-up units: the machine code of every platform, and the two archives."""

from __future__ import annotations

from dataclasses import replace

from kdpinn_edge.bundle.fmu import PLATFORMS
from kdpinn_edge.bundle.manifest import arithmetic_of
from kdpinn_edge.export.artifacts.fmu import fmus
from kdpinn_edge.export.machine_code import object_code
from kdpinn_edge.export.preparation import Prepared, prepare_functions
from kdpinn_edge.numerics.lanes import is_fast
from kdpinn_edge.program.ir import columns


def fmu_files(model: Prepared) -> dict[str, bytes]:
    """File name → contents of the FMUs of `model`, which was prepared for the target fmu.

    The code of every platform carries the statement of this one model.
    """
    interface = model.interface
    constant = [var.name for var in model.programs["eval"].inputs if columns((var,))[0] in interface.per_call]
    objects = {}
    for platform in PLATFORMS.values():
        made = prepare_functions(
            model.programs,
            name=interface.name,
            precision=interface.precision,
            arithmetic=arithmetic_of(interface.target.profile),
            storage="float16" if model.storage == "float16" else None,
            grade="fast" if is_fast(interface.target.profile) else "accurate",
            target=platform.target,
            inputs=interface.inputs,
            outputs=model.outputs,
            per_call=constant,
        )
        objects[platform.target] = object_code(made.kernels, replace(made.interface, statement=interface.statement))
    return fmus(interface, model.outputs, model.equation, model.kernels[0], objects)
