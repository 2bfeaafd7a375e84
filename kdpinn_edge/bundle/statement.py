"""What a manifest states of a model and nothing else in the bundle would hold, as one hash, which the library carries.

So columns, units, domain, equation, target and toolchain belong to the machine code: a manifest in which one of them
was changed is not that of its library.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from kdpinn_edge.bundle.manifest import FunctionName, Input, Manifest, Output, TargetRecord


def statement_sha256(
    *,
    name: str,
    precision: str,
    storage: str,
    profile: str,
    target: TargetRecord,
    inputs: tuple[Input, ...],
    per_call: tuple[str, ...],
    outputs: Mapping[FunctionName, tuple[Output, ...]],
    programs: Mapping[FunctionName, str],
    equation: str | None,
    toolchain: Mapping[str, str],
) -> str:
    """The SHA-256 of the statement: 64 hex digits. `programs` are the hashes of the Programs of the functions."""
    stated = {
        "name": name,
        "precision": precision,
        "storage": storage,
        "profile": profile,
        "target": vars(target),
        "inputs": [vars(column) for column in inputs],
        "per_call": list(per_call),
        "outputs": {function: [vars(column) for column in outputs[function]] for function in programs},
        "programs": dict(programs),
        "equation": equation,
        "toolchain": dict(toolchain),
    }
    return hashlib.sha256(json.dumps(stated, sort_keys=True).encode()).hexdigest()


def statement_of(manifest: Manifest) -> str:
    """The SHA-256 of what `manifest` states."""
    return statement_sha256(
        name=manifest.name,
        precision=manifest.precision,
        storage=manifest.storage,
        profile=manifest.profile,
        target=manifest.target,
        inputs=manifest.inputs,
        per_call=manifest.per_call,
        outputs={function: stated.outputs for function, stated in manifest.functions.items()},
        programs={function: stated.program_sha256 for function, stated in manifest.functions.items()},
        equation=manifest.equation,
        toolchain=manifest.toolchain,
    )
