"""The Laplacian as one stream: ∂ᵢ∂ᵢ of all axes is summed where it arises, not behind the network.

    Δ(W x + b) = W Δx        Δ f(x) = f′(x) * Δx + f″(x) * Σᵢ (∂ᵢx)²        Δ(a b) = Δa * b + a * Δb + 2 Σᵢ ∂ᵢa * ∂ᵢb

Beside the first derivatives it costs one stream, whatever the number of axes (R. Li et al., 2024, "forward Laplacian").
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np

from kdpinn_edge.derive.forward import Tangent, chained, curvature, slope
from kdpinn_edge.derive.streams import Draft, Stream, zeros
from kdpinn_edge.program.ir import Map, Mul, Var


class LaplacianStream(Tangent):
    """The Laplacians of the variables of a draft over the directions of `tangents`."""

    def __init__(self, draft: Draft, inputs: tuple[Var, ...], tangents: Sequence[Tangent]) -> None:
        super().__init__(draft, {var.name: zeros(var.size) for var in inputs})
        self._tangents = tangents

    def map(self, op: Map) -> Stream:
        """f′(x) * Δx + f″(x) * Σᵢ (∂ᵢx)²."""
        one = chained(self.draft, op, slope, self._known[op.x.name])
        return self.draft.add(one, chained(self.draft, op, curvature, self._products(op.x, op.x)))

    def mul(self, op: Mul) -> Stream:
        """Δa * b + a * Δb + 2 Σᵢ ∂ᵢa * ∂ᵢb."""
        mixed = self.draft.scale(self._products(op.a, op.b), np.full(op.out.size, 2.0))
        return self.draft.add(super().mul(op), mixed)

    def _products(self, a: Var, b: Var) -> Stream:
        products = (self.draft.mul(tangent.of(a), tangent.of(b)) for tangent in self._tangents)
        return reduce(self.draft.add, products)
