"""Why there is no certificate: where in the box which operation may overflow or is undefined."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kdpinn_edge.certificates.certificate import Side
from kdpinn_edge.certificates.enclosure import Enclosure
from kdpinn_edge.errors import CertificateError
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.program.ir import Array, Map

N_TRIED = 4096


def refusal(
    function: str, enclosure: Enclosure, domain: Sequence[Side], lower: Array, upper: Array
) -> CertificateError:
    """The error for cells, from lower to upper (n, n_in), in which a number may not be finite."""
    ends = zip(domain, lower.min(axis=0), upper.max(axis=0), strict=True)
    box = ", ".join(f"{side.name} ∈ [{low:.6g}, {high:.6g}]" for side, low, high in ends)
    smallest = int(np.argmin((upper - lower).sum(axis=1)))
    op, magnitude = enclosure.first_unsafe(lower[smallest], upper[smallest])
    called = f"{op.fn}({op.x.name})" if isinstance(op, Map) else type(op).__name__
    reaches = f"may reach {magnitude:.3g}" if np.isfinite(magnitude) else "may have no finite value"
    return CertificateError(
        f"{function}: no certificate: in the box {box} the operation {op.out.name} = {called} {reaches}"
        f"{_witness(enclosure, domain, lower, upper)}; expected: finite numbers up to {enclosure.rounding.largest:.3g} "
        "at every point. Export with a smaller domain; or certify with more --cells, if these were too coarse."
    )


def _witness(enclosure: Enclosure, domain: Sequence[Side], lower: Array, upper: Array) -> str:
    """A point at which the library returns no finite number, as the end of a clause; nothing where none was met."""
    computed = NumpyProgram(enclosure.program, enclosure.rounding.precision, enclosure.rounding.profile)
    rng = np.random.default_rng(0)
    chosen = rng.integers(len(lower), size=N_TRIED)
    points = rng.uniform(lower[chosen], upper[chosen]).astype(computed.dtype)
    values = computed(points)
    found = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if not len(found):
        return ""
    point, value = points[found[0]], values[found[0]]
    at = ", ".join(f"{side.name} = {float(entry):.9g}" for side, entry in zip(domain, point, strict=True))
    return f" (the library returns {', '.join(map(str, value.tolist()))} at {at})"
