"""What an artifact takes on its target: bytes of flash and stack, instructions per call; and the budget for it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kdpinn_edge.bundle.manifest import Sizes
from kdpinn_edge.bundle.probe import probe_points
from kdpinn_edge.bundle.symbols import FIXED
from kdpinn_edge.errors import BudgetError, ExportError
from kdpinn_edge.export.artifacts.gnu import compiler
from kdpinn_edge.export.artifacts.versions import version
from kdpinn_edge.export.measure import callgrind
from kdpinn_edge.export.measure.obstacle import obstacle
from kdpinn_edge.export.measure.self_test import check_tested
from kdpinn_edge.export.targets.interface import Interface
from kdpinn_edge.numerics.reference import PRECISIONS
from kdpinn_edge.program.ir import Array, Program

if TYPE_CHECKING:
    from kdpinn_edge.export.measure.emulator import Call, Machine

N_POINTS = (1, 64)
"""How many points a call has whose instructions are counted: they depend on nothing else."""

UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20}


@dataclass(frozen=True)
class Budget:
    """The bytes that an artifact may take; None is no limit."""

    flash: int | None = None
    stack: int | None = None


@dataclass(frozen=True)
class Usage:
    """`stack` is the most bytes that any C function takes, `stacks` and `instructions` are those of eval, eval_fixed, …

    What could not be measured is None, or not there; `how` says by what it was measured, or why not.
    """

    stack: int | None
    stacks: Mapping[str, int]
    instructions: Mapping[str, Mapping[str, int]]
    how: str


def parse_bytes(text: str) -> int:
    """Bytes in `text`, as in 32k, 1.5M or 4096; k is 1024, M is 1024 k. Raises ExportError for anything else."""
    found = re.fullmatch(r"\s*(\d{1,12}(?:\.\d{1,6})?)\s*([kKmM]?)\s*", text, re.ASCII)
    if found is None:
        raise ExportError(f"{text!r} is not a size; expected: a number of bytes, or of k or M, as in 32k")
    return int(float(found[1]) * UNITS[found[2].lower()])


def check_judgeable(interface: Interface, budget: Budget) -> None:
    """Raise ExportError for a budget that nothing can be held to: call it before long work."""
    if interface.target.artifact == "fmu" and budget != Budget():
        raise ExportError(
            f"{interface.library} has machine code for several systems, and a budget is for one; expected: no budget, "
            "or one of the targets x86-64, aarch64, windows-x86-64, macos-arm64"
        )
    if interface.target.artifact == "c99" and budget.flash is not None:
        raise ExportError(f"{interface.library} is source code: how much flash it takes, its compiler decides")


def measure(artifact: bytes, interface: Interface, sizes: Sizes | None, budget: Budget) -> Usage:
    """What a call of each function takes, measured by calling it; the self-test has passed where that is possible.

    Raises BudgetError where it is more than `budget`; ExportError where the self-test fails, or a budget of the stack
    cannot be judged.
    """
    if sizes is not None:
        _hold("flash", sizes.flash, budget.flash, interface)
    usage = _measured(artifact, interface)
    if usage.stack is not None:
        _hold("stack", usage.stack, budget.stack, interface)
    elif budget.stack is not None:
        raise ExportError(
            f"{interface.library}: whether {budget.stack:,} bytes of stack suffice cannot be told ({usage.how}); "
            "expected: a target whose stack can be measured here, or no budget for it"
        )
    return usage


def _hold(what: str, found: int, limit: int | None, interface: Interface) -> None:
    if limit is not None and found > limit:
        raise BudgetError(
            f"{interface.library} for {interface.target.name} takes {found:,} bytes of {what}, {found - limit:,} more "
            f"than the budget of {limit:,}.",
            what=what,
            takes=found,
            limit=limit,
        )


def _measured(artifact: bytes, interface: Interface) -> Usage:
    if callgrind.is_native(interface.target):
        return _counted(artifact, interface)
    if (reason := obstacle(interface.target)) is not None:
        return Usage(None, {}, {}, f"stack and instructions not measured: {reason}")
    return _emulated(artifact, interface)


def _emulated(artifact: bytes, interface: Interface) -> Usage:
    from kdpinn_edge.export.measure.emulator import Machine

    how = f"counted by unicorn {version('unicorn')}"
    if interface.target.helpers and (found := compiler(interface.target)):
        how += f" with the soft-float helpers of {found.described}, whose time depends on the numbers"
    machine = Machine(interface.target, artifact)
    test = _tested(machine, interface)
    x = _points(interface)
    stacks: dict[str, int] = {}
    instructions: dict[str, dict[str, int]] = {}
    for symbol, program, points in _called(interface, x):
        calls = {n: machine.evaluate(interface.symbol(symbol), points[:n], program.n_out)[1] for n in N_POINTS}
        stacks[symbol] = max(call.stack for call in calls.values())
        instructions[symbol] = {str(n): call.instructions for n, call in calls.items()}
    deepest = [test.stack, *stacks.values()]
    p, others = x[0, list(interface.constant_columns)], x[:, list(interface.varying_columns)]
    for program, symbol in zip(interface.functions.values(), interface.per_call_functions, strict=False):
        for n in N_POINTS:
            deepest.append(machine.evaluate(interface.symbol(symbol), others[:n], program.n_out, p)[1].stack)
    return Usage(max(deepest), stacks, instructions, how)


def emulated_self_test(artifact: bytes, interface: Interface) -> None:
    """Raise ExportError where the self-test of an artifact fails on the emulated processor of its target, if any is."""
    if obstacle(interface.target) is None:
        from kdpinn_edge.export.measure.emulator import Machine

        _tested(Machine(interface.target, artifact), interface)


def _tested(machine: Machine, interface: Interface) -> Call:
    integrity, test = machine.returned(f"{interface.name}_integrity"), machine.call(f"{interface.name}_selftest")
    where = f"on the emulated {interface.target.name}"
    check_tested(interface, where, integrity=integrity, selftest=test.result)
    return test


def _counted(artifact: bytes, interface: Interface) -> Usage:
    x = _points(interface)
    calls = {
        (function, n): callgrind.Call(interface.symbol(function), n, n * program.n_out * x.itemsize)
        for function, program, _ in _called(interface, x)
        for n in N_POINTS
    }
    selftest = callgrind.Call(f"{interface.name}_selftest", 0, 0)
    others = [
        callgrind.Call(interface.symbol(symbol), n, n * program.n_out * x.itemsize, per_call=True)
        for symbol, program in zip(interface.per_call_functions, interface.functions.values(), strict=False)
        for n in N_POINTS
    ]
    found = callgrind.counted(artifact, interface.target, [selftest, *calls.values(), *others], x.tobytes())
    stacks: dict[str, int] = {}
    instructions: dict[str, dict[str, int]] = {}
    for i, (function, n) in enumerate(calls):
        if found.stack is not None:
            stacks[function] = max(stacks.get(function, 0), found.stack[i + 1])
        if found.instructions is not None:
            instructions.setdefault(function, {})[str(n)] = found.instructions[i]
    return Usage(None if found.stack is None else max(found.stack), stacks, instructions, found.how)


def _called(interface: Interface, x: Array) -> Iterator[tuple[str, Program, Array]]:
    """The functions that are counted one by one, with their Programs and points."""
    for function, program in interface.functions.items():
        yield function, program, x
        if function in interface.bits:
            yield FIXED.format(function), program, x.view(np.int32)  # any numbers will do


def _points(interface: Interface) -> Array:
    points: Array = probe_points(interface.inputs, max(N_POINTS)).astype(PRECISIONS[interface.precision])
    return points
