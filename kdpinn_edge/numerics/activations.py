"""The lanes of all functions in one namespace, and their text as one text: for the two compilers that read source.

`export/numba_lanes.py` registers what is defined here, and `export/c_translation.py` reads the text of this module.
What is here is collected from `kdpinn_edge/functions`; with the compilers that trace functions instead, it goes.
"""

from __future__ import annotations

import inspect
import linecache
from types import FunctionType
from typing import Any

from kdpinn_edge.functions import exponential, functions, hyperbolic, rational, trigonometric

__all__ = ["functions"]

_FAMILIES = (exponential, hyperbolic, trigonometric, rational)


def __getattr__(name: str) -> Any:  # for type checkers: every name below is set at run time
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _collect() -> None:
    for family in _FAMILIES:
        for name, value in vars(family).items():
            if isinstance(value, FunctionType) and value.__module__ == family.__name__:
                value.__module__ = __name__
            globals().setdefault(name, value)
    text = "".join(map(inspect.getsource, _FAMILIES))
    globals()["__file__"] = "<the lanes of all functions>"
    linecache.cache[__file__] = (len(text), None, text.splitlines(keepends=True), __file__)


_collect()
