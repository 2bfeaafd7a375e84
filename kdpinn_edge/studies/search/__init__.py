"""`search(problem, …)`: the student that fits a budget. Size, activation and precision are chosen by distilling many.

Several processes, on one machine or many, work on one search when they are given the same storage.
"""

from kdpinn_edge.studies.search.goal import Goal
from kdpinn_edge.studies.search.run import Found, search
from kdpinn_edge.studies.search.trial import Task
from kdpinn_edge.studies.search.winner import Winner, finish

__all__ = ["Found", "Goal", "Task", "Winner", "finish", "search"]
