"""Requests that stand for several columns: the Jacobian and the Hessian, of all or of chosen columns.

    jacobian                    the first derivative of every output by every input, outputs first: u_x, u_t, v_x, v_t
    hessian                     the second ones, each once: u_xx, u_xt, u_tt, v_xx, v_xt, v_tt
    jacobian(u, v)              of these outputs by every input
    hessian(u; x, t)            of these outputs by these inputs
    jacobian(; x)               of every output by these inputs

`v` names all columns of a vector v as well. A group adds the columns that have not been asked for before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations_with_replacement, product

import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.derive.names import Derivative, Names, Term, parse_requests
from kdpinn_edge.errors import DerivativeError, did_you_mean

Positions = NDArray[np.intp]
GROUP = re.compile(r"(jacobian|hessian)\s*(?:\((.*)\))?")


def terms_of(requests: Iterable[str], names: Names) -> dict[str, Term]:
    """Each column that `requests` ask for, by its name.

    Raises DerivativeError for a request that has no meaning or two, and for a column that is asked for twice by name.
    """
    terms: dict[str, Term] = {}
    for request in requests:
        group = _group(request.strip(), names)
        found: Sequence[Term] = [names.read(request)] if group is None else group
        for term in found:
            spelling = names.spell(term)
            if group is None and spelling in terms:
                raise DerivativeError(f"{spelling} is asked for twice, the second time as {request!r}; ask for it once")
            terms.setdefault(spelling, term)
    return terms


def jacobian_columns(names: Names, jet: Sequence[str]) -> Positions:
    """Where the Jacobian stands in the columns of a jet: (n_out, n_in) positions.

    Raises DerivativeError, with the request to add, where columns are missing.
    """
    rows = _positions("jacobian", first_derivatives(names.outputs, names.inputs), names, jet)
    return np.array(rows, np.intp).reshape(len(names.outputs), len(names.inputs))


def hessian_columns(names: Names, jet: Sequence[str]) -> Positions:
    """Where the Hessians of all outputs stand in the columns of a jet: (n_out, n_in, n_in) positions, symmetric.

    Raises DerivativeError, with the request to add, where columns are missing.
    """
    n_out, n_in = len(names.outputs), len(names.inputs)
    upper = _positions("hessian", second_derivatives(names.outputs, names.inputs), names, jet)
    found = np.empty((n_out, n_in, n_in), np.intp)
    row, column = np.triu_indices(n_in)
    found[:, row, column] = found[:, column, row] = np.reshape(upper, (n_out, -1))
    return found


def has_hessian(names: Names, jet: Sequence[str]) -> bool:
    """Whether a jet has the Hessians of all outputs."""
    return set(second_derivatives(names.outputs, names.inputs)) <= set(map(names.read, jet))


def _positions(kind: str, terms: Iterable[Derivative], names: Names, jet: Sequence[str]) -> list[int]:
    place = {names.read(column): i for i, column in enumerate(jet)}
    wanted = list(terms)
    if missing := [names.spell(term) for term in wanted if term not in place]:
        shown = ", ".join(missing[:6]) + (f", … ({len(missing)} in all)" if len(missing) > 6 else "")
        raise DerivativeError(f"the derivatives lack {shown}; add {kind!r} to those that are asked for at export")
    return [place[term] for term in wanted]


def first_derivatives(outputs: Sequence[str], inputs: Sequence[str]) -> Iterator[Derivative]:
    """The entries of the Jacobian, row by row."""
    for output, x in product(outputs, inputs):
        yield Derivative(output, (x,))


def second_derivatives(outputs: Sequence[str], inputs: Sequence[str]) -> Iterator[Derivative]:
    """The entries of the Hessian of each output on and above the diagonal, row by row."""
    for output, pair in product(outputs, combinations_with_replacement(inputs, 2)):
        yield Derivative(output, pair)


def _group(request: str, names: Names) -> list[Derivative] | None:
    """The columns that `request` stands for, or None where it is no group."""
    match = GROUP.fullmatch(request)
    if match is None:
        return None
    kind, chosen = match.groups()
    if chosen is None and kind in (*names.outputs, *names.inputs):
        raise DerivativeError(f"{request!r} is a column and all derivatives; write {kind}() for the derivatives")
    outputs, _, inputs = (chosen or "").partition(";")
    columns = (
        _chosen(request, "output", outputs, names.outputs),
        _chosen(request, "input", inputs, names.inputs),
    )
    return list(first_derivatives(*columns) if kind == "jacobian" else second_derivatives(*columns))


def _chosen(request: str, what: str, text: str, columns: Sequence[str]) -> Sequence[str]:
    """The columns that `text` names, in the order of the model; all of them where it names none."""
    if not text.strip():
        return columns
    chosen = []
    for name in parse_requests(text):
        found = [column for column in columns if column == name or column.startswith(f"{name}[")]
        if not found:
            raise DerivativeError(
                f"{request!r}: {name!r} is no {what}; expected: {', '.join(columns)}{did_you_mean(name, columns)}. "
                "Outputs come first, then inputs after a semicolon, as in jacobian(u; x, t)"
            )
        chosen += found
    if twice := sorted({name for name in chosen if chosen.count(name) > 1}):
        raise DerivativeError(f"{request!r} names the {what} {', '.join(twice)} twice; name it once")
    return [column for column in columns if column in chosen]
