"""What the C functions of a model are called: what its library exports, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable

FOR = "{}_for"
"""What the form of a function is called that is given the inputs apart that are constant during a call."""


def exported(name: str, functions: Iterable[str], *, per_call: bool) -> tuple[str, ...]:
    """The C functions of the model `name` with these functions, in their order."""
    each = list(functions)
    forms = [*each, *(map(FOR.format, each) if per_call else ())]
    return tuple(f"{name}_{suffix}" for suffix in (*forms, "outside", "selftest", "integrity", "model"))
