"""TorchEngine: a torch module behind the calls of an engine, as the eager baseline of a comparison."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from kdpinn_edge.train.pinn import Pinn

DTYPES = {"float32": torch.float32, "float64": torch.float64}


class TorchEngine:
    """`module` in eager mode: engine(x), with x (n, n_in) of `dtype`, gives (n, n_out) of `dtype`.

    The module is copied, and its weights rounded to `dtype`. Threads are torch's own: torch.set_num_threads(1) is the
    caller's, because it holds for the whole process.
    """

    def __init__(self, module: Pinn, dtype: Literal["float32", "float64"] = "float32") -> None:
        self.n_in = len(module.problem.inputs)
        self.n_out = len(module.problem.outputs)
        self._module = copy.deepcopy(module).to(DTYPES[dtype]).eval()

    def __call__(self, x: NDArray[Any]) -> NDArray[Any]:
        """The outputs at the points x (n, n_in): a new array (n, n_out)."""
        y = np.empty((len(x), self.n_out), dtype=x.dtype)
        self.bind(x, y)()
        return y

    def bind(self, x: NDArray[Any], y: NDArray[Any]) -> Callable[[], None]:
        """A call that reads x (n, n_in) and writes y (n, n_out), the tensors sharing the arrays' memory."""
        points, values = torch.from_numpy(x), torch.from_numpy(y)

        def call() -> None:
            with torch.inference_mode():
                values.copy_(self._module(points))

        return call
