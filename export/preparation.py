"""What is decided of a model before anything is compiled: its functions, its columns, its kernels, its errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import llvmlite.binding as llvm
import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.bundle.fixed_point import FixedPointRecord
from kdpinn_edge.bundle.manifest import (
    MAX_RELATIVE_ERROR,
    Arithmetic,
    Errors,
    Function,
    FunctionName,
    Grade,
    Input,
    Manifest,
    Operations,
    Output,
    Precision,
    Sizes,
    Storage,
    TargetRecord,
    arithmetic_of,
    domain_fault,
)
from kdpinn_edge.bundle.statement import statement_sha256
from kdpinn_edge.bundle.symbols import FIXED
from kdpinn_edge.bundle.units import derivative_units
from kdpinn_edge.derive.derivatives import derivatives as derivatives_of
from kdpinn_edge.derive.per_call import check_per_call, split
from kdpinn_edge.derive.residual import residual as residual_of
from kdpinn_edge.equation.model_name import name_fault
from kdpinn_edge.equation.problem import Problem
from kdpinn_edge.errors import ExportError
from kdpinn_edge.export.artifacts.versions import version
from kdpinn_edge.export.fixed_point import bits_of, check_words, fixed_kernels, record
from kdpinn_edge.export.golden import golden_points
from kdpinn_edge.export.lowering.kernel import Kernel, make_kernel
from kdpinn_edge.export.measure.accuracy import N_ERROR, Values, measured_errors, values_of
from kdpinn_edge.export.measure.resources import Usage
from kdpinn_edge.export.targets.interface import Interface
from kdpinn_edge.export.targets.table import target as find_target
from kdpinn_edge.numerics import fixed_point
from kdpinn_edge.numerics.lanes import is_fast
from kdpinn_edge.numerics.reference import PRECISIONS, NumpyProgram
from kdpinn_edge.numerics.storage import store_as_float16
from kdpinn_edge.program.ir import Map, Program, columns
from kdpinn_edge.program.simplify import multiply_adds, simplify

IN_FLOAT64, BEFORE_STORAGE = "the Program in float64", "the Program whose weights were not rounded, in float64"


@dataclass(frozen=True)
class Prepared:
    """A model that can be compiled: a kernel for each of the targets that its target consists of.

    `given` are its functions as they were asked for, `programs` those with parameters rounded for storage.
    """

    interface: Interface
    storage: Storage
    given: Mapping[FunctionName, Program]
    programs: Mapping[FunctionName, Program]
    references: Mapping[FunctionName, NumpyProgram]
    outputs: Mapping[FunctionName, tuple[Output, ...]]
    equation: str | None
    kernels: Sequence[Kernel]
    toolchain: Mapping[str, str]

    def with_toolchain(self, toolchain: Mapping[str, str]) -> Prepared:
        """The same model, made by `toolchain`: its library will carry the hash of what its manifest states."""
        statement = statement_sha256(
            name=self.interface.name,
            precision=self.interface.precision,
            storage=self.storage,
            profile=self.interface.target.profile,
            target=_record(self.interface),
            inputs=self.interface.inputs,
            per_call=self.interface.per_call,
            outputs=self.outputs,
            programs={function: program.sha256 for function, program in self.programs.items()},
            equation=self.equation,
            toolchain=toolchain,
        )
        return replace(self, toolchain=toolchain, interface=replace(self.interface, statement=statement))

    def values(self, *, most_points: int = N_ERROR) -> dict[FunctionName, Values]:
        """The functions at up to `most_points` points, where their errors are measured."""
        return values_of(self.programs, self.references, self.interface.inputs, most_points=most_points)

    def errors(
        self, *, most_points: int = N_ERROR, max_relative_error: float = MAX_RELATIVE_ERROR
    ) -> dict[FunctionName, tuple[Errors, Errors | None]]:
        """The errors of each function at up to `most_points` points, and those that storage makes, if it rounds.

        Raises ExportError where a value is not finite, or rounding makes an error of more than `max_relative_error`
        times the values, or where that is no share.
        """
        if not max_relative_error > 0:
            raise ExportError(f"max_relative_error is {max_relative_error}; expected: a share above 0, or infinity")
        inputs, own = self.interface.inputs, self.values(most_points=most_points)
        rounded = {name: given for name, given in self.given.items() if given is not self.programs[name]}
        stored = values_of(
            rounded if self.storage == "float16" else {}, self.references, inputs, most_points=most_points
        )
        measured: dict[FunctionName, tuple[Errors, Errors | None]] = {}
        for name, values in own.items():
            errors = measured_errors(name, values, inputs, IN_FLOAT64, max_relative_error=max_relative_error)
            before = measured_errors(name, stored[name], inputs, BEFORE_STORAGE) if name in stored else None
            measured[name] = errors, before
        return measured

    def manifest(
        self,
        usage: Usage,
        errors: Mapping[FunctionName, tuple[Errors, Errors | None]],
        *,
        sizes: Sizes | None = None,
        helpers: Sequence[str] = (),
        files: Mapping[str, str] | None = None,
    ) -> Manifest:
        """The record of the model, with its `errors` as they were measured."""
        interface = self.interface
        return Manifest(
            name=interface.name,
            precision=interface.precision,
            storage=self.storage,
            profile=interface.target.profile,
            target=_record(interface),
            inputs=interface.inputs,
            per_call=interface.per_call,
            functions={name: self._function(name, usage, *errors[name]) for name in self.programs},
            equation=self.equation,
            sizes=sizes,
            helpers=tuple(helpers),
            stack=usage.stack,
            measured=usage.how,
            toolchain=self.toolchain,
            files=files or {},
            library=interface.library,
            fixed_point={
                name: replace(
                    each,
                    stack=usage.stacks.get(FIXED.format(name)),
                    instructions=usage.instructions.get(FIXED.format(name)),
                )
                for name, each in self.fixed_point({name: errors[name][0].n_points for name in errors}).items()
            },
        )

    def fixed_point(self, n_points: Mapping[FunctionName, int]) -> dict[FunctionName, FixedPointRecord]:
        """What is stated of each function in integers, whose errors are measured at so many points."""
        return {
            name: record(name, self.interface, self.references[name], fixed, n)
            for name, n in n_points.items()
            if (fixed := self.references[name].fixed) is not None
        }

    def _function(self, name: FunctionName, usage: Usage, errors: Errors, storage_errors: Errors | None) -> Function:
        program = self.programs[name]
        return Function(
            program_sha256=program.sha256,
            outputs=self.outputs[name],
            errors=errors,
            operations=operations_of(program),
            stack=usage.stacks.get(name),
            instructions=usage.instructions.get(name),
            storage_errors=storage_errors,
        )


def prepare(
    program: Program,
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
) -> Prepared:
    """Decide how a model is computed; the arguments are those of `export_bundle`.

    Raises ExportError for a name, a target or columns that do not fit, or an operation that cannot be lowered;
    ProgramError where a parameter does not fit the precision, a derivative is asked for that there is not, or an input
    that is constant during a call.
    """
    check_per_call(per_call, program.inputs)
    given = _functions(
        program, derivatives, residual_of(program, residual) if isinstance(residual, Problem) else residual
    )
    programs = {function: _stored(given[function], precision, storage) for function in given}
    described_in, described_out = _described(program, inputs, outputs, precision)
    columns_of = _outputs(programs, described_in, described_out)
    prepared = prepare_functions(
        programs,
        name=name,
        precision=precision,
        storage=storage,
        grade=grade,
        arithmetic=arithmetic,
        target=target,
        inputs=described_in,
        outputs=columns_of,
        per_call=per_call,
        equation=equation,
    )
    return replace(prepared, given=given)


def prepare_functions(
    programs: Mapping[FunctionName, Program],
    *,
    name: str,
    precision: Precision,
    inputs: tuple[Input, ...],
    outputs: Mapping[FunctionName, tuple[Output, ...]],
    storage: Storage | None = None,
    grade: Grade = "accurate",
    arithmetic: Arithmetic = "float",
    target: str = "native",
    per_call: Sequence[str] = (),
    equation: str | None = None,
) -> Prepared:
    """Decide how the functions of a model are computed, which are there already, with the columns of each."""
    constant = columns(check_per_call(per_call, programs["eval"].inputs))
    interface = _interface(programs, name, precision, grade, target, inputs, constant)
    if arithmetic == "int16":
        check_words(programs, precision=precision, storage=storage, grade=grade, per_call=per_call)
        interface = replace(interface, target=interface.target.computing(fixed_point.PROFILE))
    elif arithmetic != "float":
        raise ExportError(f"arithmetic {arithmetic!r} is unknown; expected: {', '.join(get_args(Arithmetic))}")
    profile, box = interface.target.profile, (interface.lower, interface.upper)
    references = {function: NumpyProgram(programs[function], precision, profile, box) for function in programs}
    keeps_subnormals = not interface.target.flushes and arithmetic == "float"
    golden_x = golden_points(interface.inputs, programs, precision, profile, keeps_subnormals=keeps_subnormals)
    golden_y = {function: references[function](golden_x) for function in programs}
    if arithmetic == "int16":
        interface, storage = replace(interface, bits=bits_of(references)), "int32"
        kernels = fixed_kernels(interface, references, golden_x, golden_y)
    else:
        splits = {function: split(program, per_call) for function, program in programs.items()} if per_call else {}
        golden_for = _golden_for(interface, references, golden_x) if per_call else {}
        kernels = [
            make_kernel(
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
                splits=splits,
                golden_for=golden_for,
            )
            for variant in interface.target.compiled
        ]
    prepared = Prepared(interface, storage or precision, programs, programs, references, outputs, equation, kernels, {})
    return prepared.with_toolchain(_toolchain())


def prepare_again(manifest: Manifest, programs: Mapping[FunctionName, Program], *, target: str) -> Prepared:
    """Decide how the functions of a bundle are computed for `target`; with that of the bundle, as at its export."""
    return prepare_functions(
        programs,
        name=manifest.name,
        precision=manifest.precision,
        storage="float16" if manifest.storage == "float16" else None,
        grade="fast" if is_fast(manifest.profile) else "accurate",
        arithmetic=arithmetic_of(manifest.profile),
        target=target,
        inputs=manifest.inputs,
        outputs={function: stated.outputs for function, stated in manifest.functions.items()},
        per_call=[var.name for var in programs["eval"].inputs if columns((var,))[0] in manifest.per_call],
        equation=manifest.equation,
    )


def _golden_for(
    interface: Interface, references: Mapping[FunctionName, NumpyProgram], golden_x: NDArray[Any]
) -> dict[str, NDArray[Any]]:
    """The golden points with the constant inputs of the first, which are given apart, and the values there."""
    constant = list(interface.constant_columns)
    x = golden_x.copy()
    x[:, constant] = golden_x[0, constant]
    values = {f"{function}_for".upper(): reference(x) for function, reference in references.items()}
    return {"P": x[0, constant], "POINTS": x[:, list(interface.varying_columns)], **values}


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
    per_call: tuple[str, ...],
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
    return Interface(name, precision, find_target(target).graded(grade), inputs, functions, per_call)


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
    functions: Mapping[FunctionName, Program], inputs: tuple[Input, ...], outputs: tuple[Output, ...]
) -> dict[FunctionName, tuple[Output, ...]]:
    """The columns of every function. The unit of a residual is that of its equation, which nobody states: None."""
    names = {function: columns(program.outputs) for function, program in functions.items()}
    units: dict[FunctionName, Sequence[str | None]] = {
        "eval": [column.unit for column in outputs],
        "jet": derivative_units(names.get("jet", ()), inputs, outputs),
    }
    return {
        function: tuple(map(Output, names[function], units.get(function, [None] * len(names[function]))))
        for function in functions
    }


def _record(interface: Interface) -> TargetRecord:
    target = interface.target
    lanes = target.vectors(interface.precision).lanes
    return TargetRecord(target.name, target.triple, target.cpu, target.features, lanes)


def operations_of(program: Program) -> Operations:
    """The work of a Program for one point."""
    return Operations(
        multiply_adds=multiply_adds(program),
        activations=sum(op.out.size for op in program.ops if isinstance(op, Map)),
    )


def _toolchain() -> dict[str, str]:
    """The versions of what compiles a model."""
    packages = ("kdpinn-edge", "numpy", "numba", "llvmlite", "onnx")
    return {**{package: version(package) for package in packages}, "llvm": ".".join(map(str, llvm.llvm_version_info))}
