"""The equations: one file each, found by being in this folder, or in a file of the user's own. They need NumPy alone.

To add an equation to the package, add `<name>.py` here with `PROBLEM = Problem(name="<name>", …)`; nothing else
changes. What several equations share is in modules whose names begin with an underscore.
"""

from __future__ import annotations

import hashlib
import os
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from kdpinn_edge.equation.known import Front, Mirror, Period, Zero
from kdpinn_edge.equation.model_name import name_fault
from kdpinn_edge.equation.problem import Array, Causal, Math, Origin, Potentials, Problem, causal
from kdpinn_edge.errors import ProblemError, did_you_mean
from kdpinn_edge.reading import read_whole
from kdpinn_edge.user_program import LARGEST_PROGRAM, running

__all__ = [
    "Array",
    "Causal",
    "Front",
    "Math",
    "Mirror",
    "Origin",
    "Period",
    "Potentials",
    "Problem",
    "ProblemSource",
    "Zero",
    "causal",
    "evaluated",
    "is_problem",
    "is_shipped",
    "names",
    "problem",
]

ProblemSource: TypeAlias = str | os.PathLike[str] | Problem
"""A problem: its name, the file that defines it, or itself."""

FIX = "`kdpinn-edge new NAME` writes a file that works"


def evaluated(closed_form: Callable[..., Sequence[Any]], m: Any = np) -> Callable[[Array], Array]:
    """The `exact` of a problem that has a closed form: at points (n, n_in), by NumPy or what has more functions."""

    def exact(points: Array) -> Array:
        return np.column_stack(closed_form(m, *points.T))

    return exact


def names() -> tuple[str, ...]:
    """The names of the equations of the package, sorted."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")))


def problem(source: ProblemSource) -> Problem:
    """The equation that is called `source`, or defined in the file of this path; a Problem is itself.

    Raises ProblemError for an unknown name, listing the known ones, and for a file that cannot be run or defines
    anything else than one Problem.
    """
    if isinstance(source, Problem):
        return source
    text = os.fspath(source)
    if text in names():
        found: Problem = import_module(f"{__name__}.{text}").PROBLEM
        return found
    if is_problem(text):
        return _defined(Path(text))
    own = f"./{text}.py"
    hint = f". Did you mean {own!r}?" if Path(own).is_file() else did_you_mean(text, names())
    raise ProblemError(
        f"no problem is called {text!r}; expected: {', '.join(names())}, or a file that defines one, as in "
        f"./my_equation.py{hint}"
    )


def is_problem(source: object) -> bool:
    """Whether `source` is a problem: itself, the name of one, or a Python file."""
    if isinstance(source, str | os.PathLike):
        text = os.fspath(source)
        return text in names() or text.endswith(".py")
    return isinstance(source, Problem)


def is_shipped(solved: Problem) -> bool:
    """Whether a problem is one of the package's."""
    return solved.name in names() and problem(solved.name) is solved


def remembered(name: str, origin: Mapping[str, Any] | None, where: str) -> Problem:
    """The problem that `where` says it solves: by its name, and where it is none of the package's, by its origin.

    Raises ProblemError where its file is not there, or is not as it was.
    """
    if origin is None:
        if name not in names():  # a file that names another is no reason to run it
            raise ProblemError(f"{where} solves {name!r}; expected: one of {', '.join(names())}")
        return problem(name)
    if not origin:
        raise ProblemError(
            f"{where} solves {name}, which was defined in a Python session and in no file; expected: the problem in a "
            "file of its own, trained by its path; or in Python load_pinn(run, problem=…)"
        )
    path = Path(origin["path"])
    if not path.is_file():
        raise ProblemError(
            f"{where} solves {name}, which {path} defines, and that file is not there; expected: the file at its old "
            "place"
        )
    found = _defined(path)
    if found.origin is None or found.origin.sha256 != origin["sha256"]:
        raise ProblemError(
            f"{where} solves {name}, which {path} defines, and that file has changed since; expected: the file as it "
            f"was (SHA-256 {origin['sha256']}), or a new run of the changed one"
        )
    return found


def _defined(path: Path) -> Problem:
    try:
        data = read_whole(path, LARGEST_PROGRAM)
    except OSError as error:
        raise ProblemError(
            f"{path}: {error.strerror}; expected: a Python file that defines a Problem. {FIX}"
        ) from error
    return _loaded(path.absolute(), hashlib.sha256(data).hexdigest())


@cache
def _loaded(path: Path, sha256: str) -> Problem:
    """The problem that a file of these bytes defines: once, so that a problem is one object."""
    with running(path, ProblemError, f"a program that defines a Problem. {FIX}") as program:
        made = {name: value for name, value in vars(program).items() if isinstance(value, Problem)}
        defined = {name: value for name, value in made.items() if not is_shipped(value)}
        distinct = {id(value): value for value in defined.values()}
    chosen = defined.get("PROBLEM") or (next(iter(distinct.values())) if len(distinct) == 1 else None)
    if chosen is None:
        found = f"the Problems {', '.join(defined)}" if defined else "no Problem"
        raise ProblemError(f"{path} defines {found}; expected: one, or the one that is meant as PROBLEM. {FIX}")
    return replace(chosen, origin=Origin(str(path), sha256))


def new_file(name: str) -> bytes:
    """The commented file that a problem of this name starts with. Raises ProblemError where it cannot be one."""
    if name in names():
        raise ProblemError(f"{name!r}: the package has one of that name; choose another")
    if fault := name_fault(name):
        raise ProblemError(fault)
    text = Path(__file__).with_name("_template.py").read_text(encoding="utf-8")
    return text.replace("my_problem", name).replace("  # type: ignore[no-untyped-def]", "").encode()
