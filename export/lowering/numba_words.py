"""The words of a kernel for Numba: what type each gives, and the loops that stand for it.

A value is a `Vector`: a name in the text of a function. In compiled code it is where a kernel works: the points, the
results, the scratch memory. A word that finishes a step emits the loops of that step, those of the batch kernel or of
the single-point kernel: the text is typed once, and lowered once for each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.typing import signature
from numba.core.typing.templates import AbstractTemplate
from numba.extending import models, register_model, typeof_impl

from kdpinn_edge.export.lowering.emit_llvm import SCALARS, Emitter, Machine
from kdpinn_edge.export.lowering.kernel import INPUT, Function, Kernel, Token
from kdpinn_edge.export.lowering.loops import Routine
from kdpinn_edge.export.lowering.numba_target import IMPLEMENTATIONS, TEMPLATES, TargetContext, Typed, set_attributes
from kdpinn_edge.export.lowering.schedule import Schedule
from kdpinn_edge.export.lowering.schedule_fixed import WORDS
from kdpinn_edge.functions import FUNCTIONS
from kdpinn_edge.functions.power import power
from kdpinn_edge.numerics import lanes, words
from kdpinn_edge.numerics.fixed_point.calls import meaning

NUMBA = {"float32": types.float32, "float64": types.float64}


LAST = ("outputs", "floats", "integers")
"""The words that store results."""


class Named:
    """A parameter, a constant array or a function of the printed module: its type is its name."""

    def __init__(self, name: str, function: Function | None = None, body: Any = None) -> None:
        self.name = name
        self.function = function
        self.body = body


class NamedType(types.Opaque):
    """The type of a Named. It has no value in compiled code."""

    def __init__(self, value: Named) -> None:
        self.value = value
        super().__init__(name=f"Named({value.name})")

    @property
    def key(self) -> Any:
        """One type for each object."""
        return id(self.value)


@typeof_impl.register(Named)
def _typeof_named(value: Named, context: Any) -> NamedType:
    return NamedType(value)


@IMPLEMENTATIONS.lower_constant(types.Dummy)
@IMPLEMENTATIONS.lower_constant(types.Integer)
def _constant(context: TargetContext, builder: ir.IRBuilder, typ: types.Type, value: object) -> ir.Value:
    """Words, names and numbers of the text have no value in compiled code: their types say what they are."""
    return ir.Constant(ir.IntType(64), 0) if isinstance(typ, types.Integer) else context.get_dummy_value()


class Vector(types.Type):
    """A value of a function, by its name in the text."""

    def __init__(self, function: Function, name: str) -> None:
        self.function = function
        self.value = name
        super().__init__(name=f"Vector({function.name}, {name})")

    @property
    def key(self) -> Any:
        """Values of different functions are of different types, whatever their names are."""
        return id(self.function), self.value


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, typ: Vector) -> None:
        number = SCALARS[typ.function.evaluation.precision].as_pointer()
        scratch = SCALARS[typ.function.schedules["single"].scratch.scalar].as_pointer()
        super().__init__(manager, typ, ir.LiteralStructType([number, number, scratch, ir.IntType(32)]))


def _place_of(builder: ir.IRBuilder, machine: Machine, schedule: Schedule, value: ir.Value) -> Emitter:
    """What emits loops where a vector is: its pointers, and how many points there are."""
    x, y, scratch, points = (builder.extract_value(value, i) for i in range(4))
    emitter = Emitter(builder, machine, {"x": x, "y": y, "s": scratch})
    emitter.integers.update((symbol, points) for _, symbol in schedule.x.size.terms)
    return emitter


def _teach(function: Any, typed: Callable[..., Any], implementation: Any) -> None:
    """Teach Numba a word: `typed` makes its signature of the types of its arguments, `implementation` its code."""

    class Template(AbstractTemplate):
        key = function
        prefer_literal = True

        def generic(self, arguments: Sequence[types.Type], keywords: Mapping[str, types.Type]) -> Any:
            return typed(*arguments)

    TEMPLATES.register_global(function, types.Function(Template))
    IMPLEMENTATIONS.lower(function, types.VarArg(types.Any))(implementation)


def _word(function: Any) -> None:
    """Teach Numba a word of whole layers."""
    name = function.__name__

    def typed(*arguments: types.Type) -> Any:
        vector = next((each for each in arguments if isinstance(each, Vector)), None)
        found = vector and vector.function.calls.get((name, *map(_token, arguments)))
        if vector is None or found is None:
            return None
        return signature(types.none if name in LAST else Vector(vector.function, found), *arguments)

    def implementation(context: TargetContext, builder: ir.IRBuilder, sig: Any, arguments: Sequence[ir.Value]) -> Any:
        i, typ = next((i, each) for i, each in enumerate(sig.args) if isinstance(each, Vector))
        schedule = typ.function.schedules[context.kind]
        emitter = _place_of(builder, context.machine, schedule, arguments[i])
        if name in LAST:
            emitter.emit(schedule.store)
            return context.get_dummy_value()
        step = typ.function.finishes.get(sig.return_type.value)
        if step is not None:
            emitter.emit(schedule.steps[step])
        return arguments[i]

    _teach(function, typed, implementation)


def _token(typ: types.Type) -> Token:
    match typ:
        case types.NoneType():
            return None
        case Vector():
            return str(typ.value)
        case NamedType():
            return typ.value.name
        case types.IntegerLiteral():
            return int(typ.literal_value)
    return str(typ)


def _driver(function: Any, result: types.Type) -> Any:
    """Teach Numba a word that is a routine of its own, made by the decorated function of its Named arguments."""

    def register(implementation: Any) -> Any:
        _teach(function, lambda *arguments: signature(result, *arguments), implementation)
        return implementation

    return register


@_driver(words.at_points_for, types.int32)
@_driver(words.at_points, types.int32)
def _at_points(context: TargetContext, builder: ir.IRBuilder, sig: Any, arguments: Sequence[ir.Value]) -> ir.Value:
    """The routine that calls the kernels, which Numba compiles from the same functions of the text."""
    named = [each.value for each in sig.args if isinstance(each, NamedType)]
    kernels = {each.function.name: (each.function, each.body) for each in named if each.function is not None}
    (*_, (evaluated, _)), machine = kernels.values(), context.machine
    typed: dict[str, Typed] = {}

    def call(inner: ir.IRBuilder, routine: str, pointers: Sequence[ir.Value], integers: Sequence[ir.Value]) -> None:
        kind = "batch" if integers else "single"
        function, body = kernels[routine.removesuffix(f"_{kind}")]
        typ, schedule = Vector(function, INPUT), function.schedules[kind]
        value = ir.Constant(context.get_value_type(typ), ir.Undefined)
        for i, part in enumerate((*pointers, *(integers or [ir.Constant(ir.IntType(32), 1)]))):
            value = inner.insert_value(value, part, i)
        _place_of(inner, machine, schedule, value).emit(schedule.load)
        kernel = signature(types.none, typ)
        if function.name not in typed:
            typed[function.name] = Typed(body, [typ], types.none, context)
        description, library = typed[function.name].lowered(kind)
        context.active_code_library.add_linking_library(library)
        context.call_internal_no_propagate(inner, description, kernel, [value])

    given = arguments[len(kernels) :]
    parameters = [value.type for value in given]
    emitted = _emitted(context, builder, evaluated.routines[-1], parameters, ir.IntType(32), call, inline=False)
    return builder.call(emitted, given, tail=True)


@_driver(words.first_difference_fixed, types.int32)
@_driver(words.first_difference_for, types.int32)
@_driver(words.first_difference, types.int32)
def _first_difference(context: TargetContext, builder: ir.IRBuilder, sig: Any, arguments: Sequence[ir.Value]) -> Any:
    """The self-test; it calls the functions of the model, which are not inlined."""
    kernel: Kernel = sig.args[0].value.body

    def call(inner: ir.IRBuilder, routine: str, pointers: Sequence[ir.Value], integers: Sequence[ir.Value]) -> None:
        symbol = _symbol(routine)
        signature_ = ir.FunctionType(ir.IntType(32), [*(each.type for each in pointers), ir.IntType(64)])
        callee = inner.module.globals.get(symbol) or ir.Function(inner.module, signature_, symbol)
        count = integers[0] if integers[0].type.width == 64 else inner.sext(integers[0], ir.IntType(64))
        inner.call(callee, [*pointers, count])

    return builder.call(_emitted(context, builder, kernel.selftest, [], ir.IntType(32), call), [])


@_driver(words.count_outside, types.int64)
def _count_outside(context: TargetContext, builder: ir.IRBuilder, sig: Any, arguments: Sequence[ir.Value]) -> Any:
    """How many points lie outside the domain box."""
    kernel: Kernel = sig.args[2].value.body
    parameters = [value.type for value in arguments[:2]]
    emitted = _emitted(context, builder, kernel.outside, parameters, ir.IntType(64), None)
    return builder.call(emitted, arguments[:2])


def _symbol(routine: str) -> str:
    """What a routine is called inside the artifact: no model has a name with a dot."""
    return f"kernel.{routine}"


def _emitted(
    context: TargetContext,
    builder: ir.IRBuilder,
    routine: Routine,
    parameters: Sequence[ir.Type],
    result: ir.Type,
    call: Any,
    *,
    inline: bool = True,
) -> ir.Function:
    """A routine as a function of the module."""
    function = ir.Function(builder.module, ir.FunctionType(result, parameters), _symbol(routine.name))
    set_attributes(function, [*context.function_attributes, "alwaysinline" if inline else "noinline"])
    inner = ir.IRBuilder(function.append_basic_block("entry"))
    emitter = Emitter(inner, context.machine)
    emitter.call = call
    for each, value in zip(routine.parameters, function.args, strict=True):
        emitter.bind(each, value)
    emitter.emit(routine.body)
    if not inner.block.is_terminated:
        inner.unreachable()
    return function


def compile_functions(
    kernel: Kernel, names: Sequence[str], attributes: Sequence[str], machine: Machine
) -> dict[str, tuple[str, list[ir.Module]]]:
    """For each function of the printed module of these names its LLVM name and the modules that it consists of.

    A name is that of a function of the model, "outside" or "selftest".
    """
    module = kernel.load()
    globals_ = vars(module)
    for name in (*kernel.parameters, *kernel.constants):
        globals_[name] = Named(name, body=kernel)
    entries: dict[str, Any] = {name: globals_[f"{name}_all"] for name in kernel.evaluated}
    for function in (*kernel.evaluated.values(), *(each.once for each in kernel.per_call.values())):
        globals_[function.text] = Named(function.text, function, globals_[function.text])
    for name in kernel.evaluated:
        globals_[f"{name}_all"] = Named(f"{name}_all")
    target = TargetContext(attributes, machine)
    pointer, integers = types.CPointer(NUMBA[kernel.precision]), types.CPointer(types.int32)
    signatures: dict[str, Any] = {
        **dict.fromkeys(kernel.functions, ((pointer, pointer, types.int64), types.int32)),
        **{each.name: ((integers, integers, types.int64), types.int32) for each in kernel.on_integers.values()},
        **{each.varying.name: ((*[pointer] * 3, types.int64), types.int32) for each in kernel.per_call.values()},
        "outside": ((pointer, types.int64), types.int64),
        "selftest": ((), types.int32),
    }
    found = {}
    for name in names:
        arguments, result = signatures[name]
        description, library = Typed(entries.get(name) or globals_[name], arguments, result, target).lowered()
        found[name] = description.mangled_name, library.modules
    return found


_WORDS: tuple[Any, ...] = (
    *(words.affine, words.scale, words.where_positive, words.concat, words.rows, words.outputs),
    *(lanes.add, lanes.mul, power),
    *map(meaning, ("rows", "floats", "integers", *WORDS)),
)
for _each in {*_WORDS, *(each.computed(fast=fast).lanes for each in FUNCTIONS.values() for fast in (False, True))}:
    _word(_each)
