"""torch.compile: inductor's C++ for the shape, weights frozen, in inference mode."""

from __future__ import annotations

from functools import partial

from kdpinn_edge.comparison.backend import Array, Backend, Call, Case, Prepared
from kdpinn_edge.comparison.backends.prepared import prepared


def prepare(case: Case, threads: int | None) -> Prepared:
    """Prepare a compilation per shape: a C++ compiler must be there."""
    import torch

    from kdpinn_edge.comparison.backends.torch_program import (
        TorchProgram,
        keep_products_in,
        set_threads,
        tensor,
        without_autograd,
    )

    report = set_threads(threads)
    keep_products_in(case)
    torch.compiler.reset()  # it compiles one function for 8 shapes and Programs at most, and then gives up

    def bind(x: Array, y: Array) -> Call:
        module = TorchProgram(case.program, case.manifest.precision)
        compiled = torch.compile(module, dynamic=False, fullgraph=True, options={"freezing": True})
        call = without_autograd(partial(compiled, tensor(x)))
        call()
        return call

    return prepared(case, bind, report)


TORCH_COMPILE = Backend("torch.compile", "framework call", "same function", ("torch",), "train", prepare, ("torch",))
