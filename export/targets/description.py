"""What a model shows of itself to C, as LLVM IR: its description, and behind it the choice among several variants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llvmlite import ir

from kdpinn_edge.bundle.selftest import UNSUPPORTED_CPU
from kdpinn_edge.export.targets.dispatch import dispatch
from kdpinn_edge.export.targets.interface import ABI, NO_VARIANT, Interface
from kdpinn_edge.numerics.reference import PRECISIONS
from kdpinn_edge.program.ir import Program, columns

WORD, ADDRESS = ir.IntType(32), ir.IntType(8).as_pointer()
REFUSED = 1
"""What CasADi takes for a failure."""
Functions = Mapping[str, ir.Function]
COMMON = ("outside", "integrity")
"""The functions that any processor of a target with several variants can run."""

TEXT = "constant"
"""What the constants are called that the description points to: texts, and arrays of these."""


def signatures(interface: Interface) -> dict[str, ir.FunctionType]:
    """The C functions that the kernel has, and their types."""
    x = (ir.FloatType() if interface.precision == "float32" else ir.DoubleType()).as_pointer()
    count, words = ir.IntType(64), WORD.as_pointer()
    return {
        **dict.fromkeys(interface.functions, ir.FunctionType(WORD, [x, x, count])),
        **dict.fromkeys(interface.per_call_functions, ir.FunctionType(WORD, [x, x, x, count])),
        **dict.fromkeys(interface.fixed_functions, ir.FunctionType(WORD, [words, words, count])),
        "outside": ir.FunctionType(count, [x, count]),
        **dict.fromkeys(("selftest", "integrity"), ir.FunctionType(WORD, [])),
    }


def description(interface: Interface) -> str:
    """The IR of NAME_model and of the constant that it returns; with several variants, of what chooses among them.

    The functions of the kernel are declared in it, by the symbols that `interface.symbol` gives them.
    """
    module = ir.Module("kdpinn")
    module.triple = module.data_layout = ""
    if flag := interface.target.branch_protection:
        module.add_named_metadata("llvm.module.flags", [WORD(1), flag, WORD(1)])
    for symbol in interface.refusals:
        _returning(module, symbol, REFUSED)
    types, target = signatures(interface), interface.target
    common = {name: ir.Function(module, types.pop(name), interface.symbol(name)) for name in COMMON}
    variants: dict[str, Functions] = {
        variant.name: {
            **{name: ir.Function(module, types[name], interface.symbol(name, variant.name)) for name in types},
            **common,
        }
        for variant in target.compiled
    }
    if not target.variants:
        _accessor(module, interface.symbol("model"), _descriptor(module, interface, target.name, variants[target.name]))
        if target.artifact == "archive":
            set_sections(module)
        return str(module)
    unsupported = _returning(module, f"{interface.name}_unsupported", UNSUPPORTED_CPU)
    variants[NO_VARIANT] = {**dict.fromkeys(types, unsupported), **common}
    table = ir.GlobalVariable(module, ir.ArrayType(ADDRESS, len(target.variants)), f"{interface.name}_variants")
    descriptors = {name: _descriptor(module, interface, name, variants[name], table) for name in variants}
    table.global_constant = True
    table.initializer = ir.Constant(table.value_type, [descriptors[name].bitcast(ADDRESS) for name in target.variants])
    choices = {name: [functions[name] for functions in variants.values()] for name in types}
    choices["model"] = [_accessor(module, f"{d.name}.model", d) for d in descriptors.values()]
    return str(module) + dispatch(target.variants, {interface.symbol(name): choices[name] for name in choices})


def set_sections(module: ir.Module) -> None:
    """Give each function and each constant that is defined a section of its own: linkers drop those that nobody uses.

    Texts stay together, since equal ones are merged.
    """
    for each in module.global_values:
        if isinstance(each, ir.Function):
            each.section = f".text.{each.name}" if each.blocks else ""
        elif each.initializer is not None and not each.name.startswith(TEXT):
            each.section = f".rodata.{each.name}"


def _returning(module: ir.Module, symbol: str, code: int) -> ir.Function:
    """A function that returns `code`, whatever it is given."""
    function = ir.Function(module, ir.FunctionType(WORD, []), symbol)
    ir.IRBuilder(function.append_basic_block()).ret(ir.Constant(WORD, code))
    return function


def _accessor(module: ir.Module, symbol: str, descriptor: ir.GlobalVariable) -> ir.Function:
    accessor = ir.Function(module, ir.FunctionType(descriptor.type, []), symbol)
    ir.IRBuilder(accessor.append_basic_block()).ret(descriptor)
    return accessor


def _descriptor(
    module: ir.Module,
    interface: Interface,
    target: str,
    functions: Functions,
    variants: ir.GlobalVariable | None = None,
) -> ir.GlobalVariable:
    """The constant `kdpinn_model` of kdpinn_edge.h, field by field. `variants` are the addresses of several."""

    def constant(value: ir.Constant) -> ir.Constant:
        variable = ir.GlobalVariable(module, value.type, module.get_unique_name(TEXT))
        variable.global_constant, variable.initializer = True, value
        return variable.bitcast(ADDRESS)

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
        here, none = functions[function].bitcast(ADDRESS), ir.Constant(ADDRESS, None)
        return [here, none] if interface.precision == "float32" else [none, here]

    def described(function: str, program: Program) -> ir.Constant:
        texts = (string(function), string(program.sha256), strings(columns(program.outputs)))
        return ir.Constant.literal_struct([*texts, *in_precision(function), ir.Constant(WORD, program.n_out)])

    scalar_bytes = PRECISIONS[interface.precision].itemsize
    fields = [
        *(ir.Constant(WORD, n) for n in (ABI, scalar_bytes, len(interface.inputs), len(interface.functions))),
        *(string(text) for text in (interface.name, interface.target.profile, target)),
        strings(interface.input_names),
        doubles(interface.lower),
        doubles(interface.upper),
        array([described(function, program) for function, program in interface.functions.items()]),
        *in_precision("outside"),
        functions["selftest"].bitcast(ADDRESS),
        functions["integrity"].bitcast(ADDRESS),
        variants.bitcast(ADDRESS) if variants else ir.Constant(ADDRESS, None),
        ir.Constant(WORD, variants.value_type.count if variants else 0),
        string(interface.statement),
    ]
    value = ir.Constant.literal_struct(fields)
    variable = ir.GlobalVariable(module, value.type, f"{interface.name}_descriptor.{target}")
    variable.global_constant, variable.initializer = True, value
    return variable
