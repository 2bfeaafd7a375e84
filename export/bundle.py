"""`export_bundle`: Program → bundle, the directory that is shipped."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from kdpinn_edge.bundle.manifest import (
    BESIDE,
    CASADI_SOURCE,
    MANIFEST_FILE,
    MAX_RELATIVE_ERROR,
    ONNX_FILES,
    PROGRAM_FILES,
    SIGNATURE_FILE,
    STATIC_FILES,
    Arithmetic,
    Grade,
    Input,
    Manifest,
    Output,
    Precision,
    Storage,
    read_manifest,
    read_manifest_bytes,
    write_manifest,
)
from kdpinn_edge.bundle.posed import posed
from kdpinn_edge.bundle.signature import Signer
from kdpinn_edge.equation.problem import Problem
from kdpinn_edge.errors import BudgetError, BundleError, ExportError
from kdpinn_edge.export.alternatives import with_advice
from kdpinn_edge.export.artifacts.build_files import compiler_advice
from kdpinn_edge.export.artifacts.c_files import c_files
from kdpinn_edge.export.artifacts.c_source import c_source
from kdpinn_edge.export.artifacts.casadi_files import REQUESTS, casadi_advice, casadi_files, check_casadi
from kdpinn_edge.export.artifacts.device_bench import BENCH, check_bench, device_bench
from kdpinn_edge.export.artifacts.fmu import binaries, check_fmus, check_no_compiler, measured_of
from kdpinn_edge.export.artifacts.gates import Contents, check_artifact
from kdpinn_edge.export.artifacts.linking import check_command, link, linker, linker_version
from kdpinn_edge.export.artifacts.web_page import web_files
from kdpinn_edge.export.artifacts.wrappers import check_languages, wrappers
from kdpinn_edge.export.fmu import fmu_files
from kdpinn_edge.export.machine_code import object_code
from kdpinn_edge.export.measure.loading import loaded_copy
from kdpinn_edge.export.measure.not_finite import prove_not_finite
from kdpinn_edge.export.measure.resources import Budget, check_judgeable, emulated_self_test, measure
from kdpinn_edge.export.measure.self_test import check_tested
from kdpinn_edge.export.onnx_model import check_batch, to_onnx
from kdpinn_edge.export.preparation import Prepared, prepare
from kdpinn_edge.export.targets.interface import Interface
from kdpinn_edge.files import Kind, check_free, move_into_place
from kdpinn_edge.interrupts import is_put_off, undisturbed
from kdpinn_edge.program.file import write_program
from kdpinn_edge.program.ir import Program
from kdpinn_edge.unfinished import new_folder


def export_bundle(
    program: Program,
    directory: str | os.PathLike[str],
    *,
    name: str,
    precision: Precision = "float32",
    storage: Storage | None = None,
    grade: Grade = "accurate",
    arithmetic: Arithmetic = "float",
    target: str = "native",
    inputs: Sequence[Input] | None = None,
    outputs: Sequence[Output] | None = None,
    derivatives: Sequence[str] = (),
    residual: Program | Problem | None = None,
    per_call: Sequence[str] = (),
    equation: str | None = None,
    cc: Sequence[str] | None = None,
    casadi: bool = False,
    batch: int | None = None,
    with_bench: bool = False,
    languages: Sequence[str] = (),
    max_flash: int | None = None,
    max_stack: int | None = None,
    max_relative_error: float = MAX_RELATIVE_ERROR,
    force: bool = False,
    sign: str | os.PathLike[str] | None = None,
    report: Callable[[str], None] | None = None,
) -> Manifest:
    """Write the bundle of `program` to the new folder `directory`; returns its manifest.

    `name` names the library, the header and the C functions. `inputs` and `outputs` describe the columns of x and y
    (domain box, units); by default they have the names of the Program and no bounds. `cc` is the command
    of a C compiler to link with, by default the first of cc, gcc, clang and ziglang. The library that is written has
    passed its gates, and on a machine that can run it, its own self-test. `with_bench` adds a program for the
    device that runs the self-test and the functions, and prints what `kdpinn-edge bench --add` reads.

    `languages`, of cpp, fortran, matlab and rust, adds the files by which these call the model (docs/integration.md).

    The model has the function `eval`, which is `program`. `derivatives` asks for the function `jet`: its columns, as
    `kdpinn_edge.derivatives` names them. `residual` is the function of that name: the problem whose equation it belongs
    to, or a Program of the same inputs. A problem also says what `inputs`, `outputs` and `equation` do not.

        export_bundle(program, "wave", name="wave", derivatives=["u", "u_x", "u_xx"], residual=problem("wave"))

    `per_call` names inputs that are constant during a call. There is then a second form of each function, as
    NAME_eval_for(p, x, y, n): what depends on p alone is evaluated once per call, and the bits are those of NAME_eval.

        export_bundle(deeponet, "heat", name="heat", per_call=["sensors"])

    `casadi` adds `NAME_casadi.c`, the model with its derivatives as external functions of CasADi, and where the target
    runs on this machine the library that CasADi loads. The derivatives are "jacobian" and "hessian" where none are
    asked for; those that are asked for must have the Jacobian.

    `batch` is the number of points that the ONNX models take per call, for tools that want all sizes fixed; by default
    they take any number. The library takes any number in either case.

    `storage="float16"` keeps the parameters in half the space of float32 and computes in float32 all the same. The
    Programs of the bundle are then those with rounded parameters; `storage_errors` in the manifest says what that cost.

    `grade="fast"`, for float32, takes the activations that cost less and err more (docs/numerics.md); the numerics
    profile names it.

    `arithmetic="int16"`, for float32, computes in integers of fixed point, for processors without a floating-point
    unit: the library has no floating-point operation at all (docs/fixed_point.md). Every input needs its bounds.

    `max_flash` and `max_stack` are the bytes that the library may take. BudgetError says by how much it takes more, and
    which other options would fit: they are compiled to find out.

    `max_relative_error` is the share of the largest value that rounding may cost, at the points where the errors are
    measured; infinity lets everything pass (`measure/accuracy.py`).

    `force` replaces the bundle that `directory` holds, in the end and at once; any other folder is never replaced.

    `sign` is the file of an Ed25519 private key (PEM), which signs the manifest, and through its hashes every file
    (`bundle/signature.py`). The key itself goes nowhere; the manifest has the fingerprint of the public one.

    `report` is told what is compiled, once everything that can be known before has been found right.

    Raises ExportError for a name, a target or columns that do not fit, a folder that exists, a missing linker, a gate
    that is not passed, a file that cannot be written; KeyFileError for a key that cannot sign; ProgramError where a
    parameter does not fit the precision, or a derivative or an input of `per_call` is asked for that there is not.
    Nothing is left behind after an error.
    """
    if isinstance(residual, Problem):
        own = posed(residual)
        inputs, outputs, equation = inputs or own[0], outputs or own[1], equation or residual.equation
    derivatives = derivatives or (REQUESTS if casadi else ())
    stated: dict[str, Any] = {
        "name": name,
        "precision": precision,
        "storage": storage,
        "grade": grade,
        "arithmetic": arithmetic,
        "target": target,
        "inputs": inputs,
        "outputs": outputs,
        "derivatives": derivatives,
        "residual": residual,
        "per_call": per_call,
        "equation": equation,
    }
    model = prepare(program, **stated)
    interface = model.interface
    directory = Path(directory)
    check_free(directory, _kind(directory), ExportError, force=force)
    command, budget = tuple(cc) if cc else linker(interface), Budget(max_flash, max_stack)
    check_command(command)
    if interface.target.artifact == "fmu":
        check_no_compiler(cc)
    signer = Signer(sign) if sign is not None else None
    check_judgeable(interface, budget)
    _check_added(interface, with_bench=with_bench, casadi=casadi)
    check_batch(batch)
    chosen = check_languages(languages, interface)
    errors = model.errors(max_relative_error=max_relative_error)
    with whole_folder(directory) as folder:
        if report is not None:
            report(f"compiling {name} for {target}")
            _advise(report, interface, casadi=casadi)
        model = model.with_toolchain({**model.toolchain, "linker": linker_version(command)})
        interface = model.interface
        made, code = _made(model, command)
        contents = {**made, **companions(model, made[interface.library], batch), **wrappers(chosen, interface)}
        contents |= device_bench(code, interface) if with_bench else {}
        contents |= casadi_files(code, interface, command) if casadi else {}
        for file_name, data in contents.items():
            (folder / file_name).write_bytes(data)
        if with_bench and interface.target.artifact == "elf":
            (folder / BENCH.format(name)).chmod(0o755)
        for function, each in model.programs.items():
            write_program(each, folder / PROGRAM_FILES[function])
        gated = _gated(made, interface)
        sizes = gated.sizes if gated else None
        _prove(made[interface.library], model)
        try:
            usage = measure(*measured_of(made[interface.library], interface), sizes, budget)
        except BudgetError as error:
            raise with_advice(error, program, stated, command, max_relative_error) from None
        files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}
        helpers = sorted(gated.needs & interface.target.helpers) if gated else ()
        manifest = model.manifest(usage, errors, sizes=sizes, helpers=helpers, files=files)
        manifest = replace(manifest, batch=batch, signer=signer.fingerprint if signer is not None else None)
        _write(manifest, folder, signer)
    return manifest


def _check_added(interface: Interface, *, with_bench: bool, casadi: bool) -> None:
    """Raise ExportError where what is asked for beside the library cannot be made."""
    if with_bench:
        check_bench(interface.target)
    if casadi:
        check_casadi(interface)


def _advise(report: Callable[[str], None], interface: Interface, *, casadi: bool) -> None:
    """Report what else could be asked for, or has to be given to a compiler."""
    for file, advice in {
        interface.library: compiler_advice(interface),
        CASADI_SOURCE.format(interface.name): casadi_advice(interface) if casadi else None,
    }.items():
        if advice:
            report(f"{file}: {advice}")


def _made(model: Prepared, command: Sequence[str]) -> tuple[dict[str, bytes], bytes]:
    """The files of the artifact, and where it is machine code for one target, the object that it was linked from."""
    interface = model.interface
    match interface.target.artifact:
        case "c99":
            return {interface.library: c_source(model.kernels[0], interface)}, b""
        case "fmu":
            return fmu_files(model), b""
    code = object_code(model.kernels, interface)
    return link(code, interface, command), code


def _gated(made: Mapping[str, bytes], interface: Interface) -> Contents | None:
    """What the library holds among the files `made`. Raises ExportError where one does not pass its gates."""
    artifact = interface.target.artifact
    if artifact == "c99":
        return None
    if artifact == "fmu":
        return check_fmus(made, interface)
    if artifact in STATIC_FILES:
        check_artifact(made[STATIC_FILES[artifact].format(interface.name)], interface, "static")
    return check_artifact(made[interface.library], interface)


def _write(manifest: Manifest, folder: Path, signer: Signer | None) -> None:
    write_manifest(manifest, folder)
    if signer is not None:
        (folder / SIGNATURE_FILE).write_bytes(signer.signature(read_manifest_bytes(folder)))


def companions(model: Prepared, library: bytes, batch: int | None) -> dict[str, bytes]:
    """The files beside the library that follow from the model: the kernels to read, ONNX models, headers, examples.

    The ONNX models take `batch` points, or any number.
    """
    interface = model.interface
    kernels = {
        f"{interface.symbol('kernel', variant.name)}.py": kernel.source.encode()
        for variant, kernel in zip(interface.target.compiled, model.kernels, strict=True)
    }
    networks = {
        ONNX_FILES[function]: to_onnx(
            program, interface.precision, interface.inputs, model.outputs[function], batch=batch
        ).SerializeToString(deterministic=True)
        for function, program in model.programs.items()
    }
    is_page = interface.target.artifact == "wasm"
    page = web_files(library, interface, dict(model.outputs), model.equation) if is_page else {}
    return {**kernels, **networks, **c_files(interface), **page}


def _kind(directory: Path) -> Kind:
    """What a bundle is: the files that its manifest names, what may be beside them, and no other."""
    try:
        files = tuple(map(glob.escape, read_manifest(directory).files))
    except BundleError:
        files = ()
    return Kind("bundle", MANIFEST_FILE, (*sorted(BESIDE), *files))


@contextmanager
def whole_folder(directory: Path) -> Iterator[Path]:
    """A folder beside `directory` that becomes it in the end, or is gone after an error or an interrupt."""
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with new_folder(directory) as building:
            yield building
            with undisturbed():
                if is_put_off():
                    raise KeyboardInterrupt
                move_into_place(building, directory)
    except OSError as error:
        raise ExportError(f"{directory} cannot be written: {error.strerror}. Nothing was left behind.") from error


def _prove(library: bytes, model: Prepared) -> None:
    """Run what can be run here of a library, or of each binary of an FMU: the self-test, points that are not finite."""
    for image, interface in binaries(library, model.interface):
        if interface.target.runs_here():
            _self_test(image, interface)
        elif model.interface.target.artifact == "fmu":
            emulated_self_test(image, interface)
        prove_not_finite(image, interface, model.references)


def _self_test(library: bytes, interface: Interface) -> None:
    loaded = loaded_copy(library, interface.library)
    integrity, selftest = (loaded[f"{interface.name}_{function}"]() for function in ("integrity", "selftest"))
    check_tested(interface, "on this machine", integrity=integrity, selftest=selftest)
