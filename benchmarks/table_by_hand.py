"""The C that is written for a table, beside what a person writes for the same one: 35 × 40 for Burgers, odd and graded.

python benchmarks/table_by_hand.py

Both in the loop of harness.c, in turns: the ratio of their times, and how far their values are from what it means.
"""

from __future__ import annotations

from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from rivals import MANY, ratio

from kdpinn_edge.classical.bases import Cubic
from kdpinn_edge.classical.fit import Samples
from kdpinn_edge.classical.table_c import table_source
from kdpinn_edge.comparison.backends.c_source import NAME, Interface, Source, build
from kdpinn_edge.problems import problem
from kdpinn_edge.runtime.c_harness import compiled_harness

TURNS, TURN_SECONDS = 15, 0.02
BY_HAND = """
#include <math.h>
enum {{ NX = {nx}, NY = {ny} }};
static const float c[NX + 3][NY + 3] = {{{values}}};

static int32_t eval(const float *restrict p, float *restrict y, int64_t n) {{
    for (int64_t i = 0; i < n; i++) {{
        float x = fabsf(p[2 * i]) * {per_width}f, b = p[2 * i + 1] * NY;
        float a = logf(x + sqrtf(x * x + 1)) * {scale}f;
        int k = (int)a, l = (int)b;
        k = k > NX - 1 ? NX - 1 : k;
        l = l > NY - 1 ? NY - 1 : l;
        float u = a - k, v = b - l, z = 1 - u, w = 1 - v;
        float a0 = z * z * z / 6, a1 = (3 * u * u * u - 6 * u * u + 4) / 6;
        float a2 = (3 * z * z * z - 6 * z * z + 4) / 6, a3 = u * u * u / 6;
        float b0 = w * w * w / 6, b1 = (3 * v * v * v - 6 * v * v + 4) / 6;
        float b2 = (3 * w * w * w - 6 * w * w + 4) / 6, b3 = v * v * v / 6;
        const float *q0 = &c[k][l], *q1 = &c[k + 1][l], *q2 = &c[k + 2][l], *q3 = &c[k + 3][l];
        float s = a0 * (b0 * q0[0] + b1 * q0[1] + b2 * q0[2] + b3 * q0[3])
                + a1 * (b0 * q1[0] + b1 * q1[1] + b2 * q1[2] + b3 * q1[3])
                + a2 * (b0 * q2[0] + b1 * q2[1] + b2 * q2[2] + b3 * q2[3])
                + a3 * (b0 * q3[0] + b1 * q3[1] + b2 * q3[2] + b3 * q3[3]);
        y[i] = p[2 * i] < 0 ? -s : s;
    }}
    return 0;
}}
"""


def main() -> None:
    """Measure and print."""
    solved, bases = problem("burgers"), (Cubic(32), Cubic(37))
    table = Samples.of(solved.reference, solved, 2**13, graded=True).fitted(bases).rounded("float32")
    along_x = table.axes[0].coordinate
    by_hand = BY_HAND.format(
        nx=bases[0].cells,
        ny=bases[1].cells,
        values=", ".join(f"{np.float32(value)!s}f" for value in table.coefficients.ravel()),
        per_width=1 / (along_x.width or 1.0),
        scale=along_x.scale * bases[0].cells,
    )
    with TemporaryDirectory() as folder, compiled_harness() as harness:
        for level in ("-O3", "-Ofast"):
            ours, theirs = (
                build(source, level, Interface("float32", 2, 1), Path(folder))
                for source in (Source("written", table_source(table, "float32")), Source("by_hand", by_hand))
            )
            for n in (1, MANY):
                x = np.random.default_rng(0).uniform(solved.lower, solved.upper, (n, 2)).astype(np.float32)
                turns, values = [], []
                for _ in range(TURNS):
                    timed = [harness.time_library(each, NAME, x, 1, seconds=TURN_SECONDS) for each in (ours, theirs)]
                    turns.append([latency.p50_ns / n for latency, _ in timed])
                    values = [y for _, y in timed]
                off = [float(np.abs(y - table(x.astype(np.float64))).max()) for y in values]
                print(
                    f"{level} n = {n}: written {median(t[0] for t in turns):.1f} ns per point, by hand "
                    f"{median(t[1] for t in turns):.1f}, ratio {ratio(tuple(a / b for a, b in turns))}; off by "
                    f"{off[0]:.1e} and {off[1]:.1e}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
