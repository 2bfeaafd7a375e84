"""The kernel of one model: a short NumPy module in words of whole layers, and the loops that its words stand for.

The module is what a person reads, what runs under NumPy, and what Numba compiles: there each word becomes the loops of
its step, of the batch kernel or of the single-point kernel (`numba_words.py`). For C the same loops are printed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from textwrap import wrap
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdpinn_edge import functions
from kdpinn_edge.bundle.manifest import FunctionName
from kdpinn_edge.derive.per_call import Split
from kdpinn_edge.errors import ExportError
from kdpinn_edge.export.lowering.constants import Constants, is_zero
from kdpinn_edge.export.lowering.driver import Evaluation, evaluate_all, outside, scratch_of, selftest
from kdpinn_edge.export.lowering.fusion import Step
from kdpinn_edge.export.lowering.loops import Routine, Scalar, verify
from kdpinn_edge.export.lowering.schedule import Lowered, Schedule, lower_program
from kdpinn_edge.export.lowering.schedule_batch import batch_schedule
from kdpinn_edge.export.lowering.schedule_single import single_schedule
from kdpinn_edge.export.targets.table import Vectors
from kdpinn_edge.functions.power import power
from kdpinn_edge.numerics import lanes, words
from kdpinn_edge.numerics.reference import PRECISIONS
from kdpinn_edge.program.ir import Add, Affine, Concat, Map, Mul, Op, Program, Scale, Select, Slice, Var, operands
from kdpinn_edge.program.simplify import shared

INPUT = "x"
Token = str | int | None
Call = tuple[Token, ...]
"""A word and what it is given: names of values and of parameters, and numbers."""


@dataclass(frozen=True)
class Function:
    """A function of the model, or one of the two parts of its form for inputs that are constant during a call.

    `schedules` are the loops of its two kernels, "batch" and "single". `calls` has every call of a word in its text,
    with the name of the value that it gives. `finishes` says of which step a value is the last one: its word is where
    the loops of the step stand.
    """

    name: str
    schedules: Mapping[str, Schedule]
    evaluation: Evaluation
    lines: Sequence[str]
    calls: Mapping[Call, str]
    finishes: Mapping[str, int]

    @property
    def text(self) -> str:
        """The name of its values in the printed module."""
        return f"{self.name}_at"

    def kernel(self, kind: str) -> Routine:
        """Its kernel of this kind."""
        schedule, in_words = self.schedules[kind], self.evaluation.words is not None
        alone = "One point." if in_words else "One point, the neurons of a layer in lanes."
        doc = alone if kind == "single" else f"m points, one per lane; m <= {self.evaluation.points_per_batch}."
        points = [symbol for _, symbol in schedule.x.size.terms]
        body = (*schedule.load, *(each for step in schedule.steps for each in step), *schedule.store)
        return Routine(f"{self.name}_{kind}", doc, (schedule.x, schedule.y, schedule.scratch, *points), body)

    @cached_property
    def routines(self) -> tuple[Routine, ...]:
        """What calls the kernels for all points, behind those that it calls."""
        return *map(self.kernel, self.evaluation.kinds), evaluate_all(self.evaluation)


@dataclass(frozen=True)
class PerCall:
    """The form of a function for inputs p that are constant during a call: `once` is a function of them.

    `varying` reads its results, and has its own points beside them.
    """

    once: Function
    varying: Function


@dataclass(frozen=True)
class Kernel:
    """The printed module, a docstring `about` its Programs and its `code`; its `functions`, and its numbers.

    `weights` and `constants` are the arrays of the artifact: the weights of each function as they are stored; the
    domain box and the golden vectors. `parameters` are the numbers that the text names, as they are computed with.
    `per_call` has the other form of each function, where inputs are constant during a call; `on_integers` the one that
    takes and returns scaled integers.
    """

    about: str
    code: str
    precision: Scalar
    functions: Mapping[FunctionName, Function]
    weights: Mapping[str, NDArray[Any]]
    constants: Mapping[str, NDArray[Any]]
    parameters: Mapping[str, NDArray[Any] | float]
    per_call: Mapping[FunctionName, PerCall]
    on_integers: Mapping[FunctionName, Function] = field(default_factory=dict)

    @property
    def parts(self) -> tuple[Function, ...]:
        """What is beside `functions`: both parts of each other form, and the functions that are given integers."""
        return (
            *(part for each in self.per_call.values() for part in (each.once, each.varying)),
            *self.on_integers.values(),
        )

    @property
    def evaluated(self) -> Mapping[str, Function]:
        """By its name in C each function that is evaluated at points."""
        others = (*(each.varying for each in self.per_call.values()), *self.on_integers.values())
        return {function.name: function for function in (*self.functions.values(), *others)}

    @property
    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Every array of the artifact."""
        return {**self.weights, **self.constants}

    @property
    def covered(self) -> Mapping[str, NDArray[Any]]:
        """The arrays that results depend on: all but the golden vectors."""
        return {**self.weights, "BOX": self.constants["BOX"]}

    @property
    def source(self) -> str:
        """The text of the module."""
        return f"{self.about}\n{self.code}"

    @property
    def n_in(self) -> int:
        """Numbers per point."""
        return self.functions["eval"].evaluation.n_in

    @property
    def n_golden(self) -> int:
        """How many golden points there are."""
        return self.constants["GOLDEN_X"].size // self.n_in

    @cached_property
    def selftest(self) -> Routine:
        """The self-test of all functions."""
        return selftest([function.evaluation for function in self.evaluated.values()], self.n_golden)

    @cached_property
    def outside(self) -> Routine:
        """What counts the points outside the domain box."""
        in_words = self.functions["eval"].evaluation.words is not None
        return outside(self.precision, self.n_in, in_words=in_words)

    @property
    def routines(self) -> tuple[Routine, ...]:
        """Every routine, behind those that it calls."""
        once = (each.once.kernel("single") for each in self.per_call.values())
        evaluated = (routine for function in self.evaluated.values() for routine in function.routines)
        return (*once, *evaluated, self.outside, self.selftest)

    def verified(self) -> Kernel:
        """The kernel itself. Raises ExportError where its loops are malformed."""
        for function in (*self.functions.values(), *self.parts):
            for schedule in function.schedules.values():
                for body in (schedule.load, *schedule.steps, schedule.store):
                    verify(body)
            verify(function.routines[-1].body)
        verify(self.selftest.body)
        verify(self.outside.body)
        return self

    def load(self) -> ModuleType:
        """The printed module with its numbers in place, as it runs under NumPy."""
        module = ModuleType("kdpinn_kernel")
        exec(compile(self.code, "kdpinn_kernel", "exec"), vars(module))  # noqa: S102 - no word of it is a model's
        vars(module).update({**self.parameters, **self.constants})
        return module


def make_kernel(
    programs: Mapping[FunctionName, Program],
    precision: Scalar,
    *,
    profile: str,
    vectors: Vectors,
    narrow: bool = False,
    crossover: int | None = None,
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
    golden_x: NDArray[Any],
    golden_y: Mapping[FunctionName, NDArray[Any]],
    storage: Scalar | None = None,
    splits: Mapping[FunctionName, Split] | None = None,
    golden_for: Mapping[str, NDArray[Any]] | None = None,
) -> Kernel:
    """The kernel of the functions `programs`, of the same inputs, in "float32" or "float64" for these vector registers.

    Up to `crossover` points of a batch go through the single-point kernel, by default as many as are faster there.
    `lower` and `upper` (n_in,) are the domain box; `golden_x` (k, n_in) and for each function `golden_y` (k, n_out)
    are what the self-test replays. Loops of a `narrow` kernel count in 32 bits: for processors whose registers have no
    more. `storage` is how the parameters lie in memory: in `precision`, or "float16". Equal ones lie there once.
    `splits` has each function in two parts, where inputs are constant during a call. The self-test replays them for the
    numbers `golden_for`: P (n_p,), POINTS (k, n_in - n_p), and for each function, as EVAL_FOR (k, n_out).

    Raises ExportError for an operation that has no meaning in loops, ProgramError for a parameter that does not fit.
    """
    numbers, names = Constants(precision, vectors, storage), Names()
    lowered = partial(lower_program, precision=precision, profile=profile, constants=numbers, narrow=narrow)
    made = {
        name: _function(name, lowered(shared(program), f"W_{name.upper()}"), names, crossover)
        for name, program in programs.items()
    }
    per_call: dict[FunctionName, PerCall] = {}
    for name, split in (splits or {}).items():
        once = _function(f"{name}_once", lowered(split.constant, f"W_{name.upper()}_ONCE"), names, crossover)
        varying = lowered(split.varying, f"W_{name.upper()}_FOR", held=split.constant.n_out)
        per_call[name] = PerCall(once, _function(f"{name}_for", varying, names, crossover, once.evaluation))
    n_golden, dtype = len(golden_x), PRECISIONS[precision]
    constants = {
        "BOX": np.concatenate([lower, upper]).astype(dtype),
        "GOLDEN_X": golden_x.ravel(),
        **{f"GOLDEN_{name.upper()}": golden_y[name].ravel() for name in programs},
        **{f"GOLDEN_{name}": array.ravel() for name, array in (golden_for or {}).items()},
    }
    about = kernel_about(programs, f"the numerics profile {profile}, {precision}", vectors.lanes)
    homes = {
        function.__name__: function.__module__
        for function in (*functions.functions(profile).values(), power, lanes.add, lanes.mul)
    }
    text = kernel_text(made, per_call, names.parameters, homes, n_golden)
    return Kernel(about, text, precision, made, numbers.numbers, constants, names.parameters, per_call).verified()


def _function(
    name: str, lowered: Lowered, names: Names, crossover: int | None, once: Evaluation | None = None
) -> Function:
    text = _Text(lowered, names)
    schedules: dict[str, Schedule] = {"batch": batch_schedule(lowered), "single": single_schedule(lowered)}
    evaluation = Evaluation(
        name,
        lowered.precision,
        lowered.n_x,
        lowered.program.n_out,
        lowered.points_per_batch,
        lowered.blocking.crossover if crossover is None else crossover,
        max(*(each.scratch.size.base for each in schedules.values()), scratch_of(once) if once else 0),
        once,
    )
    return Function(name, schedules, evaluation, text.lines, text.calls, text.finishes)


class Names:
    """What the text calls the parameters: W0, … matrices, b0, … vectors, c0, … numbers, e0, … exponents.

    Equal ones have one name.
    """

    def __init__(self) -> None:
        self.parameters: dict[str, NDArray[Any] | float] = {}
        self._found: dict[object, str] = {}
        self._count: Counter[str] = Counter()

    def array(self, array: NDArray[Any]) -> str:
        """The name of a matrix or of a vector."""
        return self._named("W" if array.ndim == 2 else "b", (array.shape, array.tobytes()), array)

    def number(self, letter: str, value: float) -> str:
        """The name of a number."""
        return self._named(letter, (letter, repr(value)), value)

    def _named(self, letter: str, key: object, value: NDArray[Any] | float) -> str:
        if key not in self._found:
            self._found[key] = f"{letter}{self._count[letter]}"
            self._count[letter] += 1
            self.parameters[self._found[key]] = value
        return self._found[key]


class _Text:
    """The lines of one function, a line for each step where its results allow it."""

    def __init__(self, lowered: Lowered, names: Names) -> None:
        self.lines: list[str] = []
        self.calls: dict[Call, str] = {}
        self.finishes: dict[str, int] = {}
        self._names, self._constants = names, lowered.constants
        self._profile = lowered.profile
        self._values: dict[str, str] = {}
        self._texts: dict[str, str] = {}
        self._count = 0
        program = lowered.program
        self._inputs(program)
        for i, step in enumerate(lowered.steps):
            self._step(step, i, program)
        found = [self._read(var) for var in program.outputs]
        self.calls["outputs", *(self._values[var.name] for var in program.outputs)] = "outputs"
        self.lines.append(f"return outputs({', '.join(found)})")

    def _inputs(self, program: Program) -> None:
        """The inputs are rows of x; all of them together, and a single one, are x itself."""
        if len(program.inputs) == 1:
            self._values[program.inputs[0].name] = self._texts[program.inputs[0].name] = INPUT
            return
        whole = [op for op in program.ops if isinstance(op, Concat) and op.xs == program.inputs]
        read = Counter(var.name for op in program.ops if op not in whole for var in operands(op))
        read.update(var.name for var in program.outputs)
        start = 0
        for var in program.inputs:
            if read[var.name]:
                call: Call = ("rows", INPUT, start, var.size)
                self._line(var, call, f"rows({INPUT}, {start}, {var.size})")
            start += var.size

    def _step(self, step: Step, index: int, program: Program) -> None:
        uses = Counter(var.name for op in step.ops for var in operands(op))
        for op in step.ops:
            if isinstance(op, Concat) and op.xs == program.inputs and len(op.xs) > 1:
                self._values[op.out.name] = self._texts[op.out.name] = INPUT
                continue
            call, text = self._call(op)
            once = op.out not in step.stored and uses[op.out.name] == 1
            if once:
                self._values[op.out.name] = self._value(call)
                self._texts[op.out.name] = text
            else:
                self._line(op.out, call, text)
            if op is step.ops[-1]:
                self.finishes[self._values[op.out.name]] = index

    def _value(self, call: Call) -> str:
        if call not in self.calls:
            self.calls[call] = f"v{self._count}"
            self._count += 1
        return self.calls[call]

    def _line(self, var: Var, call: Call, text: str) -> None:
        name = self._values[var.name] = self._texts[var.name] = self._value(call)
        self.lines.append(f"{name} = {text}")

    def _read(self, var: Var) -> str:
        return self._texts[var.name]

    def _call(self, op: Op) -> tuple[Call, str]:
        """The word of an operation with what it is given, and its text."""
        match op:
            case Affine(weight=weight, bias=bias):
                word = "affine"
                rest: list[Token] = [self._array(weight), *([] if is_zero(bias) else [self._array(bias)])]
            case Scale(weight=weight, bias=bias):
                word, rest = "scale", [self._factor(weight), self._factor(bias)]
            case Map(fn=fn):
                word, rest = self._function(fn)
            case Slice(out=out, start=start):
                word, rest = "rows", [start, out.size]
            case Select():
                word, rest = words.where_positive.__name__, []
            case Add() | Mul() | Concat():
                word, rest = type(op).__name__.lower(), []
            case _:
                raise ExportError(f"the operation {type(op).__name__} has no word in a kernel")
        read = operands(op)
        given = ", ".join([*map(self._read, read), *map(str, rest)])
        return (word, *(self._values[var.name] for var in read), *rest), f"{word}({given})"

    def _function(self, fn: str) -> tuple[str, list[Token]]:
        """The word of a function, and what is named of the numbers that it is given."""
        function = functions.kernel(fn, self._profile)
        if isinstance(function, partial):
            return function.func.__name__, [self._names.number("e", each) for each in function.keywords.values()]
        return function.__name__, []

    def _array(self, array: NDArray[Any]) -> str:
        return self._names.array(self._constants.rounded(array))

    def _factor(self, vector: NDArray[Any]) -> str:
        number = self._constants.uniform(vector)
        return self._array(vector) if number is None else self._names.number("c", number)


ALL_POINTS = '''

def {name}_all(x, y, n):
    """y[i] = {name}(x[i]) for n points: 0, or an error code of kdpinn_edge.h."""
    return at_points({name}_at, x, y, n)
'''
ALL_POINTS_FOR = '''

def {name}_all(p, x, y, n):
    """y[i] = {name}(p, x[i]) for n points: 0, or an error code of kdpinn_edge.h."""
    return at_points_for({once}_at, {name}_at, p, x, y, n)
'''
ENDING = '''

def outside(x, n):
    """How many of n points lie outside the domain box (a NaN does); or an error code of kdpinn_edge.h."""
    return count_outside(x, n, BOX)


def selftest():
    """0, or the first golden number whose bits differ, counted from 1 through the functions in order."""
    return {compared}
'''


def kernel_text(
    made: Mapping[FunctionName, Function],
    per_call: Mapping[FunctionName, PerCall],
    parameters: Mapping[str, NDArray[Any] | float],
    homes: Mapping[str, str],
    n_golden: int,
    on_integers: Sequence[Function] = (),
) -> str:
    """The text of the module; `homes` has the module of each word that is not one of `numerics/words.py`."""
    parts = [*(part for each in per_call.values() for part in (each.once, each.varying)), *on_integers]
    used = {str(call[0]) for function in (*made.values(), *parts) for call in function.calls}
    imports: dict[str, set[str]] = {words.__name__: {"at_points", "count_outside"}}
    compared, points = ("first_difference_for", "X, GOLDEN_P, GOLDEN_POINTS") if per_call else ("first_difference", "X")
    if on_integers:
        compared, points = "first_difference_fixed", "X, GOLDEN_X_FIXED"
    used |= {compared, *(["at_points_for"] if per_call else [])}
    for word in used:
        imports.setdefault(homes.get(word, words.__name__), set()).add(word)
    arrays = [f"{name} {each.shape}" for name, each in parameters.items() if isinstance(each, np.ndarray)]
    numbers = [f"{name} = {each!r}" for name, each in parameters.items() if not isinstance(each, np.ndarray)]
    lines = [
        *(f"from {module} import {', '.join(sorted(found))}" for module, found in sorted(imports.items())),
        "",
        *wrap(f"Weights and biases: {', '.join(arrays)}.", 118, initial_indent="# ", subsequent_indent="# "),
        *numbers,
    ]
    for function in (*made.values(), *on_integers):
        lines += [*_defined(function), *ALL_POINTS.format(name=function.name).splitlines()]
    for each in per_call.values():
        lines += [*_defined(each.once), *_defined(each.varying)]
        lines += ALL_POINTS_FOR.format(name=each.varying.name, once=each.once.name).splitlines()
    every = [*made, *(each.varying.name for each in per_call.values()), *(each.name for each in on_integers)]
    golden = ", ".join(f"{name}_all, GOLDEN_{name.upper()}" for name in every)
    lines += ENDING.format(compared=f"{compared}(GOLDEN_{points}, {n_golden}, {golden})").splitlines()
    return "\n".join(lines) + "\n"


def _defined(function: Function) -> list[str]:
    return ["", "", f"def {function.text}({INPUT}):", *(f"    {line}" for line in function.lines)]


def kernel_about(programs: Mapping[FunctionName, Program], what: str, lanes_per_register: int) -> str:
    """The docstring of the module: what it is for, and the Programs."""
    described = [line for name, program in programs.items() for line in _described(name, program)]
    head = f"Kernel for {what}, {lanes_per_register} lanes per register."
    return "\n".join([f'"""{head}', *described, '"""', ""])


def _described(function: str, program: Program) -> list[str]:
    lines = (f"    {line}" for line in str(program).splitlines())
    return ["", f"{function} is the Program {program.sha256}", "", *lines]
