"""`check(bundle)`: is it whole, does it say what its library does, and does every backend in it compute the same?"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.bundle.manifest import (
    CERTIFICATE_FILE,
    ONNX_FILES,
    PROGRAM_FILES,
    SIGNATURE_FILE,
    STATIC_FILES,
    FunctionName,
    Manifest,
    parse_manifest,
    read_manifest_bytes,
)
from kdpinn_edge.bundle.parity import Parity
from kdpinn_edge.bundle.probe import not_finite_points
from kdpinn_edge.bundle.read import Bundle, read_files
from kdpinn_edge.bundle.signature import check_digest, check_signature
from kdpinn_edge.certificates.certificate import parse_certificate, read_certificate_bytes
from kdpinn_edge.certificates.checker import prove
from kdpinn_edge.checks.again import Again
from kdpinn_edge.display import new_figure, table_html, table_text
from kdpinn_edge.engines import load_opened
from kdpinn_edge.errors import BundleError, KdpinnError, MisfitError, NoNativeTargetError, ProfileError, listing
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.program.ir import Array, Program, columns
from kdpinn_edge.runtime.load import Key

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


@dataclass
class Seen:
    """What `check` read of a bundle, each file once, as far as it came.

    sha256              the hash of manifest.json
    manifest            None where it is not the one that a key or a hash stands for
    bundle              None where its files are not those of the manifest
    programs            by function; none where one of them is wrong
    certificate_sha256  the hash of certificate.json, where there is one and its turn came
    """

    sha256: str = ""
    manifest: Manifest | None = None
    bundle: Bundle | None = None
    programs: dict[FunctionName, Program] = field(default_factory=dict)
    certificate_sha256: str | None = None


def check(
    bundle: str | os.PathLike[str],
    *,
    key: Key = None,
    sha256: str | None = None,
    report: Callable[[CheckResult], None] = lambda verdict: None,
) -> Verdicts:
    """Every verdict on the bundle in the directory `bundle`.

    Each file is read once. Nothing is loaded or run before it has passed the gates, and the list ends early where the
    rest would be meaningless. A check is skipped where what it needs is not installed, or is another machine. `key` and
    `sha256` are those of `load`. `report` is told each verdict as soon as it is known. Raises BundleError where the
    directory is no bundle: it has no manifest, or one that cannot be read; KeyFileError where `key` is no key.
    """
    verdicts = Verdicts()
    for verdict in each_verdict(Path(bundle), key, sha256, Seen()):
        report(verdict)
        verdicts.append(verdict)
    return verdicts


def each_verdict(directory: Path, key: Key, sha256: str | None, seen: Seen) -> Iterator[CheckResult]:
    """The verdicts of `check`, one by one; `seen` gets what was read for them."""
    for verdict in _opened(directory, key, sha256, seen):
        yield verdict
        if verdict.result == "failed":
            return
    if seen.bundle is not None:
        yield from _inside(seen.bundle, seen)


def _inside(bundle: Bundle, seen: Seen) -> Iterator[CheckResult]:
    """The verdicts on a bundle whose files are those of the manifest."""
    steps = {
        "programs": partial(_programs, bundle, seen),
        "gates": partial(_gates, bundle, seen),
    }
    for name, step in steps.items():
        verdict = _verdict(name, step)
        yield verdict
        if verdict.result == "failed":
            return
    for name, call in _checks(bundle, seen).items():
        yield _verdict(name, call)


def _opened(directory: Path, key: Key, sha256: str | None, seen: Seen) -> Iterator[CheckResult]:
    """The verdicts on the files, as long as they are right; then `seen` has the bundle."""
    text = read_manifest_bytes(directory)
    seen.sha256 = hashlib.sha256(text).hexdigest()
    name = "signature"
    try:
        digest = check_digest(text, sha256, directory)
        if key is not None:
            yield CheckResult(name, "passed", f"by the key {check_signature(text, directory, key)}")
    except BundleError as error:
        yield CheckResult(name, "failed", str(error))
        return
    manifest = seen.manifest = parse_manifest(text, directory)
    detail = f"schema {manifest.schema}, {manifest.name}, {manifest.precision}, SHA-256 {digest}"
    yield CheckResult("manifest", "passed", detail)
    if key is None and manifest.signer is not None:
        yield _unverified(directory, manifest.signer)

    def whole() -> str:
        _check_complete(manifest)
        seen.bundle = read_files(directory, manifest, digest)
        contents = seen.bundle.contents
        return f"{len(contents)} files, {sum(map(len, contents.values())):,} bytes, no others; of one statement"

    yield _verdict("files", whole)


def _unverified(directory: Path, signer: str) -> CheckResult:
    """What is known of the signature of a manifest when no key is given."""
    if not (directory / SIGNATURE_FILE).exists():
        gone = f"the manifest says that the holder of the key {signer} signed it, and {SIGNATURE_FILE} is missing"
        return CheckResult("signature", "failed", gone)
    return CheckResult("signature", "skipped", f"not verified: give the public key whose SHA-256 is {signer} (--key)")


def _check_complete(manifest: Manifest) -> None:
    needed = [file for function in manifest.functions for file in (PROGRAM_FILES[function], ONNX_FILES[function])]
    missing = [file for file in needed if file not in manifest.files]
    if missing:
        raise BundleError(f"the manifest lists no {' and no '.join(missing)}: export the bundle again")


def _checks(bundle: Bundle, seen: Seen) -> dict[str, Callable[[], str]]:
    """What is checked of a bundle whose Programs and gates are right, by name."""
    manifest, programs = bundle.manifest, seen.programs
    engine, anew = cache(partial(load_opened, bundle)), cache(partial(load_opened, bundle, "numba"))
    again = Again(bundle, programs)
    checks: dict[str, Callable[[], str]] = {
        "derived files": again.files,
        "compiled again": again.library,
        "work": again.operations,
        "selftest": partial(_selftest, engine),
        "stack, instructions": again.usage,
    }
    for function, program in programs.items():
        parity = Parity(program, manifest)
        checks |= {
            f"{function}, library": partial(_library, engine, function, parity),
            f"{function}, numba kernel": partial(_numba_kernel, anew, function, parity),
            f"{function}, onnx model": partial(_onnx_model, bundle, function, program),
            f"{function}, onnx runtime": partial(_onnx_runtime, bundle, function, parity),
            f"{function}, errors": partial(again.errors, function),
        }
        if manifest.per_call:
            checks[f"{function}, per call"] = partial(_per_call, engine, function, parity)
        if function in manifest.fixed_point:
            checks[f"{function}, integers"] = partial(_integers, engine, function, parity)
    if (bundle.directory / CERTIFICATE_FILE).exists():
        checks["certificate"] = partial(_certificate, bundle, seen)
    return checks


def _verdict(name: str, call: Callable[[], str]) -> CheckResult:
    """`call` returns what it found, and raises where that is not what it should be."""
    try:
        return CheckResult(name, "passed", call())
    except ModuleNotFoundError as error:
        return CheckResult(name, "skipped", f"needs {error.name}: pip install 'kdpinn-edge[export]'")
    except ProfileError as error:
        return CheckResult(name, "skipped", str(error))
    except KdpinnError as error:
        elsewhere = isinstance(error, MisfitError | NoNativeTargetError) or isinstance(error.__cause__, ImportError)
        result: Status = "skipped" if elsewhere else "failed"
        return CheckResult(name, result, str(error))


def _programs(bundle: Bundle, seen: Seen) -> str:
    """Reads the Programs."""
    manifest = bundle.manifest
    programs = {function: bundle.program(function) for function in manifest.functions}
    for program in programs.values():
        NumpyProgram(program, manifest.precision, manifest.profile, manifest.box)
    seen.programs = programs
    return ", ".join(f"{name} is {stated.program_sha256[:16]}…" for name, stated in manifest.functions.items())


def _gates(bundle: Bundle, seen: Seen) -> str:
    from kdpinn_edge.export.artifacts.fmu import check_fmus
    from kdpinn_edge.export.artifacts.gates import check_artifact
    from kdpinn_edge.export.targets.interface import Interface
    from kdpinn_edge.export.targets.table import target

    manifest = bundle.manifest
    made_for, per_call = target(manifest.target.name).computing(manifest.profile), manifest.per_call
    bits = {function: (each.x_bits, each.y_bits) for function, each in manifest.fixed_point.items()}
    interface = Interface(manifest.name, manifest.precision, made_for, manifest.inputs, seen.programs, per_call, bits)
    if manifest.library != interface.library:
        raise BundleError(f"the library is {manifest.library}; expected for {made_for.name}: {interface.library}")
    if made_for.artifact == "c99":
        raise MisfitError(f"{manifest.library} is source code: its compiler's output is for you to look at")
    is_fmu = made_for.artifact == "fmu"
    found = check_fmus(bundle.contents, interface) if is_fmu else check_artifact(bundle.library, interface)
    static = STATIC_FILES.get(made_for.artifact, "").format(manifest.name)
    if static in bundle.contents:
        check_artifact(bundle.contents[static], interface, "static")
    sizes, helpers = found.sizes, sorted(found.needs & made_for.helpers)
    if sizes != manifest.sizes:
        raise BundleError(f"{manifest.library} has {sizes}; the manifest says {manifest.sizes}")
    if helpers != list(manifest.helpers):
        raise BundleError(f"{manifest.library} needs {helpers}; the manifest says {list(manifest.helpers)}")
    needs = f"{len(helpers)} soft-float helpers and no other symbol" if helpers else "no symbol"
    bytes_of = f"{sizes.text:,} bytes of code, {sizes.rodata:,} of constants"
    if is_fmu:
        return f"both FMUs have the same binaries, which need memory alone; for Linux {bytes_of}"
    return f"{needs} from outside, no writable data; {bytes_of}"


def _selftest(loaded: Callable[[], Engine]) -> str:
    from kdpinn_edge.runtime.library_engine import CEngine

    engine = loaded()
    if isinstance(engine, CEngine) and not engine.is_intact():
        raise BundleError(f"{engine.manifest.library} has another CRC in memory than at export: export it again")
    return (
        "the library describes itself as the manifest does, returns its golden bits on this machine, and its code and "
        "constants have their CRC"
    )


def _library(loaded: Callable[[], Engine], function: FunctionName, parity: Parity) -> str:
    y, engine = np.empty_like(parity.bits), loaded()
    engine.bind(parity.x, y, function=function)()
    found = _same_bits(parity, y)
    x = not_finite_points(engine.manifest.inputs).astype(engine.dtype)
    y = np.empty((len(x), parity.program.n_out), engine.dtype)
    engine.bind(x, y, function=function)()
    manifest = engine.manifest
    if y.tobytes() != NumpyProgram(parity.program, manifest.precision, parity.profile, manifest.box)(x).tobytes():
        raise BundleError("not the bits of the NumPy program for inputs that are NaN or infinite")
    return f"{found}, and at {len(x)} with NaN and infinities"


def _per_call(loaded: Callable[[], Engine], function: FunctionName, parity: Parity) -> str:
    """The first points one by one, each with inputs of its own that are constant during the call."""
    engine = loaded()
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


def _integers(loaded: Callable[[], Engine], function: FunctionName, parity: Parity) -> str:
    """The points as scaled integers, those beyond the domain included, by the form that takes and returns them."""
    engine = loaded()
    manifest = engine.manifest
    reference = NumpyProgram(parity.program, manifest.precision, parity.profile, manifest.box)
    x = manifest.fixed_point[function].integers(2 * parity.x)
    y = engine.eval_fixed(x) if function == "eval" else np.stack([*engine.jet_fixed(x).values()], axis=1)
    if y.tobytes() != reference.on_integers(x).tobytes():
        raise BundleError("not the words of the NumPy program at points that are scaled integers")
    return f"the words of the NumPy program, profile {parity.profile}, at {len(x)} points of integers"


def _numba_kernel(anew: Callable[[], Engine], function: FunctionName, parity: Parity) -> str:
    y = np.empty_like(parity.bits)
    anew().bind(parity.x, y, function=function)()
    return f"{_same_bits(parity, y)}, compiled anew"


def _same_bits(parity: Parity, y: NDArray[Any]) -> str:
    if not parity.is_exact(y):
        raise BundleError(f"not the bits of the NumPy program; off by {parity.error(y):.2g} from the Program")
    return f"the bits of the NumPy program, profile {parity.profile}, at {len(y)} points"


def _onnx_model(bundle: Bundle, function: FunctionName, program: Program) -> str:
    from kdpinn_edge.export.onnx_model import from_onnx, to_onnx

    file, precision = ONNX_FILES[function], bundle.manifest.precision
    if from_onnx(bundle.contents[file]) != from_onnx(to_onnx(program, precision)):
        raise BundleError(f"{file} reads back to another Program")
    return f"{file} reads back to the Program, in {precision}"


def _onnx_runtime(bundle: Bundle, function: FunctionName, parity: Parity) -> str:
    y = np.empty_like(parity.bits)
    load_opened(bundle, "onnx").bind(parity.x, y, function=function)()
    return _within(parity.program, parity.errors(y), parity.allowances)


def _certificate(bundle: Bundle, seen: Seen) -> str:
    text = read_certificate_bytes(bundle.directory)
    if text is None:
        raise BundleError(f"{bundle.directory / CERTIFICATE_FILE} is gone")
    seen.certificate_sha256 = hashlib.sha256(text).hexdigest()
    certificate = parse_certificate(text, bundle.directory)
    cells = prove(certificate, bundle.manifest, seen.programs)
    return f"what it states of {', '.join(certificate.functions)} follows from its {cells:,} cells"


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
