"""Words on numbers with an exponent each, as loops: `numerics/fixed_point/floating.py` is what they mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kdpinn_edge.export.lowering.fixed_constants import TABLES
from kdpinn_edge.export.lowering.fixed_steps import FixedSteps
from kdpinn_edge.export.lowering.loops import Expr, Symbol, apply
from kdpinn_edge.numerics.fixed_point.calls import Call
from kdpinn_edge.numerics.fixed_point.floating import BITS, CUT, LEAST, MOST
from kdpinn_edge.numerics.fixed_point.words import LOG2_E

Pair = tuple[Expr, Expr]
"""A mantissa and its exponent."""


class FloatingWords(FixedSteps):
    """The words of floating numbers; a row of exponents follows the row of mantissas by half the rows of a value."""

    def to_floating(self, call: Call) -> None:
        """Normalise words."""
        x, fraction = call.arguments
        self._pairs(call, lambda j: self._normal(self.read(x, j), 2 - fraction))

    def to_fixed(self, call: Call) -> None:
        """Shift mantissas to one scale."""
        x, fraction = call.arguments

        def value(j: Symbol | int) -> Expr:
            m, e = self._pair(x, j)
            sign, size = self._apart(m)
            right = self.let("right", self.do("isub", -fraction, e))
            some = apply("sign", self.do("isub", 0, size))
            large = self.do("iand", self.do("iand", apply("sign", right), some), CUT)
            cut = self.least(self.most(right, 0), 31)
            found = self.let("found", self.do("ior", self.do("ilshr", size, cut), large))
            return self.signed(self.least(found, CUT), sign)

        self.each(call, value)

    def float_mul(self, call: Call) -> None:
        """Multiply two values."""
        a, b = call.arguments
        self._pairs(call, lambda j: self._product(self._pair(a, j), self._pair(b, j)))

    def float_scale(self, call: Call) -> None:
        """Multiply by parameters."""
        x, m, e = call.arguments

        def value(j: Symbol | int) -> Pair:
            return self._product(self._pair(x, j), (self.parameter(m, (1, j)), self.parameter(e, (1, j))))

        self._pairs(call, value)

    def float_move(self, call: Call) -> None:
        """Multiply by a power of two, or less that."""
        x, sign, by = call.arguments

        def value(j: Symbol | int) -> Pair:
            m, e = self._pair(x, j)
            return m if sign > 0 else self.do("isub", 0, m), self.do("iadd", e, by)

        self._pairs(call, value)

    def float_add(self, call: Call) -> None:
        """Add two values."""
        a, b = call.arguments
        self._pairs(call, lambda j: self._total(self._pair(a, j), self._pair(b, j)))

    def float_plus(self, call: Call) -> None:
        """Add parameters."""
        x, m, e = call.arguments

        def value(j: Symbol | int) -> Pair:
            return self._total(self._pair(x, j), (self.parameter(m, (1, j)), self.parameter(e, (1, j))))

        self._pairs(call, value)

    def float_exp(self, call: Call) -> None:
        """Look the power of two of a fraction up."""
        x, by, fraction = call.arguments

        def value(j: Symbol | int) -> Pair:
            power = self.let("power", self.do("mulh", LOG2_E, self.shifted(self.read(x, j), by)))
            found = self.polynomial(TABLES[call.word], self.do("ishl", power, 32 - fraction))
            whole = self.do("ishr", power, fraction)
            return self._held(self.do("ishr", found, 1)), self.do("isub", whole, BITS - 1)

        self._pairs(call, value)

    def float_reciprocal(self, call: Call) -> None:
        """Look the reciprocal of a mantissa up."""
        (x,) = call.arguments

        def value(j: Symbol | int) -> Pair:
            m, e = self._pair(x, j)
            sign, size = self._apart(m)
            found = self._held(self.polynomial(TABLES[call.word], self.do("ishl", size, 3)))
            return self.signed(found, sign), self.do("isub", 1 - 2 * BITS, e)

        self._pairs(call, value)

    def float_rsqrt(self, call: Call) -> None:
        """Look the inverse root of a mantissa up."""
        (x,) = call.arguments

        def value(j: Symbol | int) -> Pair:
            m, e = self._pair(x, j)
            power = self.let("power", self.do("iadd", e, BITS - 1))
            digits = self.do("iand", self.do("ishl", m, 2), 0x7FFFFFFF)
            digits = self.do("ior", digits, self.do("ishl", power, 31))
            found = self._held(self.polynomial(TABLES[call.word], digits))
            return found, self.do("isub", -BITS, self.do("ishr", power, 1))

        self._pairs(call, value)

    def float_of(self, name: str, j: int) -> Expr:
        """Number j of a floating value as the bits of float32; too small ones are zero."""
        m, e = self._pair(name, j)
        sign, size = self._apart(m)
        exponent = self.let("exponent", self.do("iadd", e, 155))
        some = self.do("iand", *(apply("sign", self.do("isub", 0, each)) for each in (size, exponent)))
        digits = self.do("iadd", self.do("ishl", exponent, 23), self.do("ilshr", size, 6))
        number = self.do("ior", digits, self.do("iand", sign, -(1 << 31)))
        return self.let("number", self.do("iand", number, some))

    def _pair(self, name: Any, j: Symbol | int) -> Pair:
        """Number j of a floating value."""
        m, e = (self.read(name, j, after) for after in (0, self.size(name) // 2))
        return self.let("m", m), self.let("e", e)

    def _pairs(self, call: Call, value: Callable[[Symbol | int], Pair]) -> None:
        """Store the mantissa and the exponent of every number."""
        half = call.size // 2
        with self.code.loop("j", 0, half) as j:
            for after, each in zip((0, half), value(j), strict=True):
                self.code.store(self.s, self.row(call.out, j, after), each)

    def _apart(self, x: Expr) -> Pair:
        """The sign of a word, and its magnitude."""
        sign = self.let("sign", apply("sign", x))
        return sign, self.let("size", self.signed(x, sign))

    def _normal(self, x: Expr, e: Expr | int) -> Pair:
        sign, size = self._apart(self.let("x", x))
        digits, exponent = self.normalised(size, "exponent", e, 31)
        return self.signed(self.do("ilshr", digits, 2), sign), exponent

    def _product(self, a: Pair, b: Pair) -> Pair:
        (m, e), (by, power) = a, b
        found = self.let("found", apply("mulh", self.do("ishl", m, 1), self.do("ishl", by, 1)))
        _, size = self._apart(found)
        small = self.let("small", apply("sign", self.do("isub", size, LEAST)))
        exponent = self.do("iadd", self.do("iadd", self.do("iadd", e, power), BITS), small)
        return self.do("ishl", found, self.do("iand", small, 1)), exponent

    def _total(self, a: Pair, b: Pair) -> Pair:
        (m, e), (add, power) = a, b
        more = self.let("more", self.do("isub", power, e))
        below = self.let("below", self.do("iand", more, apply("sign", more)))
        larger = self.let("larger", self.do("isub", more, below))
        right = self.least(larger, 31), self.least(self.let("less", self.do("isub", 0, below)), 31)
        both = self.do("iadd", *(self.do("ishr", each, by) for each, by in zip((m, add), right, strict=True)))
        return self._normal(both, self.do("iadd", self.do("iadd", e, larger), 2))

    def _held(self, found: Expr) -> Expr:
        """What a table has, held to what a mantissa may be."""
        return self.let("held", self.least(self.most(self.let("m", found), LEAST), MOST))


FLOATING: dict[str, Callable[[FloatingWords, Call], None]] = {
    "to_floating": FloatingWords.to_floating,
    "to_fixed": FloatingWords.to_fixed,
    "float_mul": FloatingWords.float_mul,
    "float_scale": FloatingWords.float_scale,
    "float_move": FloatingWords.float_move,
    "float_add": FloatingWords.float_add,
    "float_plus": FloatingWords.float_plus,
    "float_exp": FloatingWords.float_exp,
    "float_reciprocal": FloatingWords.float_reciprocal,
    "float_rsqrt": FloatingWords.float_rsqrt,
}
"""The words on floating numbers, and those from words to floating numbers and back."""
