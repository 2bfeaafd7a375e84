"""The backends, in the order of the tables. One file each; to add one, write its file and its line below.

Importing them imports none of the packages that they need: `prepare` does.
"""

from kdpinn_edge.comparison.backend import Backend
from kdpinn_edge.comparison.backends.casadi_c import CASADI_FAST, CASADI_FAST_C_LOOP, CASADI_O3, CASADI_O3_C_LOOP
from kdpinn_edge.comparison.backends.closed_form import CLOSED_FORM, CLOSED_FORM_C_LOOP
from kdpinn_edge.comparison.backends.emx_c import EMX_FAST, EMX_FAST_C_LOOP, EMX_O3, EMX_O3_C_LOOP
from kdpinn_edge.comparison.backends.iree_vm import IREE
from kdpinn_edge.comparison.backends.jax_jit import JAX, JAX_COLUMNS
from kdpinn_edge.comparison.backends.litert import LITERT
from kdpinn_edge.comparison.backends.numba_kernel import NUMBA_KERNEL
from kdpinn_edge.comparison.backends.numpy_program import NUMPY_PROGRAM
from kdpinn_edge.comparison.backends.onnx_runtime import ONNX_BINDING, ONNX_RUN
from kdpinn_edge.comparison.backends.openvino_cpu import OPENVINO
from kdpinn_edge.comparison.backends.shared_library import LIBRARY, LIBRARY_C_LOOP
from kdpinn_edge.comparison.backends.tables import (
    TABLE_OF_BYTES,
    TABLE_OF_BYTES_C_LOOP,
    TABLE_OF_ERROR,
    TABLE_OF_ERROR_C_LOOP,
    TABLE_OF_TIME,
    TABLE_OF_TIME_C_LOOP,
)
from kdpinn_edge.comparison.backends.torch_aot import TORCH_AOT
from kdpinn_edge.comparison.backends.torch_compile import TORCH_COMPILE
from kdpinn_edge.comparison.backends.torch_eager import TORCH_EAGER
from kdpinn_edge.comparison.backends.tract_onnx import TRACT

BACKENDS: tuple[Backend, ...] = (
    LIBRARY_C_LOOP,
    LIBRARY,
    NUMBA_KERNEL,
    NUMPY_PROGRAM,
    ONNX_BINDING,
    ONNX_RUN,
    OPENVINO,
    LITERT,
    IREE,
    TRACT,
    JAX,
    JAX_COLUMNS,
    TORCH_EAGER,
    TORCH_COMPILE,
    TORCH_AOT,
    EMX_FAST_C_LOOP,
    EMX_FAST,
    EMX_O3_C_LOOP,
    EMX_O3,
    CASADI_FAST_C_LOOP,
    CASADI_FAST,
    CASADI_O3_C_LOOP,
    CASADI_O3,
    CLOSED_FORM_C_LOOP,
    CLOSED_FORM,
    TABLE_OF_ERROR_C_LOOP,
    TABLE_OF_ERROR,
    TABLE_OF_BYTES_C_LOOP,
    TABLE_OF_BYTES,
    TABLE_OF_TIME_C_LOOP,
    TABLE_OF_TIME,
)
