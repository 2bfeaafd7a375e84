"""Words on numbers with an exponent each, as loops: `numerics/fixed_point/floating.py` is what they mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kdpinn_edge.export.lowering.fixed_steps import FixedSteps, Numbers, Row, Word, by_row
from kdpinn_edge.export.lowering.loops import Expr, apply
from kdpinn_edge.numerics.fixed_point.calls import Call
from kdpinn_edge.numerics.fixed_point.floating import BITS, CUT, LEAST, MOST
from kdpinn_edge.numerics.fixed_point.tables import EXP2, INVERSE_ROOT, RECIPROCAL
from kdpinn_edge.numerics.fixed_point.words import LOG2_E

Pair = tuple[Expr, Expr]
"""A mantissa and its exponent."""


def by_pair(value: Callable[..., Pair]) -> Word:
    """A word of which `value(self, j, arguments…)` is number j."""

    def word(self: FixedSteps, call: Call) -> None:
        half = call.size // 2
        with self.code.loop("j", 0, half) as j:
            for after, each in zip((0, half), value(self, j, *call.arguments), strict=True):
                self.code.store(self.s, self.row(call.out, j, after), each)

    return word


class FloatingWords(FixedSteps):
    """The words of floating numbers; a row of exponents follows the row of mantissas by half the rows of a value."""

    @by_pair
    def to_floating(self, j: Row, x: str, fraction: int) -> Pair:
        """Normalise words."""
        return self._normal(self.read(x, j), 2 - fraction)

    @by_row
    def to_fixed(self, j: Row, x: str, fraction: int) -> Expr:
        """Shift mantissas to one scale."""
        m, e = self._pair(x, j)
        sign, size = self._apart(m)
        right = self.let("right", self.do("isub", -fraction, e))
        some = apply("sign", self.do("isub", 0, size))
        large = self.do("iand", self.do("iand", apply("sign", right), some), CUT)
        cut = self.least(self.most(right, 0), 31)
        found = self.let("found", self.do("ior", self.do("ilshr", size, cut), large))
        return self.signed(self.least(found, CUT), sign)

    @by_pair
    def float_mul(self, j: Row, a: str, b: str) -> Pair:
        """Multiply two values."""
        return self._product(self._pair(a, j), self._pair(b, j))

    @by_pair
    def float_scale(self, j: Row, x: str, m: Numbers, e: Numbers) -> Pair:
        """Multiply by parameters."""
        return self._product(self._pair(x, j), (self.parameter(m, (1, j)), self.parameter(e, (1, j))))

    @by_pair
    def float_move(self, j: Row, x: str, sign: int, by: int) -> Pair:
        """Multiply by a power of two, or less that."""
        m, e = self._pair(x, j)
        return m if sign > 0 else self.do("isub", 0, m), self.do("iadd", e, by)

    @by_pair
    def float_add(self, j: Row, a: str, b: str) -> Pair:
        """Add two values."""
        return self._total(self._pair(a, j), self._pair(b, j))

    @by_pair
    def float_plus(self, j: Row, x: str, m: Numbers, e: Numbers) -> Pair:
        """Add parameters."""
        return self._total(self._pair(x, j), (self.parameter(m, (1, j)), self.parameter(e, (1, j))))

    @by_pair
    def float_exp(self, j: Row, x: str, by: int, fraction: int) -> Pair:
        """Look the power of two of a fraction up."""
        power = self.let("power", self.do("mulh", LOG2_E, self.shifted(self.read(x, j), by)))
        found = self.polynomial(EXP2, self.do("ishl", power, 32 - fraction))
        whole = self.do("ishr", power, fraction)
        return self._held(self.do("ishr", found, 1)), self.do("isub", whole, BITS - 1)

    @by_pair
    def float_reciprocal(self, j: Row, x: str) -> Pair:
        """Look the reciprocal of a mantissa up."""
        m, e = self._pair(x, j)
        sign, size = self._apart(m)
        found = self._held(self.polynomial(RECIPROCAL, self.do("ishl", size, 3)))
        return self.signed(found, sign), self.do("isub", 1 - 2 * BITS, e)

    @by_pair
    def float_rsqrt(self, j: Row, x: str) -> Pair:
        """Look the inverse root of a mantissa up."""
        m, e = self._pair(x, j)
        power = self.let("power", self.do("iadd", e, BITS - 1))
        digits = self.do("iand", self.do("ishl", m, 2), 0x7FFFFFFF)
        digits = self.do("ior", digits, self.do("ishl", power, 31))
        found = self._held(self.polynomial(INVERSE_ROOT, digits))
        return found, self.do("isub", -BITS, self.do("ishr", power, 1))

    def float_of(self, name: str, j: int) -> Expr:
        """Number j of a floating value as the bits of float32; too small ones are zero."""
        m, e = self._pair(name, j)
        sign, size = self._apart(m)
        exponent = self.let("exponent", self.do("iadd", e, 155))
        some = self.do("iand", *(apply("sign", self.do("isub", 0, each)) for each in (size, exponent)))
        digits = self.do("iadd", self.do("ishl", exponent, 23), self.do("ilshr", size, 6))
        number = self.do("ior", digits, self.do("iand", sign, -(1 << 31)))
        return self.let("number", self.do("iand", number, some))

    def _pair(self, name: Any, j: Row) -> Pair:
        """Number j of a floating value."""
        m, e = (self.read(name, j, after) for after in (0, self.size(name) // 2))
        return self.let("m", m), self.let("e", e)

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


FLOATING: dict[str, Word] = {
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
