"""The lane vocabulary for Numba: each word of `lanes.py` as instructions on LLVM vectors, `<L x float>` for one.

SIMD is by construction: a kernel that is written in these words never depends on an optimiser to find the vectors.
Importing this module teaches Numba the words and the activations, once per process.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import lower_constant
from numba.core.typing.templates import infer_global, make_intrinsic_template
from numba.extending import models, register_jitable, register_model, typeof_impl

from kdpinn_edge.numerics import activations, lanes

INTEGER = {types.float32: types.int32, types.float64: types.int64}
FLOAT = {types.int32: types.float32, types.int64: types.float64}
POSITION = {types.float32: 0, types.int32: 0, types.float64: 1, types.int64: 1}


class LanesType(types.Type):
    """L numbers of one Numba scalar type."""

    def __init__(self, dtype: types.Type, L: int) -> None:
        self.dtype = dtype
        self.L = L
        super().__init__(name=f"Lanes({dtype}, {L})")

    @property
    def llvm(self) -> ir.VectorType:
        """The LLVM type `<L x …>`."""
        scalar = {
            types.float32: ir.FloatType(),
            types.float64: ir.DoubleType(),
            types.int32: ir.IntType(32),
            types.int64: ir.IntType(64),
            types.boolean: ir.IntType(1),
        }[self.dtype]
        return ir.VectorType(scalar, self.L)

    @property
    def mangled(self) -> str:
        """The suffix of an overloaded LLVM intrinsic, e.g. v16f32."""
        return f"v{self.L}{'f' if self.dtype in INTEGER else 'i'}{self.dtype.bitwidth}"


@register_model(LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: LanesType) -> None:
        super().__init__(manager, fe_type, fe_type.llvm)


class Rodata:
    """A constant array of the kernel: read-only data in the artifact, aligned to a cache line."""

    def __init__(self, name: str, array: np.ndarray[Any, Any]) -> None:
        self.name = name
        self.array = array


class RodataType(types.Type):
    """The pointer that a Rodata is in compiled code: its numbers are read as `dtype`, and may be stored narrower."""

    def __init__(self, dtype: types.Type, stored: ir.Type) -> None:
        self.dtype = dtype
        self.stored = stored
        super().__init__(name=f"Rodata({dtype}, {stored})")


@register_model(RodataType)
class _RodataModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: RodataType) -> None:
        super().__init__(manager, fe_type, fe_type.stored.as_pointer())


@typeof_impl.register(Rodata)
def _typeof_rodata(value: Rodata, context: Any) -> RodataType:
    dtype, stored = {
        "float16": (types.float32, ir.HalfType()),
        "float32": (types.float32, ir.FloatType()),
        "float64": (types.float64, ir.DoubleType()),
    }[value.array.dtype.name]
    return RodataType(dtype, stored)


@lower_constant(RodataType)
def _lower_rodata(context: Any, builder: Any, typ: RodataType, value: Rodata) -> Any:
    data = bytearray(value.array.tobytes())
    name = f"kdpinn_{value.name}"
    found = builder.module.globals.get(name)
    if found is None:
        content = ir.Constant(ir.ArrayType(ir.IntType(8), len(data)), data)
        found = cgutils.global_constant(builder, name, content)
        found.align = 64
    return builder.bitcast(found, context.get_value_type(typ))


Emit = Callable[..., Any]


def _word(name: str) -> Callable[[Callable[..., Any]], None]:
    """Make `define(typingctx, *argument_types) -> (signature, codegen)` the compiled meaning of lanes.<name>."""

    def register(define: Callable[..., Any]) -> None:
        function = getattr(lanes, name)
        template = make_intrinsic_template(function, define, name, prefer_literal=True)
        infer_global(function, types.Function(template))

    return register


def _lane_type(*operands: types.Type) -> LanesType | None:
    """The type that an operation on these operands has: that of its first lane operand."""
    return next((t for t in operands if isinstance(t, LanesType)), None)


def _as_lanes(builder: Any, value: Any, typ: types.Type, target: LanesType) -> Any:
    """A lane value as it is; a number, or the entry of a pair that belongs to the precision, in every lane."""
    if isinstance(typ, LanesType):
        return value
    if isinstance(typ, types.BaseTuple):
        i = POSITION[target.dtype]
        value, typ = builder.extract_value(value, i), typ.types[i]
    return _splat(builder, _as_scalar(builder, value, typ, target.dtype), target)


def _as_scalar(builder: Any, value: Any, typ: types.Type, dtype: types.Type) -> Any:
    typ = types.unliteral(typ)
    element = LanesType(dtype, 1).llvm.element
    if typ == dtype:
        return value
    if isinstance(typ, types.Integer) and dtype in INTEGER:
        return builder.sitofp(value, element)
    if isinstance(typ, types.Integer):
        return builder.trunc(value, element) if typ.bitwidth > dtype.bitwidth else builder.sext(value, element)
    return builder.fptrunc(value, element) if dtype == types.float32 else builder.fpext(value, element)


def _splat(builder: Any, scalar: Any, target: LanesType) -> Any:
    undefined = ir.Constant(target.llvm, ir.Undefined)
    one = builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), target.L), None)
    return builder.shuffle_vector(one, undefined, zeros)


def _elementwise(name: str, emit: Emit, result: Callable[[LanesType], LanesType] = lambda t: t) -> None:
    """A word whose operands become lanes of one type; emit(builder, type, *values) makes the instruction."""
    names = list(inspect.signature(getattr(lanes, name)).parameters)

    def define(typingctx: Any, *operands: types.Type) -> Any:
        target = _lane_type(*operands)
        if target is None:
            return None

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            pairs = zip(args, signature.args, strict=True)
            return emit(builder, target, *(_as_lanes(builder, value, typ, target) for value, typ in pairs))

        return result(target)(*operands), codegen

    _word(name)(_with_parameters(define, names))


def _with_parameters(define: Callable[..., Any], names: list[str]) -> Callable[..., Any]:
    """Numba reads the parameters of an intrinsic from its signature: give `define` the names of the NumPy word."""
    positional = inspect.Parameter.POSITIONAL_OR_KEYWORD
    define.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(n, positional) for n in ("typingctx", *names)]
    )
    return define


def _call_intrinsic(builder: Any, name: str, target: LanesType, *values: Any) -> Any:
    function_type = ir.FunctionType(target.llvm, [value.type for value in values])
    function = cgutils.get_or_insert_function(builder.module, function_type, f"{name}.{target.mangled}")
    return builder.call(function, values)


def _with_dtype(dtype: types.Type) -> Callable[[LanesType], LanesType]:
    return lambda t: LanesType(dtype, t.L)


_elementwise("add", lambda b, t, x, y: b.fadd(x, y))
_elementwise("sub", lambda b, t, x, y: b.fsub(x, y))
_elementwise("mul", lambda b, t, x, y: b.fmul(x, y))
_elementwise("div", lambda b, t, x, y: b.fdiv(x, y))
_elementwise("fma", lambda b, t, x, y, z: _call_intrinsic(b, "llvm.fma", t, x, y, z))
_elementwise("absolute", lambda b, t, x: _call_intrinsic(b, "llvm.fabs", t, x))
_elementwise("copysign", lambda b, t, x, s: _call_intrinsic(b, "llvm.copysign", t, x, s))
_elementwise("less", lambda b, t, x, y: b.fcmp_ordered("<", x, y), _with_dtype(types.boolean))
_elementwise("iadd", lambda b, t, i, j: b.add(i, j))
_elementwise("isub", lambda b, t, i, j: b.sub(i, j))
_elementwise("ishl", lambda b, t, i, n: b.shl(i, n))
_elementwise("ishr", lambda b, t, i, n: b.ashr(i, n))
_elementwise("ixor", lambda b, t, i, j: b.xor(i, j))
_elementwise(
    "bits",
    lambda b, t, x: b.bitcast(x, LanesType(INTEGER[t.dtype], t.L).llvm),
    lambda t: LanesType(INTEGER[t.dtype], t.L),
)
_elementwise(
    "from_bits",
    lambda b, t, i: b.bitcast(i, LanesType(FLOAT[t.dtype], t.L).llvm),
    lambda t: LanesType(FLOAT[t.dtype], t.L),
)
_elementwise(
    "canonical",
    lambda b, t, x: b.select(b.fcmp_unordered("uno", x, x), ir.Constant(t.llvm, [float("nan")] * t.L), x),
)


@_word("select")
def _select(typingctx: Any, condition: Any, a: Any, b: Any) -> Any:
    target = _lane_type(a, b)
    if target is None:
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        values = [_as_lanes(builder, v, t, target) for v, t in zip(args[1:], signature.args[1:], strict=True)]
        return builder.select(args[0], *values)

    return target(condition, a, b), codegen


@_word("horner")
def _horner(typingctx: Any, x: LanesType, coefficients: types.BaseTuple) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _horner_by(builder, x, args[0], _numbers(builder, x, args[1], coefficients))

    return x(x, coefficients), codegen


@_word("horner2")
def _horner2(typingctx: Any, x: LanesType, z: LanesType, coefficients: types.BaseTuple) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        c = _numbers(builder, x, args[2], coefficients)
        pairs = [_horner_by(builder, x, args[0], c[i : i + 2]) for i in range(0, len(c), 2)]
        return _horner_by(builder, x, args[1], pairs)

    return x(x, z, coefficients), codegen


def _numbers(builder: Any, target: LanesType, tables: Any, kinds: types.BaseTuple) -> list[Any]:
    """The coefficients that belong to the precision of `target`, as lanes."""
    i = POSITION[target.dtype]
    table, kind = builder.extract_value(tables, i), kinds.types[i]
    return [_as_lanes(builder, builder.extract_value(table, j), kind[j], target) for j in range(len(kind))]


def _horner_by(builder: Any, target: LanesType, x: Any, c: list[Any]) -> Any:
    *rest, p = c
    for number in reversed(rest):
        p = _call_intrinsic(builder, "llvm.fma", target, p, x, number)
    return p


@_word("splat")
def _splat_word(typingctx: Any, v: types.Float, L: types.IntegerLiteral) -> Any:
    target = LanesType(v, L.literal_value)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _splat(builder, args[0], target)

    return target(v, L), codegen


@_word("lane")
def _lane(typingctx: Any, v: LanesType, i: types.IntegerLiteral) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.extract_element(args[0], ir.Constant(ir.IntType(32), i.literal_value))

    return v.dtype(v, i), codegen


@_word("zeros")
def _zeros(typingctx: Any, like: types.CPointer, L: types.IntegerLiteral) -> Any:
    target = LanesType(like.dtype, L.literal_value)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return ir.Constant(target.llvm, None)

    return target(like, L), codegen


@_word("first")
def _first(typingctx: Any, m: types.IntegerLiteral, a: LanesType, b: LanesType) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        chosen = [i if i < m.literal_value else a.L + i for i in range(a.L)]
        return builder.shuffle_vector(args[1], args[2], _indices(chosen))

    return a(m, a, b), codegen


@_word("total")
def _total(typingctx: Any, v: LanesType) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value, L = args[0], v.L
        while L > 1:
            L //= 2
            halves = (builder.shuffle_vector(value, value, _indices(range(s, s + L))) for s in (0, L))
            value = builder.fadd(*halves)
        return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

    return v.dtype(v), codegen


def _indices(numbers: Any) -> ir.Constant:
    chosen = list(numbers)
    return ir.Constant(ir.VectorType(ir.IntType(32), len(chosen)), chosen)


def _address(builder: Any, pointer: Any, i: Any, L: int | None = None) -> Any:
    """The address of element i, as a pointer to a scalar, or to a vector of L."""
    place = builder.gep(pointer, [i])
    if L is None:
        return place
    return builder.bitcast(place, ir.VectorType(pointer.type.pointee, L).as_pointer())


@_word("load")
def _load(typingctx: Any, a: types.CPointer, i: types.Integer, L: types.IntegerLiteral) -> Any:
    target = LanesType(a.dtype, L.literal_value)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = _address(builder, args[0], args[1], target.L)
        value = builder.load(place, align=_stored_bytes(place.type.pointee.element))
        return value if value.type == target.llvm else builder.fpext(value, target.llvm)

    return target(a, types.intp, L), codegen


@_word("store")
def _store(typingctx: Any, a: types.CPointer, i: types.Integer, v: LanesType) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = _address(builder, args[0], args[1], v.L)
        builder.store(args[2], place, align=a.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(a, types.intp, v), codegen


@_word("item")
def _item(typingctx: Any, a: types.CPointer, i: types.Integer) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = builder.load(_address(builder, args[0], args[1]))
        scalar = context.get_value_type(a.dtype)
        return value if value.type == scalar else builder.fpext(value, scalar)

    return a.dtype(a, types.intp), codegen


def _stored_bytes(scalar: ir.Type) -> int:
    return {ir.HalfType(): 2, ir.FloatType(): 4, ir.DoubleType(): 8}[scalar]


@_word("put")
def _put(typingctx: Any, a: types.CPointer, i: types.Integer, v: types.Float) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _address(builder, args[0], args[1]))
        return context.get_dummy_value()

    return types.void(a, types.intp, a.dtype), codegen


@_word("same_bits")
def _same_bits(typingctx: Any, a: types.CPointer, i: types.Integer, b: types.CPointer, j: types.Integer) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        integer = ir.IntType(a.dtype.bitwidth)
        places = (_address(builder, args[0], args[1]), _address(builder, args[2], args[3]))
        values = [builder.load(builder.bitcast(place, integer.as_pointer())) for place in places]
        return builder.icmp_signed("==", *values)

    return types.boolean(a, types.intp, b, types.intp), codegen


@_word("scratch")
def _scratch(typingctx: Any, like: types.CPointer, size: types.IntegerLiteral) -> Any:
    result = types.CPointer(like.dtype)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = ir.ArrayType(context.get_value_type(like.dtype), size.literal_value)
        with builder.goto_entry_block():
            memory = builder.alloca(array)
        memory.align = 64
        return builder.bitcast(memory, context.get_value_type(result))

    return result(like, size), codegen


@_word("tail")
def _tail(typingctx: Any, a: types.CPointer, i: types.Integer) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _address(builder, args[0], args[1])

    return types.CPointer(a.dtype)(a, types.intp), codegen


@_word("is_null")
def _is_null(typingctx: Any, a: types.CPointer) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.icmp_unsigned("==", args[0], ir.Constant(args[0].type, None))

    return types.boolean(a), codegen


register_jitable(lanes.range32)
for _function in vars(activations).values():
    if inspect.isfunction(_function) and _function.__module__ == activations.__name__:
        register_jitable(_function)
