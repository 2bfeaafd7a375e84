"""The plain PINNs of the paper's equations: conditions that the reference solutions satisfy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scripts import script

from kdpinn_edge.equation.condition import NODES
from kdpinn_edge.problems import Array, Problem
from kdpinn_edge.training.conditions import sheet
from kdpinn_edge.training.stages import check_trainable

paper_plain = script("benchmarks/paper_plain.py")
STEP = 1e-5


@pytest.mark.parametrize("name", paper_plain.CASES)
def test_the_reference_satisfies_the_conditions(name: str) -> None:
    of = paper_plain.CASES[name]()
    check_trainable(of)
    assert (name == paper_plain.WRONG) == (of.soft == ())
    for condition in of.soft:
        points = sheet(condition, of, 20, torch.Generator().manual_seed(0)).numpy()
        places = len(condition.sides)
        columns = [_term(of, term, points).reshape(-1, places) for term in condition.terms]
        r = condition.residual(*(column[:, place] for place in range(places) for column in columns))
        share = np.polynomial.legendre.leggauss(NODES)[1]
        nodes = np.outer(share, share).ravel()
        values = r[0].reshape(-1, len(nodes)) @ nodes if condition.over else np.stack(r)
        np.testing.assert_allclose(values, 0, rtol=0, atol=1e-6)


def _term(of: Problem, term: str, x: Array) -> Array:
    """The value of a term of the reference, a first derivative by a one-sided difference of order 2."""
    output, _, side = term.partition("_")
    if term in of.inputs:
        return x[:, of.inputs.index(term)]
    u = of.outputs.index(output)
    if not side:
        return of.reference(x)[:, u]
    i = of.inputs.index(side)
    inward = np.where(x[:, i] > (of.lower[i] + of.upper[i]) / 2, -STEP, STEP)
    a, b, c = (of.reference(x + k * inward[:, None] * np.eye(len(of.inputs))[i])[:, u] for k in (0, 1, 2))
    return (-3 * a + 4 * b - c) / (2 * inward)
