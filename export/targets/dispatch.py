"""One name for several functions: the loader asks the processor, once, and binds the name to the one that it can run.

ELF calls such a name an indirect function (STT_GNU_IFUNC). A call of it costs what any call costs, and there is no
state that it depends on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llvmlite import ir

from kdpinn_edge.bundle.x86 import masks

REPORTS = r"""
; push rbx; mov eax, edi; xor ecx, ecx; cpuid; mov edx, ebx; pop rbx; ret
; As bytes, because llvmlite has the assembler of the machine that it runs on and no other.
define internal {i32, i32, i32} @kdpinn_cpuid(i32 %leaf)
prologue [11 x i8] c"\53\89\F8\31\C9\0F\A2\89\DA\5B\C3" {
  unreachable
}

; xor ecx, ecx; xgetbv; ret
define internal i32 @kdpinn_xgetbv()
prologue [6 x i8] c"\31\C9\0F\01\D0\C3" {
  unreachable
}
"""

FITTING = """
define internal i32 @kdpinn_fitting() {{
  %eax_ebx_ecx_0 = call {{i32, i32, i32}} @kdpinn_cpuid(i32 0)
  %eax_ebx_ecx_1 = call {{i32, i32, i32}} @kdpinn_cpuid(i32 1)
  %eax_ebx_ecx_7 = call {{i32, i32, i32}} @kdpinn_cpuid(i32 7)
  %eax_ebx_ecx_80000001 = call {{i32, i32, i32}} @kdpinn_cpuid(i32 u0x80000001)
  %most = extractvalue {{i32, i32, i32}} %eax_ebx_ecx_0, 0
  %leaf_1 = extractvalue {{i32, i32, i32}} %eax_ebx_ecx_1, 2
  %any_7 = extractvalue {{i32, i32, i32}} %eax_ebx_ecx_7, 1
  %leaf_80000001 = extractvalue {{i32, i32, i32}} %eax_ebx_ecx_80000001, 2
  %has_7 = icmp uge i32 %most, 7 ; or Intel answers with another leaf
  %leaf_7 = select i1 %has_7, i32 %any_7, i32 0
  %osxsave = and i32 %leaf_1, u0x08000000
  %has_xgetbv = icmp ne i32 %osxsave, 0
  br i1 %has_xgetbv, label %read, label %compare
read:
  %state = call i32 @kdpinn_xgetbv()
  br label %compare
compare:
  %xcr0 = phi i32 [%state, %read], [0, %0]
{comparisons}}}
"""


def dispatch(targets: Sequence[str], choices: Mapping[str, Sequence[ir.Function]]) -> str:
    """LLVM IR in which each name of `choices` stands for the function of the first target that fits the processor.

    A choice has one function for each of `targets`, and one more for a processor that none fits.
    """
    return "".join([REPORTS, _fitting(targets), *(_choice(name, functions) for name, functions in choices.items())])


def _fitting(targets: Sequence[str]) -> str:
    """int32 kdpinn_fitting(): the index of the first target that fits, or how many there are."""
    lines, index = [], str(len(targets))
    for i in reversed(range(len(targets))):
        fits = "true"
        for word, mask in masks(targets[i]).items():
            found, has, also = (f"%{what}_{i}_{word}" for what in ("found", "has", "also"))
            lines += [
                f"{found} = and i32 %{word}, u0x{mask:08x}",
                f"{has} = icmp eq i32 {found}, u0x{mask:08x}",
                f"{also} = and i1 {fits}, {has}",
            ]
            fits = also
        lines.append(f"%index_{i} = select i1 {fits}, i32 {i}, i32 {index}")
        index = f"%index_{i}"
    return FITTING.format(comparisons="".join(f"  {line}\n" for line in [*lines, f"ret i32 {index}"]))


def _choice(name: str, functions: Sequence[ir.Function]) -> str:
    """The indirect function, and its resolver, which the loader calls."""
    *addresses, chosen = (f'@"{function.name}"' for function in functions)
    lines = ["%index = call i32 @kdpinn_fitting()"]
    for i, address in enumerate(addresses):
        lines += [
            f"%is_{i} = icmp eq i32 %index, {i}",
            f"%chosen_{i} = select i1 %is_{i}, ptr {address}, ptr {chosen}",
        ]
        chosen = f"%chosen_{i}"
    body = "".join(f"  {line}\n" for line in [*lines, f"ret ptr {chosen}"])
    return (
        f'\ndefine internal ptr @"{name}.choose"() {{\n{body}}}\n'
        f'\n@"{name}" = ifunc {functions[0].function_type}, ptr @"{name}.choose"\n'
    )
