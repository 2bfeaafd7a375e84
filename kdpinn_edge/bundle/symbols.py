"""What the C functions of a model are called: what its library exports, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable

FOR = "{}_for"
"""What the form of a function is called that is given the inputs apart that are constant during a call."""

FIXED = "{}_fixed"
"""What the form of a function is called that takes and returns scaled integers."""


REFUSAL = "{}_work"
"""What stands beside each C function of a shared library, and fails: CasADi calls it before any function of its own."""

CASADI = (
    *("n_in", "n_out", "name_in", "name_out", "sparsity_in", "sparsity_out", "work"),
    *("incref", "decref", "checkout", "release"),
)
"""What CasADi calls beside each of its own functions."""


def exported(name: str, functions: Iterable[str], *, per_call: bool, fixed: bool) -> tuple[str, ...]:
    """The C functions of the model `name` with these functions, in their order; `fixed` ones are in integers, too."""
    each = list(functions)
    forms = [*each, *(map(FOR.format, each) if per_call else ()), *(map(FIXED.format, each) if fixed else ())]
    return tuple(f"{name}_{suffix}" for suffix in (*forms, "outside", "selftest", "integrity", "model"))


def visible(functions: Iterable[str]) -> tuple[str, ...]:
    """What a shared library with these C functions shows: the functions, and what keeps CasADi from calling them."""
    each = list(functions)
    return (*each, *map(REFUSAL.format, each))


def for_casadi(name: str, *, twice: bool) -> tuple[str, ...]:
    """The functions for CasADi of the model `name`: its values, the Jacobian, and with `twice` that of the Jacobian."""
    return tuple(f"{'jac_' * order}{name}_cas" for order in range(2 + twice))


def called_by_casadi(functions: Iterable[str]) -> tuple[str, ...]:
    """What a library with these functions for CasADi shows."""
    return tuple(symbol for each in functions for symbol in (each, *(f"{each}_{suffix}" for suffix in CASADI)))
