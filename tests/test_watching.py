"""How progress is shown: what is given, a bar on a terminal, a line in a notebook, nothing where nobody watches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console

from kdpinn_edge.comparison.session import MeasurementProgress
from kdpinn_edge.comparison.text_tables import told as told_of_bench
from kdpinn_edge.studies.search.candidate import Candidate, Cost
from kdpinn_edge.studies.search.run import SearchProgress
from kdpinn_edge.studies.search.text_summary import told as told_of_search
from kdpinn_edge.studies.search.trial import Outcome, Task
from kdpinn_edge.studies.study.run import StudyProgress
from kdpinn_edge.studies.study.text_report import told as told_of_study
from kdpinn_edge.training.progress import TrainingProgress
from kdpinn_edge.training.progress_bar import told as told_of_training
from kdpinn_edge.watching import in_notebook, watched

TASK = Task("heat", "", 1.0, 1, 1, "cortex-m7")
TRIAL = SearchProgress(
    2, 8, Outcome(Candidate((8, 8), "tanh", "float32"), 1e-3, None, Cost(900, 1200, "counted"), "", "", "")
)


class Notebook:
    """What IPython does of a display: it keeps all that was shown, in order."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def display(self, data: dict[str, str], *, raw: bool, display_id: bool) -> Notebook:
        assert raw
        assert display_id
        self.update(data, raw=raw)
        return self

    def update(self, data: dict[str, str], *, raw: bool) -> None:
        assert raw
        self.shown.append(data["text/plain"])


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Notebook:
    made, module = Notebook(), ModuleType("IPython.display")
    module.display = made.display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    return made


@pytest.mark.parametrize(
    ("told", "progress", "line"),
    [
        (
            told_of_training,
            TrainingProgress("adam", 5, 10, 0.25, float("nan"), 3.0),
            "██████████░░░░░░░░░░ 5/10 adam, loss 2.50e-01, 3 s",
        ),
        (told_of_study, StudyProgress(0, 4, None), "░░░░░░░░░░░░░░░░░░░░ 0/4"),
        (told_of_study, StudyProgress(1, 4, "values_8_seed0"), "█████░░░░░░░░░░░░░░░ 1/4 values_8_seed0"),
        (
            partial(told_of_search, task=TASK),
            TRIAL,
            "█████░░░░░░░░░░░░░░░ 2/8 8x8 tanh: relative L2 1.0e-03, 1 point in 900 instructions, 1,200 bytes",
        ),
        (told_of_bench, MeasurementProgress(30.0, 40.0, "onnx"), "███████████████░░░░░ 10 s left, onnx"),
        (told_of_bench, MeasurementProgress(50.0, 40.0, "onnx"), "████████████████████ 0 s left, onnx"),
    ],
)
def test_a_line_of_a_notebook(
    notebook: Notebook, told: Callable[[Any], tuple[float, str]], progress: Any, line: str
) -> None:
    in_notebook("heat", told)(progress)
    assert notebook.shown == ["heat", f"heat {line}"]


def test_a_line_is_not_changed_all_the_time_but_its_end_is_shown(notebook: Notebook) -> None:
    report = in_notebook("heat", told_of_study)
    for done in range(1000):
        report(StudyProgress(done, 1000, "cell"))
    report(StudyProgress(1000, 1000, "cell"))
    assert len(notebook.shown) < 500
    assert notebook.shown[-1].endswith("1000/1000 cell")


def test_a_report_that_is_given_takes_the_place_of_all() -> None:
    seen: list[StudyProgress] = []

    @contextmanager
    def bar(console: Console, title: str) -> Iterator[Callable[[StudyProgress], None]]:
        raise AssertionError
        yield seen.append

    with watched("heat", seen.append, bar=bar, told=told_of_study) as report:
        report(StudyProgress(1, 2, None))
    with watched("heat", None, bar=bar, told=told_of_study) as report:  # pytest is no terminal
        report(StudyProgress(2, 2, None))
    assert seen == [StudyProgress(1, 2, None)]
