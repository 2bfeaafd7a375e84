"""Everything that a study has to say, gathered from its folder: what `page.py` writes and `--json` prints."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdpinn_edge.classical.accuracy import Accuracy, against_reference
from kdpinn_edge.derive.closed_form import closed_form_program
from kdpinn_edge.display import table_html, table_text
from kdpinn_edge.importers.model import Model, find_model
from kdpinn_edge.problems import Problem, problem
from kdpinn_edge.program.interp import interpret
from kdpinn_edge.program.simplify import multiply_adds
from kdpinn_edge.studies.study.baselines import Baseline, baseline, closed_form, reference, tables
from kdpinn_edge.studies.study.latency import NetLatency, latencies
from kdpinn_edge.studies.study.measure import NetAccuracy
from kdpinn_edge.studies.study.page import figure_of, head, table_rows
from kdpinn_edge.studies.study.plan import Plan, size_name
from kdpinn_edge.studies.study.results import (
    MethodRow,
    MethodVerdict,
    parameters_of,
    read_teacher,
    results,
    rows,
    verdicts,
)
from kdpinn_edge.studies.study.run import TEACHER

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLOSED_FORM = "closed form"


@dataclass(frozen=True, repr=False)
class StudyReport:
    """A study as far as it went. `multiply_adds` per point and `latencies` are by the name of a size, and "teacher".

    `teacher` has errors of float32, as all rows have; the students follow what the teacher is in float64.
    """

    plan: Plan
    problem: Problem
    finished: int
    teacher: NetAccuracy
    teacher_parameters: int
    rows: tuple[MethodRow, ...]
    verdicts: tuple[MethodVerdict, ...]
    multiply_adds: dict[str, int]
    latencies: dict[str, NetLatency]
    baselines: tuple[Baseline, ...]
    reference: Baseline | None
    teacher_in_float64: Accuracy | None

    def __repr__(self) -> str:
        return "\n".join((table_text(self._title(), head(self), table_rows(self)), *map(str, self.verdicts)))

    def _repr_html_(self) -> str:
        return table_html(f"{self._title()}; {'; '.join(map(str, self.verdicts))}", head(self), table_rows(self))

    def _title(self) -> str:
        measured = ", by residuals" if self.reference is None else ""
        return f"study of {self.problem.name}{measured}: {self.finished} of {len(self.plan.cells)} students"

    def plot(self) -> Figure:
        """Draw the errors over the latencies, and over how many numbers are stored."""
        return figure_of(self)

    def document(self) -> dict[str, Any]:
        """The report as a document for JSON."""
        return {
            "problem": self.problem.name,
            "plan": asdict(self.plan),
            "finished": self.finished,
            "teacher": asdict(self.teacher),
            "teacher_in_float64": asdict(self.teacher_in_float64) if self.teacher_in_float64 else None,
            "rows": [asdict(row) for row in self.rows],
            "verdicts": [asdict(verdict) | {"text": str(verdict)} for verdict in self.verdicts],
            "multiply_adds": self.multiply_adds,
            "latencies": {size: asdict(latency) for size, latency in self.latencies.items()},
            "errors_are": "errors" if self.reference else "residuals",
            "baselines": [asdict(each) for each in (*self.baselines, self.reference) if each is not None],
        }


def _closed_form(teacher: Model, solved: Problem) -> Model:
    """The Program of the closed form, with the teacher's columns."""
    return replace(teacher, program=closed_form_program(solved))


def report(plan: Plan, folder: Path) -> StudyReport:
    """Read what is measured in `folder`; measure what it is compared with: latencies, interpolants, the reference.

    Without a reference nothing is known of what is no network, which is left out.
    """
    found, teacher = results(plan, folder), read_teacher(folder)
    table = rows(found, teacher)
    names = {TEACHER: plan.teacher, **{size_name(r.cell.config.hidden): str(folder / r.cell.name) for r in found}}
    models = {key: find_model(name) for key, name in names.items()}
    solved, parameters = problem(plan.problem), parameters_of(plan.teacher)
    sizes = sorted({row.parameters for row in table} | {parameters})
    teacher_values = partial(interpret, models[TEACHER].program)
    known = solved.exact is not None
    through_teacher = dict(each for n in sizes for each in tables(solved, teacher_values, n)) if known else {}
    exact = {CLOSED_FORM: _closed_form(models[TEACHER], solved)} if solved.closed_form else {}
    timed = latencies(models | exact, through_teacher)
    return StudyReport(
        plan=plan,
        problem=solved,
        finished=len(found),
        teacher=teacher,
        teacher_parameters=parameters,
        rows=tuple(table),
        verdicts=tuple(verdicts(table)),
        multiply_adds={key: multiply_adds(model.program) for key, model in models.items()},
        latencies={key: timed[key] for key in models},
        baselines=(
            *(baseline(key, each, solved, timed[key]) for key, each in through_teacher.items()),
            *(closed_form(each, solved, timed[key]) for key, each in exact.items()),
        ),
        reference=reference(solved) if known else None,
        teacher_in_float64=against_reference(teacher_values, solved) if known else None,
    )
