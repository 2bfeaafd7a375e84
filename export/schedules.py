"""Prints the two schedules of a kernel. They compute the same bits: both sum in the order of the numerics profile.

  - `points`: a tile of L points in lanes; weights are broadcast; the network stays in registers and L1;
  - `point`:  one point, the neurons of a layer in lanes.

V is the number of lanes in a vector register, L that of two.
"""

from __future__ import annotations

import numpy as np

from kdpinn_edge.export.lowering import Constants, Memory, Step, few, is_view
from kdpinn_edge.ir import Add, Affine, Concat, Map, Op, Program, Scale, operands
from kdpinn_edge.numpy_program import partial_sums

ROWS_AT_ONCE = {1: (4,), 2: (4, 5, 6, 3), 8: (1,)}
VECTORS_AT_ONCE = 4


class Text:
    """Lines of Python. `loop` prints a for, or a plain assignment where it would run once."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def put(self, depth: int, *lines: str) -> None:
        """Print `lines`, indented `depth` times."""
        self.lines += [f"{'    ' * depth}{line}".rstrip() for line in lines]

    def loop(self, depth: int, name: str, start: int, stop: int, step: int = 1) -> int:
        """Print the head of a loop; returns the depth of its body."""
        if start + step >= stop:
            self.put(depth, f"{name} = {start}")
            return depth
        bounds = f"{stop}" if start == 0 and step == 1 else f"{start}, {stop}" + (f", {step}" if step > 1 else "")
        self.put(depth, f"for {name} in range({bounds}):")
        return depth + 1


def place(base: int, *terms: tuple[int, str | int]) -> str:
    """The text of base + Σ factor * index; indices that are numbers are folded into the base."""
    base += sum(factor * index for factor, index in terms if isinstance(index, int))
    symbols = [
        index.strip("()") if factor == 1 else f"{factor} * {index}" for factor, index in terms if isinstance(index, str)
    ]
    return " + ".join([str(base), *symbols] if base or not symbols else symbols)


def halved(sums: list[str]) -> str:
    """The text that adds partial sums by halving."""
    while len(sums) > 1:
        half = len(sums) // 2
        sums = [f"add({a}, {b})" for a, b in zip(sums[:half], sums[half:], strict=True)]
    return sums[0]


def applied(fn: str, value: str) -> str:
    """The text of fn(value), or of value alone."""
    return f"{fn}({value})" if fn else value


def elementwise(op: Op, parts: list[str], weight: str, bias: str) -> str:
    """The text of one lane value of an elementwise op; `parts` are the texts of its operands."""
    match op:
        case Scale():
            return f"fma({weight}, {parts[0]}, {bias})"
        case Map(fn=fn):
            return f"{fn}({parts[0]})"
        case _:
            return f"{'add' if isinstance(op, Add) else 'mul'}({', '.join(parts)})"


def print_points(text: Text, name: str, program: Program, steps: list[Step], constants: Constants) -> int:
    """Print the schedule with points in lanes as the function `name`; returns how many numbers of scratch memory it needs."""
    L = constants.L
    memory = Memory(program, steps, lambda step: step.out.size, program.n_in)
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
        text.put(1, f"# {step}")
        to = memory.at[step.out.name] * L
        match step.op:
            case Affine() as op:
                matrix = "w", constants.of(step)[0]
                if constants.widens and not few(op):
                    matrix = "s", memory.size * L
                    size = max(size, memory.size * L + _widen(text, step, op, constants, memory.size * L))
                _points_affine(text, step, op, constants, matrix, memory.at[op.x.name] * L, to)
            case op if is_view(program, op):
                pass
            case Concat(xs=xs):
                for x in xs:
                    depth = text.loop(1, "i", 0, x.size)
                    source = place(memory.at[x.name] * L, (L, "i"))
                    text.put(depth, f"store(s, {place(to, (L, 'i'))}, load(s, {source}, {L}))")
                    to += x.size * L
            case op:
                rows_in = [f"load(s, {place(memory.at[var.name] * L, (L, 'i'))}, {L})" for var in operands(op)]
                weight, bias = (f"item(w, {place(base, (1, 'i'))})" for base in constants.of(step))
                value = elementwise(op, rows_in, weight, bias)
                depth = text.loop(1, "i", 0, op.out.size)
                text.put(depth, f"store(s, {place(to, (L, 'i'))}, {value})")
    rows = [memory.at[var.name] + i for var in program.outputs for i in range(var.size)]
    text.put(1, *(f"store(s, {row * L}, canonical(load(s, {row * L}, {L})))" for row in rows))
    text.put(1, "for i in range(m):")
    for c, row in enumerate(rows):
        text.put(2, f"put(y, {place(c, (program.n_out, '(p + i)'))}, item(s, {place(row * L, (1, 'i'))}))")
    return size


def _widen(text: Text, step: Step, op: Affine, constants: Constants, to: int) -> int:
    """Print the loop that widens the weights of a layer once per tile; returns how many numbers they are."""
    weight, _ = constants.of(step)
    numbers = op.x.size * constants.strides(op)[1]
    for start, stop, lanes in _chunks(numbers, constants):
        depth = text.loop(1, "i", start, stop, lanes)
        text.put(depth, f"store(s, {place(to, (1, 'i'))}, load(w, {place(weight, (1, 'i'))}, {lanes}))")
    return constants.padded(numbers)


def _points_affine(
    text: Text, step: Step, op: Affine, constants: Constants, matrix: tuple[str, int], x: int, to: int
) -> None:
    """`matrix` is the array that holds the weights, and where in it they begin."""
    L = constants.L
    n_out, n_in = op.weight.shape
    P = partial_sums(n_in, n_out)
    array, weight = matrix
    _, bias = constants.of(step)
    across, down = constants.strides(op)
    R = min(ROWS_AT_ONCE[P], key=lambda rows: (n_out % rows, ROWS_AT_ONCE[P].index(rows)))
    whole_j, whole_k = n_out - n_out % R, n_in - n_in % P
    for start, stop, rows in ((0, whole_j, R), (whole_j, n_out, n_out - whole_j)):
        if start == stop:
            continue
        sums = [[f"{'abcdefgh'[p]}{r}" for p in range(P)] for r in range(rows)]
        depth = text.loop(1, "j", start, stop, rows)
        for r in range(rows):
            text.put(depth, f"{sums[r][0]} = splat(item(w, {place(bias + r, (1, 'j'))}), {L})")
        if P > 1:
            text.put(depth, f"{' = '.join(name for row in sums for name in row[1:])} = zeros(s, {L})")
        inner = text.loop(depth, "k", 0, whole_k, P)
        for k, terms, body in (("k", P, inner), (whole_k, n_in - whole_k, depth)):
            for p in range(terms):
                text.put(body, f"u = load(s, {place(x + p * L, (L, k))}, {L})")
                for r in range(rows):
                    number = f"item({array}, {place(weight + p * down + r * across, (down, k), (across, 'j'))})"
                    text.put(body, f"{sums[r][p]} = fma({number}, u, {sums[r][p]})")
        for r in range(rows):
            text.put(depth, f"store(s, {place(to + r * L, (L, 'j'))}, {applied(step.fn, halved(sums[r]))})")


def print_point(text: Text, name: str, program: Program, steps: list[Step], constants: Constants) -> int:
    """Print the schedule with neurons in lanes as the function `name`; returns how many numbers of scratch memory it needs.

    Loads and stores are of whole vectors: what lies behind the end of a variable is neither defined nor used.
    """

    def extent(step: Step) -> int:
        if isinstance(step.op, Concat):
            ends = np.cumsum([x.size for x in step.op.xs])
            pads = [constants.padded(x.size) - x.size for x in step.op.xs]
            return aligned(max(int(end) + pad for end, pad in zip(ends, pads, strict=True)))
        return aligned(step.out.size)

    def aligned(size: int) -> int:
        return -(-size // constants.V) * constants.V

    memory = Memory(program, steps, extent, aligned(program.n_in))
    text.put(0, "", "", f"def {name}(x, y, p, s, w):")
    text.put(1, '"""Point p, the neurons of a layer in lanes."""')
    for c in range(program.n_in):
        text.put(1, f"put(s, {c}, item(x, {place(c, (program.n_in, 'p'))}))")
    for step in steps:
        text.put(1, f"# {step}")
        to = memory.at[step.out.name]
        match step.op:
            case Affine() as op if few(op):
                _point_few(text, step, op, constants, memory.at[op.x.name], to)
            case Affine() as op:
                _point_affine(text, step, op, constants, memory.at[op.x.name], to)
            case op if is_view(program, op):
                pass
            case Concat(xs=xs):
                for x in xs:
                    for start, stop, lanes in _chunks(x.size, constants):
                        depth = text.loop(1, "i", start, stop, lanes)
                        source = place(memory.at[x.name], (1, "i"))
                        text.put(depth, f"store(s, {place(to, (1, 'i'))}, load(s, {source}, {lanes}))")
                    to += x.size
            case op:
                for start, stop, lanes in _chunks(op.out.size, constants):
                    parts = [f"load(s, {place(memory.at[var.name], (1, 'i'))}, {lanes})" for var in operands(op)]
                    weight, bias = (f"load(w, {place(base, (1, 'i'))}, {lanes})" for base in constants.of(step))
                    value = elementwise(op, parts, weight, bias)
                    depth = text.loop(1, "i", start, stop, lanes)
                    text.put(depth, f"store(s, {place(to, (1, 'i'))}, {value})")
    rows = [memory.at[var.name] + i for var in program.outputs for i in range(var.size)]
    for c, row in enumerate(rows):
        text.put(1, f"put(y, {place(c, (program.n_out, 'p'))}, total(canonical(load(s, {row}, 1))))")
    return memory.size + VECTORS_AT_ONCE * constants.V


def _point_affine(text: Text, step: Step, op: Affine, constants: Constants, x: int, to: int) -> None:
    n_out, n_in = op.weight.shape
    P = partial_sums(n_in, n_out)
    weight, bias = constants.of(step)
    _, down = constants.strides(op)
    sums = list("abcdefgh"[:P])
    whole = n_in - n_in % P
    for start, stop, lanes in _chunks(n_out, constants):
        depth = text.loop(1, "j", start, stop, lanes)
        text.put(depth, f"a = load(w, {place(bias, (1, 'j'))}, {lanes})")
        if P > 1:
            text.put(depth, f"{' = '.join(sums[1:])} = zeros(s, {lanes})")
        inner = text.loop(depth, "k", 0, whole, P)
        for k, terms, body in (("k", P, inner), (whole, n_in - whole, depth)):
            for p in range(terms):
                column = f"load(w, {place(weight + p * down, (down, k), (1, 'j'))}, {lanes})"
                text.put(body, f"{sums[p]} = fma({column}, item(s, {place(x + p, (1, k))}), {sums[p]})")
        text.put(depth, f"store(s, {place(to, (1, 'j'))}, {applied(step.fn, halved(sums))})")


def _point_few(text: Text, step: Step, op: Affine, constants: Constants, x: int, to: int) -> None:
    """Terms in lanes: lane i is partial sum i."""
    n_out, n_in = op.weight.shape
    P = partial_sums(n_in, n_out)
    weight, bias = constants.of(step)
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
    if step.fn:
        text.put(1, f"store(s, {to}, {step.fn}(load(s, {to}, {constants.padded(n_out)})))")


def _chunks(size: int, constants: Constants) -> list[tuple[int, int, int]]:
    """`size` numbers as (start, stop, lanes): as many vectors at once as pay, then the rest."""
    size = constants.padded(size)
    wide = VECTORS_AT_ONCE * constants.V
    whole = size - size % wide
    return [chunk for chunk in ((0, whole, wide), (whole, size, size - whole)) if chunk[0] < chunk[1]]
