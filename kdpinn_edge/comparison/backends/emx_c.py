"""emx-onnx-cgen: the ONNX model as C, for up to 64 points per call of its function."""

from __future__ import annotations

import sys
from functools import partial

from kdpinn_edge.comparison.backend import Case
from kdpinn_edge.comparison.backends.c_source import Source, compiled, run, scalar
from kdpinn_edge.comparison.backends.onnx_file import onnx_file

BLOCK = 64  # most points per call of its function, a divisor of n: more are slower, their temporaries leave L1
EVAL = """{code}

static int32_t eval(const {scalar} *x, {scalar} *y, int64_t n) {{
    for (int64_t i = 0; i < n; i += {block})
        model((const {scalar} (*)[{n_in}])(x + {n_in} * i), ({scalar} (*)[{n_out}])(y + {n_out} * i));
    return 0;
}}
"""


def generate(case: Case, n: int) -> Source:
    """Generate C for the largest block that divides n; one file per block."""
    block = max(b for b in range(1, BLOCK + 1) if n % b == 0)
    path = case.folder / f"emx_{block}_generated.c"
    if not path.exists():
        unfinished = case.folder / f"emx_{block}" / "model.c"
        unfinished.parent.mkdir(exist_ok=True)
        options = ["--model-name", "model", "--large-weight-threshold", "0"]
        run([sys.executable, "-m", "emx_onnx_cgen", "compile", onnx_file(case, block), unfinished, *options])
        unfinished.replace(path)
    text = path.read_text(encoding="utf-8")
    n_in, n_out = case.program.n_in, case.program.n_out
    return Source(f"emx_{block}", EVAL.format(code=text, scalar=scalar(case), block=block, n_in=n_in, n_out=n_out))


_backend = partial(compiled, "emx-onnx-cgen", generate)
EMX_FAST, EMX_O3 = _backend("-Ofast", "call from Python"), _backend("-O3", "call from Python")
EMX_FAST_C_LOOP, EMX_O3_C_LOOP = _backend("-Ofast", "kernel in C"), _backend("-O3", "kernel in C")
