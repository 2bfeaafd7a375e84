"""Kernel → object code: Numba compiles the printed module to LLVM IR, which is optimised here for the target.

Nothing of Numba's runtime is left in the result: only the functions of the C interface are visible, everything else
is inlined into them or dropped.
"""

from __future__ import annotations

import gc
import re
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import njit, types
from numba.core import config
from numpy.typing import NDArray

from kdpinn_edge.bundle.manifest import Artifact
from kdpinn_edge.errors import ExportError
from kdpinn_edge.export.description import description, signatures
from kdpinn_edge.export.interface import Interface
from kdpinn_edge.export.lacking import without_fma, without_select
from kdpinn_edge.export.numba_kernel import Kernel, load_kernel
from kdpinn_edge.export.numba_lanes import Rodata
from kdpinn_edge.export.stack_probe import STACK_PROBE
from kdpinn_edge.export.target import Target

ONE_AT_A_TIME = threading.Lock()
RELOCATION: Mapping[Artifact, str] = {"elf": "pic", "dylib": "pic", "dll": "pic", "archive": "static", "wasm": "static"}


def object_code(kernels: Sequence[Kernel], interface: Interface) -> bytes:
    """The relocatable object with the C functions of `interface`, from one kernel for each of its `target.compiled`.

    The functions of several are optimised apart: each is the code that its target alone would get. Raises ExportError
    where the machine code calls through a pointer.
    """
    target = interface.target
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    module = llvm.parse_assembly(_for_target(description(interface), target))
    if target.artifact == "dll":
        module.link_in(llvm.parse_assembly(_for_target(STACK_PROBE, target)))
    module.link_in(_functions(kernels[0], interface, target, ["outside"]))
    for kernel, variant in zip(_sharing(kernels), target.compiled, strict=True):
        module.link_in(_functions(kernel, interface, variant, [*interface.functions, "selftest"]))
    _hide(module, interface.symbols)
    machine = _machine(target)
    passes = llvm.create_new_module_pass_manager()
    passes.add_constant_merge_pass()
    passes.run(module, llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options()))
    module.verify()
    _refuse_indirect_calls(module)
    return bytes(machine.emit_object(module))


def _sharing(kernels: Sequence[Kernel]) -> list[Kernel]:
    """The kernels, each constant as long as the longest that begins with it: equal ones lie in the artifact once."""
    every = [(name, array) for kernel in kernels for name, array in kernel.constants.items()]

    def longest(name: str, array: NDArray[Any]) -> NDArray[Any]:
        begun = [a for n, a in every if n == name and a[: array.size].tobytes() == array.tobytes()]
        return max(begun, key=len)

    return [
        replace(kernel, constants={name: longest(name, array) for name, array in kernel.constants.items()})
        for kernel in kernels
    ]


def _functions(kernel: Kernel, interface: Interface, target: Target, functions: Sequence[str]) -> llvm.ModuleRef:
    """The C functions of these names, optimised for the target."""
    compiled = _compile(kernel, interface, functions)
    shell = ir.Module("kdpinn")
    shell.triple = shell.data_layout = ""
    symbols = {function: interface.symbol(function, target.name) for function in functions}
    for function, symbol in symbols.items():
        _c_function(shell, symbol, signatures(interface)[function], compiled[function][0])
    module = llvm.parse_assembly(_for_target(str(shell), target))
    for _, text in compiled.values():
        module.link_in(llvm.parse_assembly(_for_target(text, target)))
    _hide(module, symbols.values())
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_unrolling = not target.vectors(interface.precision).in_order  # the kernel says what pays there
    builder = llvm.create_pass_builder(_machine(target), options)
    builder.getModulePassManager().run(module, builder)
    return module


def _machine(target: Target) -> llvm.TargetMachine:
    return llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=3, reloc=RELOCATION[target.artifact], codemodel="small"
    )


def _hide(module: llvm.ModuleRef, symbols: Collection[str]) -> None:
    """Everything that is defined becomes internal but `symbols`.

    Numba counts the functions that it has compiled, in their names, which archives and Mach-O libraries keep: those of
    the kernel get the names that they have in its text.
    """
    for symbol in (*module.functions, *module.global_variables):
        if not symbol.is_declaration and symbol.name not in symbols:
            symbol.linkage = "internal"
            if numbered := re.match(r"_ZN13kdpinn_kernel(\d+)", symbol.name):
                symbol.name = f"kernel_{symbol.name[numbered.end() :][: int(numbered[1])]}"


def jitted(kernel: Kernel) -> Any:
    """The printed module with its constants as read-only data, its functions compiled by Numba when first called.

    Only compiled code calls them, and they have no array expressions to rewrite.
    """
    module: Any = load_kernel(kernel, {name: Rodata(name, array) for name, array in kernel.constants.items()})
    for name in kernel.functions:
        jit = njit(error_model="numpy", no_rewrites=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
        setattr(module, name, jit(getattr(module, name)))
    return module


def _compile(kernel: Kernel, interface: Interface, functions: Sequence[str]) -> dict[str, tuple[str, str]]:
    """For each C function of these names its LLVM name and the text of its module, not optimised."""
    pointer = types.CPointer({"float32": types.float32, "float64": types.float64}[interface.precision])
    evaluates = types.int32(pointer, pointer, types.int64)
    signatures = {"outside": types.int64(pointer, types.int64), "selftest": types.int32()}
    compiled = {}
    with _unoptimised():
        module = jitted(kernel)
        for function in functions:
            dispatcher = getattr(module, f"{function}_all" if function in interface.functions else function)
            dispatcher.compile(signatures.get(function, evaluates))
            (result,) = dispatcher.overloads.values()
            compiled[function] = result.fndesc.llvm_func_name, result.library.get_llvm_str()
    return compiled


def _refuse_indirect_calls(module: llvm.ModuleRef) -> None:
    through_pointer = re.search(r"^.*\b(?:(?:call|invoke)\b[^(@\n]*%|indirectbr\b).*$", str(module), flags=re.M)
    if through_pointer:
        raise ExportError(f"the code jumps through a pointer, which an artifact must not: {through_pointer[0].strip()}")


@contextmanager
def _unoptimised() -> Iterator[None]:
    """Numba's own optimiser off: it knows this machine, not the target.

    So is the garbage collector, which would go through the millions of objects that Numba makes time and again.
    """
    with ONE_AT_A_TIME:
        level, collecting = config.OPT, gc.isenabled()
        config.OPT = type(level)(0)
        gc.disable()
        try:
            yield
        finally:
            config.OPT = level
            if collecting:
                gc.enable()


def _for_target(text: str, target: Target) -> str:
    """IR text with the triple and layout of the target, and every function inlined but the entry points.

    "no-builtins" keeps LLVM from turning a loop into a call of memset or memcpy, which the artifact does not have. Each
    function names its target, because an artifact may have code for several.
    """
    if not target.fuses:
        text = without_fma(text)
    if target.branches:
        text = without_select(text)
    text = re.sub(r'^target triple = ".*"$', f'target triple = "{target.triple}"', text, flags=re.M)
    text = re.sub(
        r'^target datalayout = ".*"$', f'target datalayout = "{_machine(target).target_data}"', text, flags=re.M
    )

    machine = f'"target-cpu"="{target.cpu}" "target-features"="{target.features}"'

    def attributes(match: re.Match[str]) -> str:
        inline = "noinline" if re.search(r"@\S*_all", match[0]) else "alwaysinline"
        return f'{match[1]} {inline} nounwind "no-builtins" {machine} {{'

    return re.sub(r"^(define [^\n]*\))[^\n)]*\n?\{$", attributes, text, flags=re.M)


def _c_function(module: ir.Module, name: str, signature: ir.FunctionType, compiled: str) -> ir.Function:
    """Numba's convention is status f(result*, exception**, arguments…); the status is always 0 here."""
    result, exception = signature.return_type.as_pointer(), ir.IntType(8).as_pointer().as_pointer()
    inner_type = ir.FunctionType(ir.IntType(32), [result, exception, *signature.args])
    inner = ir.Function(module, inner_type, compiled)
    function = ir.Function(module, signature, name)
    builder = ir.IRBuilder(function.append_basic_block())
    place = builder.alloca(signature.return_type)
    builder.call(inner, [place, ir.Constant(exception, None), *function.args])
    builder.ret(builder.load(place))
    return function
