"""`study(problem)`: when does distilling pay? Students of several sizes, distilled and trained from scratch, compared.

A study is a folder: `plan.json` says what is compared, each cell is a run folder of `train` or `distill` with what was
measured of it, and what is there is never done again. `page.py` writes what came out.
"""

from kdpinn_edge.studies.study.plan import METHODS, SIZES, Plan, StudyCell, make_plan, read_plan
from kdpinn_edge.studies.study.results import CellResult, MethodRow, MethodVerdict, results, rows, verdicts
from kdpinn_edge.studies.study.run import study

__all__ = [
    "METHODS",
    "SIZES",
    "CellResult",
    "MethodRow",
    "MethodVerdict",
    "Plan",
    "StudyCell",
    "make_plan",
    "read_plan",
    "results",
    "rows",
    "study",
    "verdicts",
]
