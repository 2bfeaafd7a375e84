"""The FMA peak of one core in float32: the speed limit of every matrix product, measured on this machine.

    s ← a · s + b     for 12 vectors s, each waiting only for itself

The loop is LLVM IR, compiled for the target that "native" names, as kernels are: every product is one `llvm.fma` on the
widest vectors. No optimiser sees it, a and b come from memory, and the sums are compared with their exact values, so
that all of the arithmetic has been done.
"""

from __future__ import annotations

import ctypes

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir

from kdpinn_edge.errors import BenchError
from kdpinn_edge.export.targets.table import Target, target

ACCUMULATORS = 12  # two units of latency 4 or 5 need 8 to 10 in flight; with a and b, 14 of AVX2's 16 registers
REPEATS = 20_000


class FmaPeak:
    """A call without arguments that performs `flops` float32 operations, two for each multiply-add of each lane."""

    def __init__(self) -> None:
        native = target("native")
        self.lanes = native.vectors("float32").lanes
        self.flops = 2 * self.lanes * ACCUMULATORS * REPEATS
        self._engine = _compile(native)
        address = self._engine.get_function_address("repeat")
        self._repeat = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(address)
        self._start = np.arange((2 + ACCUMULATORS) * self.lanes, dtype=np.float32)
        self._start[: 2 * self.lanes] = 1  # a and b, so that s counts the repeats, exactly below 2²⁴
        self._sums = np.zeros(ACCUMULATORS * self.lanes, np.float32)
        self._arguments = self._start.ctypes.data, self._sums.ctypes.data, REPEATS

    def __call__(self) -> None:
        """Do the arithmetic."""
        self._repeat(*self._arguments)

    def check(self) -> None:
        """Raise BenchError unless the last call left the exact sums."""
        if (self._sums != self._start[2 * self.lanes :] + REPEATS).any():
            raise BenchError("the loop that measures the FMA peak did not do its arithmetic: its sums are wrong")
        self._sums[:] = 0


def _compile(native: Target) -> llvm.ExecutionEngine:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    module = llvm.parse_assembly(str(_loop(native)))
    machine = llvm.Target.from_triple(native.triple).create_target_machine(
        cpu=native.cpu, features=native.features, opt=3, jit=True
    )
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    return engine


def _loop(native: Target) -> ir.Module:
    """`void repeat(const lanes start[2 + 12], lanes sums[12], int64_t n)` for n ≥ 1."""
    lanes, count = ir.VectorType(ir.FloatType(), native.vectors("float32").lanes), ir.IntType(64)
    module = ir.Module("fma_peak")
    module.triple = native.triple
    fma = ir.Function(module, ir.FunctionType(lanes, [lanes] * 3), f"llvm.fma.v{lanes.count}f32")
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [lanes.as_pointer()] * 2 + [count]), "repeat")
    start, sums, n = function.args
    before, body, after = (function.append_basic_block(name) for name in ("before", "body", "after"))

    builder = ir.IRBuilder(before)
    a, b, *first = (builder.load(builder.gep(start, [ir.Constant(count, i)]), align=4) for i in range(2 + ACCUMULATORS))
    builder.branch(body)

    builder = ir.IRBuilder(body)
    i = builder.phi(count)
    s = [builder.phi(lanes) for _ in first]
    next_i = builder.add(i, ir.Constant(count, 1))
    next_s = [builder.call(fma, [a, value, b]) for value in s]
    for phi, at_first, later in zip([i, *s], [ir.Constant(count, 0), *first], [next_i, *next_s], strict=True):
        phi.add_incoming(at_first, before)
        phi.add_incoming(later, body)
    builder.cbranch(builder.icmp_signed("<", next_i, n), body, after)

    builder = ir.IRBuilder(after)
    for j, value in enumerate(next_s):
        builder.store(value, builder.gep(sums, [ir.Constant(count, j)]), align=4)
    builder.ret_void()
    return module
