"""The kernel compiled by Numba in this process: what the shared library is made from, without the library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from kdpinn_edge.bundle.manifest import Precision
from kdpinn_edge.errors import ProfileError
from kdpinn_edge.export.machine_code import jitted
from kdpinn_edge.export.numba_kernel import print_kernel
from kdpinn_edge.export.target import target
from kdpinn_edge.numerics.lanes import is_fast
from kdpinn_edge.program.ir import Program

Array = NDArray[Any]


@intrinsic
def _pointer(typingctx: Any, array: types.Array) -> Any:
    """The address of the first number of a contiguous array."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return cgutils.create_struct_proxy(array)(context, builder, value=arguments[0]).data

    return types.CPointer(array.dtype)(array), codegen


def numba_call(program: Program, precision: Precision, profile: str) -> Callable[[Array, Array], int]:
    """`call(x, y)` stores u(x) into y, for contiguous x (n, n_in) and y (n, n_out): the bits of the NumPy program.

    Compiled for this machine when it is made. Raises ExportError on a machine that no target fits, ProfileError for
    another numerics profile than that of this machine.
    """
    native = target("native").graded("fast" if is_fast(profile) else "accurate")
    if profile != native.profile:
        raise ProfileError(
            f"the numerics profile is {profile}; Numba compiles for this machine, {native.name}, in {native.profile}"
        )
    nothing = np.empty((0, program.n_in), precision)
    kernel = print_kernel(
        {"eval": program},
        precision,
        profile=profile,
        vectors=native.vectors(precision),
        lower=np.full(program.n_in, -np.inf),
        upper=np.full(program.n_in, np.inf),
        golden_x=nothing,
        golden_y={"eval": nothing},
    )
    evaluate = jitted(kernel).eval_all
    scalar = {"float32": types.float32, "float64": types.float64}[precision]
    arrays = types.Array(scalar, 2, "C"), types.Array(scalar, 2, "C")

    @njit(types.int32(*arrays), error_model="numpy")
    def call(x: Array, y: Array) -> int:
        status: int = evaluate(_pointer(x), _pointer(y), len(x))
        return status

    compiled: Callable[[Array, Array], int] = call
    return compiled
