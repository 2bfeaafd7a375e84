"""What a model shows to C: one name, one precision, one target, its columns, and its functions."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from kdpinn_edge.bundle.manifest import LINKED_FILES, FunctionName, Input, Precision
from kdpinn_edge.bundle.symbols import FIXED, FOR, exported, visible
from kdpinn_edge.export.targets.table import Target
from kdpinn_edge.program.ir import Program

ABI = 4
NO_VARIANT = "none"
SCALAR = {"float32": "float", "float64": "double"}


@dataclass(frozen=True)
class Interface:
    """`functions` as the C functions `name`_eval, …, of the same inputs: `inputs` has one entry per number of a point.

    The functions are in the order of `manifest.FUNCTIONS`, and the first is "eval". `per_call` are the names of those
    entries of `inputs` that are constant during a call of `name`_eval_for, …; none where there are no such functions.
    `bits` has the fraction bits of the inputs and of the outputs of each function of a model in integers, which has a
    second form then, `name`_eval_fixed, ….
    `statement` is the hash of what the manifest states (`bundle/statement.py`), which the library carries.
    """

    name: str
    precision: Precision
    target: Target
    inputs: tuple[Input, ...]
    functions: Mapping[FunctionName, Program]
    per_call: tuple[str, ...] = ()
    bits: Mapping[FunctionName, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    statement: str = ""

    @property
    def input_names(self) -> tuple[str, ...]:
        """What the numbers of a point are called."""
        return tuple(column.name for column in self.inputs)

    @property
    def constant_columns(self) -> tuple[int, ...]:
        """Which numbers of a point are constant during a call."""
        return tuple(i for i, column in enumerate(self.inputs) if column.name in self.per_call)

    @property
    def varying_columns(self) -> tuple[int, ...]:
        """Which numbers of a point are not."""
        return tuple(i for i, column in enumerate(self.inputs) if column.name not in self.per_call)

    @property
    def per_call_functions(self) -> tuple[str, ...]:
        """What the functions are called in C that are given constant inputs apart."""
        return tuple(map(FOR.format, self.functions)) if self.per_call else ()

    @property
    def fixed_functions(self) -> tuple[str, ...]:
        """What the functions are called in C that take and return scaled integers."""
        return tuple(map(FIXED.format, self.bits))

    @property
    def evaluated(self) -> tuple[str, ...]:
        """What every function is called in C that is evaluated at points."""
        return (*self.functions, *self.per_call_functions, *self.fixed_functions)

    @property
    def symbols(self) -> tuple[str, ...]:
        """Every C function of the library."""
        return exported(self.name, self.functions, per_call=bool(self.per_call), fixed=bool(self.bits))

    @property
    def refusals(self) -> tuple[str, ...]:
        """What a library that is loaded by name has beside each C function: CasADi calls it first, and it fails.

        CasADi takes any function for one of its own and asks NAME_work for the memory that it needs. Without an answer
        it would call NAME_eval as it calls its own, and take its success for a value.
        """
        return self.visible[len(self.symbols) :]

    @property
    def visible(self) -> tuple[str, ...]:
        """Every symbol that is visible in the library, and nothing else is."""
        return visible(self.symbols) if self.target.artifact in ("elf", "dylib", "dll") else self.symbols

    def symbol(self, function: str, variant: str | None = None) -> str:
        """The name of a C function; with `variant`, of its code for this one of several targets."""
        symbol = f"{self.name}_{function}"
        return f"{symbol}.{variant}" if variant in self.target.variants else symbol

    @property
    def library(self) -> str:
        """The file name of the library."""
        return self.target.library.format(self.name)

    @property
    def identity(self) -> str:
        """12 hex digits that are equal where two libraries may stand for each other.

        These have the same C functions with the same bits: of one version of the interface, one precision, numerics
        profile and domain, and of the same Programs. The processor that the code is for does not matter.
        """
        programs = [[function, program.sha256] for function, program in self.functions.items()]
        box = [[repr(side) for side in sides] for sides in (self.lower, self.upper)]
        stated = [ABI, self.name, self.precision, self.target.profile, box, self.per_call, programs]
        return hashlib.sha256(json.dumps(stated).encode()).hexdigest()[:12]

    @property
    def linked_library(self) -> str:
        """The name by which a linked program looks for the library: its SONAME, or the end of its install name."""
        return LINKED_FILES.get(self.target.artifact, self.target.library).format(self.name, self.identity)

    @property
    def symbol_version(self) -> str:
        """The ELF version of every symbol, by which the loader tells the functions of two versions of a model apart."""
        return f"{self.name}_{self.identity}"

    @property
    def scalar(self) -> str:
        """The C type of a number."""
        return SCALAR[self.precision]

    @property
    def lower(self) -> tuple[float, ...]:
        """The domain box from below, -inf where it is open."""
        return tuple(-math.inf if column.lower is None else column.lower for column in self.inputs)

    @property
    def upper(self) -> tuple[float, ...]:
        """The domain box from above, +inf where it is open."""
        return tuple(math.inf if column.upper is None else column.upper for column in self.inputs)
