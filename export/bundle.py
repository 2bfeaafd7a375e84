"""`export_bundle`: Program → bundle, the directory that is shipped."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import get_args

import llvmlite.binding as llvm
import numpy as np

from kdpinn_edge.bundle.manifest import (
    ONNX_FILES,
    PROGRAM_FILES,
    Errors,
    Function,
    FunctionName,
    Grade,
    Input,
    Manifest,
    Operations,
    Output,
    Precision,
    Storage,
    TargetRecord,
    domain_fault,
    name_fault,
    write_manifest,
)
from kdpinn_edge.bundle.probe import probe_points, probed
from kdpinn_edge.bundle.units import derivative_units
from kdpinn_edge.derive.derivatives import derivatives as derivatives_of
from kdpinn_edge.errors import ExportError
from kdpinn_edge.export.c_files import c_files
from kdpinn_edge.export.c_source import c_source
from kdpinn_edge.export.device_bench import BENCH, check_bench, device_bench
from kdpinn_edge.export.gates import check_artifact
from kdpinn_edge.export.interface import Interface
from kdpinn_edge.export.linking import link, linker
from kdpinn_edge.export.machine_code import object_code
from kdpinn_edge.export.numba_kernel import print_kernel
from kdpinn_edge.export.onnx_model import to_onnx
from kdpinn_edge.export.resources import Budget, measure
from kdpinn_edge.export.target import target as find_target
from kdpinn_edge.export.web_page import web_files
from kdpinn_edge.numerics.reference import PRECISIONS, NumpyProgram
from kdpinn_edge.numerics.storage import store_as_float16
from kdpinn_edge.program.file import write_program
from kdpinn_edge.program.interp import interpret
from kdpinn_edge.program.ir import Array, Map, Program, columns
from kdpinn_edge.program.simplify import multiply_adds, simplify

N_GOLDEN = 48
N_ERROR = 4096
IN_FLOAT64, BEFORE_STORAGE = "the Program in float64", "the Program whose weights were not rounded, in float64"


def export_bundle(
    program: Program,
    directory: str | os.PathLike[str],
    *,
    name: str,
    precision: Precision = "float32",
    storage: Storage | None = None,
    grade: Grade = "accurate",
    target: str = "native",
    inputs: Sequence[Input] | None = None,
    outputs: Sequence[Output] | None = None,
    derivatives: Sequence[str] = (),
    residual: Program | None = None,
    equation: str | None = None,
    cc: Sequence[str] | None = None,
    with_bench: bool = False,
    max_flash: int | None = None,
    max_stack: int | None = None,
) -> Manifest:
    """Write the bundle of `program` to the new folder `directory`; returns its manifest.

    `name` names the library, the header and the C functions. `inputs` and `outputs` describe the columns of x and y
    (domain box, units); by default they have the names of the Program and no bounds. `cc` is the command
    of a C compiler to link with, by default the first of cc, gcc, clang and ziglang. The library that is written has
    passed its gates, and on a machine that can run it, its own self-test. `with_bench` adds a program for the
    device that runs the self-test and the functions, and prints what `kdpinn-edge bench --add` reads.

    The model has the function `eval`, which is `program`. `derivatives` asks for the function `jet`: its columns, as
    `kdpinn_edge.derive.derivatives` names them. `residual` is the function of that name: a Program of the same inputs,
    as `kdpinn_edge.derive.residual` makes it.

        export_bundle(program, "wave", name="wave", derivatives=["u", "u_x", "u_xx"])

    `storage="float16"` keeps the parameters in half the space of float32 and computes in float32 all the same. The
    Programs of the bundle are then those with rounded parameters; `storage_errors` in the manifest says what that cost.

    `grade="fast"`, for float32, takes the activations that cost less and err more (docs/numerics.md); the numerics
    profile names it.

    `max_flash` and `max_stack` are the bytes that the library may take. BudgetError says by how much it takes more.

    Raises ExportError for a name, a target or columns that do not fit, a folder that exists, a missing linker, a gate
    that is not passed, a file that cannot be written; ProgramError where a parameter does not fit the precision, or a
    derivative is asked for that there is not. Nothing is left behind after an error.
    """
    given = _functions(program, derivatives, residual)
    programs = {function: _stored(given[function], precision, storage) for function in given}
    described_in, described_out = _described(program, inputs, outputs, precision)
    interface = _interface(programs, name, precision, grade, target, described_in)
    directory = Path(directory)
    if directory.exists():
        raise ExportError(
            f"{directory} exists already; expected: a folder that export makes. Remove it, or name another."
        )
    command = tuple(cc) if cc else linker(interface)
    if with_bench:
        check_bench(interface.target)

    profile = interface.target.profile
    references = {function: NumpyProgram(programs[function], precision, profile) for function in programs}
    golden_x = probe_points(interface.inputs, N_GOLDEN).astype(PRECISIONS[precision])
    golden_x[-1] = np.nan
    golden_y = {function: references[function](golden_x) for function in programs}
    kernels = [
        print_kernel(
            programs,
            precision,
            profile=profile,
            vectors=variant.vectors(precision),
            narrow=interface.target.pointer_bits == 32,
            lower=np.array(interface.lower),
            upper=np.array(interface.upper),
            golden_x=golden_x,
            golden_y=golden_y,
            storage=storage,
        )
        for variant in interface.target.compiled
    ]
    outputs_of = _outputs(programs, derivatives, described_in, described_out)
    with _new_folder(directory) as folder:
        code = object_code(kernels, interface) if interface.target.artifact != "c99" else b""
        linked = link(code, interface, command) if code else {interface.library: c_source(kernels[0], interface)}
        library = linked[interface.library]
        contents = {
            **linked,
            **{
                f"{interface.symbol('kernel', variant.name)}.py": kernel.source.encode()
                for variant, kernel in zip(interface.target.compiled, kernels, strict=True)
            },
            **{
                ONNX_FILES[function]: to_onnx(programs[function], precision).SerializeToString(deterministic=True)
                for function in programs
            },
            **c_files(interface),
            **(web_files(library, interface, outputs_of, equation) if interface.target.artifact == "wasm" else {}),
            **(device_bench(code, interface) if with_bench else {}),
        }
        for file_name, data in contents.items():
            (folder / file_name).write_bytes(data)
        if with_bench and interface.target.artifact == "elf":
            (folder / BENCH.format(name)).chmod(0o755)
        for function in programs:
            write_program(programs[function], folder / PROGRAM_FILES[function])
        sizes = check_artifact(library, interface) if code else None
        if interface.target.runs_here():
            _self_test(folder / interface.library, name)
        usage = measure(library, interface, sizes, Budget(max_flash, max_stack))
        manifest = Manifest(
            name=name,
            precision=precision,
            storage=storage or precision,
            profile=profile,
            target=TargetRecord(
                name=interface.target.name,
                triple=interface.target.triple,
                cpu=interface.target.cpu,
                features=interface.target.features,
                lanes=interface.target.vectors(precision).lanes,
            ),
            inputs=interface.inputs,
            functions={
                function: Function(
                    program_sha256=programs[function].sha256,
                    outputs=outputs_of[function],
                    errors=_errors(function, programs[function], references[function], interface),
                    operations=_operations(programs[function]),
                    stack=usage.stacks.get(function),
                    instructions=usage.instructions.get(function),
                    storage_errors=_errors(function, given[function], references[function], interface, BEFORE_STORAGE)
                    if storage == "float16"
                    else None,
                )
                for function in programs
            },
            equation=equation,
            sizes=sizes,
            stack=usage.stack,
            measured=usage.how,
            toolchain=_toolchain(),
            files={path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())},
            library=interface.library,
        )
        write_manifest(manifest, folder)
    return manifest


@contextmanager
def _new_folder(directory: Path) -> Iterator[Path]:
    """A folder beside `directory` that becomes it in the end, or is gone after an error."""
    building = None
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
        yield building
        building.chmod(0o755)
        building.rename(directory)
    except OSError as error:
        raise ExportError(f"{directory} cannot be written: {error.strerror}. Nothing was left behind.") from error
    finally:
        if building is not None:
            shutil.rmtree(building, ignore_errors=True)


def _stored(program: Program, precision: Precision, storage: Storage | None) -> Program:
    if storage not in (None, precision) and (storage, precision) != ("float16", "float32"):
        raise ExportError(
            f"storage {storage!r} does not go with precision {precision!r}; expected: {precision}"
            + (" or float16" if precision == "float32" else "; float16 goes with float32")
        )
    return store_as_float16(program) if storage == "float16" else program


def _functions(program: Program, derivatives: Sequence[str], residual: Program | None) -> dict[FunctionName, Program]:
    """What the model computes, before its parameters are rounded."""
    if isinstance(derivatives, str):
        raise ExportError(f"derivatives is the text {derivatives!r}; expected: a list, as parse_requests makes of it")
    functions: dict[FunctionName, Program] = {"eval": simplify(program)}
    if derivatives:
        functions["jet"] = derivatives_of(program, derivatives)
    if residual is not None:
        if residual.inputs != program.inputs:
            found, accepted = (", ".join(map(str, p.inputs)) for p in (residual, program))
            raise ExportError(f"residual: the inputs are {found}; expected: those of the Program, {accepted}")
        functions["residual"] = simplify(residual)
    return functions


def _interface(
    functions: Mapping[FunctionName, Program],
    name: str,
    precision: Precision,
    grade: Grade,
    target: str,
    inputs: tuple[Input, ...],
) -> Interface:
    fault = name_fault(name)
    if fault:
        raise ExportError(fault)
    if precision not in PRECISIONS:
        raise ExportError(f"precision {precision!r} is unknown; expected: {', '.join(PRECISIONS)}")
    if grade not in get_args(Grade):
        raise ExportError(f"grade {grade!r} is unknown; expected: {', '.join(get_args(Grade))}")
    if grade == "fast" and precision != "float32":
        raise ExportError(f"grade fast does not go with precision {precision}; expected: float32, or grade accurate")
    return Interface(name, precision, find_target(target).graded(grade), inputs, functions)


def _described(
    program: Program, inputs: Sequence[Input] | None, outputs: Sequence[Output] | None, precision: Precision
) -> tuple[tuple[Input, ...], tuple[Output, ...]]:
    """The columns of `program` as they are described, or by name alone."""
    names_in, names_out = columns(program.inputs), columns(program.outputs)
    described_in = tuple(inputs) if inputs is not None else tuple(Input(column) for column in names_in)
    described_out = tuple(outputs) if outputs is not None else tuple(Output(column) for column in names_out)
    for what, described, names in (("inputs", described_in, names_in), ("outputs", described_out, names_out)):
        found = tuple(column.name for column in described)
        if found != names:
            raise ExportError(f"{what}: the columns are described as {found}; expected: those of the Program, {names}")
    for column in described_in:
        if fault := domain_fault(column.lower, column.upper, precision):
            raise ExportError(f"input {column.name}: {fault}")
    return described_in, described_out


def _outputs(
    functions: Mapping[FunctionName, Program],
    derivatives: Sequence[str],
    inputs: tuple[Input, ...],
    outputs: tuple[Output, ...],
) -> dict[FunctionName, tuple[Output, ...]]:
    """The columns of every function. The unit of a residual is that of its equation, which nobody states: None."""
    units: dict[FunctionName, Sequence[str | None]] = {
        "eval": [column.unit for column in outputs],
        "jet": derivative_units(derivatives, inputs, outputs),
    }
    described = {}
    for function, program in functions.items():
        names = columns(program.outputs)
        described[function] = tuple(map(Output, names, units.get(function, [None] * len(names))))
    return described


def _self_test(library: Path, name: str) -> None:
    result = ctypes.CDLL(str(library.absolute()))[f"{name}_selftest"]()
    if result != 0:
        raise ExportError(
            f"{library.name}: self-test failed at golden number {result}: this machine computes other bits"
        )


def _errors(
    function: FunctionName, program: Program, reference: NumpyProgram, interface: Interface, against: str = IN_FLOAT64
) -> Errors:
    """The NumPy program against the meaning of `program`, at the same points of the domain box.

    Raises ExportError where one of them is not finite there.
    """
    x = probe_points(interface.inputs, N_ERROR, seed=1).astype(reference.dtype)
    with np.errstate(all="ignore"):
        exact: Array = interpret(program, x)
        difference = np.abs(reference(x) - exact)
    if not np.isfinite(difference).all():
        row, column = np.argwhere(~np.isfinite(difference))[0]
        sides = zip(interface.inputs, map(probed, interface.inputs), strict=True)
        box = ", ".join(f"{side.name} ∈ [{low:g}, {high:g}]" for side, (low, high) in sides)
        raise ExportError(
            f"{function}: {columns(program.outputs)[column]} is not finite in {interface.precision} at "
            f"{x[row].tolist()}, a point of {box}. The usual cause is an open or a wrong domain: give the one that the "
            "model is meant for, by --lower and --upper, or in Python by inputs=[Input(name, lower, upper), …]"
        )
    return Errors(
        max_abs=tuple(map(float, difference.max(axis=0))),
        rms=tuple(map(float, np.sqrt(np.mean(difference**2, axis=0)))),
        scale=tuple(map(float, np.abs(exact).max(axis=0))),
        n_points=N_ERROR,
        against=against,
    )


def _operations(program: Program) -> Operations:
    return Operations(
        multiply_adds=multiply_adds(program),
        activations=sum(op.out.size for op in program.ops if isinstance(op, Map)),
    )


def _toolchain() -> dict[str, str]:
    packages = ("kdpinn-edge", "numpy", "numba", "llvmlite", "onnx")
    return {**{package: version(package) for package in packages}, "llvm": ".".join(map(str, llvm.llvm_version_info))}
