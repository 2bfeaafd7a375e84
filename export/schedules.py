"""Prints the two schedules of a kernel. They compute the same bits: both sum in the order of the numerics profile.

  - `points`: a tile of L points in lanes; weights are broadcast; the network stays in registers and L1;
  - `point`:  one point, the neurons of a layer in lanes.

V is the number of lanes in a vector register.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from textwrap import wrap

import numpy as np

from kdpinn_edge.export.blocking import Blocking, Choice, most_streams, powers_of_two
from kdpinn_edge.export.lowering import Constants, Memory, Step, few, fuse, is_view, is_zero
from kdpinn_edge.numerics.reference import partial_sums
from kdpinn_edge.program.ir import Add, Affine, Concat, Map, Op, Program, Scale, Var, operands

SUMS = "abcdefgh"
"""What partial sums are called: there are at most eight."""


class Text:
    """Lines of Python. `loop` prints a for, or a plain assignment where it would run once.

    `narrow` text counts its loops in 32 bits.
    """

    def __init__(self, *, narrow: bool = False) -> None:
        self.lines: list[str] = []
        self._narrow = narrow

    def put(self, depth: int, *lines: str) -> None:
        """Print `lines`, indented `depth` times."""
        self.lines += [f"{'    ' * depth}{line}".rstrip() for line in lines]

    def comment(self, depth: int, words: str) -> None:
        """Print a comment, as many lines as it takes."""
        self.put(depth, *(f"# {line}" for line in wrap(words, 110)))

    def loop(self, depth: int, name: str, start: int, stop: int, step: int = 1) -> int:
        """Print the head of a loop; returns the depth of its body."""
        if start + step >= stop:
            self.put(depth, f"{name} = {start}")
            return depth
        bounds = f"{stop}" if start == 0 and step == 1 else f"{start}, {stop}" + (f", {step}" if step > 1 else "")
        counted = f"range32({start}, {stop}, {step})" if self._narrow else f"range({bounds})"
        self.put(depth, f"for {name} in {counted}:")
        return depth + 1


def place(base: int, *terms: tuple[int, str | int]) -> str:
    """The text of base + Σ factor * index; indices that are numbers are folded into the base."""
    base += sum(factor * index for factor, index in terms if isinstance(index, int))
    symbols = [
        index.strip("()") if factor == 1 else f"{factor} * {index}" for factor, index in terms if isinstance(index, str)
    ]
    return " + ".join([str(base), *symbols] if base or not symbols else symbols)


def halved(sums: Sequence[str]) -> str:
    """The text that adds partial sums by halving."""
    while len(sums) > 1:
        half = len(sums) // 2
        sums = [f"add({a}, {b})" for a, b in zip(sums[:half], sums[half:], strict=True)]
    return sums[0]


@dataclass(frozen=True)
class Lowered:
    """A Program as the steps of either schedule, and what was decided for them."""

    program: Program
    tile_steps: Sequence[Step]
    point_steps: Sequence[Step]
    constants: Constants
    blocking: Blocking

    @property
    def points_per_tile(self) -> int:
        """One per lane."""
        return self.constants.vectors.lanes * self.blocking.vectors_per_tile


def lower_program(program: Program, constants: Constants) -> Lowered:
    """Decide how `program` is computed, and give its parameters a place among `constants`.

    In a tile, the activation of a single product is a step of its own: its latency is hidden behind many vectors, and
    the product has all registers. One point would wait for its sums to be stored and loaded again, but on processors
    that are in order, which wait for nothing and lack registers.
    """
    streams = most_streams(constants.vectors)
    finished = 2 if constants.vectors.in_order else 1
    tile_steps, point_steps = fuse(program, streams, finished=2), fuse(program, streams, finished=finished)
    constants.place(point_steps)
    return Lowered(program, tile_steps, point_steps, constants, Blocking(tile_steps, point_steps, constants.vectors))


def print_points(text: Text, name: str, lowered: Lowered) -> int:
    """Print the schedule with points in lanes as the function `name`; returns how much scratch memory it needs."""
    program, steps, L = lowered.program, lowered.tile_steps, lowered.points_per_tile
    memory = Memory(program, steps, lambda op: op.out.size, program.n_in)
    text.put(0, "", "", f"def {name}(x, y, p, m, s, w):")
    text.put(1, f'"""Points p, …, p + m - 1, one per lane; m <= {L}."""')
    text.put(1, "for i in range(m):")
    for c in range(program.n_in):
        text.put(2, f"put(s, {place(c * L, (1, 'i'))}, item(x, {place(c, (program.n_in, '(p + i)'))}))")
    text.put(1, f"for i in range(m, {L}):")
    for c in range(program.n_in):
        text.put(2, f"put(s, {place(c * L, (1, 'i'))}, 0.0)")
    size = memory.size * L
    for step in steps:
        op = step.ops[0]
        if not step.stored or is_view(program, op):
            continue
        text.comment(1, str(step))
        if isinstance(op, Concat):
            to = memory.at[op.out.name] * L
            for x in op.xs:
                depth = text.loop(1, "i", 0, x.size)
                source = place(memory.at[x.name] * L, (L, "i"))
                text.put(depth, f"store(s, {place(to, (L, 'i'))}, load(s, {source}, {L}))")
                to += x.size * L
        else:
            size = max(size, _points_block(text, step, lowered, memory))
    rows = [memory.at[var.name] + i for var in program.outputs for i in range(var.size)]
    text.put(1, *(f"store(s, {row * L}, canonical(load(s, {row * L}, {L})))" for row in rows))
    text.put(1, "for i in range(m):")
    for c, row in enumerate(rows):
        text.put(2, f"put(y, {place(c, (program.n_out, '(p + i)'))}, item(s, {place(row * L, (1, 'i'))}))")
    return size


def _points_block(text: Text, step: Step, lowered: Lowered, memory: Memory) -> int:
    """Print a block, some rows at a time; returns how much scratch memory it needs.

    Where every row is treated alike, and no weight is read, rows that lie side by side are one long vector: all the
    instructions of one kind then stand together, and fewer of them wait. In order it makes no difference.
    """
    constants, L = lowered.constants, lowered.points_per_tile
    products, size = step.products, memory.size * L
    array, weight, n_in, P, across, down = "w", 0, 0, 1, 0, 0
    if products:
        n_in, P = products[0].x.size, partial_sums(products[0].x.size, step.size)
        (weight, _), (across, down) = constants.of(products[0]), constants.strides(products[0])
        if constants.widens and not few(products[0]):
            array, weight, size = "s", size, size + _widen(text, weight, n_in * down, constants, size)
    V = constants.vectors.lanes
    by_lane = constants.vectors.factors_by_lane and across == 1
    choice = lowered.blocking.tile(step)
    R = choice.at_once
    whole_j = step.size - step.size % R
    flat = not (products or constants.vectors.in_order) and not any(constants.varies(op) for op in step.ops)
    free = size
    for start, stop, rows in ((0, whole_j, R), (whole_j, step.size, step.size - whole_j)):
        if start == stop:
            continue
        sums = [[_names(P, f"{q or ''}", r) for q in range(len(products))] for r in range(rows)]
        depth = text.loop(1, "j", start, stop, rows)
        parked = _Parked(free, L)
        for each in _passes(n_in, P, choice):
            for r, row in enumerate(sums):
                for op, names in zip(products, row, strict=True):
                    if 0 in each.sums and not is_zero(op.bias):
                        bias = f"item(w, {place(constants.of(op)[1] + r, (1, 'j'))})"
                        text.put(depth, f"{names[0]} = splat({bias}, {L})")
            empty = [
                names[p]
                for row in sums
                for op, names in zip(products, row, strict=True)
                for p in each.sums
                if p or is_zero(op.bias)
            ]
            if empty:
                text.put(depth, f"{' = '.join(empty)} = zeros(s, {L})")
            inner = text.loop(depth, "k", 0, each.whole, each.stride) if each.whole else depth
            for k, terms, body in (("k", each.loop, inner), (each.whole, each.rest, depth)):
                for i in terms:
                    for q, op in enumerate(products):
                        text.put(body, f"u = load(s, {place(memory.at[op.x.name] * L + i * L, (L, k))}, {L})")
                        for r, row in enumerate(sums):
                            at_weight = place(weight + i * down + r * across, (down, k), (across, "j"))
                            factor = f"item({array}, {at_weight})"
                            if by_lane:
                                if q == r % V == 0:
                                    g = f"g{r // V or ''}"
                                    lanes = constants.padded(min(V, rows - r))
                                    text.put(body, f"{g} = load({array}, {at_weight}, {lanes})")
                                factor = f"lane(g{r // V or ''}, {r % V})"
                            name = row[q][i % P]
                            text.put(body, f"{name} = fma({factor}, u, {name})")
            if P - 1 not in each.sums:
                sums = [[parked.park(text, depth, names, each.sums) for names in row] for row in sums]
        lanes = rows * L if flat else L
        for r, row in enumerate(sums[:1] if flat else sums):

            def at(var: Var, r: int = r) -> str:
                return place((memory.at[var.name] + r) * L, (L, "j"))

            def number(base: int, r: int = r) -> str:
                return f"item(w, {place(base + r, (1, 'j'))})"

            text.put(depth, *_finish(step, constants, [halved(names) for names in row], at, number, lanes, f"_{r}"))
        size = max(size, parked.end)
    return size


def _widen(text: Text, weight: int, numbers: int, constants: Constants, to: int) -> int:
    """Print the loop that widens the weights of a layer once per tile; returns how many numbers they are."""
    for start, stop, lanes in _chunks(numbers, constants, 4):
        depth = text.loop(1, "i", start, stop, lanes)
        text.put(depth, f"store(s, {place(to, (1, 'i'))}, load(w, {place(weight, (1, 'i'))}, {lanes}))")
    return constants.padded(numbers)


def print_point(text: Text, name: str, lowered: Lowered) -> int:
    """Print the schedule with neurons in lanes as the function `name`; returns how much scratch memory it needs.

    Loads and stores are of whole vectors: what lies behind the end of a variable is neither defined nor used.
    """
    program, steps, constants = lowered.program, lowered.point_steps, lowered.constants
    V = constants.vectors.lanes

    def extent(op: Op) -> int:
        if isinstance(op, Concat):
            ends = np.cumsum([x.size for x in op.xs])
            pads = [constants.padded(x.size) - x.size for x in op.xs]
            return aligned(max(int(end) + pad for end, pad in zip(ends, pads, strict=True)))
        return aligned(op.out.size)

    def aligned(size: int) -> int:
        return -(-size // V) * V

    memory = Memory(program, steps, extent, aligned(program.n_in))
    size = memory.size + max(V, len(SUMS))  # a load of the last variable may reach so far beyond it
    text.put(0, "", "", f"def {name}(x, y, p, s, w):")
    text.put(1, '"""Point p, the neurons of a layer in lanes."""')
    for c in range(program.n_in):
        text.put(1, f"put(s, {c}, item(x, {place(c, (program.n_in, 'p'))}))")
    for step in steps:
        op = step.ops[0]
        if is_view(program, op) or not step.stored:
            continue
        text.comment(1, str(step))
        if isinstance(op, Concat):
            to = memory.at[op.out.name]
            for x in op.xs:
                for start, stop, lanes in _chunks(x.size, constants, 4):
                    depth = text.loop(1, "i", start, stop, lanes)
                    source = place(memory.at[x.name], (1, "i"))
                    text.put(depth, f"store(s, {place(to, (1, 'i'))}, load(s, {source}, {lanes}))")
                to += x.size
        elif isinstance(op, Affine) and few(op):
            _point_few(text, op, constants, memory)
        else:
            size = max(size, _point_block(text, step, lowered, memory))
    rows = [memory.at[var.name] + i for var in program.outputs for i in range(var.size)]
    for c, row in enumerate(rows):
        text.put(1, f"put(y, {place(c, (program.n_out, 'p'))}, total(canonical(load(s, {row}, 1))))")
    return size


def _point_block(text: Text, step: Step, lowered: Lowered, memory: Memory) -> int:
    """Print a block, some vectors of rows at a time; returns how much scratch memory it needs."""
    size = memory.size
    products, constants = step.products, lowered.constants
    weight, n_in, P, down = 0, 0, 1, 0
    if products:
        n_in, P = products[0].x.size, partial_sums(products[0].x.size, step.size)
        (weight, _), (_, down) = constants.of(products[0]), constants.strides(products[0])
    choice = lowered.blocking.point(step)
    for start, stop, lanes in _chunks(step.size, constants, choice.at_once):
        sums = [_names(P, f"{q or ''}", "") for q in range(len(products))]
        depth = text.loop(1, "j", start, stop, lanes)
        parked = _Parked(memory.size, lanes)
        for each in _passes(n_in, P, choice):
            for op, names in zip(products, sums, strict=True):
                if 0 in each.sums and not is_zero(op.bias):
                    text.put(depth, f"{names[0]} = load(w, {place(constants.of(op)[1], (1, 'j'))}, {lanes})")
            empty = [
                names[p] for op, names in zip(products, sums, strict=True) for p in each.sums if p or is_zero(op.bias)
            ]
            if empty:
                text.put(depth, f"{' = '.join(empty)} = zeros(s, {lanes})")
            inner = text.loop(depth, "k", 0, each.whole, each.stride) if each.whole else depth
            for k, terms, body in (("k", each.loop, inner), (each.whole, each.rest, depth)):
                for i in terms:
                    text.put(body, f"g = load(w, {place(weight + i * down, (down, k), (1, 'j'))}, {lanes})")
                    for op, names in zip(products, sums, strict=True):
                        number = f"item(s, {place(memory.at[op.x.name] + i, (1, k))})"
                        text.put(body, f"{names[i % P]} = fma(g, {number}, {names[i % P]})")
            if P - 1 not in each.sums:
                sums = [parked.park(text, depth, names, each.sums) for names in sums]

        def at(var: Var) -> str:
            return place(memory.at[var.name], (1, "j"))

        def number_at(base: int, lanes: int = lanes) -> str:
            return f"load(w, {place(base, (1, 'j'))}, {lanes})"

        text.put(depth, *_finish(step, constants, [halved(names) for names in sums], at, number_at, lanes, ""))
        size = max(size, parked.end)
    return size


def _point_few(text: Text, op: Affine, constants: Constants, memory: Memory) -> None:
    """Terms in lanes: lane i is partial sum i."""
    n_out, n_in = op.weight.shape
    P = partial_sums(n_in, n_out)
    x, to = memory.at[op.x.name], memory.at[op.out.name]
    weight, bias = constants.of(op)
    across, _ = constants.strides(op)
    whole, rest = n_in - n_in % P, n_in % P
    depth = text.loop(1, "j", 0, n_out)
    text.put(depth, f"a = first(1, splat(item(w, {place(bias, (1, 'j'))}), {P}), zeros(s, {P}))")
    inner = text.loop(depth, "k", 0, whole, P)

    def terms(k: str | int) -> str:
        return f"fma(load(w, {place(weight, (across, 'j'), (1, k))}, {P}), load(s, {place(x, (1, k))}, {P}), a)"

    text.put(inner, f"a = {terms('k')}")
    if rest:
        text.put(depth, f"a = first({rest}, {terms(whole)}, a)")
    text.put(depth, f"put(s, {place(to, (1, 'j'))}, total(a))")


@dataclass(frozen=True)
class _Pass:
    """Partial sums that are computed in one pass through the terms: `loop` has those of one turn, `rest` the others."""

    sums: Sequence[int]
    stride: int
    whole: int
    loop: Sequence[int]
    rest: Sequence[int]


def _passes(n_in: int, P: int, choice: Choice) -> list[_Pass]:
    """One pass for all P sums, or one for each, in which a turn of the loop has several terms all the same."""
    groups, stride = ([range(P)], P) if choice.together else ([(p,) for p in range(P)], choice.terms * P)
    whole = n_in - n_in % stride
    return [
        _Pass(
            sums,
            stride,
            whole,
            [k for k in range(stride) if whole and k % P in sums],
            [k for k in range(n_in - whole) if k % P in sums],
        )
        for sums in groups
    ]


class _Parked:
    """Partial sums that wait in the scratch memory from `at` on while others are computed."""

    def __init__(self, at: int, lanes: int) -> None:
        self.end = at
        self._lanes = lanes

    def park(self, text: Text, depth: int, names: Sequence[str], chosen: Sequence[int]) -> list[str]:
        """Print the stores of the `chosen` sums of one row; returns the texts that stand for all of them then."""
        texts = list(names)
        for p in chosen:
            text.put(depth, f"store(s, {self.end}, {names[p]})")
            texts[p] = f"load(s, {self.end}, {self._lanes})"
            self.end += self._lanes
        return texts


def _names(sums: int, stream: str, row: int | str) -> list[str]:
    """What the partial sums of one row of one stream are called: a0, b0; for further streams a1_0, b1_0."""
    return [f"{letter}{stream}{'_' if stream else ''}{row}" for letter in SUMS[:sums]]


def _finish(
    step: Step,
    constants: Constants,
    products: Sequence[str],
    at: Callable[[Var], str],
    number: Callable[[int], str],
    lanes: int,
    suffix: str,
) -> list[str]:
    """The lines that finish one row, or some vectors of rows, of a block.

    `products` are the texts of its matrix products, `at(var)` is where the row of a variable lies, `number(i)` the text
    of the constant i of the row. A result that is used once is written in place; others get a name.
    """
    uses = Counter(var.name for op in step.ops for var in operands(op))
    uses.update(var.name for var in step.stored)
    values: dict[str, str] = {}
    lines: list[str] = []

    def named(var: Var, text: str) -> str:
        if uses[var.name] > 1:
            name = f"v{len(values)}{suffix}"
            lines.append(f"{name} = {text}")
            text = name
        values[var.name] = text
        return text

    for i, op in enumerate(step.ops):
        if isinstance(op, Affine):
            value = products[i]
        else:
            for var in operands(op):
                if var.name not in values:
                    named(var, f"load(s, {at(var)}, {lanes})")
            value = _elementwise(op, [values[var.name] for var in operands(op)], constants, number)
        value = named(op.out, value)
        if op.out in step.stored:
            lines.append(f"store(s, {at(op.out)}, {value})")
    return lines


def _elementwise(op: Op, parts: Sequence[str], constants: Constants, number: Callable[[int], str]) -> str:
    match op:
        case Scale(weight=weight, bias=bias):
            texts = [constants.uniform(v) or number(i) for v, i in zip((weight, bias), constants.of(op), strict=True)]
            return f"fma({texts[0]}, {parts[0]}, {texts[1]})"
        case Map(fn=fn):
            return f"{fn}({parts[0]})"
        case _:
            return f"{'add' if isinstance(op, Add) else 'mul'}({', '.join(parts)})"


def _chunks(size: int, constants: Constants, vectors: int) -> list[tuple[int, int, int]]:
    """`size` numbers as (start, stop, lanes): some vectors at once, then the rest."""
    size = constants.padded(size)
    wide = vectors * constants.vectors.lanes
    whole = size - size % wide
    chunks = [(0, whole, wide)] if whole else []
    start = whole
    for lanes in powers_of_two(size - whole):
        chunks.append((start, start + lanes, lanes))
        start += lanes
    return chunks
