"""What a model and a bundle are, as lines of text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kdpinn_edge.bundle.fixed_point import FixedPointRecord
    from kdpinn_edge.bundle.manifest import Errors, Function, Input, Manifest, Output
    from kdpinn_edge.importers.model import Model


def model_facts(model: Model) -> dict[str, str]:
    """The facts known of a model, in the order of printing."""
    from kdpinn_edge.program.ir import Map
    from kdpinn_edge.program.simplify import multiply_adds

    program = model.program
    facts = {}
    if model.problem and model.problem.equation:
        facts["equation"] = model.problem.equation
    if model.inputs and model.outputs:
        facts["inputs"] = ", ".join(map(_side, model.inputs))
        facts["outputs"] = ", ".join(map(_with_unit, model.outputs))
    activations = sum(op.out.size for op in program.ops if isinstance(op, Map))
    return facts | {"work": _work(multiply_adds(program), activations), "program": f"SHA-256 {program.sha256}"}


def manifest_facts(manifest: Manifest) -> dict[str, str]:
    """What a manifest states of its bundle in short, in the order of printing."""
    sizes, target = manifest.sizes, manifest.target
    facts = {
        "model": manifest.name + (f": {manifest.equation}" if manifest.equation else ""),
        "inputs": ", ".join(map(_side, manifest.inputs)),
        **({"per call": f"{', '.join(manifest.per_call)} for the functions …_for"} if manifest.per_call else {}),
        "arithmetic": f"{manifest.precision}, numerics profile {manifest.profile}, weights in {manifest.storage}",
        "target": f"{target.name}, {target.lanes} lanes ({target.triple})",
        "flash": f"{sizes.flash:,} bytes: {sizes.text:,} of code, {sizes.rodata:,} of constants"
        if sizes
        else "what your compiler makes of the source",
        **({"helpers": f"{', '.join(manifest.helpers)}: of the compiler's library"} if manifest.helpers else {}),
        "stack": "not measured" if manifest.stack is None else f"{manifest.stack:,} bytes at most, self-test included",
        "measured": manifest.measured,
        **({"onnx": f"{manifest.batch:,} points per call"} if manifest.batch else {}),
        **({"signer": f"the key {manifest.signer}, as the manifest says itself"} if manifest.signer else {}),
    }
    for name, function in manifest.functions.items():
        storage = function.storage_errors
        stored = f", storage by up to {_share(storage)}" if storage else ""
        facts |= {
            name: ", ".join(map(_with_unit, function.outputs)),
            **({f"{name} parts": _parts(function, manifest.fixed_point[name])} if name in manifest.fixed_point else {}),
            f"{name} error": f"rounding by up to {_share(function.errors)} of the largest value{stored}",
            f"{name} call": _call(function),
        }
    return facts


def function_facts(manifest: Manifest) -> dict[str, str]:
    """What a manifest states of each function beyond `manifest_facts`: errors of every column, work, identity."""
    facts: dict[str, str] = {}
    for name, function in manifest.functions.items():
        work, storage = function.operations, function.storage_errors
        facts |= {
            f"{name} errors": _off(function, function.errors),
            **({f"{name} storage": _off(function, storage)} if storage else {}),
            f"{name} work": _work(work.multiply_adds, work.activations),
            f"{name} is": f"the Program {function.program_sha256}",
        }
    return facts


def _share(errors: Errors) -> str:
    """The largest error of any column, as a share of the largest value of that column."""
    shares = [largest / scale for largest, scale in zip(errors.max_abs, errors.scale, strict=True) if scale]
    return f"{max(shares, default=0.0):.1e}"


def _work(multiply_adds: int, activations: int) -> str:
    return f"{multiply_adds:,} multiply-adds and {activations:,} activations per point"


def _call(function: Function) -> str:
    stack = "" if function.stack is None else f", {function.stack:,} bytes of stack"
    if function.instructions is None:
        return f"instructions not counted{stack}"
    counts = {int(n): count for n, count in function.instructions.items()}
    shown = (
        f"{count:,} instructions for one point" if n == 1 else f"{count / n:,.0f} per point of {n}"
        for n, count in sorted(counts.items())
    )
    return f"{', '.join(shown)}{stack}"


def _with_unit(column: Output) -> str:
    return column.name if column.unit in (None, "1") else f"{column.name} in {column.unit}"


def _off(function: Function, errors: Errors) -> str:
    off = zip(function.outputs, errors.max_abs, errors.rms, errors.scale, strict=True)
    return f"against {errors.against} ({errors.n_points} points): " + "; ".join(
        f"{column.name} at most {largest:.2g}, rms {rms:.2g}, values up to {scale:.3g}"
        for column, largest, rms, scale in off
    )


def _parts(function: Function, record: FixedPointRecord) -> str:
    """What the rounded weights, the tables and the sums of a function in integers make of its error, and float32."""
    from kdpinn_edge.bundle.fixed_point import PARTS

    scale = function.errors.scale
    shares = {
        part: max((rms / size for rms, size in zip(getattr(record, part).rms, scale, strict=True) if size), default=0)
        for part in PARTS
    }
    said = ", ".join(f"{part} {shares[part]:.1e}" for part in PARTS[1:])
    return f"rms shares of the largest value: {said}; all of float32 {shares['float32']:.1e}"


def _side(column: Input) -> str:
    lower = "(-∞" if column.lower is None else f"[{column.lower:g}"
    upper = "∞)" if column.upper is None else f"{column.upper:g}]"
    return f"{column.name} ∈ {lower}, {upper}"
