"""What a model may be called: its name is that of files, C functions, modules and targets of build systems."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping

NAME = re.compile(r"[a-z][a-z0-9_]{0,30}", re.ASCII)
OWN = "kdpinn"
"""What everything begins with that belongs to all models."""

C_KEYWORDS = """auto break case char const continue default do double else enum extern float for goto if inline int long
    register restrict return short signed sizeof static struct switch typedef union unsigned void volatile while
    alignas alignof and and_eq asm bitand bitor bool catch class compl concept const_cast consteval constexpr constinit
    decltype delete dynamic_cast explicit export false friend mutable namespace new noexcept not not_eq nullptr operator
    or or_eq private protected public reinterpret_cast requires static_assert static_cast template this thread_local
    throw true try typeid typename typeof typeof_unqual using virtual wchar_t xor xor_eq"""
C_HEADERS = """assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign stdarg
    stdatomic stdbit stdbool stdckdint stddef stdint stdio stdlib stdnoreturn string tgmath threads time uchar wchar
    wctype"""
C_MACROS = "i386 linux mips sparc sun unix"  # of GCC and Clang, for the machine that they compile for
C_LIBRARIES = "anl c crypt dl gcc m mvec nsl pthread resolv rt stdc std util"  # as in -lutil
RUST = """abstract as async await become box break const continue crate dyn else enum extern false final fn for if impl
    in let loop macro match mod move mut override priv pub ref return self static struct super trait true try type
    typeof union unsafe unsized use virtual where while yield alloc core gen proc_macro std test"""
WINDOWS = " ".join(["aux con nul prn", *(f"{device}{number}" for device in ("com", "lpt") for number in range(1, 10))])
WINDOWS_LIBRARIES = """advapi32 bcrypt bcryptprimitives cfgmgr32 clbcatq combase coml2 comdlg32 crypt32 difxapi gdi32
    gdi32full gdiplus imagehlp imm32 kernel32 kernelbase msctf msvcp_win msvcp140 msvcrt normaliz nsi ntdll ole32
    oleaut32 psapi rpcrt4 sechost setupapi shcore shell32 shlwapi ucrtbase user32 vcruntime140 win32u wldap32 wow64
    wow64cpu wow64win ws2_32"""
"""The KnownDLLs and what a C program loads: Windows takes its own, or a program gets the model's instead."""

RESERVED: Mapping[str, frozenset[str]] = {
    "C, C++ or their headers, libraries and compilers": frozenset(
        f"{C_KEYWORDS} {C_HEADERS} {C_MACROS} {C_LIBRARIES}".split()
    ),
    "Python": frozenset(word.lower() for word in (*keyword.kwlist, *keyword.softkwlist)),
    "Rust": frozenset(RUST.split()),
    "a device of Windows": frozenset(WINDOWS.split()),
    "a library of Windows": frozenset(WINDOWS_LIBRARIES.split()),
    "a file of every bundle": frozenset(["example"]),
}
"""Who has taken which names."""


def name_fault(name: str) -> str | None:
    """The reason why `name` cannot name a model (its library, its header, its C functions), or None."""
    if not NAME.fullmatch(name):
        return f"{name!r} is not a model name; expected: a-z, then a-z, 0-9 and _, at most 31 in all"
    if name.startswith(OWN):
        return f"{name!r} begins with {OWN}, as what belongs to all models does; choose another"
    for taken_by, names in RESERVED.items():
        if name in names:
            return f"{name!r} is taken by {taken_by}; choose another, as in '{name}_model'"
    return None
