"""AOTInductor: torch.export, compiled ahead of time for the shape into a .pt2 package, made and loaded here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kdpinn_edge.comparison.backend import Array, Backend, Call, Case, Prepared
from kdpinn_edge.comparison.backends.prepared import prepared


def prepare(case: Case, threads: int | None) -> Prepared:
    """Prepare a package per shape, weights frozen, called through the loader that C++ programs use."""
    import torch

    from kdpinn_edge.comparison.backends.torch_program import (
        keep_products_in,
        set_threads,
        tensor,
        unpacking_into,
        without_autograd,
    )

    report = set_threads(threads)
    keep_products_in(case)

    def bind(x: Array, y: Array) -> Call:
        path = package(case, x)
        with unpacking_into(case.folder):
            loaded = torch._inductor.aoti_load_package(str(path))
        run, points = loaded.loader.run, [tensor(x)]

        def call() -> Any:
            return run(points)[0]

        return without_autograd(call)

    return prepared(case, bind, report)


def package(case: Case, x: Array) -> Path:
    """The .pt2 package for points of x's shape, compiled once per case."""
    import torch

    from kdpinn_edge.comparison.backends.torch_program import TorchProgram, tensor

    result = case.folder / f"{len(x)}.pt2"
    if not result.exists():
        unfinished = result.with_name(f"{len(x)}.unfinished.pt2")
        with torch.no_grad():
            exported = torch.export.export(TorchProgram(case.program, case.manifest.precision), (tensor(x),))
            torch._inductor.aoti_compile_and_package(
                exported, package_path=str(unfinished), inductor_configs={"freezing": True}
            )
        unfinished.replace(result)
    return result


TORCH_AOT = Backend("AOTInductor", "framework call", "same function", ("torch",), "train", prepare, ("torch",))
