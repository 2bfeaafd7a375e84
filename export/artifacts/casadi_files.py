"""The model as external functions of CasADi: C source, and the library that CasADi loads.

CasADi finds the derivatives of an external function f by name: its Jacobian is jac_f, that of the Jacobian jac_jac_f.
Such a function is given the results of f as well, and does not read them; its last outputs, derivatives by these, have
no entries. A matrix is stored column by column, and what is zero for every x is left out of it.
https://web.casadi.org/docs/#casadi-s-external-function
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill

import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.bundle.loading import loading_faults
from kdpinn_edge.bundle.manifest import CASADI_LIBRARY, CASADI_SOURCE, FunctionName
from kdpinn_edge.bundle.symbols import called_by_casadi, for_casadi
from kdpinn_edge.derive.groups import has_hessian, hessian_columns, jacobian_columns
from kdpinn_edge.derive.names import Names
from kdpinn_edge.errors import DerivativeError, ExportError, listing
from kdpinn_edge.export.artifacts.c_files import c_files, filled_template, quoted
from kdpinn_edge.export.artifacts.linking import ELF_BY_CC, OBJECT, ZIG, Command, run_in
from kdpinn_edge.export.targets.interface import Interface
from kdpinn_edge.program.ir import Affine, Program, Scale, Slice, Var, columns

REQUESTS = ("jacobian", "hessian")
"""The derivatives that CasADi is given where none are asked for."""

MANY = 200
"""Second derivatives that are compiled without a word."""

COMPILE = ("-O1", "-std=c99", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror")
ALONE = ("-nostdlib", "-ffreestanding", "-fno-builtin", "-fno-stack-protector")
"""For a library that runs no code when it is loaded and needs no other: gcc makes no memcpy of loops at -O1."""


@dataclass(frozen=True)
class Derivative:
    """One external function: `entries` are the columns of `function` in the shape of its first result, -1 is zero."""

    symbol: str
    function: FunctionName
    meaning: str
    arguments: dict[str, tuple[int, int]]
    results: tuple[str, ...]
    entries: NDArray[np.intp]


def check_casadi(interface: Interface) -> None:
    """Raise ExportError for a target without a C header to build on, and where the jet lacks the Jacobian."""
    if interface.target.artifact in ("wasm", "fmu"):
        raise ExportError(f"{interface.target.name} has no functions for CasADi; expected: a target that C links with")
    try:
        _derivatives(interface)
    except DerivativeError as error:
        raise ExportError(f"CasADi needs the Jacobian, and {error}") from error


def casadi_advice(interface: Interface) -> str | None:
    """What to leave out where the Hessian is most of what is compiled; None where it is small, or not there."""
    names, at = _names(interface)
    count = np.unique(hessian_columns(names, at)).size if has_hessian(names, at) else 0
    if count <= MANY:
        return None
    return (
        f"{count:,} second derivatives are compiled, which takes time; --derivatives jacobian leaves them out, for "
        "Gauss-Newton and quasi-Newton methods"
    )


def casadi_source(interface: Interface) -> dict[str, bytes]:
    """File name → contents: `NAME_casadi.c`. Raises ExportError as `check_casadi` does."""
    check_casadi(interface)
    words = {"library_note": NOTES.get(interface.target.artifact, NOTE).replace("@name@", interface.name)}
    repeated = {"casadi": list(map(_words, _derivatives(interface)))}
    return {CASADI_SOURCE.format(interface.name): filled_template("casadi.c", interface, words, repeated)}


def casadi_files(object_code: bytes, interface: Interface, command: Command) -> dict[str, bytes]:
    """The source, and its library where `object_code` is that of the model for this machine.

    `command` is what links the library of the bundle. Raises ExportError with the compiler's words, and as
    `check_casadi` does.
    """
    source = casadi_source(interface)
    here = object_code and interface.target.runs_here()
    return source | (_library(source, object_code, interface, command) if here else {})


NOTE = "Compile it with the headers beside it, and link it with the library."
NOTES = {
    "elf": "On Linux: cc -O2 -shared -fPIC @name@_casadi.c -L. -l@name@ -Wl,-rpath,'$ORIGIN' -o lib@name@_casadi.so",
    "c99": "On Linux: cc -O2 -shared -fPIC @name@_casadi.c @name@.c -lm -o lib@name@_casadi.so",
}


def _library(
    source: Mapping[str, bytes], object_code: bytes, interface: Interface, command: Command
) -> dict[str, bytes]:
    """The compiled source with the model's own machine code.

    It shows the functions for CasADi and nothing else, so it can be loaded beside the library of the bundle, or beside
    that of another version. It passes the gates of the library: loading it runs no code, and it needs nothing.
    """
    compiler = (*ZIG, "cc") if tuple(command[: len(ZIG)]) == ZIG else tuple(command)
    library = CASADI_LIBRARY.format(interface.name)
    symbols = called_by_casadi(each.symbol for each in _derivatives(interface))
    passed = (*ELF_BY_CC, f"-soname,{library}", "--version-script=exports")
    exports = {"exports": f"{{global: {' '.join(f'{each};' for each in symbols)} local: *; }};".encode()}
    arguments = [*compiler, *COMPILE, *ALONE, *(f"-Wl,{each}" for each in passed), *source, OBJECT, "-o", library]
    inputs = {**c_files(interface), **source, **exports, OBJECT: object_code}
    made = run_in(inputs, arguments, [library], "C compiler")
    if faults := loading_faults(made[library], symbols, may_choose=bool(interface.target.variants)):
        raise ExportError(f"{library} does not pass its gates: {listing(faults)}")
    return made


def _derivatives(interface: Interface) -> list[Derivative]:
    """The values, the Jacobian, and where the jet has it the Jacobian of that. Without a Jacobian DerivativeError."""
    names, at = _names(interface)
    jet = interface.functions.get("jet")
    n_in, n_out = len(names.inputs), len(names.outputs)
    f, jac_f, jac_jac_f = for_casadi(interface.name, twice=True)
    x, y, jacobian = {"x": (n_in, 1)}, {"out_y": (n_out, 1)}, {"out_jac_y_x": (n_out, n_in)}
    first = _without_zeros(jacobian_columns(names, at), jet)
    made = [
        Derivative(f, "eval", "y", x, ("y",), np.arange(n_out)[:, None]),
        Derivative(jac_f, "jet", "dy/dx", x | y, ("jac_y_x",), first),
    ]
    if not has_hessian(names, at):
        return made
    second = _without_zeros(hessian_columns(names, at), jet)
    rows = second.transpose(1, 0, 2).reshape(n_in * n_out, n_in)  # those of the Jacobian, column by column
    results = ("jac_jac_y_x_x", "jac_jac_y_x_out_y")
    return [*made, Derivative(jac_jac_f, "jet", "d(dy/dx)/dx", x | y | jacobian, results, rows)]


def _names(interface: Interface) -> tuple[Names, tuple[str, ...]]:
    """The columns that derivatives are of, and the columns of the jet."""
    jet = interface.functions.get("jet")
    of = Names(interface.input_names, columns(interface.functions["eval"].outputs))
    return of, columns(jet.outputs) if jet else ()


def _without_zeros(positions: NDArray[np.intp], jet: Program | None) -> NDArray[np.intp]:
    """The positions, -1 where the jet is zero for every x."""
    if jet is None:
        return positions
    made_by = {op.out.name: op for op in jet.ops}

    def is_zero(var: Var) -> bool:
        match made_by.get(var.name):
            case Slice(x=x):
                return is_zero(x)
            case Affine(weight=weight, bias=bias) | Scale(weight=weight, bias=bias):
                return not weight.any() and not bias.any()
        return False

    zero = np.array([is_zero(var) for var in jet.outputs])
    return np.where(zero[positions], -1, positions)


def _words(each: Derivative) -> dict[str, str]:
    """What the template says of a function."""
    by_column = each.entries.T
    entries = by_column[by_column >= 0]
    unread = [_sparsity(np.full(shape, -1)) for shape in [*each.arguments.values()][1:]]
    n_rows, n_y = each.entries.shape[0], each.arguments.get("out_y", (0, 1))[0]
    sparsities = {
        "in": [_sparsity(np.zeros(each.arguments["x"], np.intp)), *unread],
        "out": [_sparsity(each.entries), *(_sparsity(np.full((n_rows, n_y), -1)) for _ in each.results[1:])],
    }
    return {
        "symbol": each.symbol,
        "function": each.function,
        "FUNCTION": each.function.upper(),
        "meaning": each.meaning,
        "result": each.results[0],
        "arguments": ", ".join(each.arguments),
        "columns": _list(entries if entries.size else [0]),
        "n_entries": str(entries.size),
        "n_arguments": str(len(each.arguments)),
        "n_results": str(len(each.results)),
        "names_in": quoted([*each.arguments]),
        "names_out": quoted(each.results),
        **{f"longest_{side}": str(max(map(len, found))) for side, found in sparsities.items()},
        **{f"sparsities_{side}": ", ".join(f"{{{_list(s)}}}" for s in found) for side, found in sparsities.items()},
    }


def _sparsity(entries: NDArray[np.intp]) -> Sequence[int]:
    """The pattern of a matrix, as CasADi reads it: its shape, then 1 where it is dense, or the compressed columns."""
    present = entries >= 0
    if present.all():
        return [*present.shape, 1]
    rows = [np.flatnonzero(column) for column in present.T]
    return [*present.shape, *np.cumsum([0, *map(len, rows)]), *np.concatenate(rows)]


def _list(numbers: Sequence[int] | NDArray[np.intp]) -> str:
    return fill(", ".join(map(str, numbers)), 112, subsequent_indent="    ")
