"""Calls functions of an artifact on an emulated processor of its target: the result, the instructions, the stack."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from mmap import mmap
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
import unicorn
from numpy.typing import NDArray
from unicorn import arm64_const, arm_const, riscv_const

from kdpinn_edge.errors import ExportError
from kdpinn_edge.export.measure.image import CODE, image
from kdpinn_edge.export.targets.table import Target

Array = NDArray[Any]
Called = TypeVar("Called")

NOWHERE, RETURN, STACK, DATA = 0x0, 0x8000, 0x2000_0000, 0x3000_0000
"""Where things lie: on Cortex-M code runs below 0x2000_0000 only. A call returns to RETURN; NOWHERE is not reached."""

STACK_BYTES, DATA_BYTES, PAGE = 1 << 24, 1 << 24, 1 << 12
TOP = STACK + STACK_BYTES - 64
"""The stack pointer of the caller."""

LONGEST_US = 60_000_000
TURN, MOST_TURNS = 1 << 12, 1 << 20
"""How many instructions run in one go where they are counted in turns, and how often."""

PAINT = np.random.default_rng(0).integers(0, 256, STACK_BYTES, np.uint8)
UNTOUCHED = 7
"""What lies in memory for results, and behind it."""
WIDE = 0xE800
"""From here on the first half of a Thumb instruction says that there is a second one."""


@dataclass(frozen=True)
class Processor:
    """How unicorn becomes one, and calls a function on it.

    `registers` are those of the arguments, of which the first has the result, and of the return address. `setup` has
    bits to set in registers, so that floating-point instructions are allowed.
    `nothing` is an instruction that does nothing.
    """

    architecture: int
    mode: int
    model: int
    names: ModuleType
    prefix: str
    registers: tuple[str, ...]
    setup: Mapping[str, int]
    nothing: bytes

    def register(self, name: str) -> int:
        """Unicorn's number of a register."""
        return int(getattr(self.names, f"{self.prefix}_{name}"))


MICROCONTROLLER = unicorn.UC_MODE_THUMB  # with UC_MODE_MCLASS, unicorn 2.1.4 takes the M33 for every model


def _arm(model: str, mode: int = unicorn.UC_MODE_ARM, *, fpu: bool = True) -> Processor:
    number = getattr(arm_const, f"UC_CPU_ARM_CORTEX_{model}")
    setup = {"C1_C0_2": 0xF << 20, "FPEXC": 1 << 30} if fpu else {}
    registers = ("R0", "R1", "R2", "R3", "LR")
    nothing = bytes.fromhex("00bf" if mode == MICROCONTROLLER else "00f020e3")
    return Processor(unicorn.UC_ARCH_ARM, mode, number, arm_const, "UC_ARM_REG", registers, setup, nothing)


def _arm64(model: str) -> Processor:
    number = getattr(arm64_const, f"UC_CPU_ARM64_{model}")
    registers, setup, nothing = ("X0", "X1", "X2", "X3", "LR"), {"CPACR_EL1": 3 << 20}, bytes.fromhex("1f2003d5")
    mode = unicorn.UC_MODE_ARM
    return Processor(unicorn.UC_ARCH_ARM64, mode, number, arm64_const, "UC_ARM64_REG", registers, setup, nothing)


def _riscv(bits: int) -> Processor:
    mode, number = getattr(unicorn, f"UC_MODE_RISCV{bits}"), getattr(riscv_const, f"UC_CPU_RISCV{bits}_ANY")
    registers, setup = ("A0", "A1", "A2", "A3", "A4", "RA"), {"MSTATUS": 3 << 13} if bits == 64 else {}
    nothing = bytes.fromhex("13000000")
    return Processor(unicorn.UC_ARCH_RISCV, mode, number, riscv_const, "UC_RISCV_REG", registers, setup, nothing)


PROCESSORS: Mapping[str, Processor] = {
    "aarch64": _arm64("A53"),
    "cortex-a53": _arm64("A53"),
    "cortex-a72": _arm64("A72"),
    "cortex-a76": _arm64("MAX"),
    "macos-arm64": _arm64("MAX"),
    "armv7": _arm("A7"),
    "cortex-a9": _arm("A9"),
    "riscv64": _riscv(64),
    "rv32imc": _riscv(32),
    "rv32imac": _riscv(32),
    "cortex-m0plus": _arm("M0", MICROCONTROLLER, fpu=False),
    "cortex-m3": _arm("M3", MICROCONTROLLER, fpu=False),
    "cortex-m4": _arm("M4", MICROCONTROLLER),
    "cortex-m7": _arm("M7", MICROCONTROLLER),
    "cortex-m33": _arm("M33", MICROCONTROLLER),
}
"""The targets that unicorn emulates: it has no AVX, and a Cortex-M0 has the instructions of the M0+."""


@dataclass(frozen=True)
class Call:
    """One call: what it returned, how many instructions it took, how many bytes below the caller's stack pointer.

    An instruction whose condition does not hold is one all the same, but not where they are counted in turns. The stack
    is what is written, or below the stack pointer where a basic block begins: all but what a function without a branch
    reserves and never writes.
    """

    result: int
    instructions: int
    stack: int


class Machine:
    """An emulated processor of `target` with an artifact in its memory: a library, an object, or an archive of one.

    Soft-float helpers that the target calls are linked to it from the library of the GNU compiler. Raises ExportError
    where the artifact cannot be read, a call does not return, or it touches memory that is not its.
    """

    def __init__(self, target: Target, artifact: bytes) -> None:
        self.target, self.processor = target, PROCESSORS[target.name]
        self.uc = unicorn.Uc(self.processor.architecture, self.processor.mode)
        self.uc.ctl_set_cpu_model(self.processor.model)
        parts, self.symbols = image(artifact, target)
        end = max(address + len(data) for address, data in parts)
        self.uc.mem_map(CODE, -(-(end - CODE) // PAGE) * PAGE, unicorn.UC_PROT_READ | unicorn.UC_PROT_EXEC)
        for address, data in parts:
            self.uc.mem_write(address, data)
        self.stack = np.frombuffer(mmap(-1, STACK_BYTES), np.uint8)  # looked at in place: it is large
        writable = unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE
        self.uc.mem_map_ptr(STACK, STACK_BYTES, writable, self.stack.ctypes.data)
        self.uc.mem_map(DATA, DATA_BYTES, writable)
        self.uc.mem_map(RETURN, 8 * TURN, unicorn.UC_PROT_READ | unicorn.UC_PROT_EXEC)
        self.uc.mem_write(RETURN, TURN * self.processor.nothing)
        for name, bits in self.processor.setup.items():
            self._set(name, self._get(name) | bits)

    @property
    def thumb(self) -> bool:
        """Whether its instructions are Thumb, of 2 or 4 bytes."""
        return bool(self.processor.mode & unicorn.UC_MODE_THUMB)

    def returned(self, symbol: str, *arguments: int) -> int:
        """What a function returns, as `call` has it; nothing is counted, which takes a fiftieth of the time."""
        self._begin(arguments)
        with self._naming(symbol):
            self._until_return(symbol)
        return self._result()

    def call(self, symbol: str, *arguments: int) -> Call:
        """Call a function that returns int32: its arguments are pointers, and after two or three of them an int64."""
        self.stack[:] = PAINT
        top = self._begin(arguments)
        instructions, deepest = (self._in_turns if self.target.helpers else self._by_blocks)(symbol, top)
        painted = self.stack == PAINT
        touched = top if painted.all() else min(top, STACK + int(np.argmin(painted)))
        return Call(self._result(), instructions, top - min(deepest, touched))

    def _begin(self, arguments: tuple[int, ...]) -> int:
        """Put everything where a function finds it when it is called; the stack pointer."""
        words, pushed = self._placed(arguments)
        top = TOP - len(pushed)
        self.uc.mem_write(top, pushed)
        *places, link = self.processor.registers
        for name, word in zip(places, words, strict=False):
            self._set(name, word)
        self._set("SP", top)
        self._set(link, RETURN | self.thumb)
        self.uc.ctl_flush_tb()  # what was translated before calls the hook of before
        return top

    def _result(self) -> int:
        result = self._get(self.processor.registers[0])
        return (result + (1 << 31)) % (1 << 32) - (1 << 31)

    def _by_blocks(self, symbol: str, top: int) -> tuple[int, int]:
        """Run a function; how many instructions that takes, and the lowest stack pointer where a block begins."""
        lengths: dict[tuple[int, int], int] = {}
        instructions, deepest = 0, top

        def block(uc: unicorn.Uc, address: int, size: int, _: object) -> None:
            nonlocal instructions, deepest
            length = lengths.get((address, size))
            if length is None:
                length = lengths[address, size] = self._length(address, size)
                deepest = min(deepest, self._get("SP"))
            instructions += length

        with self._hooked(unicorn.UC_HOOK_BLOCK, block, symbol):
            self._until_return(symbol)
        return instructions, deepest

    def _until_return(self, symbol: str) -> None:
        self.uc.emu_start(self.symbols[symbol] | self.thumb, RETURN, timeout=LONGEST_US)
        if self._get("PC") != RETURN:
            raise self._endless(symbol)

    def _in_turns(self, symbol: str, top: int) -> tuple[int, int]:
        """The same a hundred times as fast, for the many short blocks of arithmetic by software.

        TURN instructions run at a time, without a word from here. After the return come instructions that do nothing
        until the turn is over: the place where it ends tells how many.
        """
        deepest, turns, at = top, 0, self.symbols[symbol]
        nothing = len(self.processor.nothing)

        def edge(uc: unicorn.Uc, block: object, before: object, _: object) -> None:
            nonlocal deepest
            deepest = min(deepest, self._get("SP"))

        with self._hooked(unicorn.UC_HOOK_EDGE_GENERATED, edge, symbol):
            while not RETURN <= at <= RETURN + TURN * nothing:
                if turns == MOST_TURNS:
                    raise self._endless(symbol)
                self.uc.emu_start(at | self.thumb, NOWHERE, count=TURN)
                at, turns = self._get("PC"), turns + 1
        return turns * TURN - (at - RETURN) // nothing, deepest

    @contextmanager
    def _hooked(self, kind: int, hook: Callable[..., None], symbol: str) -> Iterator[None]:
        number = self.uc.hook_add(kind, hook)
        try:
            with self._naming(symbol):
                yield
        finally:
            self.uc.hook_del(number)

    @contextmanager
    def _naming(self, symbol: str) -> Iterator[None]:
        try:
            yield
        except unicorn.UcError as error:
            raise ExportError(f"{symbol} on the emulated {self.target.name}: {error} at {self._where()}") from error

    def _endless(self, symbol: str) -> ExportError:
        return ExportError(f"{symbol} on the emulated {self.target.name} does not return; it is at {self._where()}")

    def evaluate(self, symbol: str, x: Array, n_out: int, p: Array | None = None) -> tuple[Array, Call]:
        """What a function of the model writes for x (n, n_in): y (n, n_out), and what the call took.

        p are the inputs of one that are constant during a call.
        """
        return self._written(self.call, symbol, x, n_out, p)

    def values(self, symbol: str, x: Array, n_out: int) -> Array:
        """What a function of the model writes for x (n, n_in): y (n, n_out); nothing is counted."""
        return self._written(self.returned, symbol, x, n_out, None)[0]

    def _written(
        self, call: Callable[..., Called], symbol: str, x: Array, n_out: int, p: Array | None
    ) -> tuple[Array, Called]:
        y = np.full((len(x) + 1, n_out), UNTOUCHED, x.dtype)
        place = DATA + -(-x.nbytes // 64) * 64
        constant = place + -(-y.nbytes // 64) * 64
        if constant + (0 if p is None else p.nbytes) > DATA + DATA_BYTES:
            raise ExportError(
                f"{len(x)} points do not fit into the emulator; expected: {DATA_BYTES:,} bytes of x and y"
            )
        self.uc.mem_write(DATA, x.tobytes())
        self.uc.mem_write(place, y.tobytes())
        if p is not None:
            self.uc.mem_write(constant, p.tobytes())
        called = call(symbol, *([] if p is None else [constant]), DATA, place, len(x))
        y = np.frombuffer(self.uc.mem_read(place, y.nbytes), x.dtype).reshape(y.shape)
        if (y[-1] != UNTOUCHED).any():
            raise ExportError(f"{symbol} on the emulated {self.target.name} wrote behind its results")
        return y[:-1], called

    def _length(self, address: int, size: int) -> int:
        """How many instructions a block has."""
        if not self.thumb:
            return int(self.uc.ctl_request_cache(address)[1])
        halves = np.frombuffer(self.uc.mem_read(address, size), np.uint16)
        at = length = 0
        while at < len(halves):
            at += 2 if halves[at] >= WIDE else 1
            length += 1
        return length

    def _placed(self, arguments: tuple[int, ...]) -> tuple[tuple[int, ...], bytes]:
        """The arguments in registers, and those on the stack.

        Of 32 bits, an int64 takes two registers. On Arm the first has an even number, and where none is left it lies on
        the stack.
        """
        if self.target.pointer_bits == 64 or len(arguments) < 3:
            return arguments, b""
        *pointers, n = arguments
        if len(pointers) == 3 and self.target.is_arm32:
            return tuple(pointers), n.to_bytes(8, "little")
        return (*pointers, n & 0xFFFF_FFFF, n >> 32), b""

    def _where(self) -> str:
        return f"offset {self._get('PC') - CODE:#x}"

    def _get(self, name: str) -> int:
        return int(self.uc.reg_read(self.processor.register(name)))

    def _set(self, name: str, value: int) -> None:
        self.uc.reg_write(self.processor.register(name), value)
