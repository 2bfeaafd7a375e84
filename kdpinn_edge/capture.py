"""The module `kdpinn_edge.capture` is what `from kdpinn_edge.capture import capture` finds; called, it is `capture`.

Importing it makes it an attribute of the package in place of the function of its name, and so it stands for it.
"""

from __future__ import annotations

import inspect
import sys
from types import ModuleType


class _Callable(ModuleType):
    __call__ = property(lambda self: self.capture)


def __getattr__(name: str) -> object:
    if name not in {"capture", "__signature__"}:
        raise AttributeError(f"module 'kdpinn_edge.capture' has no attribute {name!r}; it has: capture")
    from kdpinn_edge.importers.pytorch.module import capture

    return capture if name == "capture" else inspect.signature(capture)


sys.modules[__name__].__class__ = _Callable
