"""`compile(model)` and `load(bundle)`: what becomes an Engine."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kdpinn_edge.bundle.manifest import (
    MAX_RELATIVE_ERROR,
    FunctionName,
    Grade,
    Input,
    Manifest,
    Precision,
)
from kdpinn_edge.bundle.read import Bundle, open_bundle
from kdpinn_edge.errors import ExportError, ProfileError
from kdpinn_edge.importers.columns import (
    Column,
    Columns,
    Domain,
    columns_text,
    input_columns,
    output_columns,
    read_columns,
    stated_domain,
)
from kdpinn_edge.numerics import fixed_point
from kdpinn_edge.numerics.lanes import is_fast
from kdpinn_edge.problems import Problem
from kdpinn_edge.program.ir import Program, columns
from kdpinn_edge.runtime import Engine
from kdpinn_edge.runtime.load import EngineName as BundleEngineName
from kdpinn_edge.runtime.load import Key
from kdpinn_edge.runtime.load import load_opened as load_bundle_engine

if TYPE_CHECKING:
    from kdpinn_edge.export.preparation import Prepared
    from kdpinn_edge.importers.pytorch.module import Module

EngineName = BundleEngineName | Literal["numba"]


def compile(
    model: Program | Module,
    *,
    inputs: Columns | None = None,
    outputs: Columns | None = None,
    domain: Domain | None = None,
    derivatives: Sequence[str] = (),
    residual: Program | Problem | None = None,
    per_call: Sequence[str] = (),
    precision: Precision = "float32",
    grade: Grade = "accurate",
    name: str = "model",
    max_relative_error: float = MAX_RELATIVE_ERROR,
) -> Engine:
    """The Engine of a network, compiled in this process for this machine; nothing is written to disk.

    Its interface and its bits are those of the library that `export_bundle` makes. `model` is a Program, or a torch
    module, which is captured: `inputs` and `outputs` name its columns then, as in `capture`, and are needed. A Program
    has names of its own. `domain` is (lower, upper), each (n_in,), the box that the model is meant for. `derivatives`
    asks for the function `jet`, as in ["u", "u_x"]; `residual` is that function, as a Program, or the problem whose
    equation it belongs to. `per_call` names the inputs that are constant during a call, for `engine.eval_for`. The
    errors in `engine.manifest` are measured at 256 points; they may be `max_relative_error` of the largest value.

        engine = compile(net, inputs="x=-1:1, t=0:1", outputs="u")
        u = engine(np.array([[0.5, 0.1]], np.float32))

    Raises CaptureError where the module cannot be captured; ExportError where names, domain or precision do not fit, or
    the Program cannot be lowered; DerivativeError for a request without meaning.
    """
    ins, outs = read_columns(inputs, "inputs"), read_columns(outputs, "outputs")
    program = _program(model, ins, outs, domain, name)
    arguments: dict[str, Any] = {
        "name": name,
        "precision": precision,
        "grade": grade,
        "inputs": _bounded(program, ins, domain),
        "outputs": None if outs is None else output_columns(outs),
        "derivatives": tuple(derivatives) if not isinstance(derivatives, str) else derivatives,
        "residual": residual,
        "per_call": tuple(per_call),
    }
    return _compiled(program, arguments, max_relative_error)


def _compiled(program: Program, arguments: dict[str, Any], max_relative_error: float) -> Engine:
    """The Engine of a Program; `arguments` are those of `prepare`."""
    from kdpinn_edge.export.preparation import prepare

    again = partial(_compiled, program, arguments, max_relative_error)
    return _engine(prepare(program, **arguments), again, max_relative_error)


def _program(
    model: Program | Module,
    inputs: tuple[Column, ...] | None,
    outputs: tuple[Column, ...] | None,
    domain: Domain | None,
    name: str,
) -> Program:
    if not isinstance(model, Program):
        if inputs is None or outputs is None:
            raise ExportError(
                "a torch module does not say what its columns are called; expected: inputs and outputs, as in "
                'inputs=("x", "t"), outputs=("u",)'
            )
        from kdpinn_edge.importers.pytorch.module import capture

        return capture(model, name=name, inputs=inputs, outputs=outputs, domain=domain)
    for what, given, own in (("inputs", inputs, model.inputs), ("outputs", outputs, model.outputs)):
        if given is not None and [each.variable for each in given] != [(var.name, var.size) for var in own]:
            raise ExportError(
                f"{what} is {columns_text(given)!r}; expected: nothing, or the columns of the Program, "
                f"{', '.join(map(str, own))}"
            )
    return model


def _bounded(program: Program, stated: tuple[Column, ...] | None, domain: Domain | None) -> tuple[Input, ...]:
    """The columns of the inputs as they are stated, with the sides of the domain box; an infinite side is open."""
    names = columns(program.inputs)
    described = tuple(map(Input, names)) if stated is None else input_columns(stated)
    if domain is None:
        return described
    stated_domain(stated or (), domain)
    try:
        lower, upper = (np.broadcast_to(np.asarray(side, np.float64), (len(names),)) for side in domain)
    except (TypeError, ValueError) as error:
        raise ExportError(
            f"domain is {domain!r}; expected: (lower, upper), each with a number for {', '.join(names)}"
        ) from error
    sides = ([float(side) if np.isfinite(side) else None for side in box] for box in (lower, upper))
    return tuple(replace(each, lower=low, upper=up) for each, low, up in zip(described, *sides, strict=True))


def _engine(prepared: Prepared, again: Callable[[], Engine], max_relative_error: float = np.inf) -> Engine:
    from kdpinn_edge.export.in_process import load_object
    from kdpinn_edge.runtime.library_engine import CompiledEngine

    loaded = load_object(prepared, max_relative_error)
    return CompiledEngine(loaded.manifest, loaded.addresses, loaded.engine, again)


def load(
    bundle: str | os.PathLike[str], engine: EngineName = "library", *, key: Key = None, sha256: str | None = None
) -> Engine:
    """The Engine of the bundle in the directory `bundle`.

    "library" is the shared library, "numpy" the same bits in pure NumPy, "onnx" the ONNX model in ONNX Runtime, "numba"
    the Programs of the bundle compiled anew in this process. Before anything is used, all files are read, once, and
    must have the hashes that the manifest states; the library must carry what the manifest states, and loading it must
    run no code. Raises BundleError where the bundle is not as it was exported, EngineError where it cannot run here.

    `key` is the file of a public key: a bundle that its holder has not signed is refused before anything of it is
    parsed. `sha256` is the hash of manifest.json, which `export` prints: another bundle is refused likewise.

        engine = load("burgers.bundle")
        u = engine(np.array([[0.5, 0.1]], np.float32))
    """
    return load_opened(open_bundle(bundle, key=key, sha256=sha256), engine)


def load_opened(bundle: Bundle, engine: EngineName = "library") -> Engine:
    """The Engine of a bundle that was read already. Raises what `load` raises."""
    if engine != "numba":
        return load_bundle_engine(bundle, engine)
    return _of_bundle(bundle.manifest, {function: bundle.program(function) for function in bundle.manifest.functions})


def _of_bundle(manifest: Manifest, programs: Mapping[FunctionName, Program]) -> Engine:
    """The Engine of the Programs of a bundle. Raises ProfileError where this machine has other bits."""
    from kdpinn_edge.export.preparation import prepare_again
    from kdpinn_edge.export.targets.table import target

    native = target("native")
    if manifest.profile == fixed_point.PROFILE:
        native = native.computing(manifest.profile)
    elif is_fast(manifest.profile):
        native = native.graded("fast")
    if native.profile != manifest.profile:
        raise ProfileError(
            f"the numerics profile of {manifest.name} is {manifest.profile}; this machine, {native.name}, computes in "
            f"{native.profile}: expected a bundle of that profile, or engine='numpy'"
        )
    prepared = prepare_again(manifest, programs, target=native.name)
    return _engine(prepared, partial(_of_bundle, manifest, programs))
