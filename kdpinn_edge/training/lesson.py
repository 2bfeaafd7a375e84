"""What a distillation needs beside its recipe: a teacher, the points to follow it at, what a record says of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from kdpinn_edge.problems import Problem, is_shipped
from kdpinn_edge.training.config import DistillConfig, TrainConfig
from kdpinn_edge.training.domain import Domain
from kdpinn_edge.training.objective import Mixture, distillation
from kdpinn_edge.training.teacher import Teacher

OPTIONS = {
    "hidden": "hidden",
    "activation": "activation",
    "points": "n_points",
    "optimiser": "optimiser",
    "rounds": "newton_rounds",
    "steps": "newton_steps",
    "spread": "spread",
    "physics-weight": "physics_weight",
    "slope-weight": "slope_weight",
    "seed": "seed",
    "device": "device",
}


@dataclass(frozen=True, eq=False)
class Lesson:
    """A teacher, with the domain in which it is followed.

    `named` is how a record names the teacher: by name and SHA-256. `source` and `options` are what the command line
    has for both, or where the source is an object `in_python`, what its function takes.
    """

    teacher: Teacher
    domain: Domain
    named: Mapping[str, str]
    source: str
    options: Mapping[str, str]
    in_python: bool = False

    @property
    def problem(self) -> Problem:
        """The problem of the student: that of its teacher."""
        return self.domain.problem

    def objective(self, config: DistillConfig) -> Mixture:
        """What a student minimises."""
        config = config.fitted(self.problem)
        return distillation(self.teacher, config.sigma, config.physics_weight or 0.0, config.slope_weight)

    def command(self, config: DistillConfig) -> str:
        """The run as the command line has it, or Python where it has no word for the teacher."""
        default = DistillConfig().fitted(self.problem)
        if self.in_python:
            return in_python("distill", self.source, config, default, self.options)
        told = "".join(f" --{name} {_quoted(text)}" for name, text in self.options.items())
        return f"{command('distill', self.source, config, default)}{told}"


def command(stage: str, source: str | None, config: TrainConfig, default: TrainConfig) -> str:
    """A run as the command line has it: its options where they are not at their defaults.

    As Python has it where the command line has no word for the source: None.
    """
    if source is None:
        return in_python(stage, "problem", config, default, {})
    words = [f"kdpinn-edge {stage} {_quoted(source)}"]
    for option, field in OPTIONS.items():
        if hasattr(config, field) and (value := getattr(config, field)) != getattr(default, field):
            words.append(f"--{option} {','.join(map(str, value)) if isinstance(value, tuple) else value}")
    return " ".join(words)


def in_python(stage: str, source: str, config: TrainConfig, default: TrainConfig, options: Mapping[str, str]) -> str:
    """A run as Python has it: the fields of its config where they are not at their defaults."""
    changed = [field.name for field in fields(config) if getattr(config, field.name) != getattr(default, field.name)]
    recipe = ", ".join(f"{name}={getattr(config, name)!r}" for name in changed)
    more = "".join(f", {name}={text!r}" for name, text in options.items())
    return f"kdpinn_edge.{stage}({source}, folder, {type(config).__name__}({recipe}){more})"


def source_word(solved: Problem) -> str | None:
    """What the command line calls a problem: its name, or its file; None where it is defined in Python."""
    if solved.origin is None:
        return solved.name if is_shipped(solved) else None
    path = Path(solved.origin.path)
    return f"./{path.relative_to(Path.cwd())}" if path.is_relative_to(Path.cwd()) else str(path)


def _quoted(text: str) -> str:
    return f'"{text}"' if any(character in text for character in " [=,") else text
