"""Forms: enclosures of many numbers, in many cells at once, by float64 arithmetic whose own rounding is covered.

    v = Σₘ shareₘ eᵐ + Σₛ shareₛ εₛ + ρ,    eⱼ ∈ [-1, 1] one for each input of the Program, |ρ| <= rest

A point of a cell is the cell's centre plus eⱼ half-widths along input j. The monomials eᵐ go up to some degree
(`monomials.py`), so that sums of forms cancel where the numbers do, degree by degree. The rest of a variable can be
given a symbol, εₛ ∈ [-1, 1] (`symbols.py`), so that it cancels, too, between forms of what was computed from that
variable. What is neither goes to `rest`; beside a polynomial of degree d it shrinks with the power d + 1 of the width.

Every operation returns a form that holds the exact result for all numbers that its operands hold. Rounding to nearest
is off by at most U |result|, and by `TINY` where numbers are subnormal; a sum of n products in any order, with or
without fused multiply-adds, is off by at most n U / (1 - n U) times the sum of their magnitudes (N. J. Higham, Accuracy
and Stability of Numerical Algorithms, 2nd edition, SIAM 2002, sections 3.1 and 4.2). This goes to `rest`, which is then
enlarged by what its own few roundings could have taken: the way of S. M. Rump, Fast and Parallel Interval Arithmetic,
BIT 39 (1999). The forms are those of affine arithmetic (L. H. de Figueiredo and J. Stolfi, Numerical Algorithms 37,
2004) with polynomials, as in Taylor models (K. Makino and M. Berz, International Journal of Pure and Applied
Mathematics 4, 2003).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from kdpinn_edge.certificates.intervals import SLACK, TINY, Interval, Mask, U
from kdpinn_edge.certificates.monomials import Monomials, left_out
from kdpinn_edge.program.ir import Array


@dataclass(frozen=True)
class Form:
    """Forms of the k entries of a variable in n cells.

    `shares` (monomials + symbols, k, n) has the share of each of `basis`, then that of each of `symbols`; `rest` (k, n)
    is not negative.
    """

    basis: Monomials
    shares: Array
    rest: Array
    symbols: tuple[str, ...] = ()

    @property
    def polynomial(self) -> Array:
        """The shares (monomials, k, n) that are not of symbols."""
        polynomial: Array = self.shares[: len(self.basis)]
        return polynomial

    @property
    def gradient(self) -> Array:
        """The shares (inputs, k, n) that depend on the inputs linearly."""
        gradient: Array = self.shares[1 : 1 + self.basis.n]
        return gradient

    @cached_property
    def by_degree(self) -> Array:
        """The sums (degree + 1, k, n) of the magnitudes of the shares of monomials of each degree."""
        return self.basis.by_degree(self.polynomial)

    @cached_property
    def size(self) -> Array:
        """The magnitudes (k, n) of all shares and the rest together."""
        size: Array = self.by_degree.sum(axis=0) + self.other
        return size

    @cached_property
    def centre(self) -> Array:
        """The middle (k, n) of all values, up to rounding."""
        centre: Array = self.shares[0].copy()
        for row in self.basis.squares:
            centre += 0.5 * self.shares[row]
        return centre

    @cached_property
    def other(self) -> Array:
        """How far values lie from those of the polynomial at most."""
        other: Array = np.abs(self.shares[len(self.basis) :]).sum(axis=0) + self.rest
        return other

    @cached_property
    def straight(self) -> Array:
        """How far values of the polynomial lie from `centre` at most."""
        straight: Array = self.by_degree[1:].sum(axis=0) + self.basis.slack * self.size
        for row in self.basis.squares:
            straight -= 0.5 * np.abs(self.shares[row])
        return straight

    @cached_property
    def radius(self) -> Array:
        """How far values lie from `centre` at most."""
        radius: Array = (self.straight + self.other) * (1 + 2 * len(self.shares) * U)
        return radius

    @property
    def interval(self) -> Interval:
        """All values."""
        radius = self.radius
        outward = radius + SLACK * (np.abs(self.centre) + radius) + TINY
        return Interval(self.centre - outward, self.centre + outward)

    def widened(self, by: Array) -> Form:
        """The values that are up to `by` from those of this form."""
        return replace(self, rest=(self.rest + by) * (1 + SLACK))

    def named(self, symbol: str) -> Form:
        """The same values, with a symbol for the rest where that is finite. No other form may have this symbol yet."""
        known = np.isfinite(self.rest)
        share = np.where(known, self.rest, 0.0)[None]
        shares = np.concatenate([self.shares, share])
        return Form(self.basis, shares, np.where(known, 0.0, self.rest), (*self.symbols, symbol))

    def folded(self, symbols: Collection[str]) -> Form:
        """The same values, with the shares of these symbols in the rest: from here on, nobody asks what they were."""
        if not (ended := set(symbols) & set(self.symbols)):
            return self
        keep, rest = [*range(len(self.basis))], self.rest.copy()
        for row, symbol in enumerate(self.symbols, len(self.basis)):
            if symbol in ended:
                rest += np.abs(self.shares[row])
            else:
                keep.append(row)
        rest *= 1 + SLACK * len(self.symbols)
        return Form(self.basis, self.shares[keep], rest, tuple(each for each in self.symbols if each not in ended))


def aligned(*forms: Form) -> tuple[list[Array], tuple[str, ...]]:
    """The `shares` of each form with rows for the symbols of all, and these symbols."""
    symbols = forms[0].symbols
    if all(form.symbols == symbols for form in forms):
        return [form.shares for form in forms], symbols
    symbols = tuple(dict.fromkeys(symbol for form in forms for symbol in form.symbols))
    found = []
    for form in forms:
        first = len(form.basis)
        shares = np.zeros((first + len(symbols), *form.rest.shape))
        shares[:first] = form.polynomial
        shares[[first + symbols.index(symbol) for symbol in form.symbols]] = form.shares[first:]
        found.append(shares)
    return found, symbols


def constant(values: Array, like: Form) -> Form:
    """Numbers (k,) or (k, n) that are the same at every point of a cell of `like`."""
    values = values[:, None] if values.ndim == 1 else values
    shares = np.zeros((len(like.basis), len(values), like.rest.shape[1]))
    shares[0] = values
    return Form(like.basis, shares, np.zeros(shares.shape[1:]))


def within(interval: Interval, like: Form) -> Form:
    """Any numbers of `interval`: what they depend on is not known."""
    centre = 0.5 * interval.lower + 0.5 * interval.upper
    half = np.maximum(interval.upper - centre, centre - interval.lower)
    shares = np.zeros((len(like.basis), *centre.shape))
    shares[0] = centre
    return Form(like.basis, shares, half * (1 + SLACK) + SLACK * np.abs(centre) + TINY)


def sharper(form: Form, interval: Interval) -> Form:
    """In each cell the form, or all numbers of the interval where that is known not to hold many more.

    Both hold the same number. What a form says of dependence is worth a rest that is half of all values, and also that
    there seem to be a fifth more of them.
    """
    width = interval.upper - interval.lower
    known = (form.rest <= 0.25 * width) | (form.radius <= 0.6 * width)  # false for NaN
    if known.all():
        return form
    return chosen(known, form, within(interval, form))


def chosen(first: Mask, a: Form, b: Form) -> Form:
    """The form a where `first` holds, and b elsewhere."""
    (shares_a, shares_b), symbols = aligned(a, b)
    return Form(a.basis, np.where(first, shares_a, shares_b), np.where(first, a.rest, b.rest), symbols)


def add(a: Form, b: Form) -> Form:
    """The sum a + b."""
    (shares_a, shares_b), symbols = aligned(a, b)
    shares = shares_a + shares_b
    rest = (a.rest + b.rest + SLACK * np.abs(shares).sum(axis=0)) * (1 + SLACK) + TINY
    return Form(a.basis, shares, rest, symbols)


def mul(a: Form, b: Form) -> Form:
    """The product a * b. What a square has beyond its polynomial is not negative, so half of it goes to the centre."""
    (shares_a, shares_b), symbols = aligned(a, b)
    n, slack = len(a.basis), a.basis.slack
    polynomial = a.basis.product(a.polynomial, b.polynomial)
    both = a.other * b.other
    if a is b:
        both *= 0.5
        polynomial[0] += both
    centre_a, centre_b = np.abs(a.centre), np.abs(b.centre)
    rest = centre_a * b.rest + centre_b * a.rest + a.straight * b.other + a.other * b.straight + both
    rest += left_out(a.by_degree, b.by_degree)
    shares = np.concatenate([polynomial, a.centre * shares_b[n:] + b.centre * shares_a[n:]]) if symbols else polynomial
    return Form(a.basis, shares, (rest + slack * (a.size * b.size)) * (1 + slack) + TINY, symbols)


def scale(x: Form, weight: Array, bias: Array) -> Form:
    """The product weight * x plus bias, with weight and bias (k,) or (k, n)."""
    weight, bias = (p[:, None] if p.ndim == 1 else p for p in (weight, bias))
    shares = weight * x.shares
    shares[0] += bias
    magnitude = np.abs(weight) * x.size + np.abs(bias)
    return replace(x, shares=shares, rest=(np.abs(weight) * x.rest + SLACK * magnitude) * (1 + SLACK) + TINY)


def shifted(x: Form, by: Array) -> Form:
    """The values plus numbers `by` (k, n)."""
    shares = x.shares.copy()
    shares[0] += by
    return replace(x, shares=shares, rest=(x.rest + SLACK * np.abs(shares[0])) * (1 + SLACK) + TINY)


def affine(x: Form, weight: Array, bias: Array) -> Form:
    """The vector weight @ x + bias, with weight (out, k) and bias (out,)."""
    gamma = 2 * (weight.shape[1] + 8) * U
    shares = weight @ x.shares
    shares[0] += bias[:, None]
    rest = np.abs(weight) @ (x.rest + gamma * x.size)
    return replace(x, shares=shares, rest=(rest + gamma * np.abs(bias)[:, None]) * (1 + gamma) + TINY)


def concat(xs: Sequence[Form]) -> Form:
    """The entries of all xs, one after another."""
    shares, symbols = aligned(*xs)
    return Form(xs[0].basis, np.concatenate(shares, axis=1), np.concatenate([x.rest for x in xs]), symbols)


def cut(x: Form, start: int, size: int) -> Form:
    """The entries x[start : start + size]."""
    return replace(x, shares=x.shares[:, start : start + size], rest=x.rest[start : start + size])
