"""Object code → shared library, and the gates that every library passes before it is shipped."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from kdpinn_edge.errors import ExportError, listing
from kdpinn_edge.export.interface import Interface
from kdpinn_edge.manifest import Sizes

LINK = ("-shared", "-nostdlib", "-Wl,--build-id=none", "-Wl,-s", "-Wl,-z,defs", "-Wl,-z,noexecstack", "-Wl,-z,now")
WRITABLE, ALLOCATED, EXECUTABLE = 1, 2, 4


def linker() -> tuple[str, ...]:
    """The command of the C compiler that links: cc, gcc or clang on the PATH, else the one in the package ziglang."""
    for name in ("cc", "gcc", "clang"):
        path = shutil.which(name)
        if path is not None:
            return (path,)
    if find_spec("ziglang") is not None:
        return (sys.executable, "-m", "ziglang", "cc")
    raise ExportError(
        "no linker: neither cc, gcc nor clang is on the PATH, and the package ziglang is not installed. "
        "Install a C compiler, or: pip install 'kdpinn-edge[cross]'"
    )


def link(object_code: bytes, interface: Interface, command: Sequence[str]) -> bytes:
    """The shared library made of `object_code` by `command`. Raises ExportError with the linker's words if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder) / "kernel.o", Path(folder) / "kernel.so"
        source.write_bytes(object_code)
        arguments = [*command, *LINK, f"-Wl,-soname,{interface.library}", "-o", str(result), str(source)]
        try:
            done = subprocess.run(arguments, capture_output=True, text=True, check=False)  # noqa: S603
        except OSError as error:
            raise ExportError(f"the linker {command[0]} cannot be run: {error.strerror}") from error
        if done.returncode != 0:
            raise ExportError(f"the linker failed ({' '.join(arguments)}):\n{done.stderr.strip()}")
        return result.read_bytes()


def check_library(library: bytes, interface: Interface) -> Sizes:
    """The sizes of a library that passes the gates; ExportError with every gate that it does not pass.

    Gates: it exports the functions of its header and nothing else; it needs no symbol and no other library; it has no
    writable data but what the loader fills in and then protects (the addresses in the descriptor).
    """
    faults: list[str] = []
    try:
        elf = ELFFile(io.BytesIO(library))
    except ELFError as error:
        raise ExportError(f"{interface.library} is not an ELF library: {error}") from error
    exported: set[str] = set()
    undefined: set[str] = set()
    for section in elf.iter_sections():
        if isinstance(section, SymbolTableSection):
            for symbol in section.iter_symbols():
                if symbol["st_info"]["bind"] == "STB_LOCAL" or not symbol.name:
                    continue
                (undefined if symbol["st_shndx"] == "SHN_UNDEF" else exported).add(symbol.name)
    expected = set(interface.symbols)
    if exported != expected:
        faults.append(f"exports {sorted(exported)}; accepted: exactly {sorted(expected)}")
    if undefined:
        faults.append(f"needs the symbols {sorted(undefined)}; accepted: none")
    dynamic = elf.get_section_by_name(".dynamic")
    needed = [tag.needed for tag in dynamic.iter_tags("DT_NEEDED")] if dynamic else []
    if needed:
        faults.append(f"needs the libraries {needed}; accepted: none")
    protected = (".data.rel.ro", ".dynamic", ".got", ".got.plt", ".relro_padding")
    writable = [s.name for s in elf.iter_sections() if s["sh_flags"] & WRITABLE and s["sh_size"]]
    if set(writable) - set(protected):
        faults.append(f"has the writable sections {sorted(set(writable) - set(protected))}; accepted: none")
    if not any(segment["p_type"] == "PT_GNU_RELRO" for segment in elf.iter_segments()):
        faults.append("has no PT_GNU_RELRO segment, so its descriptor would stay writable")
    if faults:
        raise ExportError(f"{interface.library} does not pass its gates: {listing(faults)}")
    return Sizes(text=_size(elf, executable=True), rodata=_size(elf, executable=False))


def _size(elf: ELFFile, *, executable: bool) -> int:
    """Bytes of machine code, or of read-only constants."""
    sections = [s for s in elf.iter_sections() if s["sh_flags"] & ALLOCATED]
    if executable:
        return sum(s["sh_size"] for s in sections if s["sh_flags"] & EXECUTABLE)
    return sum(s["sh_size"] for s in sections if s.name.startswith(".rodata"))
