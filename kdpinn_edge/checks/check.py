"""`check(bundle)`: is it whole, and does every backend in it compute the same function here?"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.bundle.manifest import (
    ONNX_FILES,
    PROGRAM_FILES,
    Function,
    FunctionName,
    Manifest,
    Sizes,
    check_files,
    read_manifest,
)
from kdpinn_edge.bundle.parity import SLACK, Parity
from kdpinn_edge.bundle.read import read_function
from kdpinn_edge.display import new_figure, table_html, table_text
from kdpinn_edge.errors import BundleError, KdpinnError, MisfitError, ProfileError, listing
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.program.ir import Array, Program, columns

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from kdpinn_edge.runtime import Engine

N_PER_CALL = 64
"""How many points are evaluated with inputs of their own that are constant during a call."""

Status = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True)
class CheckResult:
    """One thing that was checked: `detail` says what was found, or why it could not be checked."""

    name: str
    result: Status
    detail: str


class Verdicts(list[CheckResult]):
    """All that was checked of a bundle, in order."""

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return all(verdict.result != "failed" for verdict in self)

    def __repr__(self) -> str:
        return table_text(self._title(), ("check", "result", "detail"), self._rows())

    def _repr_html_(self) -> str:
        return table_html(self._title(), ("check", "result", "detail"), self._rows())

    def plot(self) -> Figure:
        """Draw a bar for each check, coloured by its result."""
        figure, axes = new_figure(6.0, 0.6 + 0.28 * len(self))
        colour = {"passed": "tab:green", "failed": "tab:red", "skipped": "0.7"}
        axes.barh([verdict.name for verdict in self], 1, color=[colour[verdict.result] for verdict in self])
        for i, verdict in enumerate(self):
            axes.text(0.5, i, verdict.result, ha="center", va="center")
        axes.invert_yaxis()
        axes.set_xticks([])
        axes.set_title(self._title())
        return figure

    def _title(self) -> str:
        failed = sum(verdict.result == "failed" for verdict in self)
        return f"{len(self)} checks, {failed} failed" if failed else f"{len(self)} checks, none failed"

    def _rows(self) -> Iterator[tuple[str, str, str]]:
        return ((verdict.name, verdict.result, verdict.detail) for verdict in self)


def check(bundle: str | os.PathLike[str], *, report: Callable[[CheckResult], None] = lambda verdict: None) -> Verdicts:
    """Every verdict on the bundle in the directory `bundle`; nothing of it is run before its files are proved.

    A check is skipped where what it needs is not installed, or is another machine. The list ends early where the rest
    would be meaningless. `report` is told each verdict as soon as it is known. Raises BundleError where the directory
    is no bundle: it has no manifest, or one that cannot be read.
    """
    verdicts = Verdicts()
    for verdict in _verdicts(Path(bundle)):
        report(verdict)
        verdicts.append(verdict)
    return verdicts


def _verdicts(directory: Path) -> Iterator[CheckResult]:
    manifest = read_manifest(directory)
    yield CheckResult("manifest", "passed", f"schema {manifest.schema}, {manifest.name}, {manifest.precision}")
    for name, call in {"hashes": _hashes, "programs": _programs}.items():
        verdict = _verdict(name, partial(call, directory, manifest))
        yield verdict
        if verdict.result == "failed":
            return
    programs = {function: read_function(directory, manifest, function) for function in manifest.functions}
    checks = {"gates": partial(_gates, directory, manifest, programs), "selftest": partial(_selftest, directory)}
    anew = cache(partial(_compiled_anew, directory))
    for function, program in programs.items():
        parity = Parity(program, manifest)
        checks |= {
            f"{function}, library": partial(_library, directory, function, parity),
            f"{function}, numba kernel": partial(_numba_kernel, anew, function, parity),
            f"{function}, onnx model": partial(_onnx_model, directory, manifest, function, program),
            f"{function}, onnx runtime": partial(_onnx_runtime, directory, function, parity),
            f"{function}, errors": partial(_errors, manifest.functions[function], parity),
        }
        if manifest.per_call:
            checks[f"{function}, per call"] = partial(_per_call, directory, function, parity)
    for name, check_it in checks.items():
        yield _verdict(name, check_it)


def _verdict(name: str, call: Callable[[], str]) -> CheckResult:
    """`call` returns what it found, and raises where that is not what it should be."""
    try:
        return CheckResult(name, "passed", call())
    except ModuleNotFoundError as error:
        return CheckResult(name, "skipped", f"needs {error.name}: pip install 'kdpinn-edge[export]'")
    except ProfileError as error:
        return CheckResult(name, "skipped", str(error))
    except KdpinnError as error:
        elsewhere = isinstance(error, MisfitError) or isinstance(error.__cause__, ImportError)
        result: Status = "skipped" if elsewhere else "failed"
        return CheckResult(name, result, str(error))


def _hashes(directory: Path, manifest: Manifest) -> str:
    needed = [file for function in manifest.functions for file in (PROGRAM_FILES[function], ONNX_FILES[function])]
    missing = [file for file in needed if file not in manifest.files]
    if missing:
        raise BundleError(f"the manifest lists no {' and no '.join(missing)}: export the bundle again")
    contents = check_files(directory, manifest)
    return f"{len(contents)} files, {sum(map(len, contents.values())):,} bytes"


def _programs(directory: Path, manifest: Manifest) -> str:
    for function in manifest.functions:
        NumpyProgram(read_function(directory, manifest, function), manifest.precision, manifest.profile)
    return ", ".join(f"{name} is {stated.program_sha256[:16]}…" for name, stated in manifest.functions.items())


def _gates(directory: Path, manifest: Manifest, programs: Mapping[FunctionName, Program]) -> str:
    from kdpinn_edge.export.artifacts.fmu import check_fmus
    from kdpinn_edge.export.artifacts.gates import check_artifact
    from kdpinn_edge.export.targets.interface import Interface
    from kdpinn_edge.export.targets.table import target

    made_for, per_call = replace(target(manifest.target.name), profile=manifest.profile), manifest.per_call
    interface = Interface(manifest.name, manifest.precision, made_for, manifest.inputs, programs, per_call)
    if manifest.sizes is None:
        raise MisfitError(f"{manifest.library} is source code: its compiler's output is for you to look at")
    if made_for.artifact == "fmu":
        sizes = check_fmus(lambda file: (directory / file).read_bytes(), interface)
        return f"both FMUs have the same binaries, which need memory alone; {_said(sizes)} in that for Linux"
    sizes = check_artifact((directory / manifest.library).read_bytes(), interface)
    return f"no symbol from outside, no writable data; {_said(sizes)}"


def _said(sizes: Sizes) -> str:
    return f"{sizes.text:,} bytes of code, {sizes.rodata:,} of constants"


def _selftest(directory: Path) -> str:
    from kdpinn_edge.runtime import load

    load(directory)
    return "the library returns its golden bits on this machine"


def _library(directory: Path, function: FunctionName, parity: Parity) -> str:
    from kdpinn_edge.runtime import load

    y = np.empty_like(parity.bits)
    load(directory).bind(parity.x, y, function=function)()
    return _same_bits(parity, y)


def _per_call(directory: Path, function: FunctionName, parity: Parity) -> str:
    """The first points one by one, each with inputs of its own that are constant during the call."""
    from kdpinn_edge.runtime import load

    engine = load(directory)
    constant = np.isin([column.name for column in engine.manifest.inputs], engine.manifest.per_call)
    y = parity.bits.copy()
    for i, point in enumerate(parity.x[:N_PER_CALL]):
        given = point[constant], point[None, ~constant]
        match function:
            case "eval":
                y[i] = engine.eval_for(*given)
            case "jet":
                y[i] = np.concatenate([*engine.jet_for(*given).values()])
            case "residual":
                y[i] = engine.residual_for(*given)
    return f"{_same_bits(parity, y)}, {N_PER_CALL} of them by a call of their own"


def _compiled_anew(directory: Path) -> Engine:
    from kdpinn_edge.engines import load

    return load(directory, engine="numba")


def _numba_kernel(anew: Callable[[], Engine], function: FunctionName, parity: Parity) -> str:
    y = np.empty_like(parity.bits)
    anew().bind(parity.x, y, function=function)()
    return f"{_same_bits(parity, y)}, compiled anew"


def _same_bits(parity: Parity, y: NDArray[Any]) -> str:
    if not parity.is_exact(y):
        raise BundleError(f"not the bits of the NumPy program; off by {parity.error(y):.2g} from the Program")
    return f"the bits of the NumPy program, profile {parity.profile}, at {len(y)} points"


def _onnx_model(directory: Path, manifest: Manifest, function: FunctionName, program: Program) -> str:
    from kdpinn_edge.export.onnx_model import from_onnx, to_onnx

    file = ONNX_FILES[function]
    if from_onnx((directory / file).read_bytes()) != from_onnx(to_onnx(program, manifest.precision)):
        raise BundleError(f"{file} reads back to another Program")
    return f"{file} reads back to the Program, in {manifest.precision}"


def _onnx_runtime(directory: Path, function: FunctionName, parity: Parity) -> str:
    from kdpinn_edge.runtime import load

    y = np.empty_like(parity.bits)
    load(directory, engine="onnx").bind(parity.x, y, function=function)()
    return _within(parity.program, parity.errors(y), parity.allowances)


def _errors(stated: Function, parity: Parity) -> str:
    limits = SLACK * np.array(stated.errors.max_abs) + 1e-15 * parity.scales
    return _within(parity.program, parity.errors(parity.bits), limits)


def _within(program: Program, errors: Array, limits: Array) -> str:
    """The errors (n_out,) of the outputs. Raises BundleError where one exceeds its limit."""
    found = list(zip(columns(program.outputs), errors, limits, strict=True))
    faults = [
        f"{name} is off by {error:.2g}; expected: up to {limit:.2g}"
        for name, error, limit in found
        if not error <= limit
    ]
    if faults:
        raise BundleError(f"not the function that the Program means: {listing(faults)}")
    return "off by " + ", ".join(f"{error:.2g} in {name} ({limit:.2g} allowed)" for name, error, limit in found)
