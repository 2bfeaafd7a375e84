"""The options of the commands: what several of them take is written here once, and how its text is read."""

from __future__ import annotations

import inspect
import math
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer

from kdpinn_edge.cli.completion import model_names, problem_names, target_names

if TYPE_CHECKING:
    from kdpinn_edge.importers.model import Model
    from kdpinn_edge.training import TrainConfig
    from kdpinn_edge.training.lesson import Lesson

Config = TypeVar("Config", bound="TrainConfig")


def option_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Let `command` take dataclasses of options: on the command line each of their fields is an option of its own."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    parameters = []
    for name, parameter in inspect.signature(command).parameters.items():
        kind = groups.get(name)
        parameters += _options(kind) if kind else [_option(name, parameter.default, hints[name])]

    def called(**given: Any) -> None:
        for name, kind in groups.items():
            given[name] = kind(**{field.name: given.pop(field.name) for field in fields(kind)})
        command(**given)

    called.__name__, called.__doc__ = command.__name__, command.__doc__
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return called


def _options(kind: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    return [_option(field.name, field.default, hints[field.name]) for field in fields(kind)]


def _option(name: str, default: object, hint: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)


def finite(value: float | None) -> float | None:
    """Refuse infinities and NaN: every comparison with a NaN is false, so that a limit of one would hold."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value:g}; expected: a finite number")
    return value


def bundle_folder(path: Path) -> Path:
    """Refuse what is no bundle."""
    from kdpinn_edge.bundle.manifest import MANIFEST_FILE

    if not (path / MANIFEST_FILE).is_file():
        found = f"it has no {MANIFEST_FILE}" if path.is_dir() else "a file" if path.exists() else "no such folder"
        raise typer.BadParameter(f"{path} is no bundle: {found}; expected: a folder that `kdpinn-edge export` wrote")
    return path


class Calculated(StrEnum):
    """What exported functions calculate with."""

    float = "float"
    int16 = "int16"


AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
Force = Annotated[
    bool, typer.Option("--force", help="Replace what the same command left in OUT; no other folder is ever replaced.")
]
BundlePath = Annotated[Path, typer.Argument(callback=bundle_folder, help="The folder that `export` wrote.")]
ProblemName = Annotated[
    str,
    typer.Argument(
        help="One of `kdpinn-edge problems`, or a file that defines one, as in ./fisher.py.",
        autocompletion=problem_names,
    ),
]
TargetName = Annotated[
    str,
    typer.Option(help="What to compile for: native, or one of `kdpinn-edge targets`.", autocompletion=target_names),
]
ArithmeticName = Annotated[
    Calculated, typer.Option(help="What it calculates with; int16: integers alone, for processors without floats.")
]
FoundTeacher = Annotated[
    str | None,
    typer.Option(
        help="Of a problem: a run folder, a model of the zoo, a bundle, …, samples.  [default: the zoo's]",
        autocompletion=model_names,
    ),
]
DistilledSource = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A problem, or what is followed: what `export` takes, or samples in an .npz file with x, u and maybe du.",
        autocompletion=model_names,
    ),
]
StatedInputs = Annotated[
    str | None, typer.Option(help='Names, units, sizes and domain, as in "x[m]=0:5000, T[K]=300:1500, s[100]".')
]
StatedOutputs = Annotated[str | None, typer.Option(help='Names, units and sizes, as in "u[m/s], v".')]
StatedWeights = Annotated[
    Path | None, typer.Option(help="Of model.py:build: a .pt, .pth, .ckpt or .safetensors file, read as data.")
]
Device = Annotated[str, typer.Option(help="What calculates: cpu, cuda, or as in cuda:1.")]
CpuSeconds = Annotated[float, typer.Option(min=1, callback=finite, help="CPU time for each.")]
PointsPerCall = Annotated[
    list[int] | None, typer.Option("--n", help="Points per call; repeatable.  [default: 1 100 10000 100000]")
]
BudgetPoints = Annotated[int, typer.Option(min=1, help="What has to be within the budget.")]


class OptimiserChoice(StrEnum):
    """The optimiser that follows Adam."""

    lm = "lm"
    geodesic = "geodesic"
    ssbroyden = "ssbroyden"
    lbfgs = "lbfgs"
    soap = "soap"
    random_features = "random_features"


class Scalar(StrEnum):
    """The precision that exported functions compute in."""

    float32 = "float32"
    float64 = "float64"


class Graded(StrEnum):
    """The accuracy of activations."""

    accurate = "accurate"
    fast = "fast"


class Stored(StrEnum):
    """The precision in which a library keeps its parameters."""

    float16 = "float16"
    float32 = "float32"
    float64 = "float64"


class Swept(StrEnum):
    """An engine that can evaluate a residual."""

    library = "library"
    numpy = "numpy"
    onnx = "onnx"


class Certified(StrEnum):
    """A function of a bundle."""

    eval = "eval"
    jet = "jet"
    residual = "residual"


SourceText = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A problem (its student), a model of the zoo, a run folder, a bundle, a program.npz; or a foreign "
        "network: model.onnx, model.pt2, model.py:build, weights of dense layers, model.mdlus.",
        autocompletion=model_names,
    ),
]


@dataclass(frozen=True)
class SourceOptions:
    """What the commands that take a SOURCE are told of it."""

    inputs: StatedInputs = None
    outputs: StatedOutputs = None
    weights: StatedWeights = None
    activation: Annotated[str | None, typer.Option(help="Of dense layers whose weights are all there is.")] = None

    def find(self, source: str) -> Model:
        """The Model that SOURCE is."""
        from kdpinn_edge.importers.model import find_model

        return find_model(
            source, inputs=self.inputs, outputs=self.outputs, weights=self.weights, activation=self.activation
        )

    @contextmanager
    def bundle(self, source: str) -> Iterator[Path]:
        """The bundle that SOURCE is, or that it makes here in float32, for as long as it is needed."""
        from kdpinn_edge.comparison.stage import bundle_of

        with bundle_of(
            source, inputs=self.inputs, outputs=self.outputs, weights=self.weights, activation=self.activation
        ) as bundle:
            yield bundle


@dataclass(frozen=True)
class LessonOptions:
    """What the commands that distil are told of their SOURCE."""

    inputs: StatedInputs = None
    outputs: StatedOutputs = None
    weights: StatedWeights = None
    source_activation: Annotated[
        str | None, typer.Option(help="Of dense layers whose weights are all that SOURCE has.")
    ] = None
    teacher: FoundTeacher = None

    def find(self, source: str) -> Lesson:
        """The Lesson that SOURCE gives."""
        from kdpinn_edge.importers.lesson import find_lesson

        return find_lesson(
            source,
            teacher=self.teacher,
            inputs=self.inputs,
            outputs=self.outputs,
            weights=self.weights,
            activation=self.source_activation,
        )


@dataclass(frozen=True)
class TrainingOptions:
    """The options that `train` and `distill` share."""

    hidden: Annotated[str | None, typer.Option(help="Neurons per hidden layer, as in 32,32,32.")] = None
    activation: Annotated[
        str | None,
        typer.Option(
            help="Of the hidden layers: tanh, sin, lorentzian 1/(1 + x²), dispersion 2x/(1 + x²).  [default: tanh]"
        ),
    ] = None
    points: Annotated[int | None, typer.Option(min=1, max=10_000, help="Points per round.")] = None
    optimiser: Annotated[
        OptimiserChoice | None,
        typer.Option(
            help="What follows Adam: Levenberg-Marquardt, the same with geodesic acceleration, self-scaled Broyden, "
            "L-BFGS, SOAP. With random_features there is no Adam, and the output layer alone is trained: seconds, for "
            "smooth solutions."
        ),
    ] = None
    rounds: Annotated[int | None, typer.Option(min=1, help="Rounds of the optimiser, each on fresh points.")] = None
    steps: Annotated[int | None, typer.Option(min=1, help="Steps per round.")] = None
    spread: Annotated[
        float | None,
        typer.Option(callback=finite, help="Of random features: their weights are drawn from ± this.  [default: 0.5]"),
    ] = None
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, max=2**63 - 1, help="Decides the first weights and every point that is drawn.  [default: 0]"
        ),
    ] = None
    device: Annotated[str | None, typer.Option(help="What calculates: cpu, cuda, or as in cuda:1.  [default: cpu]")] = (
        None
    )
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in the folder, with its options; --rounds extends it.")
    ] = False
    force: Force = False

    def configure(self, config: Config, **weights: float | None) -> Config:
        """Replace in `config` what was given; what is None keeps its default."""
        given: dict[str, Any] = {
            "seed": self.seed,
            "device": self.device,
            "activation": self.activation,
            "n_points": self.points,
            "optimiser": self.optimiser and self.optimiser.value,
            "newton_rounds": self.rounds,
            "newton_steps": self.steps,
            "spread": self.spread,
            "hidden": None if self.hidden is None else layers(self.hidden, "--hidden"),
            **weights,
        }
        if given["optimiser"] == "random_features" and config.optimiser != "random_features":
            config = type(config).random_features()
        return replace(config, **{field: value for field, value in given.items() if value is not None})


@dataclass(frozen=True)
class BenchOptions:
    """The options of `bench`."""

    full: Annotated[bool, typer.Option("--full", help="Every backend and mode, in 5 minutes; else the usual ones.")] = (
        False
    )
    backends: Annotated[list[str] | None, typer.Option("--backend", help="Only this one; repeatable.")] = None
    n_points: PointsPerCall = None
    out: Annotated[Path | None, typer.Option(help="Keep the record, with every sample: a JSON file.")] = None
    resume: Annotated[bool, typer.Option("--resume", help="Continue the record in OUT.")] = False
    force: Force = False
    report: Annotated[Path | None, typer.Option(help="Write the record as a page: an HTML file.")] = None
    compare: Annotated[Path | None, typer.Option(help="Say what changed since this record.")] = None
    add: Annotated[
        list[Path] | None, typer.Option(help="What the bench on a device printed: adds that device; repeatable.")
    ] = None
    clock: Annotated[str | None, typer.Option(help="The rate of a device that counts cycles, as in 216MHz.")] = None
    budget: Annotated[str | None, typer.Option(help="Exit with 1 where one backend exceeds it, as in 10ms.")] = None
    points: BudgetPoints = 1
    percentile: Annotated[float, typer.Option(callback=finite, help="For how many % of the calls.")] = 99.0
    samples: Annotated[int | None, typer.Option(help="Calls of the gate.  [default: what PERCENTILE needs]")] = None
    threads: Annotated[int, typer.Option(min=1, help="Threads that every backend may use.")] = 1


def compiler_command(text: str) -> list[str]:
    """Read the words of a command as a shell does."""
    try:
        words = shlex.split(text)
        if not words:
            raise ValueError("it is empty")
        return words
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}: {error}; expected: a command as in a shell", param_hint="--cc") from error


def layers(text: str, option: str) -> tuple[int, ...]:
    """Read the sizes of layers, as in 32,32,32."""
    if not re.fullmatch(r"[1-9]\d{0,3}(,[1-9]\d{0,3})*", text, re.ASCII):
        raise typer.BadParameter(f"{text!r}; expected: sizes of layers, as in 32,32,32", param_hint=option)
    return tuple(map(int, text.split(",")))
