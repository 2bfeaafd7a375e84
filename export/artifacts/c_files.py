"""The files beside the library for those who build against it: headers, an example, CMake and pkg-config files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from itertools import chain, count

from kdpinn_edge.bundle.manifest import PROGRAM_FILES, Artifact, FunctionName
from kdpinn_edge.derive.groups import first_derivatives, second_derivatives
from kdpinn_edge.derive.names import Names
from kdpinn_edge.export.artifacts.build_files import CMAKE, PKG_CONFIG, build_blocks, build_words, needs_libm
from kdpinn_edge.export.artifacts.templates import Repeated, filled
from kdpinn_edge.export.artifacts.versions import version
from kdpinn_edge.export.targets.interface import Interface
from kdpinn_edge.numerics import fixed_point
from kdpinn_edge.program.ir import Var, columns

COMMON_HEADER = "kdpinn_edge.h"
HEADER = {"model.h": "{}.h"}
EXAMPLE = {**HEADER, "example.c": "example.c"}
TEMPLATES: Mapping[Artifact, Mapping[str, str]] = {
    "elf": {**EXAMPLE, **CMAKE, **PKG_CONFIG},
    "dylib": {**EXAMPLE, **CMAKE, **PKG_CONFIG},
    "archive": {**EXAMPLE, **CMAKE, **PKG_CONFIG},
    "dll": {**EXAMPLE, **CMAKE},
    "c99": {**EXAMPLE, **CMAKE, **PKG_CONFIG},
    "wasm": HEADER,
    "fmu": HEADER,
}
BUILD: Mapping[Artifact, str] = {
    "elf": "cc example.c -L. -l@name@ -Wl,-rpath,'$ORIGIN' -o example && ./example",
    "dylib": "cc example.c -L. -l@name@ -Wl,-rpath,@loader_path -o example && ./example",
    "archive": "cc example.c -L. -l@name@ -o example, with the compiler and start-up code of the board",
    "dll": "clang example.c @name@.lib -o example.exe && example.exe",
    "c99": "cc -std=c99 -O2 example.c @name@.c -o example@libm@ && ./example",
    "wasm": "",
    "fmu": "",
}
COVERED: Mapping[Artifact, str] = {
    **dict.fromkeys(("elf", "dylib", "dll"), "code and constants"),
    "fmu": "the weights, and in a binary all constants and the code,",
    "wasm": "the constants",
    **dict.fromkeys(("archive", "c99"), "the weights and the domain box"),
}
"""What NAME_integrity reads: code too, unless a linker of others changes it, or a program cannot read it."""
BEYOND: Mapping[Artifact, str] = {
    "elf": "\n * In a program that links lib@name@.a it reads the weights and the domain box alone: its linker changes"
    "\n * code, which a CRC of the linked program has to cover.",
    "archive": "\n * Your linker changes code, which a CRC of the linked program has to cover.",
}
"""What a program has to do that needs more than COVERED."""
MEANING = {
    "eval": "The values",
    "jet": "The derivatives that were asked for",
    "residual": "What is left of the equation (0 for an exact solution)",
}


def c_files(interface: Interface) -> dict[str, bytes]:
    """File name → contents."""
    common = (files("kdpinn_edge") / "runtime" / COMMON_HEADER).read_bytes()
    templates = TEMPLATES[interface.target.artifact].items()
    return {COMMON_HEADER: common} | {
        name.format(interface.name): filled_template(file, interface, {}) for file, name in templates
    }


def filled_template(file: str, interface: Interface, words: Mapping[str, str], blocks: Repeated | None = None) -> bytes:
    """The template `file` with what the model is, and with `words`, in place of each @word@.

    `blocks` are what stands once for each of several, in place of the model's own or beside it.
    """
    model = {
        "name": interface.name,
        "NAME": interface.name.upper(),
        "precision": interface.precision,
        "scalar": interface.scalar,
        "profile": interface.target.profile,
        "target": interface.target.name,
        "library": interface.library,
        "build": _build(interface),
        "version": version("kdpinn-edge"),
        "n_in": str(len(interface.inputs)),
        "inputs": ", ".join(interface.input_names),
        "covered": COVERED[interface.target.artifact],
        "beyond": BEYOND.get(interface.target.artifact, "").replace("@name@", interface.name),
        "statement": interface.statement,
        **build_words(interface),
    }
    functions = [function_words(interface, function, i) for i, function in enumerate(interface.functions)]
    constant = [_per_call(interface)] if interface.per_call else []
    repeated = {
        "function": functions,
        "per_call": constant,
        "function_for": functions if constant else [],
        "function_fixed": functions if interface.bits else [],
        **_arithmetic(interface),
        **_index_macros(interface),
        **build_blocks(interface),
        **(blocks or {}),
    }
    return filled(file, {**model, **words}, repeated).encode()


def _arithmetic(interface: Interface) -> Repeated:
    """What stands in a template for models in integers alone, or for those in floats."""
    in_words = interface.target.profile == fixed_point.PROFILE
    return {"integers": [{}] if in_words else [], "floats": [] if in_words else [{}]}


def _build(interface: Interface) -> str:
    """How the example is compiled, linked and run."""
    artifact = interface.target.artifact
    libm = " -lm" if needs_libm(interface) else ""
    return BUILD[artifact].replace("@name@", interface.name).replace("@libm@", libm)


def _per_call(interface: Interface) -> dict[str, str]:
    inputs = interface.functions["eval"].inputs
    constant = [var for var in inputs if columns((var,))[0] in interface.per_call]
    return {
        "n_p": str(len(interface.constant_columns)),
        "p": _sized(constant),
        "n_x": str(len(interface.varying_columns)),
        "x": _sized([var for var in inputs if var not in constant]),
    }


def _index_macros(interface: Interface) -> dict[str, list[dict[str, str]]]:
    """What the macros that index the Jacobian and the Hessian need, where the jet has these columns in this order."""
    names = Names(interface.input_names, columns(interface.functions["eval"].outputs))
    jet = list(map(names.read, columns(interface.functions["jet"].outputs))) if "jet" in interface.functions else []
    n_in, macros = len(names.inputs), {}
    for kind, terms in (("jacobian", first_derivatives), ("hessian", second_derivatives)):
        wanted = list(terms(names.outputs, names.inputs))
        first = jet.index(wanted[0]) if wanted[0] in jet else 0
        sizes = {"first": str(first), "n_pairs": str(n_in * (n_in + 1) // 2)}
        macros[kind] = [sizes] if jet[first : first + len(wanted)] == wanted else []
    return macros


def _sized(variables: Sequence[Var]) -> str:
    return ", ".join(var.name if var.size == 1 else str(var) for var in variables)


def function_words(interface: Interface, function: FunctionName, index: int) -> dict[str, str]:
    """What stands in the templates for one function of the model."""
    program = interface.functions[function]
    names = columns(program.outputs)
    prefix = f"{interface.name}_{function}".upper()
    numbered = enumerate(zip(c_words(names), names, strict=True))
    return {
        "function": function,
        "FUNCTION": function.upper(),
        "index": str(index),
        "meaning": MEANING[function],
        "n_out": str(program.n_out),
        "sha256": program.sha256,
        "file": PROGRAM_FILES[function],
        "program": "\n".join(f" *     {line}" for line in str(program).splitlines()),
        "names": quoted(names),
        "columns": "\n".join(f"    {prefix}_{word} = {i}, /* {name} */" for i, (word, name) in numbered),
        "bits": "\n".join(_bits(interface, function)),
    }


def _bits(interface: Interface, function: FunctionName) -> Iterator[str]:
    """The macros that say how many fraction bits the words of a function in integers have."""
    sides = interface.bits.get(function, ((), ()))
    names = [*interface.input_names, *columns(interface.functions[function].outputs)]
    prefix = f"{interface.name}_bits_{function}".upper()
    for word, name, bits in zip(c_words(names), names, chain(*sides), strict=False):
        yield f"#define {prefix}_{word} {bits if bits >= 0 else f'({bits})'} /* of {name} */"


def quoted(names: Sequence[str]) -> str:
    """The names, which are ASCII without quotes, as the strings of a C array."""
    return ", ".join(f'"{name}"' for name in names)


def c_words(names: Sequence[str]) -> tuple[str, ...]:
    """For each column the end of its C constant, capitals, digits and _, none twice: `v[0]_x` gives V_0_X."""
    taken = {"N_OUT"}
    words = []
    for name in names:
        word = re.sub(r"[^A-Z0-9]+", "_", name.upper()).strip("_")
        free = next(w for w in chain([word], (f"{word}_{i}" for i in count(2))) if w not in taken)
        taken.add(free)
        words.append(free)
    return tuple(words)
