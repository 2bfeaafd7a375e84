"""Bundle → numbers: engines that need neither torch nor a compiler."""

from kdpinn_edge.runtime.engine import Engine
from kdpinn_edge.runtime.load import load

__all__ = ["Engine", "load"]
