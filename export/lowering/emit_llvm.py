"""Typed loops → LLVM, through the builder of a function that is being made.

SIMD is by construction: a value of L lanes is an LLVM vector `<L x float>`, and nothing depends on an optimiser to find
it. What a processor lacks is replaced here: without fma a product and a sum, which is the profile `muladd-1`; without a
conditional move, choices by masks, so that time does not depend on data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

from llvmlite import ir

from kdpinn_edge.errors import ExportError
from kdpinn_edge.export.lowering import loops
from kdpinn_edge.export.lowering.loops import Buffer, Elementwise, Expr, Linear, Scalar, Symbol, Type, Variable

SCALARS: Mapping[Scalar, ir.Type] = {
    "float16": ir.HalfType(),
    "float32": ir.FloatType(),
    "float64": ir.DoubleType(),
    "bits16": ir.IntType(16),
    "bits32": ir.IntType(32),
    "bits64": ir.IntType(64),
    "int32": ir.IntType(32),
    "int64": ir.IntType(64),
    "bool": ir.IntType(1),
}
BYTES: Mapping[Scalar, int] = {
    "float16": 2,
    "float32": 4,
    "float64": 8,
    "bits16": 2,
    "bits32": 4,
    "bits64": 8,
    "int32": 4,
}
I32 = ir.IntType(32)
PAGE = 4096
ESTIMATED = Type("float32", 16)
"""What AVX-512 estimates the inverses of at once."""
UPWARDS = ir.Constant(I32, 2 | 8)
"""How AVX-512 is told to round towards infinity, and to raise no flag."""
ROW = 4
"""Words of a row of a table, which are read together: as many as the smallest vector holds."""


def llvm_type(type_: Type) -> ir.Type:
    """A number, or a vector of several."""
    scalar = SCALARS[type_.scalar]
    return scalar if type_.lanes == 1 else ir.VectorType(scalar, type_.lanes)


def constant(type_: Type, value: float | int) -> ir.Constant:
    """The same number in every lane."""
    number = ir.Constant(SCALARS[type_.scalar], value)
    return number if type_.lanes == 1 else ir.Constant(llvm_type(type_), [number] * type_.lanes)


def lanes_of(value: ir.Value) -> int:
    """How many numbers a value has."""
    return value.type.count if isinstance(value.type, ir.VectorType) else 1


@dataclass(frozen=True)
class Machine:
    """What the emitter knows of a processor: the width of an address, whether it fuses, can select, widens float16.

    It `multiplies` where one instruction has the upper word of a product of two words of 32 bits, and `in_pairs` where
    one has the whole products of every second lane of vectors. It `estimates` inverses: an instruction has those of 16
    float32, to within 2^-14. It `touches_frames`: each page of a frame of several.
    """

    pointer_bits: int
    in_order: bool
    fuses: bool
    selects: bool
    widens: bool
    multiplies: bool
    in_pairs: bool
    estimates: bool
    touches_frames: bool


@dataclass
class Emitter:
    """Emits statements into the function of `builder`.

    `pointers` and `integers` are the values of the buffers and parameters; scratch memory that is not among them is
    allocated, and a constant buffer is a symbol that another module defines. `call` makes the calls. With `lanes` it
    emits a function of one number for so many.
    """

    builder: ir.IRBuilder
    machine: Machine
    pointers: dict[str, ir.Value] = field(default_factory=dict)
    integers: dict[Symbol, ir.Value] = field(default_factory=dict)
    call: Callable[[ir.IRBuilder, str, Sequence[ir.Value], Sequence[ir.Value]], Any] | None = None
    lanes: int | None = None
    _values: dict[Variable, ir.Value] = field(default_factory=dict)
    _rows_read: dict[tuple[loops.Apply, int], list[ir.Value]] = field(default_factory=dict)
    _places: dict[Variable, ir.Value] = field(default_factory=dict)

    def bind(self, parameter: Buffer | Symbol, value: ir.Value) -> None:
        """Give a buffer or an integer its value."""
        if isinstance(parameter, Symbol):
            self.integers[parameter] = value
        else:
            self.pointers[parameter.name] = value

    def emit(self, body: loops.Body) -> None:
        """Emit statements in order."""
        for statement in body:
            self._statement(statement)

    def _statement(self, statement: loops.Statement) -> None:
        builder = self.builder
        match statement:
            case loops.Let(variable, value):
                self._let(variable, self.value(value))
            case loops.Set(variable, value):
                builder.store(self.value(value), self._places[variable])
            case loops.Store(buffer, at, value):
                found = self.value(value)
                builder.store(found, self._address(buffer, at, found.type), align=BYTES[buffer.scalar])
            case loops.For():
                self._for(statement)
            case loops.Block(body):
                self.emit(body)
            case loops.If():
                self._if(statement)
            case loops.Integer(symbol, value):
                self.integers[symbol] = self.value(value)
            case loops.Call(routine, pointers, symbols):
                if self.call is None:
                    raise ExportError(f"the loops call {routine}, which is not there to be called")
                addresses = [self._address(buffer, at) for buffer, at in pointers]
                self.call(builder, routine, addresses, [self._integer(each, each.bits) for each in symbols])
            case loops.Return(value):
                builder.ret(self.value(value))
            case loops.Comment():
                pass

    def _let(self, variable: Variable, value: ir.Value) -> None:
        if not variable.changes:
            self._values[variable] = value
            return
        with self.builder.goto_entry_block():
            self._places[variable] = self.builder.alloca(value.type)
        self.builder.store(value, self._places[variable])

    def _for(self, loop: loops.For) -> None:
        """The test is at the end; a loop that may not run has one more before it.

        A loop that meets its end exactly may be left by equality: that takes fewer instructions out of order, more in
        order.
        """
        builder, bits = self.builder, loop.counter.bits
        start, stop = self._integer(loop.start, bits), self._integer(loop.stop, bits)
        before = builder.block
        body, after = builder.append_basic_block("loop"), builder.append_basic_block("after")
        if loop.guarded:
            builder.cbranch(builder.icmp_signed("<", start, stop), body, after)
        else:
            builder.branch(body)
        builder.position_at_end(body)
        counter = builder.phi(start.type)
        counter.add_incoming(start, before)
        self.integers[loop.counter] = counter
        self.emit(loop.body)
        following = builder.add(counter, ir.Constant(counter.type, loop.step), flags=["nsw"])
        counter.add_incoming(following, builder.block)
        span = loop.stop - loop.start
        compare = "<" if self.machine.in_order or span.terms or span.base % loop.step else "!="
        builder.cbranch(builder.icmp_signed(compare, following, stop), body, after)
        builder.position_at_end(after)

    def _if(self, choice: loops.If) -> None:
        builder = self.builder
        condition = self.value(choice.condition)
        then, after = builder.append_basic_block("then"), None
        otherwise = builder.append_basic_block("else")
        builder.cbranch(condition, then, otherwise)
        ends = []
        for block, body in ((then, choice.then), (otherwise, choice.otherwise)):
            builder.position_at_end(block)
            self.emit(body)
            if not builder.block.is_terminated:
                ends.append(builder.block)
        after = builder.append_basic_block("after")
        for end in ends:
            builder.position_at_end(end)
            builder.branch(after)
        builder.position_at_end(after)

    def _integer(self, form: Linear, bits: int) -> ir.Value:
        """A linear form as an integer of so many bits."""
        type_, total = ir.IntType(bits), None
        for factor, symbol in form.terms:
            term = self._as_wide(self.integers[symbol], bits)
            if factor != 1:
                term = self.builder.mul(term, ir.Constant(type_, factor))
            total = term if total is None else self.builder.add(total, term)
        base = ir.Constant(type_, form.base)
        if total is None:
            return base
        return self.builder.add(total, base) if form.base else total

    def _as_wide(self, value: ir.Value, bits: int) -> ir.Value:
        if value.type.width == bits:
            return value
        change = self.builder.sext if value.type.width < bits else self.builder.trunc
        return change(value, ir.IntType(bits))

    def _address(self, buffer: Buffer, at: Linear, type_: ir.Type | None = None) -> ir.Value:
        """The address of an element, as a pointer to what lies there."""
        pointer = self._pointer(buffer)
        if at.terms or at.base:
            pointer = self.builder.gep(pointer, [self._integer(at, max(self.machine.pointer_bits, at.bits))])
        if type_ is None or type_ == pointer.type.pointee:
            return pointer
        return self.builder.bitcast(pointer, type_.as_pointer())

    def _pointer(self, buffer: Buffer) -> ir.Value:
        if buffer.name not in self.pointers:
            self.pointers[buffer.name] = self._scratch(buffer) if buffer.scratch else self._constant(buffer)
        return self.pointers[buffer.name]

    def _scratch(self, buffer: Buffer) -> ir.Value:
        scalar = SCALARS[buffer.scalar]
        with self.builder.goto_entry_block():
            memory = self.builder.alloca(ir.ArrayType(scalar, buffer.size.base))
            memory.align = 64
            if self.machine.touches_frames and buffer.size.base * BYTES[buffer.scalar] > PAGE:
                self._use(memory)
            return self.builder.bitcast(memory, scalar.as_pointer())

    def _use(self, memory: ir.Value) -> None:
        """Use an address by no instruction, so that the function makes its frame where it begins.

        LLVM likes to make it behind the checks of the arguments. There x86's r11 may hold one of them, as it never does
        where a function begins, and the loop that touches the pages of a large frame overwrites r11.
        """
        kind = ir.FunctionType(ir.VoidType(), [memory.type])
        self.builder.asm(kind, "", "r", [memory], side_effect=True)

    def _widened(self, half: ir.Value, type_: Type) -> ir.Value:
        """A narrow integer with its sign; or a finite float16 as float32.

        That is by its bits where no instruction does it, and LLVM would call a function: the exponents of a float32
        with its bits in their places are 112 too small.
        """
        builder, wide = self.builder, llvm_type(type_)
        if type_.scalar == "bits32":
            return builder.sext(half, wide)
        if self.machine.widens:
            return builder.fpext(half, wide)

        word, short = Type("bits32", type_.lanes), Type("bits16", type_.lanes)
        bits = builder.zext(builder.bitcast(half, llvm_type(short)), llvm_type(word))
        sign = builder.shl(builder.and_(bits, constant(word, 0x8000)), constant(word, 16))
        magnitude = builder.bitcast(builder.shl(builder.and_(bits, constant(word, 0x7FFF)), constant(word, 13)), wide)
        scaled = builder.bitcast(builder.fmul(magnitude, constant(type_, 2.0**112)), llvm_type(word))
        return builder.bitcast(builder.or_(scaled, sign), wide)

    def _constant(self, buffer: Buffer) -> ir.Value:
        """A constant of the kernel, which another module defines."""
        module, name, scalar = self.builder.module, constant_name(buffer.name), SCALARS[buffer.scalar]
        found = module.globals.get(name)
        if found is None:
            found = ir.GlobalVariable(module, scalar, name)
            found.global_constant, found.align = True, 64
        return found

    def value(self, expr: Expr) -> ir.Value:
        """The value of an expression."""
        match expr:
            case loops.Number(type_, value):
                return constant(self._wide(type_), value)
            case loops.Get(variable):
                place = self._places.get(variable)
                return self._values[variable] if place is None else self.builder.load(place)
            case loops.Load(type_, buffer, at) if self.lanes is None:
                stored = llvm_type(type_.of(buffer.scalar))
                found = self.builder.load(self._address(buffer, at, stored), align=BYTES[buffer.scalar])
                return found if buffer.scalar == type_.scalar else self._widened(found, type_)
            case loops.Lookup():
                return self._lookup(expr)
            case loops.Count(type_, value):
                return self._integer(value, SCALARS[type_.scalar].width)
            case loops.IsNull(buffer):
                pointer = self._pointer(buffer)
                return self.builder.icmp_unsigned("==", pointer, ir.Constant(pointer.type, None))
            case loops.Apply():
                return self._apply(expr)
        raise ExportError("a function of one number reads memory, which it does not")

    def _wide(self, type_: Type) -> Type:
        return type_ if self.lanes is None else Type(type_.scalar, self.lanes)

    def _lookup(self, expr: loops.Lookup) -> ir.Value:
        """Lane by lane: few processors read several places at once, and those gain little by it; or by whole rows."""
        builder, type_ = self.builder, self._wide(expr.type)
        if type_.lanes % ROW == 0 and expr.stride == ROW:
            row = expr.at - expr.at % ROW
            if (expr.index, row) not in self._rows_read:
                self._rows_read[expr.index, row] = self._rows(expr, row, self.value(expr.index), type_.lanes)
            return self._rows_read[expr.index, row][expr.at % ROW]
        index, pointer = self.value(expr.index), self._pointer(expr.buffer)
        found = ir.Constant(llvm_type(type_), ir.Undefined)
        for i in range(type_.lanes):
            one = index if type_.lanes == 1 else builder.extract_element(index, I32(i))
            at = builder.mul(one, ir.Constant(one.type, expr.stride))
            place = builder.add(at, ir.Constant(one.type, expr.at)) if expr.at else at
            wide = place if self.machine.pointer_bits == 32 else builder.zext(place, ir.IntType(64))
            number = builder.load(builder.gep(pointer, [wide]), align=BYTES[expr.buffer.scalar])
            if expr.buffer.scalar != type_.scalar:
                number = self._widened(number, Type(type_.scalar))
            found = number if type_.lanes == 1 else builder.insert_element(found, number, I32(i))
        return found

    def _rows(self, expr: loops.Lookup, row: int, index: ir.Value, lanes: int) -> list[ir.Value]:
        """The words of a row of a table, each for all lanes: a row is loaded for each lane, and they change places."""
        builder, vector = self.builder, llvm_type(Type(expr.type.scalar, ROW))
        table = builder.gep(self._pointer(expr.buffer), [I32(row)])
        places = builder.mul(index, constant(Type("bits32", lanes), ROW))
        loaded = []
        for i in range(lanes):
            place = builder.extract_element(places, I32(i))
            wide = place if self.machine.pointer_bits == 32 else builder.zext(place, ir.IntType(64))
            pointer = builder.bitcast(builder.gep(table, [wide]), vector.as_pointer())
            loaded.append(builder.load(pointer, align=BYTES[expr.buffer.scalar]))
        parts = [loaded[k::ROW] for k in range(ROW)]
        while len(parts[0]) > 1:
            parts = [[self._beside(*pair) for pair in zip(each[::2], each[1::2], strict=True)] for each in parts]
        a, b, c, d = (part[0] for part in parts)
        quarters = range(0, lanes, ROW)

        def mixed(p: ir.Value, q: ir.Value, *order: int) -> ir.Value:
            chosen = [at + k if k < ROW else lanes + at + k - ROW for at in quarters for k in order]
            return builder.shuffle_vector(p, q, _indices(chosen))

        found = []
        for order in ((0, 4, 1, 5), (2, 6, 3, 7)):
            first, second = mixed(a, b, *order), mixed(c, d, *order)
            found += [mixed(first, second, 0, 1, 4, 5), mixed(first, second, 2, 3, 6, 7)]
        return found

    def _beside(self, p: ir.Value, q: ir.Value) -> ir.Value:
        return self.builder.shuffle_vector(p, q, _indices(range(p.type.count + q.type.count)))

    def _apply(self, expr: loops.Apply) -> ir.Value:
        name, type_, operands = expr.operation, self._wide(expr.type), [self.value(each) for each in expr.operands]
        if isinstance(expr.detail, Elementwise):
            return self._elementwise(expr.detail, *operands)
        if name in INSTRUCTIONS:
            return INSTRUCTIONS[name](self.builder, *operands)
        if name in INTRINSICS:
            return self._intrinsic(INTRINSICS[name], type_, operands)
        if name in METHODS:
            return METHODS[name](self, type_, *operands, *([] if expr.detail is None else [expr.detail]))
        raise ExportError(f"the operation {name!r} has no meaning in LLVM here")

    def _elementwise(self, function: Elementwise, x: ir.Value) -> ir.Value:
        """The function written out, for as many lanes as x has."""
        inner = Emitter(self.builder, self.machine, self.pointers, lanes=lanes_of(x), _values={function.parameter: x})
        inner.emit(function.lets)
        return inner.value(function.result)

    def _intrinsic(self, name: str, type_: Type, operands: Sequence[ir.Value]) -> ir.Value:
        vector = llvm_type(type_)
        mangled = f"{'' if type_.lanes == 1 else f'v{type_.lanes}'}f{8 * BYTES[type_.scalar]}"
        function = self._declared(f"{name}.{mangled}", vector, *[vector] * len(operands))
        return self.builder.call(function, operands)

    def _fma(self, type_: Type, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """One rounding; or a product and a sum, each rounded, which LLVM fuses only where flags allow it."""
        if self.machine.fuses:
            return self._intrinsic("llvm.fma", type_, (a, b, c))
        return self.builder.fadd(self.builder.fmul(a, b), c)

    def _inverse(self, type_: Type, x: ir.Value) -> ir.Value:
        """1 / x, where x is at least 1 or NaN: from an estimate, for several registers of a processor that has one.

        Newton's step leaves one of the two float32 beside 1 / x, with the remainder e. A second step, by e + e^2 that
        is rounded up, then rounds correctly, whatever the estimate was: Markstein's theorem has one exception in each
        power of two (IBM J. Res. Dev. 34, 1990), which e^2 removes. Seven instructions start in a third of the cycles
        that the divider is busy with one register; but they take longer than it, so one register alone is divided. Of
        infinity and NaN the estimate is the inverse: 0 and NaN.
        """
        builder, one, parts = self.builder, constant(type_, 1.0), type_.lanes // ESTIMATED.lanes
        if not (self.machine.estimates and type_.scalar == ESTIMATED.scalar and parts > 1):
            return builder.fdiv(one, x)
        vector, mask = llvm_type(ESTIMATED), ir.IntType(ESTIMATED.lanes)
        estimate = self._declared("llvm.x86.avx512.rcp14.ps.512", vector, vector, vector, mask)
        fma = self._declared("llvm.x86.avx512.vfmadd.ps.512", vector, *[vector] * 3, I32)
        undefined, every = ir.Constant(vector, ir.Undefined), ir.Constant(mask, -1)

        y = self._in_registers(x, parts, lambda part: builder.call(estimate, (part, undefined, every)))
        minus = builder.fneg(x)
        nearer = self._fma(type_, y, self._fma(type_, minus, y, one), y)
        e = self._fma(type_, minus, nearer, one)
        e = self._in_registers(e, parts, lambda part: builder.call(fma, (part, part, part, UPWARDS)))
        inverse = self._fma(type_, nearer, e, nearer)
        return builder.select(builder.fcmp_ordered("<", x, constant(type_, inf)), inverse, y)

    def _in_registers(self, x: ir.Value, parts: int, function: Callable[[ir.Value], ir.Value]) -> ir.Value:
        """A function of one register, of so many; their number is a power of two."""
        lanes = lanes_of(x) // parts
        places = (_indices(range(i * lanes, (i + 1) * lanes)) for i in range(parts))
        found = [function(self.builder.shuffle_vector(x, x, each)) for each in places]
        while len(found) > 1:
            found = [self._beside(*pair) for pair in zip(found[::2], found[1::2], strict=True)]
        return found[0]

    def _declared(self, name: str, result: ir.Type, *arguments: ir.Type) -> ir.Function:
        """A function of LLVM's."""
        module = self.builder.module
        return module.globals.get(name) or ir.Function(module, ir.FunctionType(result, arguments), name)

    def _select(self, type_: Type, condition: ir.Value, a: ir.Value, b: ir.Value) -> ir.Value:
        if self.machine.selects:
            return self.builder.select(condition, a, b)
        if type_.lanes == 1:
            return self._chosen(condition, a, b, type_.scalar)
        result = ir.Constant(a.type, ir.Undefined)
        for i in range(type_.lanes):
            lane = I32(i)
            c, p, q = (self.builder.extract_element(each, lane) for each in (condition, a, b))
            result = self.builder.insert_element(result, self._chosen(c, p, q, type_.scalar), lane)
        return result

    def _chosen(self, condition: ir.Value, a: ir.Value, b: ir.Value, scalar: Scalar) -> ir.Value:
        """The bits of a where the condition holds, else those of b, by a mask.

        LLVM knows the pattern of masks, and would make a branch of it: an empty piece of assembly hides the mask.
        """
        builder, integer = self.builder, SCALARS[loops.BITS_OF.get(scalar, scalar)]
        mask = self._hidden(builder.sext(condition, integer))
        p, q = builder.bitcast(a, integer), builder.bitcast(b, integer)
        return builder.bitcast(builder.xor(builder.and_(builder.xor(p, q), mask), q), a.type)

    def _canonical(self, type_: Type, x: ir.Value) -> ir.Value:
        return self._select(type_, self.builder.fcmp_unordered("uno", x, x), constant(type_, float("nan")), x)

    def _less(self, type_: Type, a: ir.Value, b: ir.Value) -> ir.Value:
        integers = isinstance(getattr(a.type, "element", a.type), ir.IntType)
        return (self.builder.icmp_signed if integers else self.builder.fcmp_ordered)("<", a, b)

    def _top(self, type_: Type, word: ir.Value, bits: int) -> ir.Value:
        return self.builder.lshr(word, constant(type_, SCALARS[type_.scalar].width - bits))

    def _sign(self, type_: Type, word: ir.Value) -> ir.Value:
        """All ones where a word is negative.

        LLVM knows how masks are made and what they are for, and would make a branch of one where it cannot select: it
        sees neither the word nor the mask.
        """
        hides = not self.machine.selects and type_.lanes == 1
        bits = constant(type_, SCALARS[type_.scalar].width - 1)
        mask = self.builder.ashr(self._hidden(word) if hides else word, bits)
        return self._hidden(mask) if hides else mask

    def _hidden(self, value: ir.Value) -> ir.Value:
        """The same value, of which LLVM knows nothing, by an assembly of no instruction."""
        kind = ir.FunctionType(value.type, [value.type])
        return self.builder.asm(kind, "", "=r,0", [value], side_effect=False)

    def _mulh(self, type_: Type, a: ir.Value, b: ir.Value) -> ir.Value:
        """By one instruction where a product of two words has 64 bits; else of their halves.

        With a = a1 2^16 + a0, where a0 has no sign: a b = a1 b1 2^32 + (a1 b0 + a0 b1) 2^16 + a0 b0.
        """
        builder = self.builder
        if self.machine.in_pairs and type_.lanes > 1:
            odd = self._product(type_, self._odd(type_, a), self._odd(type_, b))
            return self._uppers(type_, self._mule(type_, a, b), odd)
        if self.machine.multiplies:
            wide = Type("bits64", type_.lanes)
            product = builder.mul(*(builder.sext(each, llvm_type(wide)) for each in (a, b)))
            return builder.trunc(builder.lshr(product, constant(wide, 32)), a.type)
        half, lower = constant(type_, 16), constant(type_, 0xFFFF)
        (a0, a1), (b0, b1) = ((builder.and_(each, lower), builder.ashr(each, half)) for each in (a, b))
        low = builder.lshr(builder.mul(a0, b0), half)
        middle = builder.add(builder.mul(a1, b0), low)
        other = builder.add(builder.mul(a0, b1), builder.and_(middle, lower))
        upper = builder.add(builder.mul(a1, b1), builder.ashr(middle, half))
        return builder.add(upper, builder.ashr(other, half))

    def _mule(self, type_: Type, a: ir.Value, b: ir.Value) -> ir.Value:
        return self._product(type_, self._even(type_, a), self._even(type_, b))

    def _mulo(self, type_: Type, a: ir.Value, b: ir.Value) -> ir.Value:
        return self._product(type_, self._even(type_, a), self._odd(type_, b))

    def _even(self, type_: Type, x: ir.Value) -> ir.Value:
        """The words of even lanes with 64 bits: LLVM knows the two shifts, and that its product needs none of them."""
        bits = self._halved(type_, 32)
        return self.builder.ashr(self.builder.shl(self.builder.bitcast(x, bits.type), bits), bits)

    def _odd(self, type_: Type, x: ir.Value) -> ir.Value:
        bits = self._halved(type_, 32)
        return self.builder.ashr(self.builder.bitcast(x, bits.type), bits)

    def _halved(self, type_: Type, number: int) -> ir.Value:
        """A number in half as many lanes of 64 bits."""
        return constant(Type("bits64", type_.lanes // 2), number)

    def _product(self, type_: Type, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.bitcast(self.builder.mul(a, b), llvm_type(type_))

    def _uppers(self, type_: Type, even: ir.Value, odd: ir.Value) -> ir.Value:
        chosen = [i + 1 if i % 2 == 0 else type_.lanes + i for i in range(type_.lanes)]
        return self.builder.shuffle_vector(even, odd, _indices(chosen))

    def _bitcast(self, type_: Type, x: ir.Value) -> ir.Value:
        return self.builder.bitcast(x, llvm_type(type_))

    def _splat(self, type_: Type, x: ir.Value) -> ir.Value:
        if type_.lanes == 1:
            return x
        undefined = ir.Constant(llvm_type(type_), ir.Undefined)
        one = self.builder.insert_element(undefined, x, I32(0))
        return self.builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(I32, type_.lanes), None))

    def _lane(self, type_: Type, x: ir.Value, lane: int) -> ir.Value:
        return x if lanes_of(x) == 1 else self.builder.extract_element(x, I32(lane))

    def _first(self, type_: Type, a: ir.Value, b: ir.Value, m: int) -> ir.Value:
        L = type_.lanes
        if L == 1:
            return a if m else b
        return self.builder.shuffle_vector(a, b, _indices([i if i < m else L + i for i in range(L)]))

    def _total(self, type_: Type, value: ir.Value) -> ir.Value:
        if (L := lanes_of(value)) == 1:
            return value
        while L > 1:
            L //= 2
            halves = (self.builder.shuffle_vector(value, value, _indices(range(s, s + L))) for s in (0, L))
            value = self.builder.fadd(*halves)
        return self.builder.extract_element(value, I32(0))

    def _opaque(self, type_: Type, word: ir.Value) -> ir.Value:
        """An assembly of no instruction, of which LLVM knows that it may change the register."""
        return self._hidden(word)

    def _min(self, type_: Type, a: ir.Value, b: ir.Value) -> ir.Value:
        wide = self.builder.sext(a, b.type)
        smaller = self.builder.select(self.builder.icmp_signed("<", b, wide), b, wide)
        return self.builder.trunc(smaller, a.type)


def constant_name(name: str) -> str:
    """The symbol of a constant array of the kernel."""
    return f"kdpinn_{name}"


def _indices(numbers: Sequence[int]) -> ir.Constant:
    return ir.Constant(ir.VectorType(I32, len(numbers)), list(numbers))


INSTRUCTIONS: Mapping[str, Callable[..., ir.Value]] = {
    "add": ir.IRBuilder.fadd,
    "sub": ir.IRBuilder.fsub,
    "mul": ir.IRBuilder.fmul,
    "div": ir.IRBuilder.fdiv,
    "iadd": ir.IRBuilder.add,
    "isub": ir.IRBuilder.sub,
    "ishl": ir.IRBuilder.shl,
    "ishr": ir.IRBuilder.ashr,
    "ixor": ir.IRBuilder.xor,
    "iand": ir.IRBuilder.and_,
    "ior": ir.IRBuilder.or_,
    "ilshr": ir.IRBuilder.lshr,
    "imul": ir.IRBuilder.mul,
    "and": ir.IRBuilder.and_,
    "or": ir.IRBuilder.or_,
    "not": ir.IRBuilder.not_,
    "at_most": lambda builder, a, b: builder.fcmp_ordered("<=", a, b),
    "equal": lambda builder, a, b: builder.icmp_signed("==", a, b),
}
INTRINSICS = {"absolute": "llvm.fabs", "copysign": "llvm.copysign"}
METHODS: Mapping[str, Callable[..., ir.Value]] = {
    "fma": Emitter._fma,
    "inverse": Emitter._inverse,
    "select": Emitter._select,
    "canonical": Emitter._canonical,
    "less": Emitter._less,
    "bits": Emitter._bitcast,
    "from_bits": Emitter._bitcast,
    "word": Emitter._bitcast,
    "integer": Emitter._bitcast,
    "splat": Emitter._splat,
    "lane": Emitter._lane,
    "first": Emitter._first,
    "total": Emitter._total,
    "min": Emitter._min,
    "opaque": Emitter._opaque,
    "top": Emitter._top,
    "sign": Emitter._sign,
    "mulh": Emitter._mulh,
    "mule": Emitter._mule,
    "mulo": Emitter._mulo,
    "uppers": Emitter._uppers,
}
