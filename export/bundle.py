"""`export_bundle`: Program → bundle, the directory that is shipped."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np

from kdpinn_edge.errors import ExportError
from kdpinn_edge.export.c_files import c_files
from kdpinn_edge.export.interface import Interface
from kdpinn_edge.export.machine_code import object_code
from kdpinn_edge.export.numba_kernel import print_kernel
from kdpinn_edge.export.onnx_model import to_onnx
from kdpinn_edge.export.shared_library import check_library, link, linker
from kdpinn_edge.export.target import target as find_target
from kdpinn_edge.interp import interpret
from kdpinn_edge.ir import Array, Map, Program, columns
from kdpinn_edge.manifest import (
    ONNX_FILE,
    PROGRAM_FILE,
    Errors,
    Input,
    Manifest,
    Operations,
    Output,
    Precision,
    Storage,
    TargetRecord,
    name_fault,
    write_manifest,
)
from kdpinn_edge.numpy_program import PRECISIONS, PROFILE, NumpyProgram
from kdpinn_edge.probe import probe_points
from kdpinn_edge.program_file import write_program
from kdpinn_edge.simplify import multiply_adds, simplify
from kdpinn_edge.storage import store_as_float16

N_GOLDEN = 48
N_ERROR = 2048


def export_bundle(
    program: Program,
    directory: str | os.PathLike[str],
    *,
    name: str,
    precision: Precision = "float32",
    storage: Storage | None = None,
    target: str = "native",
    inputs: Sequence[Input] | None = None,
    outputs: Sequence[Output] | None = None,
    equation: str | None = None,
    cc: Sequence[str] | None = None,
) -> Manifest:
    """Write the bundle of `program` to the new folder `directory`; returns its manifest.

    `name` names the library, the header and the C functions. `inputs` and `outputs` describe the columns of x and y
    (domain box, units); by default they have the names of the Program and no bounds. `cc` is the command
    of a C compiler to link with, by default the first of cc, gcc, clang and ziglang. The library that is written has
    passed its gates, and on a machine that can run it, its own self-test.

    `storage="float16"` keeps the parameters in half the space of float32 and computes in float32 all the same. The
    Program of the bundle is then the one with rounded parameters; the errors in the manifest are against `program`.

    Raises ExportError for a name, a target or columns that do not fit, a folder that exists, a missing linker, a gate
    that is not passed, a file that cannot be written; ProgramError where a parameter does not fit the precision.
    Nothing is left behind after an error.
    """
    given = simplify(program)
    program = _stored(given, precision, storage)
    interface = _interface(program, name, precision, target, inputs, outputs)
    directory = Path(directory)
    if directory.exists():
        raise ExportError(
            f"{directory} exists already; accepted: a folder that export makes. Remove it, or name another."
        )
    command = tuple(cc) if cc else linker()

    reference = NumpyProgram(program, precision)
    dtype, V = PRECISIONS[precision], interface.target.lanes(precision)
    golden_x = probe_points(interface.inputs, N_GOLDEN).astype(dtype)
    golden_x[-1] = np.nan
    kernel = print_kernel(
        program,
        precision,
        V=V,
        crossover=interface.target.crossover(precision),
        lower=np.array(interface.lower),
        upper=np.array(interface.upper),
        golden_x=golden_x,
        golden_y=reference(golden_x),
        storage=storage,
    )
    library_name = interface.target.library.format(name)
    with _new_folder(directory) as folder:
        library = link(object_code(kernel, interface), interface, command)
        contents = {
            library_name: library,
            f"{name}_kernel.py": kernel.source.encode(),
            ONNX_FILE: to_onnx(program, precision).SerializeToString(deterministic=True),
            **c_files(interface),
        }
        for file_name, data in contents.items():
            (folder / file_name).write_bytes(data)
        write_program(program, folder / PROGRAM_FILE)
        sizes = check_library(library, interface)
        if interface.target.runs_here():
            _self_test(folder / library_name, name)
        manifest = Manifest(
            name=name,
            program_sha256=program.sha256,
            precision=precision,
            storage=storage or precision,
            profile=PROFILE,
            target=TargetRecord(
                name=interface.target.name,
                triple=interface.target.triple,
                cpu=interface.target.cpu,
                features=interface.target.features,
                lanes=V,
            ),
            inputs=interface.inputs,
            outputs=interface.outputs,
            equation=equation,
            errors=_errors(given, reference, interface),
            operations=_operations(program),
            sizes=sizes,
            toolchain=_toolchain(),
            files={path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())},
            library=library_name,
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
            f"storage {storage!r} does not go with precision {precision!r}; accepted: {precision}"
            + (" or float16" if precision == "float32" else "; float16 goes with float32")
        )
    return store_as_float16(program) if storage == "float16" else program


def _interface(
    program: Program,
    name: str,
    precision: Precision,
    target: str,
    inputs: Sequence[Input] | None,
    outputs: Sequence[Output] | None,
) -> Interface:
    fault = name_fault(name)
    if fault:
        raise ExportError(fault)
    if precision not in PRECISIONS:
        raise ExportError(f"precision {precision!r} is not known; accepted: {', '.join(PRECISIONS)}")
    names_in, names_out = columns(program.inputs), columns(program.outputs)
    described_in = tuple(inputs) if inputs is not None else tuple(Input(column) for column in names_in)
    described_out = tuple(outputs) if outputs is not None else tuple(Output(column) for column in names_out)
    for what, described, names in (("inputs", described_in, names_in), ("outputs", described_out, names_out)):
        found = tuple(column.name for column in described)
        if found != names:
            raise ExportError(f"{what}: the columns are described as {found}; accepted: those of the Program, {names}")
    return Interface(name, program, precision, find_target(target), described_in, described_out)


def _self_test(library: Path, name: str) -> None:
    result = ctypes.CDLL(str(library.absolute()))[f"{name}_selftest"]()
    if result != 0:
        raise ExportError(
            f"{library.name}: self-test failed at golden number {result}: this machine computes other bits"
        )


def _errors(program: Program, reference: NumpyProgram, interface: Interface) -> Errors:
    """What precision and storage cost: the NumPy program against the meaning of `program`, at the same points."""
    x = probe_points(interface.inputs, N_ERROR, seed=1).astype(reference.dtype)
    exact: Array = interpret(program, x)
    difference = np.abs(reference(x) - exact)
    return Errors(
        max_abs=float(difference.max()),
        rms=float(np.sqrt(np.mean(difference**2))),
        scale=float(np.abs(exact).max()),
        n_points=N_ERROR,
        against="the Program in float64",
    )


def _operations(program: Program) -> Operations:
    return Operations(
        multiply_adds=multiply_adds(program),
        activations=sum(op.out.size for op in program.ops if isinstance(op, Map)),
    )


def _toolchain() -> dict[str, str]:
    packages = ("kdpinn-edge", "numpy", "numba", "llvmlite", "onnx")
    return {**{package: version(package) for package in packages}, "llvm": ".".join(map(str, llvm.llvm_version_info))}
