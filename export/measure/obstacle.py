"""Why code cannot be run on an emulator of its target here."""

from __future__ import annotations

from importlib.util import find_spec

from kdpinn_edge.export.artifacts.gnu import compiler, missing
from kdpinn_edge.export.targets.table import Target


def obstacle(target: Target) -> str | None:
    """What is missing to emulate the target, or None."""
    if find_spec("unicorn") is None:
        return "pip install 'kdpinn-edge[emulate]'"
    from kdpinn_edge.export.measure.emulator import PROCESSORS

    if target.name not in PROCESSORS:
        return f"no emulator for {target.name}"
    return missing(target) if target.lacks_floats and compiler(target) is None else None
