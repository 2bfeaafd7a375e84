"""`find_lesson(source)`: what is distilled, from all that has values; see `kdpinn_edge.distill`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from kdpinn_edge import problems, zoo
from kdpinn_edge.bundle.manifest import MANIFEST_FILE, Input, Output, name_fault
from kdpinn_edge.errors import TrainError
from kdpinn_edge.importers.columns import Column, columns_text, input_columns, output_columns, parse_columns
from kdpinn_edge.importers.guides import Guide, ModelGuide, NetGuide, OutsideGuide, SamplesGuide
from kdpinn_edge.importers.model import Model, find_model, zoo_name
from kdpinn_edge.problems import Array, Problem, problem
from kdpinn_edge.program.ir import Program, columns
from kdpinn_edge.training import load_pinn
from kdpinn_edge.training.lesson import Lesson
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

Source: TypeAlias = str | os.PathLike[str] | Program | Module | Callable[[Array], Any] | tuple[Any, ...]
"""What a student follows."""

FILES_OF_OTHERS = (".npz", ".onnx", ".pt2", ".py", ".mdlus")
"""How the names of files end that hold no network of ours, but what `find_model` reads."""

EXPECTED = (
    "a problem, a model (a Program, or what names one: a run folder, a bundle, a program.npz, …), a torch module, a "
    "function f(x) of NumPy arrays, or samples (x, u) or (x, u, du)"
)


def find_lesson(
    source: Source,
    *,
    teacher: Source | None = None,
    inputs: str | Sequence[Column] | None = None,
    outputs: str | Sequence[Column] | None = None,
) -> Lesson:
    """The Lesson that `source` gives; the arguments are those of `kdpinn_edge.distill`. Nothing is written."""
    if isinstance(source, str) and zoo_name(source) != source:
        if inputs is not None or outputs is not None:
            raise TrainError(f"{source} has its own columns and domain; expected: no inputs and no outputs")
        solved, followed = problem(source), default_teacher(source) if teacher is None else teacher
        guide = _guide(followed, tuple(map(Input, solved.inputs)), tuple(map(Output, solved.outputs)))
        return _lesson(guide, solved, followed, source, {} if teacher is None else {"teacher": _command_word(teacher)})
    if teacher is not None:
        raise TrainError(
            f"{_word(source)} is itself what is followed; expected: no teacher, or a problem "
            f"({', '.join(problems.names())}) that the teacher solves"
        )
    stated_in = parse_columns(inputs, "inputs") if isinstance(inputs, str) else inputs
    stated_out = parse_columns(outputs, "outputs") if isinstance(outputs, str) else outputs
    guide = _guide(
        source,
        None if stated_in is None else input_columns(stated_in),
        None if stated_out is None else output_columns(stated_out),
        itself=True,
    )
    told = {"inputs": stated_in, "outputs": stated_out}
    options = {what: columns_text(stated) for what, stated in told.items() if stated is not None}
    in_python = not isinstance(source, str | os.PathLike | Program)
    solved = guide.poses(_name(_word(source)))
    return _lesson(guide, solved, source, _command_word(source), options, in_python=in_python)


def _lesson(
    guide: Guide, solved: Problem, followed: Source, source: str, options: dict[str, str], *, in_python: bool = False
) -> Lesson:
    teacher, domain, sha256 = guide.teaches(solved)
    name = followed.name if isinstance(followed, Program) else Path(_word(followed)).name
    return Lesson(teacher, domain, {"name": name, "sha256": sha256}, source, options, in_python)


def _guide(
    source: Source, inputs: tuple[Input, ...] | None, outputs: tuple[Output, ...] | None, *, itself: bool = False
) -> Guide:
    """What `source` is. Columns are those that were stated of it, or, where it is not `itself` what is followed, those
    of the problem that it teaches."""
    stated = itself and (inputs is not None or outputs is not None)
    if isinstance(source, Program):
        return _model_guide(Model(source.name, source), source.name, inputs, outputs, stated=stated)
    if isinstance(source, str | os.PathLike):
        text = os.fspath(source)
        if is_samples_file(text):
            inputs, outputs = _columns(text, inputs, outputs)
            return SamplesGuide(read_samples(text, len(inputs), len(outputs)), inputs, outputs)
        if _is_ours(text):
            net = load_pinn(zoo_name(text))
            if not itself or (net.problem.equation and not stated):
                return NetGuide(net, text)
        return _model_guide(find_model(text), text, inputs, outputs, stated=stated)
    if isinstance(source, tuple):
        inputs, outputs = _columns("a tuple of samples", inputs, outputs)
        if not 2 <= len(source) <= 3:
            raise TrainError(f"a tuple of {len(source)} is no samples; expected: (x, u) or (x, u, du)")
        x, u, du = (*source, None)[:3]
        return SamplesGuide(check_samples(x, u, du, len(inputs), len(outputs)), inputs, outputs)
    word = _word(source)
    if is_module(source):
        inputs, outputs = _columns(word, inputs, outputs)
        return OutsideGuide(word, partial(module_values, source), partial(ModuleTeacher, source), inputs, outputs)
    if callable(source):
        inputs, outputs = _columns(word, inputs, outputs)
        return OutsideGuide(word, partial(function_values, source), partial(FunctionTeacher, source), inputs, outputs)
    raise TrainError(f"{word} cannot be followed; expected: {EXPECTED}")


def _model_guide(
    model: Model, name: str, inputs: tuple[Input, ...] | None, outputs: tuple[Output, ...] | None, *, stated: bool
) -> ModelGuide:
    """A model under the columns that were stated of it, and then without the equation that it may solve elsewhere."""
    if not stated:
        return ModelGuide(model, name)
    for what, given, own in (("inputs", inputs, model.program.inputs), ("outputs", outputs, model.program.outputs)):
        if given is not None and (found := tuple(column.name for column in given)) != columns(own):
            raise TrainError(f"{what} are {', '.join(found)}; expected: those of {name}, {', '.join(columns(own))}")
    inputs, outputs = inputs or model.inputs, outputs or model.outputs
    return ModelGuide(replace(model, inputs=inputs, outputs=outputs, problem=None), name)


def _columns(
    name: str, inputs: tuple[Input, ...] | None, outputs: tuple[Output, ...] | None
) -> tuple[tuple[Input, ...], tuple[Output, ...]]:
    if inputs is None or outputs is None:
        missing = "inputs" if inputs is None else "outputs"
        raise TrainError(
            f"{name} does not say what its {missing} are called; expected: both, as in "
            '--inputs "x=0:1, t=0:1" --outputs u, in Python inputs="x=0:1, t=0:1", outputs="u"'
        )
    return inputs, outputs


def _is_ours(text: str) -> bool:
    """Whether `text` names a network in the zoo, a run folder or a file of weights."""
    path = Path(text)
    if zoo_name(text) in zoo.names():
        return True
    if path.is_dir():
        return not (path / MANIFEST_FILE).exists()
    return path.exists() and path.suffix not in FILES_OF_OTHERS


def _word(source: object) -> str:
    """What a message calls a source."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    if isinstance(source, tuple):
        return "samples"
    return getattr(source, "__name__", type(source).__name__)


def _command_word(source: Source) -> str:
    """What a command has for a source; a Program is one that the command line has as a file."""
    return f"{source.name}.npz" if isinstance(source, Program) else _word(source)


def _name(text: str) -> str:
    """A name for the library of a student, as near to `text` as C allows."""
    name = re.sub(r"[^a-z0-9]+", "_", Path(text).name.partition(".")[0].lower()).strip("_")[:31]
    return "student" if name_fault(name) else name
