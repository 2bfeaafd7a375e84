"""`find_lesson(source)`: what is distilled, from all that has values; see `kdpinn_edge.distill`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypeGuard

from kdpinn_edge import problems, zoo
from kdpinn_edge.bundle.manifest import MANIFEST_FILE
from kdpinn_edge.errors import CaptureError, TrainError
from kdpinn_edge.importers.columns import Column, Columns, columns_text, input_columns, output_columns, read_columns
from kdpinn_edge.importers.guides import Guide, ModelGuide, NetGuide, OutsideGuide, SamplesGuide
from kdpinn_edge.importers.model import Stated, find_model, is_foreign, model_name, zoo_name
from kdpinn_edge.importers.pytorch.libraries import network
from kdpinn_edge.problems import Array, Problem, is_problem, is_shipped, problem
from kdpinn_edge.program.ir import Program
from kdpinn_edge.training import Pinn, Trained, load_pinn
from kdpinn_edge.training.lesson import Lesson, source_word
from kdpinn_edge.training.outside import (
    FunctionTeacher,
    Module,
    ModuleTeacher,
    function_values,
    is_module,
    module_values,
)
from kdpinn_edge.training.samples import check_samples, is_samples_file, read_samples
from kdpinn_edge.training.teacher import default_teacher

Source: TypeAlias = (
    str | os.PathLike[str] | Problem | Trained | Program | Module | Callable[[Array], Any] | Sequence[Any]
)
"""What a student follows; or what a library calls a model, which holds one network."""

EXPECTED = (
    "a problem, a model (a Program, or what names one: a run folder, a bundle, a program.npz, …), a torch module, a "
    "function f(x) of NumPy arrays, or samples (x, u) or (x, u, du)"
)


def find_lesson(
    source: Source,
    *,
    teacher: Source | None = None,
    inputs: Columns | None = None,
    outputs: Columns | None = None,
    weights: str | os.PathLike[str] | None = None,
    activation: str | None = None,
) -> Lesson:
    """The Lesson that `source` gives; the arguments are those of `kdpinn_edge.distill`. Nothing is written."""
    of_file = None if weights is None else Path(weights)
    if poses_problem(source):
        solved = problem(source)
        if inputs is not None or outputs is not None:
            raise TrainError(f"{solved.name} has its own columns and domain; expected: no inputs and no outputs")
        followed = _default_teacher(solved) if teacher is None else teacher
        said = Stated(tuple(map(Column, solved.inputs)), tuple(map(Column, solved.outputs)), of_file, activation)
        guide = _guide(followed, said, solved)
        options = {} if teacher is None else {"teacher": _command_word(teacher)}
        word = source_word(solved)
        in_python = word is None or _in_python(followed)
        named = "problem" if word is None else repr(word) if in_python else word
        return _lesson(guide, solved, followed, named, options | _file_options(said), in_python=in_python)
    if teacher is not None:
        raise TrainError(
            f"{_word(source)} is itself what is followed; expected: no teacher, or a problem "
            f"({', '.join(problems.names())}, or a file that defines one) that the teacher solves"
        )
    said = Stated(read_columns(inputs, "inputs"), read_columns(outputs, "outputs"), of_file, activation)
    guide = _guide(source, said)
    told = {"inputs": said.inputs, "outputs": said.outputs}
    options = {what: columns_text(stated) for what, stated in told.items() if stated is not None} | _file_options(said)
    solved = guide.poses(model_name(Path(_word(source))))
    return _lesson(guide, solved, source, _command_word(source), options, in_python=_in_python(source))


def poses_problem(source: object) -> TypeGuard[str | os.PathLike[str] | Problem]:
    """Whether `source` is a problem; a path of the name of one is what is followed."""
    is_path = isinstance(source, str | os.PathLike) and os.fspath(source) in problems.names() and Path(source).exists()
    return is_problem(source) and not is_path


def _default_teacher(solved: Problem) -> str:
    """The teacher of a problem in the zoo. Raises TrainError where the zoo has none."""
    if not is_shipped(solved):
        raise TrainError(
            f"{solved.name} has no teacher in the zoo; expected: teacher (--teacher), as in --teacher "
            f"runs/{solved.name}_teacher, the folder that `kdpinn-edge train` makes"
        )
    return default_teacher(solved.name)


def _lesson(
    guide: Guide, solved: Problem, followed: Source, source: str, options: dict[str, str], *, in_python: bool = False
) -> Lesson:
    teacher, domain, sha256 = guide.teaches(solved)
    name = followed.name if isinstance(followed, Program) else Path(_word(followed)).name
    return Lesson(teacher, domain, {"name": name, "sha256": sha256}, source, options, in_python)


def _file_options(said: Stated) -> dict[str, str]:
    """What was said of a file that holds a foreign network, by the names of the options."""
    options = {"weights": said.weights, "source-activation": said.activation}
    return {name: str(text) for name, text in options.items() if text is not None}


def _guide(source: Source, said: Stated, solved: Problem | None = None) -> Guide:
    """What `source` is, under these columns.

    They are those that were stated of it, if any, where it is itself what is followed; else those of the problem that
    it teaches, `solved`.
    """
    word, inputs, outputs = _word(source), said.inputs, said.outputs
    net = source.net if isinstance(source, Trained) else source
    if isinstance(net, Pinn) and (solved or (inputs, outputs) == (None, None)):
        return NetGuide(net, word)
    if isinstance(source, str | os.PathLike | Program) and not _are_samples(source):
        return _model_guide(source, said, solved)
    if faults := _file_options(said):
        raise TrainError(f"--{next(iter(faults))} is given; expected: it with a file of weights, not with {word}")
    if inputs is None or outputs is None:
        missing = "inputs" if inputs is None else "outputs"
        raise TrainError(
            f"{word} does not say what its {missing} are called; expected: both, as in "
            '--inputs "x=0:1, t=0:1" --outputs u, in Python inputs="x=0:1, t=0:1", outputs="u"'
        )
    columns = input_columns(inputs), output_columns(outputs)
    shape = len(columns[0]), len(columns[1])
    if isinstance(source, str | os.PathLike):
        return SamplesGuide(read_samples(source, *shape), *columns)
    if isinstance(source, tuple | list):
        if not 2 <= len(source) <= 3:
            raise TrainError(
                f"a {type(source).__name__} of {len(source)} is no samples; expected: (x, u) or (x, u, du)"
            )
        x, u, du = (*source, None)[:3]
        return SamplesGuide(check_samples(x, u, du, *shape), *columns)
    if is_module(found := _called(source)):
        return OutsideGuide(word, partial(module_values, found), partial(ModuleTeacher, found), *columns)
    return OutsideGuide(word, partial(function_values, found), partial(FunctionTeacher, found), *columns)


def _called(source: object) -> Callable[..., Any]:
    """The module or function that `source` is, or holds. Raises TrainError where it is none."""
    source = source.net if isinstance(source, Trained) else source
    try:
        return network(source)
    except CaptureError as error:
        raise TrainError(f"{_word(source)} cannot be followed; expected: {EXPECTED}") from error


def _model_guide(
    source: str | os.PathLike[str] | Program, said: Stated, solved: Problem | None
) -> NetGuide | ModelGuide:
    """A network of ours, or a model; under columns that were stated it is without the equation that it may solve."""
    word = _word(source)
    stated = solved is None and (said.inputs, said.outputs) != (None, None)
    if _is_ours(source) and not stated and not _file_options(said):
        net = load_pinn(zoo_name(word), solved)
        if net.problem.equation or solved:
            return NetGuide(net, word)
    if not stated and not is_foreign(source):
        said = replace(said, inputs=None, outputs=None)
    model = find_model(source, **vars(said))
    return ModelGuide(replace(model, problem=None) if stated else model, word)


def _in_python(source: Source) -> bool:
    """Whether the command line has no word for a source."""
    return not isinstance(source, str | os.PathLike | Program)


def _are_samples(source: Source) -> bool:
    return isinstance(source, str | os.PathLike) and is_samples_file(source)


def _is_ours(source: str | os.PathLike[str] | Program) -> bool:
    """Whether `source` names a network in the zoo, a run folder or a file of weights of ours."""
    if isinstance(source, Program):
        return False
    path = Path(source)
    if zoo_name(os.fspath(source)) in zoo.names():
        return True
    if path.is_dir():
        return not (path / MANIFEST_FILE).exists()
    return path.exists() and path.suffix != ".npz" and not is_foreign(source)


def _word(source: object) -> str:
    """What a message calls a source."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    if isinstance(source, Trained):
        return os.fspath(source.folder)
    if isinstance(source, tuple | list):
        return "samples"
    return str(getattr(source, "__name__", type(source).__name__))


def _command_word(source: Source) -> str:
    """What a command has for a source; a Program is one that the command line has as a file."""
    return f"{source.name}.npz" if isinstance(source, Program) else _word(source)
