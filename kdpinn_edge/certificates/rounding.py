"""The roundings of a numerics profile: how far each operation of a Program may be from its exact result.

The profile pins every rounding down (`numerics/reference.py`), so their number, their order and the size of what is
rounded are known: each is off by at most half a unit in the last place of the largest magnitude that its result has. A
result that is near a number of the precision is off by no more than that: a sum with a term that hardly counts, or a
product with a factor near 1.
"""

from __future__ import annotations

import numpy as np

from kdpinn_edge.certificates.forms import Form
from kdpinn_edge.certificates.intervals import SLACK, Interval, Mask
from kdpinn_edge.errors import CertificateError
from kdpinn_edge.functions import find_function
from kdpinn_edge.functions.record import Computation, Function
from kdpinn_edge.numerics import fixed_point
from kdpinn_edge.numerics.lanes import PROFILES, is_fast
from kdpinn_edge.numerics.reference import PRECISIONS, rounded
from kdpinn_edge.numerics.words import partial_sums
from kdpinn_edge.program.ir import Affine, Array, Program, Scale, parameters

MARGIN = {"float32": 1.0, "float64": 1.25}
"""How many times the bound on the error of a function is assumed: in float64 it was measured on a sample."""
EXPONENT_BITS = np.int64(0x7FF0000000000000)


class Rounding:
    """The local errors of the operations of `program` in one precision and profile."""

    def __init__(self, program: Program, precision: str, profile: str) -> None:
        if profile == fixed_point.PROFILE:
            raise CertificateError(
                f"the numerics profile is {profile}, of integers, and a certificate is about roundings of floats; "
                f"expected: {', '.join(PROFILES)}. Export the model without --arithmetic int16 and certify that"
            )
        if profile not in PROFILES:
            raise CertificateError(f"the numerics profile is {profile!r}; expected: {', '.join(PROFILES)}")
        kind = np.finfo(PRECISIONS[precision])
        self.largest = float(kind.max)
        self.precision, self.profile = precision, profile
        self._dtype = PRECISIONS[precision]
        self._unit = 2.0 ** (-kind.nmant - 1)
        self._subnormal = float(kind.smallest_subnormal) if precision == "float32" else 2.0**-1074
        self._fused = profile.startswith("fma")
        self._fast = is_fast(profile)
        self.parameters: dict[str, tuple[Array, Array]] = {
            op.out.name: tuple(rounded(a, precision).astype(np.float64) for a in parameters(op))  # type: ignore[misc]
            for op in program.ops
            if isinstance(op, (Affine, Scale))
        }

    def of(self, magnitude: Array) -> Array:
        """The largest error of one rounding to nearest of a result of at most this magnitude."""
        power = (magnitude.view(np.int64) & EXPONENT_BITS).view(np.float64)
        error: Array = np.maximum(power * self._unit, self._subnormal)
        return error

    def rounded(self, exact: Interval) -> Interval:
        """The numbers of `exact` and those that they may be rounded to: rounding keeps the order of numbers."""
        ends = (end.astype(self._dtype).astype(np.float64) for end in (exact.lower, exact.upper))
        return exact.hull(Interval(*ends))

    def affine(self, op: Affine, x: Form) -> tuple[Array, Array]:
        """The error of op on numbers of the precision within x, and the largest magnitude of all that is rounded.

        A partial sum lies within that of the terms at the centre, plus what the sums of their linear parts vary by,
        plus what all other parts do, plus the roundings before it, which are few: `gamma` times the sum of magnitudes.
        """
        weight, bias = self.parameters[op.out.name]
        n_out, n_in = weight.shape
        along = x.gradient if x.basis.degree > 1 else x.gradient[:0]  # too many where forms are linear
        radius, straight = x.radius, np.concatenate([x.centre[None], along])
        gamma = 4 * (n_in + len(straight) + 8) * self._unit
        curved = radius - np.abs(along).sum(axis=0)
        around = np.abs(weight) @ (curved + gamma * (np.abs(x.centre) + radius)) + gamma * np.abs(bias)[:, None]
        terms = weight[:, :, None] * straight[:, None]
        terms[0, :, 0] += bias[:, None]
        error = np.zeros_like(around)
        largest = np.zeros_like(around)
        count = partial_sums(n_in, n_out)
        totals = []
        for start in range(count):
            sums = terms[:, :, start::count]
            np.cumsum(sums, axis=2, out=sums)
            totals.append(sums[:, :, -1].copy())
            magnitude = np.abs(sums, out=sums).sum(axis=0)
            magnitude += around[:, None]
            largest = np.maximum(largest, magnitude.max(axis=1))
            rounds = (weight[:, start::count] != 0)[:, :, None]
            error += (self.of(magnitude) * rounds).sum(axis=1)
        while len(totals) > 1:
            half = len(totals) // 2
            totals = [totals[i] + totals[i + half] for i in range(half)]
            for total in totals:
                magnitude = np.abs(total).sum(axis=0) + around
                largest = np.maximum(largest, magnitude)
                error += self.of(magnitude)
        if not self._fused:
            exact = _is_power_of_two(weight)[:, :, None]
            products = np.abs(weight)[:, :, None] * (np.abs(x.centre) + radius)
            largest = np.maximum(largest, products.max(axis=1) * (1 + gamma))
            error += (self.of(products * (1 + gamma)) * ~exact).sum(axis=1) + n_in * self._subnormal
        return error * (1 + gamma), largest

    def scaled(self, op: Scale, x: Interval) -> Interval:
        """The numbers that op makes of those within x, exactly or computed: each rounding keeps their order."""
        weight, bias = self.parameters[op.out.name]
        product = x.times(weight)
        computed = self.rounded((product if self._fused else self.rounded(product)).plus(bias))
        return computed.hull(x.times(op.weight).plus(op.bias))

    def scale(self, op: Scale, x: Interval, result: Array) -> Array:
        """The error of op on numbers within x, whose result has at most this magnitude."""
        weight, bias = self.parameters[op.out.name]
        power = _is_power_of_two(weight)
        product = np.abs(weight)[:, None] * x.magnitude * (1 + 4 * self._unit)
        error: Array = np.fmin(self.of(result), product) * ~(power & (bias == 0))[:, None]  # the bias is a number
        if not self._fused:
            error += self.of(product) * ~power[:, None]
        error += self._subnormal
        return error

    def add(self, a: Interval, b: Interval, result: Array) -> Array:
        """The error of a sum of numbers within a and b, of at most the magnitude `result`: each term is a number."""
        return np.fmin(self.of(result), np.minimum(a.magnitude, b.magnitude))

    def mul(self, a: Interval, b: Interval, result: Array) -> Array:
        """The error of such a product: each factor is a number, which the product is near where the other is near 1."""
        near = np.fmin(a.magnitude * _from_one(b), b.magnitude * _from_one(a)) * (1 + SLACK)
        return np.fmin(self.of(result), near)

    def map(self, fn: str, x: Interval, exact: Interval) -> Array:
        """The error of the function called `fn` at x, where its exact values are `exact`.

        It is as measured, in units of the rounded value and with a margin, or the distance from the level that is
        returned there.
        """
        function = find_function(fn)
        computed = function.computed(fast=self._fast)
        max_ulp = computed.max_ulp[self.precision] * MARGIN[self.precision]
        unit = 2 * self.of(exact.magnitude * (1 + 2 * self._unit))
        error = max_ulp * unit if max_ulp else np.zeros_like(unit)
        for level, beyond in self._levels(function, computed):
            there = x.lower >= beyond if beyond > 0 else x.upper <= beyond
            distance = np.maximum(np.abs(exact.upper - level), np.abs(exact.lower - level))
            error = np.where(there, np.fmin(distance, error), error)
        return error

    def _levels(self, function: Function, computed: Computation) -> list[tuple[float, float]]:
        """The results that are returned exactly, and from which argument outward."""
        if computed.level is None:
            return []
        level, ends = computed.level
        beyond = ends[[*PRECISIONS].index(self.precision)]
        return [(level, beyond), (-level, -beyond)] if function.symmetry == "odd" else [(level, beyond)]


def _from_one(x: Interval) -> Array:
    """How far the magnitude of a number within x may be from 1."""
    crosses = (x.lower < 0) & (x.upper > 0)
    least = np.where(crosses, 0.0, np.minimum(np.abs(x.lower), np.abs(x.upper)))
    distance: Array = np.maximum(np.abs(x.magnitude - 1), np.abs(least - 1))
    return distance


def _is_power_of_two(values: Array) -> Mask:
    """Whether each is 0 or a power of two, with which a product is exact."""
    mantissa = np.abs(np.frexp(values)[0])
    exact: Mask = (mantissa == 0.5) | (mantissa == 0)
    return exact
