"""What helps where an artifact is too large: alternatives are compiled, and only those that are smaller are named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kdpinn_edge.bundle.manifest import Errors
from kdpinn_edge.errors import BudgetError, ExportError, ProgramError
from kdpinn_edge.export.artifacts.gates import check_artifact
from kdpinn_edge.export.artifacts.linking import link
from kdpinn_edge.export.machine_code import object_code
from kdpinn_edge.export.measure.resources import Budget, measure
from kdpinn_edge.export.preparation import Prepared, prepare
from kdpinn_edge.program.ir import Program


def with_advice(
    error: BudgetError, program: Program, stated: Mapping[str, Any], command: Sequence[str], max_relative_error: float
) -> BudgetError:
    """The error with what helps; `stated` are the arguments of `prepare`, `command` is what links.

    An alternative that a gate or the bound on rounding refuses is none.
    """
    helping = []
    for words, changed in _alternatives(stated, error.what):
        try:
            model = prepare(program, **{**stated, **changed})
            errors = model.errors(max_relative_error=max_relative_error)
            takes = _taken(model, command, error.what)
        except (ExportError, ProgramError):
            continue
        if takes is not None and takes < error.takes:
            stored = [each for _, each in errors.values() if each is not None]
            cost = f", with errors up to {_share(stored):.0e} of the largest value" if "storage" in changed else ""
            helping.append((takes, f"{words} ({takes:,} bytes{cost})"))
    fits = [words for takes, words in sorted(helping) if takes <= error.limit]
    less = [words for takes, words in sorted(helping) if takes > error.limit]
    said = [f"What fits, as compiled: {'; '.join(fits)}."] if fits else []
    said += [f"What takes less, and does not fit: {'; '.join(less)}."] if less and not fits else []
    if not fits:
        said.append(OTHERWISE[error.what].format(error.limit))
    return BudgetError(" ".join([str(error), *said]), what=error.what, takes=error.takes, limit=error.limit)


OTHERWISE = {
    "flash": "A smaller network does: `kdpinn-edge search … --max-flash {}` finds the student that fits.",
    "stack": "A network with narrower layers does: they lie on the stack.",
}


def _alternatives(stated: Mapping[str, Any], what: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """What can be said otherwise, in the words of the command line, and the arguments that it changes."""
    fewer: dict[str, Any] = {}
    for words, key, nothing in (("--residual", "residual", None), ("--derivatives", "derivatives", ())):
        if stated[key]:
            fewer[key] = nothing
            yield f"no {words}", {key: nothing}
    if len(fewer) > 1:
        yield "neither --derivatives nor --residual", fewer
    if stated["per_call"]:
        yield "no --per-call", {"per_call": ()}
    if what == "stack":
        return
    if stated["target"] == "x86-64":
        yield "--target x86-64-v3", {"target": "x86-64-v3"}
    if stated["precision"] == "float64":
        yield "--precision float32", {"precision": "float32", "storage": None}
        return
    half, fast = {"storage": "float16"}, {"grade": "fast"}
    if stated["storage"] != "float16":
        yield "--storage float16", half
    if stated["grade"] != "fast":
        yield "--grade fast", fast
        if stated["storage"] != "float16":
            yield "--storage float16 --grade fast", half | fast


def _taken(model: Prepared, command: Sequence[str], what: str) -> int | None:
    """The bytes of `what` that the artifact of a model takes; None where they are not measured."""
    interface = model.interface
    artifact = link(object_code(model.kernels, interface), interface, command)[interface.library]
    sizes = check_artifact(artifact, interface).sizes
    return sizes.flash if what == "flash" else measure(artifact, interface, sizes, Budget()).stack


def _share(errors: Sequence[Errors]) -> float:
    """The largest error as a share of the largest value of its column."""
    return max(
        largest / scale for each in errors for largest, scale in zip(each.max_abs, each.scale, strict=True) if scale
    )
