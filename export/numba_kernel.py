"""Prints, for one Program, the Python module that is its kernel: loops over points, written in the lane vocabulary.

The text has two meanings. Under NumPy it runs as it stands; under Numba the same functions become machine code. Two
schedules compute the same bits, because both sum in the order of the numerics profile:

  - `points`: a tile of L points in lanes; weights are broadcast; the whole network stays in registers and L1;
  - `point`:  one point with the neurons of a layer in lanes.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.ir import FUNCTIONS, Add, Affine, Concat, Map, Mul, Op, Program, Scale, Slice, Var, operands
from kdpinn_edge.numpy_program import PRECISIONS, PROFILE, partial_sums, rounded

WORDS = (
    "add",
    "canonical",
    "first",
    "fma",
    "is_null",
    "item",
    "load",
    "mul",
    "put",
    "same_bits",
    "scratch",
    "splat",
    "store",
    "tail",
    "total",
    "zeros",
)
ROWS_AT_ONCE = {1: (4,), 2: (4, 5, 6, 3), 8: (1,)}
VECTORS_AT_ONCE = 4


@dataclass(frozen=True)
class Kernel:
    """The printed module and the arrays that it names: `source` mentions every key of `constants` as a global."""

    source: str
    constants: dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Step:
    """An op, and the function applied to its result while that is still in registers ("" for none)."""

    op: Op
    out: Var
    fn: str = ""


def fuse(program: Program) -> list[Step]:
    """The ops in order, with each Map that is the only reader of an Affine joined to it."""
    readers: dict[str, list[Op]] = {}
    for op in program.ops:
        for var in operands(op):
            readers.setdefault(var.name, []).append(op)
    outputs = {var.name for var in program.outputs}
    joined: dict[str, Map] = {}
    for op in program.ops:
        match op, readers.get(op.out.name):
            case Affine(), [Map() as reader] if op.out.name not in outputs:
                joined[op.out.name] = reader
    fused = {id(reader) for reader in joined.values()}
    steps = []
    for op in program.ops:
        if id(op) in fused:
            continue
        reader = joined.get(op.out.name)
        steps.append(Step(op, reader.out, reader.fn) if reader else Step(op, op.out))
    return steps


class Memory:
    """Where each variable lives in the scratch memory: buffers are reused once their last reader has run."""

    def __init__(self, program: Program, steps: Sequence[Step], extent: Callable[[Step | Var], int]) -> None:
        self.at: dict[str, int] = {}
        self.size = 0
        self._free: list[tuple[int, int]] = []
        self._owner: dict[str, str] = {}
        last = self._last_reads(program, steps)
        held: dict[str, tuple[int, int]] = {}

        total = sum(var.size for var in program.inputs)
        held["inputs"] = self._take(extent(Var("inputs", total)))
        offset = held["inputs"][0]
        for var in program.inputs:
            self.at[var.name] = offset
            offset += var.size
        for i, step in enumerate(steps):
            if self._owner[step.out.name] == step.out.name:
                held[step.out.name] = self._take(extent(step))
                self.at[step.out.name] = held[step.out.name][0]
            else:
                source = operands(step.op)[0]
                start = step.op.start if isinstance(step.op, Slice) else 0
                self.at[step.out.name] = self.at[source.name] + start
            for owner in [owner for owner in held if last.get(owner, -1) <= i]:
                self._free.append(held.pop(owner))

    def _last_reads(self, program: Program, steps: Sequence[Step]) -> dict[str, int]:
        self._owner = {var.name: "inputs" for var in program.inputs}
        last: dict[str, int] = {}
        for i, step in enumerate(steps):
            for var in operands(step.op):
                last[self._owner[var.name]] = i
            self._owner[step.out.name] = (
                self._owner[operands(step.op)[0].name] if is_view(program, step.op) else step.out.name
            )
            last.setdefault(self._owner[step.out.name], i)
        for var in program.outputs:
            last[self._owner[var.name]] = len(steps)
        return last

    def _take(self, size: int) -> tuple[int, int]:
        for i, (start, room) in enumerate(self._free):
            if room >= size:
                self._free.pop(i)
                return start, room
        start, self.size = self.size, self.size + size
        return start, size


def is_view(program: Program, op: Op) -> bool:
    """Whether the result of `op` already lies in memory: a Slice, or all inputs one after another."""
    return isinstance(op, Slice) or (isinstance(op, Concat) and op.xs == program.inputs)


class Printer:
    """Prints one kernel. V is the number of lanes in a vector register of the target."""

    def __init__(self, program: Program, precision: str, V: int) -> None:
        self.program = program
        self.precision = precision
        self.V = V
        self.L = 2 * V
        self.steps = fuse(program)
        self.numbers: list[NDArray[Any]] = []
        self.n_numbers = 0
        self.lines: list[str] = []
        self.places = {step.out.name: self._place(step.op) for step in self.steps}

    # ---- constants ------------------------------------------------------------------------------------------------

    def _place(self, op: Op) -> tuple[int, int]:
        """Where the weight and the bias of `op` lie among the numbers W."""
        match op:
            case Affine(weight=weight, bias=bias) if few_outputs(op):
                columns = np.pad(weight, ((0, 0), (0, -weight.shape[1] % 8)))
                return self._keep(columns), self._keep(bias)
            case Affine(weight=weight, bias=bias):
                rows = self.padded(op.out.size) - op.out.size
                return self._keep(np.pad(weight.T, ((0, 0), (0, rows)))), self._keep(np.pad(bias, (0, rows)))
            case Scale(weight=weight, bias=bias):
                rows = self.padded(op.out.size) - op.out.size
                return self._keep(np.pad(weight, (0, rows))), self._keep(np.pad(bias, (0, rows)))
            case _:
                return 0, 0

    def _keep(self, array: NDArray[Any]) -> int:
        """Append the numbers of `array` on a vector boundary; returns where."""
        flat = rounded(array, self.precision).ravel()
        self.numbers.append(np.pad(flat, (0, -flat.size % self.V)))
        place = self.n_numbers
        self.n_numbers += self.numbers[-1].size
        return place

    def padded(self, size: int) -> int:
        """`size` rounded up to whole vectors, or to a power of two below one vector."""
        return -(-size // self.V) * self.V if size >= self.V else 1 << (size - 1).bit_length()

    def chunks(self, size: int) -> list[tuple[int, int, int]]:
        """`size` numbers as (start, stop, lanes): as many vectors at once as pay, then the rest."""
        size = self.padded(size)
        wide = VECTORS_AT_ONCE * self.V
        whole = size - size % wide
        return [c for c in ((0, whole, wide), (whole, size, size - whole)) if c[0] < c[1]]

    # ---- text -----------------------------------------------------------------------------------------------------

    def put(self, depth: int, *lines: str) -> None:
        self.lines += ["    " * depth + line if line else "" for line in lines]

    def title(self, step: Step) -> str:
        """One step as a comment."""
        names = ", ".join(var.name for var in operands(step.op))
        text = f"{type(step.op).__name__.lower()}({names})" if not isinstance(step.op, Map) else f"{step.op.fn}({names})"
        return f"# {step.out} = {step.fn}({text})" if step.fn else f"# {step.out} = {text}"

    def points(self) -> int:
        """Print the schedule with points in lanes; returns how many rows of L numbers it needs."""
        memory = Memory(self.program, self.steps, lambda item: item.size if isinstance(item, Var) else item.out.size)
        n_in, n_out = self.program.n_in, self.program.n_out
        self.put(0, "", "", "def points(x, y, p, m, s, w):")
        self.put(1, f'"""Points p, …, p + m - 1, one per lane; m <= {self.L}."""')
        self.put(1, "for i in range(m):")
        self.put(2, *(f"put(s, {c * self.L} + i, item(x, (p + i) * {n_in} + {c}))" for c in range(n_in)))
        self.put(1, f"for i in range(m, {self.L}):")
        self.put(2, *(f"put(s, {c * self.L} + i, 0.0)" for c in range(n_in)))
        for step in self.steps:
            self.points_step(step, {name: row * self.L for name, row in memory.at.items()})
        rows = [memory.at[var.name] + i for var in self.program.outputs for i in range(var.size)]
        for row in rows:
            self.put(1, f"store(s, {row * self.L}, canonical(load(s, {row * self.L}, {self.L})))")
        self.put(1, "for i in range(m):")
        self.put(
            2, *(f"put(y, (p + i) * {n_out} + {c}, item(s, {row * self.L} + i))" for c, row in enumerate(rows))
        )
        return memory.size

    def points_step(self, step: Step, at: dict[str, int]) -> None:
        L, op, out = self.L, step.op, step.out
        weight, bias = self.places[step.out.name]

        def row(var: Var, i: str = "i") -> str:
            return f"load(s, {at[var.name]} + {i} * {L}, {L})"

        self.put(1, self.title(step))
        match op:
            case Affine():
                self.points_affine(step, at[op.x.name], at[out.name])
            case _ if is_view(self.program, op):
                pass
            case Concat(xs=xs):
                offset = at[out.name]
                for x in xs:
                    self.put(1, f"for i in range({x.size}):")
                    self.put(2, f"store(s, {offset} + i * {L}, {row(x)})")
                    offset += x.size * L
            case _:
                value = {
                    Scale: lambda: f"fma(item(w, {weight} + i), {row(op.x)}, item(w, {bias} + i))",
                    Map: lambda: f"{op.fn}({row(op.x)})",
                    Add: lambda: f"add({row(op.a)}, {row(op.b)})",
                    Mul: lambda: f"mul({row(op.a)}, {row(op.b)})",
                }[type(op)]()
                self.put(1, f"for i in range({out.size}):")
                self.put(2, f"store(s, {at[out.name]} + i * {L}, {value})")

    def points_affine(self, step: Step, x: int, out: int) -> None:
        L, op = self.L, step.op
        assert isinstance(op, Affine)
        n_out, n_in = op.weight.shape
        P = partial_sums(n_in, n_out)
        weight, bias = self.places[step.out.name]
        across, down = (n_in + -n_in % 8, 1) if few_outputs(op) else (1, self.padded(n_out))
        R = min(ROWS_AT_ONCE[P], key=lambda rows: (n_out % rows, ROWS_AT_ONCE[P].index(rows)))
        whole = n_out - n_out % R
        for start, stop, rows in ((0, whole, R), (whole, n_out, n_out - whole)):
            if start == stop:
                continue
            sums = [[f"{'abcdefgh'[p]}{r}" for p in range(P)] for r in range(rows)]
            self.put(1, f"for j in range({start}, {stop}, {rows}):")
            for r in range(rows):
                self.put(2, f"{sums[r][0]} = splat(item(w, {bias + r} + j), {L})")
                if P > 1:
                    self.put(2, f"{' = '.join(sums[r][1:])} = zeros(s, {L})")
            whole_k = n_in - n_in % P
            self.put(2, f"for k in range(0, {whole_k}, {P}):")
            for depth, k, terms in ((3, "k", P), (2, str(whole_k), n_in - whole_k)):
                for p in range(terms):
                    self.put(depth, f"u = load(s, {x + p * L} + {k} * {L}, {L})")
                    for r in range(rows):
                        a = sums[r][p]
                        place = f"{weight + p * down + r * across} + {k} * {down} + j * {across}"
                        self.put(depth, f"{a} = fma(item(w, {place}), u, {a})")
            for r in range(rows):
                value = halved(sums[r])
                value = f"{step.fn}({value})" if step.fn else value
                self.put(2, f"store(s, {out + r * L} + j * {L}, {value})")

    def point(self) -> int:
        """Print the schedule with neurons in lanes; returns how many numbers it needs."""

        def extent(item: Step | Var) -> int:
            if isinstance(item, Step) and isinstance(item.op, Concat):
                ends = np.cumsum([x.size for x in item.op.xs])
                return max(int(end) - x.size + self.padded(x.size) for end, x in zip(ends, item.op.xs, strict=True))
            return self.padded(item.size if isinstance(item, Var) else item.out.size)

        memory = Memory(self.program, self.steps, extent)
        n_in, n_out = self.program.n_in, self.program.n_out
        self.put(0, "", "", "def point(x, y, p, s, w):")
        self.put(1, '"""Point p, the neurons of a layer in lanes."""')
        self.put(1, *(f"put(s, {c}, item(x, p * {n_in} + {c}))" for c in range(n_in)))
        for step in self.steps:
            self.point_step(step, memory.at)
        column = 0
        for var in self.program.outputs:
            for i in range(var.size):
                value = f"total(canonical(load(s, {memory.at[var.name] + i}, 1)))"
                self.put(1, f"put(y, p * {n_out} + {column}, {value})")
                column += 1
        return memory.size + VECTORS_AT_ONCE * self.V

    def point_step(self, step: Step, at: dict[str, int]) -> None:
        op, out = step.op, step.out
        weight, bias = self.places[step.out.name]
        self.put(1, self.title(step))
        match op:
            case Affine() if few_outputs(op):
                self.point_few_outputs(step, at[op.x.name], at[out.name])
            case Affine():
                self.point_affine(step, at[op.x.name], at[out.name])
            case _ if is_view(self.program, op):
                pass
            case Concat(xs=xs):
                offset = at[out.name]
                for x in xs:
                    for start, stop, lanes in self.chunks(x.size):
                        self.put(1, f"for i in range({start}, {stop}, {lanes}):")
                        self.put(2, f"store(s, {offset} + i, load(s, {at[x.name]} + i, {lanes}))")
                    offset += x.size
            case _:
                for start, stop, lanes in self.chunks(out.size):

                    def part(var: Var, lanes: int = lanes) -> str:
                        return f"load(s, {at[var.name]} + i, {lanes})"

                    def constant(place: int, lanes: int = lanes) -> str:
                        return f"load(w, {place} + i, {lanes})"

                    value = {
                        Scale: lambda: f"fma({constant(weight)}, {part(op.x)}, {constant(bias)})",
                        Map: lambda: f"{op.fn}({part(op.x)})",
                        Add: lambda: f"add({part(op.a)}, {part(op.b)})",
                        Mul: lambda: f"mul({part(op.a)}, {part(op.b)})",
                    }[type(op)]()
                    self.put(1, f"for i in range({start}, {stop}, {lanes}):")
                    self.put(2, f"store(s, {at[out.name]} + i, {value})")

    def point_affine(self, step: Step, x: int, out: int) -> None:
        op = step.op
        assert isinstance(op, Affine)
        n_out, n_in = op.weight.shape
        M, P = self.padded(n_out), partial_sums(n_in, n_out)
        weight, bias = self.places[step.out.name]
        sums = list("abcdefgh"[:P])
        for start, stop, lanes in self.chunks(n_out):
            self.put(1, f"for j in range({start}, {stop}, {lanes}):")
            self.put(2, f"a = load(w, {bias} + j, {lanes})")
            if P > 1:
                self.put(2, f"{' = '.join(sums[1:])} = zeros(s, {lanes})")
            whole_k = n_in - n_in % P
            self.put(2, f"for k in range(0, {whole_k}, {P}):")
            for depth, k, terms in ((3, "k", P), (2, str(whole_k), n_in - whole_k)):
                for p in range(terms):
                    column = f"load(w, {weight + p * M} + {k} * {M} + j, {lanes})"
                    self.put(depth, f"{sums[p]} = fma({column}, item(s, {x + p} + {k}), {sums[p]})")
            value = halved(sums)
            value = f"{step.fn}({value})" if step.fn else value
            self.put(2, f"store(s, {out} + j, {value})")

    def point_few_outputs(self, step: Step, x: int, out: int) -> None:
        """Terms in lanes: lane i is partial sum i."""
        op = step.op
        assert isinstance(op, Affine)
        n_out, n_in = op.weight.shape
        weight, bias = self.places[step.out.name]
        P, across = partial_sums(n_in, n_out), n_in + -n_in % 8
        rest = n_in % P
        self.put(1, f"for j in range({n_out}):")
        self.put(2, f"a = first(1, splat(item(w, {bias} + j), {P}), zeros(s, {P}))")
        self.put(2, f"for k in range(0, {n_in - rest}, {P}):")
        terms = f"fma(load(w, {weight} + j * {across} + k, {P}), load(s, {x} + k, {P}), a)"
        self.put(3, f"a = {terms}")
        if rest:
            self.put(2, f"k = {n_in - rest}", f"a = first({rest}, {terms}, a)")
        self.put(2, f"put(s, {out} + j, total(a))")
        if step.fn:
            lanes = self.padded(n_out)
            self.put(1, f"store(s, {out}, {step.fn}(load(s, {out}, {lanes})))")


def few_outputs(op: Op) -> bool:
    """Whether `op` is an Affine whose terms, not neurons, fill the lanes."""
    return isinstance(op, Affine) and partial_sums(op.x.size, op.out.size) == 8


def halved(sums: list[str]) -> str:
    """The text that adds partial sums by halving."""
    while len(sums) > 1:
        half = len(sums) // 2
        sums = [f"add({a}, {b})" for a, b in zip(sums[:half], sums[half:], strict=True)]
    return sums[0]


ENTRY = '''

def evaluate(x, y, n):
    """y[i] = u(x[i]) for n points: 0, or an error code of kdpinn_edge.h."""
    if n < 0:
        return -2
    if n > 0 and (is_null(x) or is_null(y)):
        return -1
    w = W
    s = scratch(x, {size})
    p = 0
    while p < n:
        m = min({L}, n - p)
        if m > {crossover}:
            points(x, y, p, m, s, w)
        else:
            for q in range(p, p + m):
                point(x, y, q, s, w)
        p += m
    return 0


def outside(x, n):
    """How many of n points lie outside the domain box (a NaN does); or an error code of kdpinn_edge.h."""
    if n < 0:
        return -2
    if n > 0 and is_null(x):
        return -1
    box = BOX
    count = 0
    for p in range(n):
        inside = True
        for c in range({n_in}):
            v = item(x, p * {n_in} + c)
            inside = inside and item(box, c) <= v and v <= item(box, {n_in} + c)
        if not inside:
            count += 1
    return count


def selftest():
    """Replay the golden points, together and one by one: 0, or 1 + the first golden number whose bits differ."""
    g = GOLDEN_X
    h = GOLDEN_Y
    y = scratch(g, {n_golden_y})
    for size in ({n_golden}, 1):
        for p in range(0, {n_golden}, size):
            evaluate(tail(g, p * {n_in}), tail(y, p * {n_out}), size)
        for i in range({n_golden_y}):
            if not same_bits(y, i, h, i):
                return 1 + i
            put(y, i, 0.0)
    return 0
'''


def print_kernel(
    program: Program,
    precision: str,
    *,
    V: int,
    crossover: int,
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
    golden_x: NDArray[Any],
    golden_y: NDArray[Any],
) -> Kernel:
    """The kernel of `program` in "float32" or "float64" for registers of V lanes.

    A tile of up to `crossover` points goes through the schedule for single points. `lower` and `upper` (n_in,) are the
    domain box; `golden_x` (k, n_in) and `golden_y` (k, n_out) are what the self-test replays.
    """
    printer = Printer(program, precision, V)
    rows = printer.points()
    size = max(rows * printer.L, printer.point())
    entry = ENTRY.format(
        size=size,
        L=printer.L,
        crossover=crossover,
        n_in=program.n_in,
        n_out=program.n_out,
        n_golden=len(golden_x),
        n_golden_y=golden_y.size,
    )
    body = "\n".join(printer.lines) + entry
    used = sorted(name for name in (*WORDS, *FUNCTIONS) if f"{name}(" in body)
    words = [name for name in used if name in WORDS]
    functions = [name for name in used if name in FUNCTIONS]
    description = "\n".join(f"    {line}" for line in str(program).splitlines())
    head = [
        f'"""Kernel of the Program {program.sha256}',
        "",
        f"numerics profile {PROFILE}, {precision}, {V} lanes per register",
        "",
        description,
        '"""',
        "",
        *([f"from kdpinn_edge.activations import {', '.join(functions)}"] if functions else []),
        f"from kdpinn_edge.lanes import {', '.join(words)}",
    ]
    dtype = PRECISIONS[precision]
    constants = {
        "W": np.concatenate(printer.numbers) if printer.numbers else np.zeros(1, dtype),
        "BOX": np.concatenate([lower, upper]).astype(dtype),
        "GOLDEN_X": golden_x.ravel(),
        "GOLDEN_Y": golden_y.ravel(),
    }
    return Kernel("\n".join(head) + body, constants)


def load_kernel(kernel: Kernel, constants: dict[str, Any] | None = None) -> ModuleType:
    """The printed module, imported, with its constants in place: arrays as they are, or what `constants` says."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kdpinn_kernel.py"
        path.write_text(kernel.source)
        spec = importlib.util.spec_from_file_location("kdpinn_kernel", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    vars(module).update(kernel.constants if constants is None else constants)
    return module
