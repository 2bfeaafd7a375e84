"""Kernel → object code: Numba compiles the printed module to LLVM IR, which is optimised here for the target.

Nothing of Numba's runtime is left in the result: only the functions of the C interface are visible, everything else
is inlined into them or dropped.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import njit, types
from numba.core import config

from kdpinn_edge.errors import ExportError
from kdpinn_edge.export.interface import ABI, Interface
from kdpinn_edge.export.numba_kernel import Kernel, load_kernel
from kdpinn_edge.export.numba_lanes import Rodata
from kdpinn_edge.export.target import Target
from kdpinn_edge.ir import Program, columns
from kdpinn_edge.manifest import Artifact
from kdpinn_edge.numpy_program import PRECISIONS

ONE_AT_A_TIME = threading.Lock()
RELOCATION: Mapping[Artifact, str] = {"elf": "pic", "dylib": "pic", "dll": "pic", "archive": "static", "wasm": "static"}


def object_code(kernel: Kernel, interface: Interface) -> bytes:
    """The relocatable object with the C functions of `interface`, compiled for its target.

    Raises ExportError where the machine code calls through a pointer.
    """
    target = interface.target
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    compiled = _compile(kernel, interface)
    module = llvm.parse_assembly(_for_target(str(_c_functions(interface, compiled)), target))
    for _, text in compiled.values():
        module.link_in(llvm.parse_assembly(_for_target(text, target)))
    for symbol in (*module.functions, *module.global_variables):
        if not symbol.is_declaration and symbol.name not in interface.symbols:
            symbol.linkage = "internal"
    machine = llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=3, reloc=RELOCATION[target.artifact], codemodel="small"
    )
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    module.verify()
    _refuse_indirect_calls(module)
    return bytes(machine.emit_object(module))


def jitted(kernel: Kernel) -> Any:
    """The printed module with its constants as read-only data, its functions compiled by Numba when first called."""
    module: Any = load_kernel(kernel, {name: Rodata(name, array) for name, array in kernel.constants.items()})
    for name in kernel.functions:
        jit = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)  # only compiled code calls
        setattr(module, name, jit(getattr(module, name)))
    return module


def _compile(kernel: Kernel, interface: Interface) -> dict[str, tuple[str, str]]:
    """For each C function but the descriptor its LLVM name and the text of its module, not optimised."""
    pointer = types.CPointer({"float32": types.float32, "float64": types.float64}[interface.precision])
    signatures: dict[str, tuple[str, Any]] = {
        **{
            function: (f"{function}_all", types.int32(pointer, pointer, types.int64))
            for function in interface.functions
        },
        "outside": ("outside", types.int64(pointer, types.int64)),
        "selftest": ("selftest", types.int32()),
    }
    compiled = {}
    with _unoptimised():
        module = jitted(kernel)
        for function, (name, signature) in signatures.items():
            dispatcher = getattr(module, name)
            dispatcher.compile(signature)
            (result,) = dispatcher.overloads.values()
            compiled[function] = result.fndesc.llvm_func_name, result.library.get_llvm_str()
    return compiled


def _refuse_indirect_calls(module: llvm.ModuleRef) -> None:
    through_pointer = re.search(r"^.*\b(?:(?:call|invoke)\b[^(@\n]*%|indirectbr\b).*$", str(module), flags=re.M)
    if through_pointer:
        raise ExportError(f"the code jumps through a pointer, which an artifact must not: {through_pointer[0].strip()}")


@contextmanager
def _unoptimised() -> Iterator[None]:
    """Numba's own optimiser off: it knows this machine, not the target."""
    with ONE_AT_A_TIME:
        level = config.OPT
        config.OPT = type(level)(0)
        try:
            yield
        finally:
            config.OPT = level


def _for_target(text: str, target: Target) -> str:
    """IR text with the triple and layout of the target, and every function inlined but the entry points.

    "no-builtins" keeps LLVM from turning a loop into a call of memset or memcpy, which the artifact does not have.
    """
    machine = llvm.Target.from_triple(target.triple).create_target_machine(cpu=target.cpu, features=target.features)
    if target.profile == "muladd-1":
        text = _multiplied_then_added(text)
    text = re.sub(r'^target triple = ".*"$', f'target triple = "{target.triple}"', text, flags=re.M)
    text = re.sub(r'^target datalayout = ".*"$', f'target datalayout = "{machine.target_data}"', text, flags=re.M)

    def attributes(match: re.Match[str]) -> str:
        inline = "noinline" if re.search(r"@\S*_all", match[0]) else "alwaysinline"
        return f'{match[1]} {inline} nounwind "no-builtins" {{'

    return re.sub(r"^(define [^\n]*\))[^\n)]*\{$", attributes, text, flags=re.M)


def _multiplied_then_added(text: str) -> str:
    """IR text in which every fma is a product and a sum, each rounded: without flags LLVM never fuses them again."""

    def defined(match: re.Match[str]) -> str:
        real, suffix = match.groups()
        return (
            f"define internal {real} @muladd.{suffix}({real} %a, {real} %b, {real} %c) {{\n"
            f"  %product = fmul {real} %a, %b\n  %sum = fadd {real} %product, %c\n  ret {real} %sum\n}}"
        )

    text = re.sub(r"^declare (.+?) @llvm\.fma\.(\w+)\(.*$", defined, text, flags=re.M)
    return text.replace("@llvm.fma.", "@muladd.")


def _c_functions(interface: Interface, compiled: dict[str, tuple[str, str]]) -> ir.Module:
    """The C functions, each a call of the compiled one, and the descriptor."""
    module = ir.Module("kdpinn")
    module.triple = module.data_layout = ""
    real = ir.FloatType() if interface.precision == "float32" else ir.DoubleType()
    x, count, status = real.as_pointer(), ir.IntType(64), ir.IntType(32)
    signatures = {
        **dict.fromkeys(interface.functions, ir.FunctionType(status, [x, x, count])),
        "outside": ir.FunctionType(count, [x, count]),
        "selftest": ir.FunctionType(status, []),
    }
    functions = {
        name: _c_function(module, f"{interface.name}_{name}", signature, compiled[name][0])
        for name, signature in signatures.items()
    }
    descriptor = _descriptor(module, interface, functions)
    accessor = ir.Function(module, ir.FunctionType(descriptor.type, []), f"{interface.name}_model")
    ir.IRBuilder(accessor.append_basic_block()).ret(descriptor)
    return module


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


def _descriptor(module: ir.Module, interface: Interface, functions: dict[str, ir.Function]) -> ir.GlobalVariable:
    """The constant `kdpinn_model` of kdpinn_edge.h, field by field."""
    word, address = ir.IntType(32), ir.IntType(8).as_pointer()

    def constant(value: ir.Constant) -> ir.Constant:
        variable = ir.GlobalVariable(module, value.type, module.get_unique_name("constant"))
        variable.global_constant, variable.initializer = True, value
        return variable.bitcast(address)

    def string(text: str) -> ir.Constant:
        data = bytearray(text.encode() + b"\0")
        return constant(ir.Constant(ir.ArrayType(ir.IntType(8), len(data)), data))

    def array(values: Sequence[ir.Constant]) -> ir.Constant:
        return constant(ir.Constant(ir.ArrayType(values[0].type, len(values)), values))

    def strings(texts: Sequence[str]) -> ir.Constant:
        return array([string(text) for text in texts])

    def doubles(numbers: Sequence[float]) -> ir.Constant:
        return array([ir.Constant(ir.DoubleType(), number) for number in numbers])

    def in_precision(function: str) -> list[ir.Constant]:
        here, none = functions[function].bitcast(address), ir.Constant(address, None)
        return [here, none] if interface.precision == "float32" else [none, here]

    def described(function: str, program: Program) -> ir.Constant:
        texts = (string(function), string(program.sha256), strings(columns(program.outputs)))
        return ir.Constant.literal_struct([*texts, *in_precision(function), ir.Constant(word, program.n_out)])

    scalar_bytes = PRECISIONS[interface.precision].itemsize
    fields = [
        *(ir.Constant(word, n) for n in (ABI, scalar_bytes, len(interface.inputs), len(interface.functions))),
        *(string(text) for text in (interface.name, interface.target.profile, interface.target.name)),
        strings([column.name for column in interface.inputs]),
        doubles(interface.lower),
        doubles(interface.upper),
        array([described(function, program) for function, program in interface.functions.items()]),
        *in_precision("outside"),
        functions["selftest"].bitcast(address),
    ]
    value = ir.Constant.literal_struct(fields)
    variable = ir.GlobalVariable(module, value.type, f"{interface.name}_descriptor")
    variable.global_constant, variable.initializer = True, value
    return variable
