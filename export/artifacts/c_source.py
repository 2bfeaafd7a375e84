"""Kernel → C99 source: one file without dependencies, for compilers that are certified, or that no target knows.

It is read by people too: the functions of the kernel one by one, the activations with their formulas, the numbers last
digit included.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.export.artifacts.c_files import filled_template, quoted
from kdpinn_edge.export.artifacts.templates import filled, template
from kdpinn_edge.export.lowering.emit_c import REAL, Real, Source
from kdpinn_edge.export.lowering.kernel import Kernel
from kdpinn_edge.export.targets.interface import Interface
from kdpinn_edge.numerics import fixed_point

WIDTH = 112

HAS_FMA = {
    "float": "defined(__FP_FAST_FMAF) || defined(__FMA__) || defined(__ARM_FEATURE_FMA) || defined(__riscv_f)",
    "double": "defined(__FP_FAST_FMA) || defined(__FMA__) || defined(__aarch64__) || defined(__riscv_d)",
}
"""How the preprocessor of GCC or Clang says that the processor has the instruction."""

STORED = {"float16": "uint16_t", "int16": "int16_t", "int32": "int32_t", "uint32": "uint32_t"}
"""The C types of numbers that are stored as integers."""


def c_source(kernel: Kernel, interface: Interface) -> bytes:
    """The C99 file with the functions of `interface`, which its header and kdpinn_edge.h declare.

    The kernel is one for registers of one lane. The numerics profile is that of the target: with `fma-…` a
    multiply-add rounds once, by the instruction of the processor, or else by exact arithmetic in double (float32) or
    by `fma` of the C library (float64). Parameters that are stored as float16 are so here too.
    Raises ExportError where the kernel says what C does not.
    """
    real = REAL[interface.precision]
    fused = interface.target.fuses
    prefix = f"KDPINN_{interface.name.upper()}_"
    arrays = {name: array for name, array in kernel.arrays.items() if array.size}
    source = Source(
        interface.precision,
        {name: _named(f"{prefix}{name}", array) for name, array in arrays.items()},
        lambda function: _c_name(function, interface),
    )
    for routine in kernel.routines:
        source.routine(routine)
    source.word("bits")
    more = {
        "rounding": _rounding(interface),
        "libraries": "none, or fma of the C library" if fused and real.number == "double" else "none",
        "definitions": "\n\n".join(
            [
                *(_array(f"{prefix}{name}", array) for name, array in arrays.items()),
                _side(f"{prefix}LOWER", interface.lower),
                _side(f"{prefix}UPPER", interface.upper),
                *_words(source.words, real, fused, {"name": interface.name, "ARRAY": prefix}),
                *source.functions,
                _integrity(kernel, interface, source.arrays),
            ]
        ),
        "input_names": quoted(interface.input_names),
        "field": f"f{real.width}",
        "lower": _named(f"{prefix}LOWER", np.array(interface.lower)),
        "upper": _named(f"{prefix}UPPER", np.array(interface.upper)),
        "ARRAY": prefix,
        "double": "DBL_MANT_DIG != 53" if real.number == "double" else "(DBL_MANT_DIG != 53 && DBL_MANT_DIG != 24)",
    }
    return filled_template("model.c", interface, more)


def _rounding(interface: Interface) -> str:
    """What the numerics profile is, in words."""
    if interface.target.profile == fixed_point.PROFILE:
        return "words of 32 bits, a product is the upper word of the exact one"
    fused = interface.target.fuses
    return "a multiply-add rounds once" if fused else "a multiply-add rounds the product, then the sum"


def _integrity(kernel: Kernel, interface: Interface, arrays: Mapping[str, str]) -> str:
    """NAME_integrity, for the constant arrays: the CRC of their numbers, the lowest byte first on any processor.

    They are read as volatile: a compiler knows them, and would know the CRC.
    """
    crc, loops = 0, []
    for name, array in kernel.covered.items():
        crc = zlib.crc32(array.tobytes(), crc)
        read = f"((const volatile {STORED.get(array.dtype.name) or REAL[array.dtype.name].number} *){arrays[name]})[i]"
        value = f"{interface.name}_bits({read})" if array.dtype.name in REAL else f"(uint{8 * array.itemsize}_t){read}"
        loops += [
            f"    for (int32_t i = 0; i < {array.size}; i++) {{",
            f"        crc = {interface.name}_crc(crc, {value}, {8 * array.itemsize});",
            "    }",
        ]
    return filled("integrity.c", {"name": interface.name, "loops": "\n".join(loops), "crc": f"{crc:#010x}u"}).strip()


def _c_name(function: str, interface: Interface) -> tuple[str, str]:
    """The storage class and the name of a C function, which no other model shares."""
    name = f"{interface.name}_{function}"
    return ("" if name in interface.symbols else "static "), name


def _named(name: str, array: NDArray[Any]) -> str:
    """What C calls the array that `_array` defines."""
    return name if array.dtype.name in STORED or np.isfinite(array).all() else f"{name}.numbers"


def _array(name: str, array: NDArray[Any]) -> str:
    """The definition of a constant array, in hexadecimal, which every compiler reads exactly.

    C has no literals for NaN and infinities: an array with such numbers consists of bits.
    """
    if (stored := STORED.get(array.dtype.name)) is not None:
        texts = list(map(str, array.tolist())) if array.dtype.kind == "i" else _bits(array)
        return f"static const {stored} {name}[{array.size}] = {{\n{_rows(texts)}\n}};"
    real = REAL[array.dtype.name]
    if np.isfinite(array).all():
        texts = [real.literal(number) for number in array.tolist()]
        return f"static const {real.number} {name}[{array.size}] = {{\n{_rows(texts)}\n}};"
    head = f"static const union {{ {real.bits} bits[{array.size}]; {real.number} numbers[{array.size}]; }} {name}"
    return f"{head} = {{{{\n{_rows(_bits(array))}\n}}}};"


def _side(name: str, bounds: Sequence[float]) -> str:
    """One side of the domain box, as doubles. These have 32 bits on 8-bit processors."""
    array = np.array(bounds, np.float64)
    wide = _array(name, array)
    if np.isfinite(array).all():
        return wide
    narrow = f"static const union {{ uint32_t bits[{array.size}]; double numbers[{array.size}]; }} {name}"
    rows = _rows(_bits(array.astype(np.float32)))
    return f"#if DBL_MANT_DIG == 53\n{wide}\n#else\n{narrow} = {{{{\n{rows}\n}}}};\n#endif"


def _bits(numbers: NDArray[Any]) -> list[str]:
    width = numbers.itemsize
    return [f"0x{number:0{2 * width}x}u" for number in numbers.view(f"u{width}").tolist()]


def _rows(texts: Sequence[str]) -> str:
    """Numbers in columns, separated by commas."""
    width = max(map(len, texts))
    columns = max(WIDTH // (width + 2), 1)
    rows = (texts[i : i + columns] for i in range(0, len(texts), columns))
    return ",\n".join("    " + ", ".join(text.rjust(width) for text in row) for row in rows)


CALLED: Mapping[str, Sequence[str]] = {
    "absolute": ("bits", "from_bits"),
    "copysign": ("bits", "from_bits"),
    "canonical": ("from_bits",),
    "half": ("from_bits",),
    "mul": ("instruction",),
    "fma": ("instruction",),
}
"""The words that a word needs, in templates/words.c."""


def _words(wanted: set[str], real: Real, fused: bool, names: Mapping[str, str]) -> list[str]:
    """The C functions for these words and for those that they call, as templates/words.c has them, callers last."""
    _, *parts = re.split(r"^@word (.+)@\n", template("words.c"), flags=re.M)
    said = {
        "real": real.number,
        "bits": real.bits,
        "sign": f"{1 << (real.width - 1):#x}u",
        "top": f"{real.width - 1}",
        "nan": real.nan,
        "has_fma": HAS_FMA[real.number],
        "builtin_fma": {"float": "__builtin_fmaf", "double": "__builtin_fma"}[real.number],
        **names,
    }
    wanted = wanted if fused or "fma" not in wanted else {*wanted, "mul"}
    needed = {*wanted, *(called for word in wanted for called in CALLED.get(word, ()))}
    found: list[str] = []
    for title, body in zip(parts[::2], parts[1::2], strict=True):
        word, *kind = title.split()
        if word in needed and kind in ([], [real.number if fused else "muladd"]):
            found.append(re.sub(r"@(\w+)@", lambda match: said[match[1]], body).strip())
    return found
