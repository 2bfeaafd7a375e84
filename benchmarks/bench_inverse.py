"""Whether the standard errors of examples/inverse_burgers.py are true: 200 draws for each of five viscosities.

python benchmarks/bench_inverse.py             prints the table, in a minute
python benchmarks/bench_inverse.py --write     into docs/training.md

z is the error of the estimate over its standard error: normal with mean 0 and variance 1, where the estimate reaches
the bound of Cramér and Rao.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

import numpy as np
from pages import DOCS, ROOT, insert, table

from kdpinn_edge import compile
from kdpinn_edge.importers.model import find_model
from kdpinn_edge.problems import problem
from kdpinn_edge.runtime.engine import Engine

sys.path.append(str(ROOT / "examples"))
from inverse_burgers import observe, recover

VISCOSITIES = 0.012, 0.02, 0.03, 0.05, 0.08
DRAWS, OBSERVATIONS, SIGMA = 200, 50, 0.01
HEAD = "true ν", "standard error", "mean of z", "mean of z²", "within 2 standard errors", "evaluations"


def rows(engine: Engine) -> Iterator[tuple[str, ...]]:
    """A row for each viscosity."""
    for nu in VISCOSITIES:
        drawn = (observe(nu, OBSERVATIONS, SIGMA, seed) for seed in range(DRAWS))
        found = [recover(engine, where, u, SIGMA) for where, u in drawn]
        z = np.array([(each.nu - nu) / each.standard_error for each in found])
        share = np.mean([each.standard_error for each in found]) / nu
        calls = [each.evaluations for each in found]
        within = np.mean(np.abs(z) < 2)
        yield (
            *(f"{nu:g}", f"{share:.1%}", f"{z.mean():+.2f}", f"{np.mean(z**2):.2f}", f"{within:.1%}"),
            f"{min(calls)} to {max(calls)}",
        )


def main() -> None:
    """Print the table, and write it where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="into docs/training.md")
    options = parser.parse_args()
    solved = problem("burgers_nu")
    engine = compile(find_model(solved.name).program, domain=(solved.lower, solved.upper), derivatives=("u", "u_nu"))
    text = table(HEAD, rows(engine))
    print(text)
    if options.write:
        insert(DOCS / "training.md", "inverse", text)


if __name__ == "__main__":
    main()
