"""The model in the words of other languages: a few lines each around the C functions, made from the interface."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from kdpinn_edge.bundle.manifest import STATIC_FILES, Artifact
from kdpinn_edge.errors import ExportError, did_you_mean
from kdpinn_edge.export.artifacts.c_files import c_words, filled_template, function_words
from kdpinn_edge.export.targets.interface import Interface
from kdpinn_edge.program.ir import columns

Language = Literal["cpp", "fortran", "matlab", "rust"]
LIBRARIES: tuple[Artifact, ...] = ("elf", "archive", "dylib", "dll")
FORTRAN_NAME = 63
"""How long a name may be in Fortran (ISO 1539-1:2010, 3.2.2)."""


@dataclass(frozen=True)
class Wrapper:
    """What a language needs: template and file name of each file, and the artifacts that it can be linked with."""

    files: Mapping[str, str]
    artifacts: Sequence[Artifact]


WRAPPERS: Mapping[Language, Wrapper] = {
    "cpp": Wrapper({"wrapper.hpp": "{}.hpp"}, (*LIBRARIES, "c99")),
    "fortran": Wrapper({"wrapper.f90": "{}.f90"}, (*LIBRARIES, "c99")),
    "matlab": Wrapper({"wrapper_mex.c": "{}_mex.c"}, ("elf", "dylib", "dll", "c99")),
    "rust": Wrapper({"wrapper.rs": "{}.rs", "wrapper_build.rs": "{}_build.rs", "Cargo.toml": "Cargo.toml"}, LIBRARIES),
}


def check_languages(languages: Sequence[str], interface: Interface) -> tuple[Language, ...]:
    """The languages, each once. Raises ExportError for one that is unknown, or that the target does not serve."""
    known = get_args(Language)
    for language in languages:
        if language not in known:
            raise ExportError(
                f"language {language!r} is unknown; expected: {', '.join(known)}{did_you_mean(language, known)}"
            )
    chosen = tuple(language for language in known if language in languages)
    artifact = interface.target.artifact
    for language in chosen:
        if artifact not in WRAPPERS[language].artifacts:
            raise ExportError(f"{interface.target.name} makes nothing that {language} is linked with; leave it out")
    if "fortran" in chosen and (long := [name for name in _fortran_names(interface) if len(name) > FORTRAN_NAME]):
        raise ExportError(
            f"{long[0]} is too long for Fortran; expected: {FORTRAN_NAME} letters. Choose a shorter --name"
        )
    return chosen


def languages_in(names: Collection[str], interface: Interface) -> tuple[Language, ...]:
    """The languages that files of these names are for."""
    files = {
        language: [name.format(interface.name) for name in WRAPPERS[language].files.values()] for language in WRAPPERS
    }
    return tuple(language for language in files if any(name in names for name in files[language]))


def wrappers(languages: Sequence[Language], interface: Interface) -> dict[str, bytes]:
    """File name → contents."""
    words, functions = _words(interface), _functions(interface)
    repeated = {
        "function": functions,
        "function_for": functions if interface.per_call else [],
        "function_fixed": functions if interface.bits else [],
    }
    return {
        name.format(interface.name): filled_template(template, interface, words, repeated)
        for language in languages
        for template, name in WRAPPERS[language].files.items()
    }


def _words(interface: Interface) -> dict[str, str]:
    single, artifact = interface.precision == "float32", interface.target.artifact
    static = artifact in STATIC_FILES or artifact == "archive"
    file = STATIC_FILES.get(artifact, interface.target.library).format(interface.name)
    return {
        "n_functions": str(len(interface.functions)),
        "kind": "c_float" if single else "c_double",
        "rust": "f32" if single else "f64",
        "class": "single" if single else "double",
        "Class": "Single" if single else "Double",
        "CLASS": "SINGLE" if single else "DOUBLE",
        "link_kind": "static" if static else "dylib",
        "link_file": file,
        "object": f"{interface.name}.lib" if artifact == "dll" else file,
    }


def _functions(interface: Interface) -> list[dict[str, str]]:
    described = []
    for index, (function, program) in enumerate(interface.functions.items()):
        names = columns(program.outputs)
        numbered = list(enumerate(zip(c_words(names), names, strict=True)))
        prefix, bits = f"{interface.name}_{function}", interface.bits.get(function, ((), ()))
        fortran = [f"  integer, parameter :: {prefix}_{w.lower()} = {i + 1} ! {name}" for i, (w, name) in numbered]
        rust = [f"    /// {name}\n    pub const {w}: usize = {i};" for i, (w, name) in numbered]
        described.append(
            {
                **function_words(interface, function, index),
                "number": str(index + 1),
                "fortran": "\n".join(fortran),
                "rust_columns": "\n".join(rust),
                "names_said": ", ".join(names),
                **{f"{side}_bits": ", ".join(map(str, each)) for side, each in zip("xy", bits, strict=True)},
            }
        )
    return described


def _fortran_names(interface: Interface) -> list[str]:
    return [
        f"{interface.name}_{function}_{word}".lower()
        for function, program in interface.functions.items()
        for word in c_words(columns(program.outputs))
    ]
