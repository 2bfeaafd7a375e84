"""Object code → the artifact's files: a library for each kind of system, or for bare metal an archive."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from kdpinn_edge.bundle.fmu import FMI3_FILE
from kdpinn_edge.bundle.manifest import STATIC_FILES, Artifact
from kdpinn_edge.errors import ExportError
from kdpinn_edge.export.artifacts.archive import archive
from kdpinn_edge.export.artifacts.hidden_symbols import with_hidden_symbols
from kdpinn_edge.export.artifacts.integrity import with_record
from kdpinn_edge.export.artifacts.versions import version
from kdpinn_edge.export.targets.interface import Interface

Command = Sequence[str]
ZIG = (sys.executable, "-m", "ziglang")
OBJECT, VERSIONS = "kernel.o", "versions.map"


def linker(interface: Interface) -> Command:
    """The command that links for the target: a C compiler of this machine where it serves, else ziglang.

    Empty where nothing is linked. Raises ExportError where there is none.
    """
    target = interface.target
    if target.artifact in ("archive", "c99"):
        return ()
    if target.runs_here():
        for name in ("cc", "gcc", "clang"):
            if path := shutil.which(name):
                return (path,)
    if find_spec("ziglang") is None:
        found, fix = "", "Name a C compiler for this target with --cc, or: "
        if target.runs_here():
            found, fix = "neither cc, gcc nor clang is on the PATH, and ", "Install a C compiler, or: "
        if target.artifact == "fmu":
            fix = ""
        raise ExportError(
            f"no linker for {target.name}: {found}the package ziglang is not installed. "
            f"{fix}pip install 'kdpinn-edge[cross]'"
        )
    return (*ZIG, *ZIG_LINKER[target.artifact])


def check_command(command: Command) -> None:
    """Raise ExportError where there is no program of this name: call it before long work."""
    if command and shutil.which(command[0]) is None:
        raise ExportError(f"the linker {command[0]} cannot be run: No such file on the PATH; expected: a C compiler")


def linker_version(command: Command) -> str:
    """Say which linker `command` is, so that equal words mean equal bytes; "none" for no command."""
    if not command:
        return "none"
    if tuple(command[: len(ZIG)]) == ZIG:
        return f"ziglang {version('ziglang')} {' '.join(command[len(ZIG) :])}"
    said = []
    for option in ("--version", "-Wl,--version"):
        try:
            done = subprocess.run([*command, option], capture_output=True, text=True, check=False)  # noqa: S603
        except (OSError, UnicodeDecodeError):
            return "unknown"
        said.append(done.stdout.partition("\n")[0].strip())
    return ", ".join(said) if all(line and line.isprintable() for line in said) else "unknown"


def linked_files(interface: Interface) -> set[str]:
    """The names of the files of the artifact."""
    static = STATIC_FILES.get(interface.target.artifact, interface.target.library).format(interface.name)
    return {*_written(interface), interface.linked_library, static}


def _written(interface: Interface) -> list[str]:
    """What the linker writes."""
    beside = {"dll": "{}.lib", "fmu": FMI3_FILE}.get(interface.target.artifact)
    return [interface.library, *([beside.format(interface.name)] if beside else [])]


def link(object_code: bytes, interface: Interface, command: Command) -> dict[str, bytes]:
    """The files of the artifact made of `object_code`: `interface.library` first.

    A DLL has its import library too, a library of Linux or macOS its second name, and one of Linux the static archive.
    `command` is that of `linker`, or of a C compiler that links for the target. Raises ExportError with the linker's
    words if it fails.
    """
    artifact = interface.target.artifact
    if artifact == "archive":
        return {interface.library: _archive(object_code, interface)}
    options = DIRECT if artifact in DIRECT and tuple(command) == (*ZIG, *ZIG_LINKER[artifact]) else THROUGH_CC
    inputs = {OBJECT: object_code, VERSIONS: _versions(interface).encode("ascii")}
    linked = run_in(inputs, [*command, *options[artifact](interface), OBJECT], _written(interface), "linker")
    linked[interface.library] = with_record(linked[interface.library], interface)
    linked.setdefault(interface.linked_library, linked[interface.library])
    if artifact in STATIC_FILES:
        static = _archive(with_hidden_symbols(object_code), interface)
        linked[STATIC_FILES[artifact].format(interface.name)] = static
    return linked


def run_in(inputs: Mapping[str, bytes], arguments: Command, names: Sequence[str], what: str) -> dict[str, bytes]:
    """The files `names` that `arguments`, a `what`, makes of the files `inputs`. Raises ExportError with its words.

    Zig keeps what it makes beside in a folder that goes with them, so that it needs none that can be written at home.
    """
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as cache:
        for name, contents in inputs.items():
            (Path(folder) / name).write_bytes(contents)
        own = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
        try:
            done = subprocess.run(  # noqa: S603 - a list and no shell: Zig, or what the user names with --cc
                arguments, cwd=folder, env=own, capture_output=True, text=True, check=False
            )
        except OSError as error:
            raise ExportError(f"the {what} {arguments[0]} cannot be run: {error.strerror}") from error
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip() or f"it exits with {done.returncode} and says nothing"
            raise ExportError(f"the {what} failed ({' '.join(arguments)}):\n{said}")
        return {name: (Path(folder) / name).read_bytes() for name in names}


def _archive(object_code: bytes, interface: Interface) -> bytes:
    return archive(object_code, f"{interface.name}.o", interface.symbols)


def _versions(interface: Interface) -> str:
    """The version script of an ELF library.

    The version is part of every reference to a symbol: where two versions of a model are linked into one program, each
    part of it gets the functions that it was linked with.
    """
    symbols = " ".join(f"{symbol};" for symbol in interface.visible)
    return f"{interface.symbol_version} {{ global: {symbols} local: *; }};\n"


ZIG_LINKER: Mapping[Artifact, Command] = {
    "fmu": (),
    "elf": ("ld.lld",),
    "wasm": ("wasm-ld",),
    "dll": ("lld-link",),
    "dylib": ("cc", "-target", "aarch64-macos"),
}
"""What ziglang is asked for. Its linker for macOS has no command of its own."""


ELF_BY_CC = ("--build-id=none", "-s", "-z,defs", "-z,noexecstack", "-z,now")
"""What a C compiler tells the linker of every library for Linux."""


def _elf(interface: Interface) -> list[str]:
    named = ["-soname", interface.linked_library, f"--version-script={VERSIONS}", "-o", interface.library]
    return ["-shared", "--build-id=none", "-s", "-z", "defs", "-z", "now", *named]


def _wasm(interface: Interface) -> list[str]:
    exports = (f"--export={symbol}" for symbol in interface.symbols)
    return ["--no-entry", "--strip-all", "--stack-first", *exports, "-o", interface.library]


def _dll(interface: Interface) -> list[str]:
    exports = (f"/export:{symbol}" for symbol in interface.visible)
    files = f"/out:{interface.library}", f"/implib:{interface.name}.lib"
    return ["/nologo", "/dll", "/noentry", "/Brepro", "/machine:x64", *exports, *files]


def _elf_by_cc(interface: Interface) -> list[str]:
    named = (f"-soname,{interface.linked_library}", f"--version-script={VERSIONS}")
    return ["-shared", "-nostdlib", *(f"-Wl,{option}" for option in (*ELF_BY_CC, *named)), "-o", interface.library]


def _wasm_by_cc(interface: Interface) -> list[str]:
    exports = (f"-Wl,--export={symbol}" for symbol in interface.symbols)
    return ["-nostdlib", "-Wl,--no-entry", "-Wl,--strip-all", *exports, "-o", interface.library]


def _dll_by_cc(interface: Interface) -> list[str]:
    entry, implib = "-Wl,--entry=0", f"-Wl,--out-implib,{interface.name}.lib"
    return ["-shared", "-nostdlib", "-s", entry, implib, "-o", interface.library]


def _dylib_by_cc(interface: Interface) -> list[str]:
    named = [f"-Wl,-install_name,@rpath/{interface.linked_library}", "-o", interface.library]
    return ["-shared", "-nostdlib", "-lSystem", "-s", *named]


Options = Mapping[Artifact, Callable[[Interface], list[str]]]
DIRECT: Options = {"elf": _elf, "wasm": _wasm, "dll": _dll}
THROUGH_CC: Options = {"elf": _elf_by_cc, "wasm": _wasm_by_cc, "dll": _dll_by_cc, "dylib": _dylib_by_cc}
