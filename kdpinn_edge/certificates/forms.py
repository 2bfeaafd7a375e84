"""Affine forms: enclosures of many numbers, in many cells at once, by float64 arithmetic whose own rounding is covered.

    v = centre + Σⱼ gradientⱼ eⱼ + Σₛ shareₛ εₛ + ρ,    eⱼ ∈ [-1, 1] one for each input of the Program, |ρ| <= rest

A point of a cell is the cell's centre plus eⱼ half-widths along input j, so `gradientⱼ` is the share of v that depends
on input j linearly, and sums of forms cancel where the numbers do. The rest of a variable can be given a symbol,
εₛ ∈ [-1, 1] (`symbols.py`): then it cancels, too, between forms of what was computed from that variable. With up to
MOST_SQUARED inputs the first symbols are the products eⱼ eₖ and, for a square, 2 eⱼ² - 1, so that what is quadratic
cancels as well. What is neither goes to `rest`, and shrinks with the cube of the width of the cell.

Every operation returns a form that holds the exact result for all numbers that its operands hold. Rounding to nearest
is off by at most U |result|, and by `TINY` where numbers are subnormal; a sum of n products in any order, with or
without fused multiply-adds, is off by at most n U / (1 - n U) times the sum of their magnitudes (N. J. Higham, Accuracy
and Stability of Numerical Algorithms, 2nd edition, SIAM 2002, sections 3.1 and 4.2). This goes to `rest`, which is then
enlarged by what its own few roundings could have taken: the way of S. M. Rump, Fast and Parallel Interval Arithmetic,
BIT 39 (1999). L. H. de Figueiredo and J. Stolfi, Affine Arithmetic, Numerical Algorithms 37 (2004), define the forms.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from kdpinn_edge.certificates.intervals import SLACK, TINY, Interval, Mask, U
from kdpinn_edge.program.ir import Array

MOST_SQUARED = 3
"""With more inputs there are too many pairs of them: each makes all forms longer."""
PAIRS = {n: [(j, k) for j in range(n) for k in range(j, n)] for n in range(1, MOST_SQUARED + 1)}
SQUARES = {n: tuple(f"e{j} e{k}" for j, k in pairs) for n, pairs in PAIRS.items()}
"""By the number of inputs, the symbols of their products: no variable is called so."""


@dataclass(frozen=True)
class Form:
    """Affine forms of the k entries of a variable in n cells.

    `linear` (1 + inputs + symbols, k, n) has the centre, then the gradient along each input, then the share of each of
    `symbols`; `rest` (k, n) is not negative.
    """

    linear: Array
    rest: Array
    symbols: tuple[str, ...] = ()

    @property
    def gradient(self) -> Array:
        """The shares (inputs, k, n) that depend on the inputs linearly."""
        gradient: Array = self.linear[1 : len(self.linear) - len(self.symbols)]
        return gradient

    @property
    def own(self) -> tuple[str, ...]:
        """The symbols of variables."""
        return self.symbols[len(SQUARES.get(len(self.gradient), ())) :]

    @property
    def centre(self) -> Array:
        """The value (k, n) where every e is 0."""
        centre: Array = self.linear[0]
        return centre

    @property
    def radius(self) -> Array:
        """How far values lie from `centre` at most."""
        radius: Array = (np.abs(self.linear[1:]).sum(axis=0) + self.rest) * (1 + 2 * len(self.linear) * U)
        return radius

    @property
    def interval(self) -> Interval:
        """All values."""
        radius = self.radius
        outward = radius + SLACK * (np.abs(self.centre) + radius) + TINY
        return Interval(self.centre - outward, self.centre + outward)

    def widened(self, by: Array) -> Form:
        """The values that are up to `by` from those of this form."""
        return Form(self.linear, (self.rest + by) * (1 + SLACK), self.symbols)

    def named(self, symbol: str) -> Form:
        """The same values, with a symbol for the rest where that is finite. No other form may have this symbol yet."""
        known = np.isfinite(self.rest)
        share = np.where(known, self.rest, 0.0)[None]
        return Form(np.concatenate([self.linear, share]), np.where(known, 0.0, self.rest), (*self.symbols, symbol))

    def folded(self, symbols: Collection[str]) -> Form:
        """The same values, with the shares of these symbols in the rest: from here on, nobody asks what they were."""
        if not (ended := set(symbols) & set(self.symbols)):
            return self
        first = len(self.linear) - len(self.symbols)
        keep, rest = [*range(first)], self.rest.copy()
        for row, symbol in enumerate(self.symbols, first):
            if symbol in ended:
                rest += np.abs(self.linear[row])
            else:
                keep.append(row)
        rest *= 1 + SLACK * len(self.symbols)
        return Form(self.linear[keep], rest, tuple(each for each in self.symbols if each not in ended))


def aligned(*forms: Form) -> tuple[list[Array], tuple[str, ...]]:
    """The `linear` of each form with rows for the symbols of all, and these symbols: those of products first."""
    symbols, squares = forms[0].symbols, SQUARES.get(len(forms[0].gradient), ())
    if symbols[: len(squares)] == squares and all(form.symbols == symbols for form in forms):
        return [form.linear for form in forms], symbols
    symbols = tuple(dict.fromkeys((*squares, *(symbol for form in forms for symbol in form.symbols))))
    found = []
    for form in forms:
        first = len(form.linear) - len(form.symbols)
        linear = np.zeros((first + len(symbols), *form.rest.shape))
        linear[:first] = form.linear[:first]
        linear[[first + symbols.index(symbol) for symbol in form.symbols]] = form.linear[first:]
        found.append(linear)
    return found, symbols


def constant(values: Array, like: Form) -> Form:
    """Numbers (k,) that are the same in every cell of `like`."""
    n_in = len(like.gradient)
    squares = SQUARES.get(n_in, ())
    linear = np.zeros((1 + n_in + len(squares), len(values), like.rest.shape[1]))
    linear[0] = values[:, None]
    return Form(linear, np.zeros(linear.shape[1:]), squares)


def within(interval: Interval, like: Form) -> Form:
    """Any numbers of `interval`: what they depend on is not known."""
    n_in = len(like.gradient)
    squares = SQUARES.get(n_in, ())
    linear = np.zeros((1 + n_in + len(squares), *interval.lower.shape))
    linear[0] = 0.5 * interval.lower + 0.5 * interval.upper
    half = np.maximum(interval.upper - linear[0], linear[0] - interval.lower)
    return Form(linear, half * (1 + SLACK) + SLACK * np.abs(linear[0]) + TINY, squares)


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
    (linear_a, linear_b), symbols = aligned(a, b)
    return Form(np.where(first, linear_a, linear_b), np.where(first, a.rest, b.rest), symbols)


def add(a: Form, b: Form) -> Form:
    """The sum a + b."""
    (linear_a, linear_b), symbols = aligned(a, b)
    linear = linear_a + linear_b
    return Form(linear, (a.rest + b.rest + SLACK * np.abs(linear).sum(axis=0)) * (1 + SLACK) + TINY, symbols)


def mul(a: Form, b: Form) -> Form:
    """The product a * b. What a square has beyond its linear part is not negative, so half of it goes to the centre."""
    radius_a, radius_b = a.radius, b.radius
    centre_a, centre_b = np.abs(a.centre), np.abs(b.centre)
    (linear_a, linear_b), symbols = aligned(a, b)
    linear = a.centre * linear_b
    linear[1:] += b.centre * linear_a[1:]
    n_in = len(a.gradient)
    if n_in in SQUARES:
        straight_a, straight_b = (np.abs(form.gradient).sum(axis=0) for form in (a, b))
        other_a, other_b = (
            np.abs(each[1 + n_in :]).sum(axis=0) + form.rest for each, form in ((linear_a, a), (linear_b, b))
        )
        add_products(linear, a.gradient, b.gradient)
        product, both = straight_a * other_b + other_a * straight_b, other_a * other_b
    else:
        product, both = np.zeros_like(radius_a), radius_a * radius_b
    if a is b:
        both *= 0.5
        linear[0] += both
    rest = centre_a * b.rest + centre_b * a.rest + product + both
    rounding = SLACK * (centre_a + radius_a) * (centre_b + radius_b)
    return Form(linear, (rest + rounding) * (1 + SLACK) + TINY, symbols)


def add_products(linear: Array, a: Array, b: Array) -> None:
    """Add (Σⱼ aⱼ eⱼ) (Σₖ bₖ eₖ), with a and b (inputs, k, n), to `linear`, which has rows for the squares."""
    n_in = len(a)
    for row, (j, k) in enumerate(PAIRS[n_in], 1 + n_in):
        if j == k:
            half = 0.5 * a[j] * b[j]
            linear[0] += half
            linear[row] += half
        else:
            linear[row] += a[j] * b[k] + a[k] * b[j]


def scale(x: Form, weight: Array, bias: Array) -> Form:
    """The product weight * x plus bias, with weight and bias (k,) or (k, n)."""
    weight, bias = (p[:, None] if p.ndim == 1 else p for p in (weight, bias))
    linear = weight * x.linear
    linear[0] += bias
    magnitude = np.abs(weight) * (np.abs(x.centre) + x.radius) + np.abs(bias)
    return Form(linear, (np.abs(weight) * x.rest + SLACK * magnitude) * (1 + SLACK) + TINY, x.symbols)


def affine(x: Form, weight: Array, bias: Array) -> Form:
    """The vector weight @ x + bias, with weight (out, k) and bias (out,)."""
    gamma = 2 * (weight.shape[1] + 8) * U
    linear = weight @ x.linear
    linear[0] += bias[:, None]
    rest = np.abs(weight) @ (x.rest + gamma * (np.abs(x.centre) + x.radius))
    return Form(linear, (rest + gamma * np.abs(bias)[:, None]) * (1 + gamma) + TINY, x.symbols)


def concat(xs: Sequence[Form]) -> Form:
    """The entries of all xs, one after another."""
    linear, symbols = aligned(*xs)
    return Form(np.concatenate(linear, axis=1), np.concatenate([x.rest for x in xs]), symbols)


def cut(x: Form, start: int, size: int) -> Form:
    """The entries x[start : start + size]."""
    return Form(x.linear[:, start : start + size], x.rest[start : start + size], x.symbols)
