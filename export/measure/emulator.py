"""Calls functions of an artifact on an emulated processor of its target: the result, the instructions, the stack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from types import ModuleType
from typing import Any

import numpy as np
import unicorn
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from numpy.typing import NDArray
from unicorn import arm64_const, arm_const, riscv_const

from kdpinn_edge.errors import ExportError
from kdpinn_edge.export.artifacts.archive import MAGIC, only_member
from kdpinn_edge.export.targets.table import Target

Array = NDArray[Any]

RETURN, CODE, STACK, DATA = 0x8000, 0x10_0000, 0x2000_0000, 0x3000_0000
"""Where things lie: on Cortex-M code runs below 0x2000_0000 only. A call returns to RETURN, where nothing runs."""

STACK_BYTES, DATA_BYTES, PAGE = 1 << 24, 1 << 24, 1 << 12
TOP = STACK + STACK_BYTES - 64
"""The stack pointer of the caller."""

LONGEST_US = 60_000_000
PAINT = np.random.default_rng(0).integers(0, 256, STACK_BYTES, np.uint8)
ELF = b"\x7fELF"
ARM_ABS32, ARM_REL32, ARM_THM_CALL, ARM_THM_JUMP24, ARM_THM_MOVW_ABS, ARM_THM_MOVT_ABS = 2, 3, 10, 30, 47, 48
"""Relocations of an object for Arm."""

WIDE = 0xE800
"""From here on the first half of a Thumb instruction says that there is a second one."""


@dataclass(frozen=True)
class Processor:
    """How unicorn becomes one, and calls a function on it.

    `registers` are those of the arguments, of which the first has the result, and of the return address. `setup` has
    bits to set in registers, so that floating-point instructions are allowed.
    """

    architecture: int
    mode: int
    model: int
    names: ModuleType
    prefix: str
    registers: tuple[str, ...]
    setup: Mapping[str, int]

    def register(self, name: str) -> int:
        """Unicorn's number of a register."""
        return int(getattr(self.names, f"{self.prefix}_{name}"))


def _arm(model: str, mode: int = unicorn.UC_MODE_ARM) -> Processor:
    number = getattr(arm_const, f"UC_CPU_ARM_CORTEX_{model}")
    setup = {"C1_C0_2": 0xF << 20, "FPEXC": 1 << 30}
    registers = ("R0", "R1", "R2", "R3", "LR")
    return Processor(unicorn.UC_ARCH_ARM, mode, number, arm_const, "UC_ARM_REG", registers, setup)


def _arm64(model: str) -> Processor:
    number = getattr(arm64_const, f"UC_CPU_ARM64_{model}")
    names, registers, setup = arm64_const, ("X0", "X1", "X2", "X3", "LR"), {"CPACR_EL1": 3 << 20}
    return Processor(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM, number, names, "UC_ARM64_REG", registers, setup)


def _riscv64() -> Processor:
    number, registers, setup = riscv_const.UC_CPU_RISCV64_ANY, ("A0", "A1", "A2", "A3", "RA"), {"MSTATUS": 3 << 13}
    mode = unicorn.UC_MODE_RISCV64
    return Processor(unicorn.UC_ARCH_RISCV, mode, number, riscv_const, "UC_RISCV_REG", registers, setup)


MICROCONTROLLER = unicorn.UC_MODE_THUMB  # with UC_MODE_MCLASS, unicorn 2.1.4 takes the M33 for every model
PROCESSORS: Mapping[str, Processor] = {
    "aarch64": _arm64("A53"),
    "cortex-a53": _arm64("A53"),
    "cortex-a72": _arm64("A72"),
    "cortex-a76": _arm64("MAX"),
    "macos-arm64": _arm64("MAX"),
    "armv7": _arm("A7"),
    "cortex-a9": _arm("A9"),
    "riscv64": _riscv64(),
    "cortex-m4": _arm("M4", MICROCONTROLLER),
    "cortex-m7": _arm("M7", MICROCONTROLLER),
    "cortex-m33": _arm("M33", MICROCONTROLLER),
}
"""The targets that unicorn emulates. It has no AVX."""


@dataclass(frozen=True)
class Call:
    """One call: what it returned, how many instructions it took, how many bytes below the caller's stack pointer.

    An instruction whose condition does not hold is one all the same. The stack is what is written, or below the stack
    pointer where a basic block begins: all but what a function without a branch reserves and never writes.
    """

    result: int
    instructions: int
    stack: int


class Machine:
    """An emulated processor of `target` with an artifact in its memory: a library, an object, or an archive of one.

    Raises ExportError where the artifact cannot be read, a call does not return, or it touches memory that is not its.
    """

    def __init__(self, target: Target, artifact: bytes) -> None:
        self.target, self.processor = target, PROCESSORS[target.name]
        self.uc = unicorn.Uc(self.processor.architecture, self.processor.mode)
        self.uc.ctl_set_cpu_model(self.processor.model)
        parts, self.symbols = _image(artifact)
        end = max(address + len(data) for address, data in parts)
        self.uc.mem_map(CODE, -(-(end - CODE) // PAGE) * PAGE, unicorn.UC_PROT_READ | unicorn.UC_PROT_EXEC)
        for address, data in parts:
            self.uc.mem_write(address, data)
        self.uc.mem_map(STACK, STACK_BYTES, unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE)
        self.uc.mem_map(DATA, DATA_BYTES, unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE)
        self.uc.mem_map(RETURN, PAGE, unicorn.UC_PROT_READ | unicorn.UC_PROT_EXEC)
        for name, bits in self.processor.setup.items():
            self._set(name, self._get(name) | bits)

    @property
    def thumb(self) -> bool:
        """Whether its instructions are Thumb, of 2 or 4 bytes."""
        return bool(self.processor.mode & unicorn.UC_MODE_THUMB)

    def returned(self, symbol: str) -> int:
        """What a function without arguments returns; nothing is counted, which takes a fiftieth of the time."""
        return self._run(symbol, (), TOP)

    def call(self, symbol: str, *arguments: int) -> Call:
        """Call a function that returns int32: its arguments are pointers, and after two or three of them an int64."""
        lengths: dict[tuple[int, int], int] = {}
        registers, pushed = self._placed(arguments)
        top = TOP - len(pushed)
        instructions, deepest = 0, top

        def block(uc: unicorn.Uc, address: int, size: int, _: object) -> None:
            nonlocal instructions, deepest
            length = lengths.get((address, size))
            if length is None:
                length = lengths[address, size] = self._length(address, size)
                deepest = min(deepest, self._get("SP"))
            instructions += length

        self.uc.mem_write(STACK, PAINT.tobytes())
        self.uc.mem_write(top, pushed)
        hook = self.uc.hook_add(unicorn.UC_HOOK_BLOCK, block)
        try:
            self.uc.ctl_flush_tb()  # what was translated before calls the hook of before
            result = self._run(symbol, registers, top)
        finally:
            self.uc.hook_del(hook)
        painted = np.frombuffer(self.uc.mem_read(STACK, STACK_BYTES), np.uint8) == PAINT
        touched = top if painted.all() else min(top, STACK + int(np.argmin(painted)))
        return Call(result, instructions, top - min(deepest, touched))

    def evaluate(self, symbol: str, x: Array, n_out: int, p: Array | None = None) -> tuple[Array, Call]:
        """What a function of the model writes for x (n, n_in): y (n, n_out), and what the call took.

        p are the inputs of one that are constant during a call.
        """
        y = np.full((len(x) + 1, n_out), 7.25, x.dtype)
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
        call = self.call(symbol, *([] if p is None else [constant]), DATA, place, len(x))
        y = np.frombuffer(self.uc.mem_read(place, y.nbytes), x.dtype).reshape(y.shape)
        if (y[-1] != 7.25).any():
            raise ExportError(f"{symbol} on the emulated {self.target.name} wrote behind its results")
        return y[:-1], call

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

        Of 32 bits, an int64 takes a register of even number and the next, and lies on the stack where none is left.
        """
        if self.target.pointer_bits == 64 or len(arguments) < 3:
            return arguments, b""
        *pointers, n = arguments
        if len(pointers) == 2:
            return (*pointers, n & 0xFFFF_FFFF, n >> 32), b""
        return tuple(pointers), n.to_bytes(8, "little")

    def _run(self, symbol: str, words: tuple[int, ...], top: int) -> int:
        *places, link = self.processor.registers
        for name, word in zip(places, words, strict=False):
            self._set(name, word)
        self._set("SP", top)
        self._set(link, RETURN | self.thumb)
        try:
            self.uc.emu_start(self.symbols[symbol] | self.thumb, RETURN, timeout=LONGEST_US)
        except unicorn.UcError as error:
            raise ExportError(f"{symbol} on the emulated {self.target.name}: {error} at {self._where()}") from error
        if self._get("PC") != RETURN:
            raise ExportError(f"{symbol} on the emulated {self.target.name} does not return; it is at {self._where()}")
        result = self._get(places[0])
        return (result + (1 << 31)) % (1 << 32) - (1 << 31)

    def _where(self) -> str:
        return f"offset {self._get('PC') - CODE:#x}"

    def _get(self, name: str) -> int:
        return int(self.uc.reg_read(self.processor.register(name)))

    def _set(self, name: str, value: int) -> None:
        self.uc.reg_write(self.processor.register(name), value)


Parts = list[tuple[int, bytes]]


def _image(artifact: bytes) -> tuple[Parts, dict[str, int]]:
    """The bytes of an artifact at the addresses where they run, and those of its functions."""
    if artifact.startswith(MAGIC):
        return _relocated(ELFFile(BytesIO(only_member(artifact))))
    if not artifact.startswith(ELF):
        return _mach_o(artifact)
    file = ELFFile(BytesIO(artifact))
    if file["e_type"] == "ET_REL":
        return _relocated(file)
    loaded = (segment for segment in file.iter_segments("PT_LOAD"))
    parts = [(CODE + segment["p_vaddr"], segment.data()) for segment in loaded]
    return parts, {s.name: CODE + s["st_value"] for s in file.get_section_by_name(".dynsym").iter_symbols()}


def _mach_o(artifact: bytes) -> tuple[Parts, dict[str, int]]:
    import lief

    binary = lief.parse(list(artifact))
    if not isinstance(binary, lief.MachO.Binary):
        raise ExportError("the emulator cannot read the artifact; expected: ELF or Mach-O")
    base = binary.imagebase
    segments = [segment for segment in binary.segments if segment.file_size]
    parts = [(CODE + segment.virtual_address - base, bytes(segment.content)) for segment in segments]
    return parts, {str(s.name).removeprefix("_"): CODE + s.value - base for s in binary.exported_symbols}


def _relocated(file: ELFFile) -> tuple[Parts, dict[str, int]]:
    """The sections of an object one behind the other, with the addresses that they contain filled in."""
    contents: dict[int, bytearray] = {}
    places: dict[int, int] = {}
    end = CODE
    for i, section in enumerate(file.iter_sections()):
        if section["sh_flags"] & SH_FLAGS.SHF_ALLOC and section["sh_type"] == "SHT_PROGBITS":
            places[i] = -(-end // 64) * 64
            contents[i] = bytearray(section.data())
            end = places[i] + len(contents[i])
    table = file.get_section_by_name(".symtab")
    for relocations in file.iter_sections("SHT_REL"):
        for each in relocations.iter_relocations() if relocations["sh_info"] in contents else ():
            symbol = table.get_symbol(each["r_info_sym"])
            address = places[symbol["st_shndx"]] + symbol["st_value"]
            patched = relocations["sh_info"]
            place = places[patched] + each["r_offset"]
            _relocate(contents[patched], each["r_offset"], each["r_info_type"], address, place)
    parts = [(places[i], bytes(contents[i])) for i in contents]
    functions = (s for s in table.iter_symbols() if s["st_info"]["type"] == "STT_FUNC")
    return parts, {s.name: places[s["st_shndx"]] + s["st_value"] for s in functions}


def _relocate(code: bytearray, at: int, kind: int, address: int, place: int) -> None:
    """Add `address` to what `code` has at a place: to a word, to half of one in a Thumb instruction, or to a branch.

    `place` is the address of that place itself, which a branch and a distance are relative to. What half of a word has
    is a number of 16 bits with a sign.

    ELF for the Arm Architecture, 5.6 Relocation: R_ARM_ABS32, R_ARM_REL32, R_ARM_THM_MOVW_ABS_NC, R_ARM_THM_MOVT_ABS,
    R_ARM_THM_CALL, R_ARM_THM_JUMP24.
    """
    first, second = (int.from_bytes(code[i : i + 2], "little") for i in (at, at + 2))
    if kind in (ARM_ABS32, ARM_REL32):
        word = first + (second << 16) + address - (place if kind == ARM_REL32 else 0)
        code[at : at + 4] = (word & 0xFFFFFFFF).to_bytes(4, "little")
        return
    if kind in (ARM_THM_MOVW_ABS, ARM_THM_MOVT_ABS):
        addend = (first & 0xF) << 12 | (first >> 10 & 1) << 11 | (second >> 12 & 7) << 8 | second & 0xFF
        addend -= (addend & 0x8000) << 1
        value = addend + address >> (16 if kind == ARM_THM_MOVT_ABS else 0)
        first = first & 0xFBF0 | value >> 12 & 0xF | (value >> 11 & 1) << 10
        second = second & 0x8F00 | (value >> 8 & 7) << 12 | value & 0xFF
    elif kind in (ARM_THM_CALL, ARM_THM_JUMP24):
        sign = first >> 10 & 1
        upper = [(second >> bit & 1) ^ sign ^ 1 for bit in (13, 11)]
        addend = upper[0] << 23 | upper[1] << 22 | (first & 0x3FF) << 12 | (second & 0x7FF) << 1
        distance = addend - (sign << 24) + (address & ~1) - place
        sign = int(distance < 0)
        first = first & 0xF800 | sign << 10 | distance >> 12 & 0x3FF
        j1, j2 = ((distance >> bit & 1) ^ sign ^ 1 for bit in (23, 22))
        second = second & 0xD000 | j1 << 13 | j2 << 11 | distance >> 1 & 0x7FF
    else:
        raise ExportError(f"the emulator does not know the relocation {kind} of the artifact")
    code[at : at + 4] = first.to_bytes(2, "little") + second.to_bytes(2, "little")
