"""TorchProgram: the Program as a torch module, for the backends that torch makes of one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from kdpinn_edge.comparison.backend import Array, Call, Case
from kdpinn_edge.comparison.backends.traced import Words, require_functions, traced
from kdpinn_edge.errors import BenchError, TrainError
from kdpinn_edge.numerics.reference import rounded
from kdpinn_edge.program.ir import Map, Program, parameters
from kdpinn_edge.training.torch_functions import torch_function


def _function(fn: str) -> Callable[[Tensor], Tensor]:
    try:
        return torch_function(fn)
    except TrainError as error:
        raise BenchError(str(error)) from error


WORDS = Words(
    affine=lambda weight, bias, x: nn.functional.linear(x, weight, bias),
    scale=lambda weight, bias, x: torch.addcmul(bias, weight, x),
    function=_function,
    select=lambda c, a, b: torch.where(c > 0, a, b),
    concat=partial(torch.cat, dim=1),
    part=lambda x, start, stop: x[:, start:stop],
)


class TorchProgram(nn.Module):
    """The Program as a module, "float32" or "float64": points (n, n_in) to (n, n_out). Parameters are not trained."""

    def __init__(self, program: Program, precision: str) -> None:
        super().__init__()
        require_functions(program, WORDS.function)
        self.program = program
        functions = {op.fn: WORDS.function(op.fn) for op in program.ops if isinstance(op, Map)}
        self._words = replace(WORDS, function=functions.__getitem__)
        self._names = [tuple(f"p{i}_{j}" for j, _ in enumerate(parameters(op))) for i, op in enumerate(program.ops)]
        for names, op in zip(self._names, program.ops, strict=True):
            for name, array in zip(names, parameters(op), strict=True):
                self.register_buffer(name, torch.tensor(rounded(array, precision)))

    def forward(self, x: Tensor) -> Tensor:
        """The outputs at x."""
        constants = [tuple(getattr(self, name) for name in names) for names in self._names]
        y: Tensor = traced(self.program, constants, self._words, x)
        return y


def set_threads(threads: int | None) -> str:
    """Set the threads of torch in this process, and report them."""
    if threads is None:
        return f"its own choice ({torch.get_num_threads()})"
    torch.set_num_threads(threads)
    return f"torch.set_num_threads({threads})"


def keep_products_in(case: Case) -> None:
    """Send what inductor generates to the case's folder, and let it compile in this process alone."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(case.folder / "inductor")
    torch._inductor.config.compile_threads = 1


@contextmanager
def unpacking_into(folder: Path) -> Iterator[None]:
    """Let torch unpack packages into `folder` within this context: a process that is killed leaves them behind."""
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("TMPDIR")
        if before is not None:
            os.environ["TMPDIR"] = before


def without_autograd(call: Call) -> Call:
    """Wrap `call` in inference mode."""
    return torch.inference_mode()(call)


def tensor(x: Array) -> Tensor:
    """View x as a tensor in the same memory."""
    return torch.from_numpy(x)
