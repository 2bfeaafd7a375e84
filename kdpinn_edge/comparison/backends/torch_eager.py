"""PyTorch in eager mode, in inference mode: what a network costs before anything is exported."""

from __future__ import annotations

from functools import partial

from kdpinn_edge.comparison.backend import Array, Backend, Call, Case, Prepared
from kdpinn_edge.comparison.backends.prepared import prepared


def prepare(case: Case, threads: int | None) -> Prepared:
    """Prepare TorchProgram: the operations of the Program, as everybody has them."""
    from kdpinn_edge.comparison.backends.torch_program import TorchProgram, set_threads, tensor, without_autograd

    report = set_threads(threads)
    module = TorchProgram(case.program, case.manifest.precision)

    def bind(x: Array, y: Array) -> Call:
        return without_autograd(partial(module, tensor(x)))

    return prepared(case, bind, report)


TORCH_EAGER = Backend("torch, eager", "framework call", "same function", ("torch",), "train", prepare, ("torch",))
