"""`check(bundle)`: is it whole, and does every backend in it compute the same function here?"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from kdpinn_edge.errors import BundleError, KdpinnError
from kdpinn_edge.ir import Program
from kdpinn_edge.manifest import ONNX_FILE, PROGRAM_FILE, Manifest, check_files, read_manifest
from kdpinn_edge.parity import Parity
from kdpinn_edge.program_file import read_program

Result = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True)
class Verdict:
    """One thing that was checked: `detail` says what was found, or why it could not be checked."""

    name: str
    result: Result
    detail: str


def check(bundle: str | os.PathLike[str]) -> list[Verdict]:
    """Every verdict on the bundle in the directory `bundle`; nothing of it is run before its files are proved.

    A check is skipped where what it needs is not installed. The list ends early where the rest would be meaningless.
    """
    directory = Path(bundle)
    try:
        manifest = read_manifest(directory)
    except KdpinnError as error:
        return [Verdict("manifest", "failed", str(error))]
    verdicts = [Verdict("manifest", "passed", f"schema {manifest.schema}, {manifest.name}, {manifest.precision}")]
    verdicts.append(_verdict("hashes", partial(_hashes, directory, manifest)))
    if verdicts[-1].result != "failed":
        verdicts.append(_verdict("program", partial(_program, directory, manifest)))
    if verdicts[-1].result == "failed":
        return verdicts
    program = read_program(directory / PROGRAM_FILE)
    parity = Parity(program, manifest)
    checks = {
        "gates": partial(_gates, directory, manifest, program),
        "selftest": partial(_selftest, directory),
        "library": partial(_library, directory, parity),
        "numba kernel": partial(_numba_kernel, manifest, program, parity),
        "onnx model": partial(_onnx_model, directory, manifest, program),
        "onnx runtime": partial(_onnx_runtime, directory, parity),
        "errors": partial(_errors, manifest, parity),
    }
    return verdicts + [_verdict(name, call) for name, call in checks.items()]


def _verdict(name: str, call: Callable[[], str]) -> Verdict:
    """`call` returns what it found, and raises where that is not what it should be."""
    try:
        return Verdict(name, "passed", call())
    except ModuleNotFoundError as error:
        return Verdict(name, "skipped", f"needs {error.name}: pip install 'kdpinn-edge[export]'")
    except KdpinnError as error:
        result: Result = "skipped" if isinstance(error.__cause__, ImportError) else "failed"
        return Verdict(name, result, str(error))


def _hashes(directory: Path, manifest: Manifest) -> str:
    missing = [name for name in (PROGRAM_FILE, ONNX_FILE) if name not in manifest.files]
    if missing:
        raise BundleError(f"the manifest lists no {' and no '.join(missing)}: export the bundle again")
    contents = check_files(directory, manifest)
    return f"{len(contents)} files, {sum(map(len, contents.values())):,} bytes"


def _program(directory: Path, manifest: Manifest) -> str:
    found = read_program(directory / PROGRAM_FILE).sha256
    if found != manifest.program_sha256:
        raise BundleError(f"{PROGRAM_FILE} holds the Program {found}, the manifest says {manifest.program_sha256}")
    return f"SHA-256 {found[:16]}…"


def _gates(directory: Path, manifest: Manifest, program: Program) -> str:
    from kdpinn_edge.export.interface import Interface
    from kdpinn_edge.export.shared_library import check_library
    from kdpinn_edge.export.target import target

    interface = Interface(
        manifest.name, program, manifest.precision, target(manifest.target.name), manifest.inputs, manifest.outputs
    )
    sizes = check_library((directory / manifest.library).read_bytes(), interface)
    return f"no symbol from outside, no writable data; {sizes.text:,} bytes of code, {sizes.rodata:,} of constants"


def _selftest(directory: Path) -> str:
    from kdpinn_edge.runtime import load

    load(directory)
    return "the library returns its golden bits on this machine"


def _library(directory: Path, parity: Parity) -> str:
    from kdpinn_edge.runtime import load

    y = load(directory)(parity.x)
    if not parity.is_exact(y):
        raise BundleError(f"not the bits of the NumPy program; off by {parity.error(y):.2g} from the Program")
    return f"the bits of the NumPy program at {len(y)} points"


def _numba_kernel(manifest: Manifest, program: Program, parity: Parity) -> str:
    from kdpinn_edge.export.numba_call import numba_call

    y = np.empty_like(parity.bits)
    numba_call(program, manifest.precision)(parity.x, y)
    if not parity.is_exact(y):
        raise BundleError(f"not the bits of the NumPy program; off by {parity.error(y):.2g} from the Program")
    return f"the bits of the NumPy program at {len(y)} points, compiled anew"


def _onnx_model(directory: Path, manifest: Manifest, program: Program) -> str:
    from kdpinn_edge.export.onnx_model import from_onnx, to_onnx

    if from_onnx((directory / ONNX_FILE).read_bytes()) != from_onnx(to_onnx(program, manifest.precision)):
        raise BundleError(f"{ONNX_FILE} reads back to another Program")
    return f"reads back to the Program, in {manifest.precision}"


def _onnx_runtime(directory: Path, parity: Parity) -> str:
    from kdpinn_edge.runtime import load

    y = load(directory, engine="onnx")(parity.x)
    if not parity.holds(y):
        raise BundleError(f"off by {parity.error(y):.2g} from the Program; accepted: up to {parity.allowed:.2g}")
    return f"off by {parity.error(y):.2g} from the Program, {parity.allowed:.2g} allowed"


def _errors(manifest: Manifest, parity: Parity) -> str:
    found, stated = parity.error(parity.bits), manifest.errors.max_abs
    if not found <= 4 * stated + parity.scale * 1e-15:
        raise BundleError(f"measured {found:.2g} at {len(parity.x)} points; the manifest states {stated:.2g}")
    return f"measured {found:.2g} against the Program in float64; the manifest states {stated:.2g}"
