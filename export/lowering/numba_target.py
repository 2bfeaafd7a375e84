"""A target of Numba that knows the words of a kernel and nothing else.

Numba is the front end: it reads the printed module, infers the types of its values, and asks each word for its code.
Modules are collected as they are, for LLVM to optimise for a target that Numba does not know. Nothing of its runtime,
of its libraries of functions or of its own optimiser is loaded, and nothing is compiled for this machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import codegen, compiler, cpu, typing
from numba.core.compiler_machinery import AnalysisPass, PassManager, register_pass
from numba.core.imputils import Registry as Implementations
from numba.core.targetconfig import ConfigStack
from numba.core.typed_passes import IRLegalization, NativeLowering, NopythonTypeInference
from numba.core.typing.templates import Registry as Templates
from numba.core.untyped_passes import FixupArgs, IRProcessing, TranslateByteCode

from kdpinn_edge.export.lowering.emit_llvm import Machine

TEMPLATES, IMPLEMENTATIONS = Templates(), Implementations()
"""The words: how they are typed, and how their code is made."""

FLAGS = compiler.Flags()
FLAGS.no_compile = True
FLAGS.no_cpython_wrapper = True
FLAGS.no_cfunc_wrapper = True
FLAGS.no_rewrites = True
FLAGS.error_model = "numpy"


class Library(codegen.CodeLibrary):
    """The modules of a function and of those that it calls."""

    def __init__(self, codegen: Any, name: str) -> None:
        super().__init__(codegen, name)
        self.modules: list[ir.Module] = []

    def add_ir_module(self, module: ir.Module) -> None:
        """Keep a module."""
        self.modules.append(module)

    def add_linking_library(self, library: Library) -> None:
        """Keep the modules of a function that is called, each once."""
        self.modules += [module for module in library.modules if module not in self.modules]

    def finalize(self) -> None:
        """Leave the modules as they are."""

    def get_function(self, name: str) -> Any:
        """Nothing is compiled here."""
        raise NotImplementedError

    get_llvm_str = get_asm_str = finalize


class Codegen(codegen.Codegen):
    """Makes modules without a triple and a layout: those of the target are set when they are linked."""

    _library_class = Library

    def _create_empty_module(self, name: str) -> ir.Module:
        module = ir.Module(name)
        module.triple = module.data_layout = ""
        return module

    def _add_module(self, module: Any) -> None:
        raise NotImplementedError

    @property
    def target_data(self) -> Any:
        """Nothing is laid out here."""
        raise NotImplementedError

    def create_library(self, name: str, **options: Any) -> Library:
        """An empty library."""
        return Library(self, name)

    def magic_tuple(self) -> tuple[Any, ...]:
        """No code is kept that depends on this machine."""
        return ()


class Pipeline(compiler.CompilerBase):
    """The passes that straight-line code needs: it has no closures, no loops, and sets each variable once."""

    def define_pipelines(self) -> list[PassManager]:
        """From bytecode to typed IR; `Typed` makes LLVM of that."""
        passes = PassManager("kernel")
        passes.add_pass(TranslateByteCode, "read the bytecode")
        passes.add_pass(FixupArgs, "know the arguments")
        passes.add_pass(IRProcessing, "find out how long variables live")
        passes.add_pass(NopythonTypeInference, "infer types")
        passes.add_pass(IRLegalization, "check what can be lowered")
        passes.add_pass(Typing, "keep the result")
        passes.finalize()
        return [passes]


@register_pass(mutates_CFG=False, analysis_only=True)
class Typing(AnalysisPass):
    """The end of the passes: what is known then is the result."""

    _name = "typing"

    def __init__(self) -> None:
        AnalysisPass.__init__(self)

    def run_pass(self, state: Any) -> bool:
        """Give the state of the compilation as its result."""
        state.cr = state
        return False


class TypingContext(typing.BaseContext):
    """Types the words of a kernel."""

    def refresh(self) -> None:
        """Know the words, and none of the thousands of functions that Numba has."""
        self.install_registry(TEMPLATES)


class TargetContext(cpu.CPUContext):
    """Makes the code of the words for a processor, in functions with these attributes, which are inlined."""

    def __init__(self, attributes: Sequence[str], machine: Machine) -> None:
        self.function_attributes = attributes
        self.machine = machine
        self.kind = ""
        super().__init__(TypingContext())

    def init(self) -> None:
        """Leave out Numba's own compiler."""
        self.is32bit = False
        self._internal_codegen = Codegen()

    def refresh(self) -> None:
        """Know the words, and none of the thousands of functions that Numba has."""
        self.install_registry(IMPLEMENTATIONS)
        self.typing_context.refresh()

    def mangler(self, *arguments: Any, **options: Any) -> str:
        """The name of a function in LLVM, which has one for each kind."""
        return f"{super().mangler(*arguments, **options)}.{self.kind}"

    def post_lowering(self, mod: ir.Module, library: Library) -> None:
        """Leave out what Numba needs of its runtime."""

    def apply_target_attributes(self, llvm_func: ir.Function, argtypes: Any = None, restype: Any = None) -> None:
        """The attributes of every function."""
        set_attributes(llvm_func, [*self.function_attributes, "alwaysinline"])


def set_attributes(function: ir.Function, attributes: Sequence[str]) -> None:
    """Give a function attributes, also such as llvmlite does not know: `"target-cpu"="…"`."""
    function.attributes._known = function.attributes._known | {*attributes}
    for attribute in attributes:
        function.attributes.add(attribute)


class Typed:
    """A function of the printed module whose types are known: its words are asked for code of one kind or several."""

    def __init__(
        self, function: Any, arguments: Sequence[types.Type], result: types.Type, target: TargetContext
    ) -> None:
        contexts = target.typing_context, target
        passes = {"locals": {}, "pipeline_class": Pipeline}
        self._state = compiler.compile_extra(*contexts, function, tuple(arguments), result, FLAGS, **passes)

    def lowered(self, kind: str = "") -> tuple[Any, Library]:
        """The description of the function, and the modules that it consists of; words have `kind` in their context."""
        state = compiler.StateDict(self._state)
        state.targetctx, state.library = state.targetctx.subtarget(kind=kind), None
        with ConfigStack().enter(FLAGS.copy()):
            NativeLowering().run_pass(state)
        return state.cr.fndesc, state.library
