"""What a shell completes: names of problems, models and targets. Nothing here imports torch.

Where no name begins as the word does, the shell completes files by itself.
"""

from __future__ import annotations

from collections.abc import Iterable


def problem_names(incomplete: str) -> list[str]:
    """Complete the name of a problem."""
    from kdpinn_edge import problems

    return _beginning(incomplete, problems.names())


def model_names(incomplete: str) -> list[str]:
    """Complete the name of a problem or of a model of the zoo."""
    from kdpinn_edge import problems, zoo

    return _beginning(incomplete, (*problems.names(), *zoo.names()))


def target_names(incomplete: str) -> list[str]:
    """Complete the name of a target; there is none where the extra that exports is missing."""
    try:
        from kdpinn_edge.export.targets.table import TARGETS
    except ModuleNotFoundError:
        return []
    return _beginning(incomplete, ("native", *TARGETS))


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
