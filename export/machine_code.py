"""Kernel → object code: Numba makes LLVM IR of the printed module, which is optimised here for the target.

Nothing of Numba's runtime is left in the result: only the functions of the C interface are visible, everything else
is inlined into them or dropped.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numpy.typing import NDArray

from kdpinn_edge.bundle.manifest import Artifact
from kdpinn_edge.errors import ExportError
from kdpinn_edge.export.artifacts.arm_attributes import with_compatible_calls
from kdpinn_edge.export.lowering.emit_llvm import Machine, constant_name
from kdpinn_edge.export.lowering.kernel import Kernel
from kdpinn_edge.export.lowering.numba_target import set_attributes
from kdpinn_edge.export.lowering.numba_words import compile_functions
from kdpinn_edge.export.targets.description import description, set_sections, signatures
from kdpinn_edge.export.targets.integrity import integrity
from kdpinn_edge.export.targets.interface import Interface
from kdpinn_edge.export.targets.stack_probe import STACK_PROBE
from kdpinn_edge.export.targets.table import Target

INTEGRITY = "integrity"
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
    with _one_at_a_time():
        module = _parsed(description(interface), target)
        if target.artifact == "dll":
            module.link_in(_parsed(STACK_PROBE, target))
        own, common = [*interface.evaluated, "selftest"], ["outside", INTEGRITY]
        shared = _sharing(kernels)
        if target.variants:
            module.link_in(_functions(shared[0], interface, target, common))
        for kernel, variant in zip(shared, target.compiled, strict=True):
            functions = own if target.variants else [*own, *common]
            module.link_in(_functions(kernel, interface, variant, functions))
        _hide(module, interface.visible)
        machine = _machine(target)
        passes = llvm.create_new_module_pass_manager()
        passes.add_constant_merge_pass()
        passes.run(module, llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options()))
        module.verify()
        code = bytes(machine.emit_object(module))
    return with_compatible_calls(code) if target.is_arm32 else code


def _sharing(kernels: Sequence[Kernel]) -> list[Kernel]:
    """The kernels, the weights of a function as long as the longest that begin with them: equal ones lie there once."""
    every = [(name, array) for kernel in kernels for name, array in kernel.weights.items()]

    def longest(name: str, array: NDArray[Any]) -> NDArray[Any]:
        begun = [a for n, a in every if n == name and a[: array.size].tobytes() == array.tobytes()]
        return max(begun, key=len)

    return [
        replace(kernel, weights={name: longest(name, array) for name, array in kernel.weights.items()})
        for kernel in kernels
    ]


def _functions(kernel: Kernel, interface: Interface, target: Target, functions: Sequence[str]) -> llvm.ModuleRef:
    """The C functions of these names, optimised for the target.

    Everything is inlined into them. "no-builtins" keeps LLVM from turning a loop into a call of memset or memcpy, which
    the artifact does not have. Each function names its target, because an artifact may have code for several.
    """
    attributes = (
        "nounwind",
        '"no-builtins"',
        f'"target-cpu"="{target.cpu}"',
        f'"target-features"="{target.features}"',
        *target.hardening,
    )
    symbols = {function: interface.symbol(function, target.name) for function in functions}
    in_order = target.vectors(interface.precision).in_order
    processor = Machine(
        target.pointer_bits,
        in_order,
        fuses=target.fuses,
        selects=not target.branches,
        widens=target.widens,
        multiplies=target.multiplies,
        in_pairs=target.multiplies_in_pairs,
        estimates=target.estimates,
        touches_frames=target.touches_frames,
    )
    compiled = compile_functions(kernel, [each for each in functions if each != INTEGRITY], attributes, processor)
    shell = _constants(kernel)
    for function in compiled:
        symbol = symbols[function]
        entry = _c_function(shell, symbol, signatures(interface)[function], compiled[function][0])
        set_attributes(entry, (*attributes, "noinline"))
    modules = [shell, *(part for _, parts in compiled.values() for part in parts)]
    if target.artifact == "archive":
        for each in modules:
            set_sections(each)
    text = str(shell)
    if INTEGRITY in functions:
        covered = {constant_name(name): array for name, array in kernel.covered.items()}
        text += integrity(interface, covered, " ".join((*attributes, "noinline", "minsize", "optsize")))
    module = _parsed(text, target)
    for part in modules[1:]:
        _refuse_indirect_calls(part)
        module.link_in(_parsed(str(part), target))
    _hide(module, symbols.values())
    options = llvm.create_pipeline_tuning_options(speed_level=1)
    options.loop_unrolling = False  # the kernel says what pays
    builder = llvm.create_pass_builder(_machine(target), options)
    builder.getModulePassManager().run(module, builder)
    return module


def _constants(kernel: Kernel) -> ir.Module:
    """A module with the arrays of the kernel, each on a cache line."""
    module = ir.Module("kdpinn")
    module.triple = module.data_layout = ""
    for name, array in kernel.arrays.items():
        data = bytearray(array.tobytes())
        content = ir.Constant(ir.ArrayType(ir.IntType(8), len(data)), data)
        variable = ir.GlobalVariable(module, content.type, constant_name(name))
        variable.global_constant, variable.initializer, variable.align = True, content, 64
    return module


def _parsed(text: str, target: Target) -> llvm.ModuleRef:
    """A module of the target."""
    module = llvm.parse_assembly(text)
    module.triple, module.data_layout = target.triple, str(_machine(target).target_data)
    return module


def _machine(target: Target) -> llvm.TargetMachine:
    return llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=3, reloc=RELOCATION[target.artifact], codemodel="small"
    )


def _hide(module: llvm.ModuleRef, symbols: Collection[str]) -> None:
    """Everything that is defined becomes internal but `symbols`, and no function throws."""
    for symbol in (*module.functions, *module.global_variables):
        if not symbol.is_declaration:
            if symbol.is_function:
                symbol.add_function_attribute("nounwind")
            if symbol.name not in symbols:
                symbol.linkage = "internal"


def _refuse_indirect_calls(module: ir.Module) -> None:
    """What is made has no call through a pointer, and LLVM makes none of its own."""
    for function in module.functions:
        for instruction in (each for block in function.blocks for each in block.instructions):
            callee = getattr(instruction, "callee", None)
            if callee is not None and not isinstance(callee, ir.Function | ir.InlineAsm):
                raise ExportError(
                    f"the code jumps through a pointer, which an artifact must not: {str(instruction).strip()}"
                )


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Compile in one thread, without the garbage collector, which would search Numba's many objects time and again."""
    with ONE_AT_A_TIME:
        collecting = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if collecting:
                gc.enable()


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
