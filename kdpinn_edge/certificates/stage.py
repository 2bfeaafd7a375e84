"""`certify(bundle)`: prove what holds at every point of a bundle's domain box, and write it beside the manifest."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from kdpinn_edge.bundle.manifest import FunctionName, Manifest
from kdpinn_edge.bundle.read import open_bundle
from kdpinn_edge.certificates.certificate import Certificate, Proved, Side, write_certificate
from kdpinn_edge.certificates.enclosure import Enclosure
from kdpinn_edge.certificates.quantiles import quantiles
from kdpinn_edge.certificates.refusal import refusal
from kdpinn_edge.certificates.search import search
from kdpinn_edge.certificates.statement import box_of, claims, is_safe, unverified, widened
from kdpinn_edge.errors import CertificateError
from kdpinn_edge.program.ir import Program

MOST_CELLS = 200_000


def certify(
    bundle: str | os.PathLike[str],
    *,
    functions: Sequence[FunctionName] | None = None,
    cells: int = MOST_CELLS,
    report: Callable[[str, int], None] = lambda function, cells: None,
) -> Certificate:
    """Prove what holds everywhere in the domain box of a bundle, and write it as `certificate.json` into its folder.

    For each output of each of `functions` (by default all that the bundle has): a range of the values, of the exact
    Program and of the library; the largest difference of the two; the largest slope by each input; and that no number
    overflows or is undefined on the way. At most `cells` cells are tried for each function: with more, the statements
    become sharper until they are as sharp as they are meant to be. A `residual` gets quantiles beside its range.
    `report` is told the function and the number of cells so far.

    Raises CertificateError, with the box where it happens, where a number may overflow or is undefined; where a side of
    the domain is open, or a function is asked for that the bundle has not. Nothing is written then.
    """
    opened = open_bundle(bundle)
    manifest = opened.manifest
    wanted = tuple(manifest.functions) if functions is None else tuple(functions)
    for function in wanted:
        if function not in manifest.functions:
            raise CertificateError(f"{bundle} has no {function}; expected: {', '.join(manifest.functions)}")
    if cells < 1:
        raise CertificateError(f"{cells} cells; expected: at least 1")
    domain = box_of(manifest.inputs, manifest.precision)
    proved = {}
    for function in wanted:
        program = opened.program(function)
        proved[function] = _proved(program, function, manifest, domain, cells, partial(report, function))
    certificate = Certificate(manifest.name, manifest.precision, manifest.profile, domain, proved)
    write_certificate(certificate, Path(bundle))
    return certificate


def _proved(
    program: Program,
    function: FunctionName,
    manifest: Manifest,
    domain: Sequence[Side],
    most: int,
    report: Callable[[int], None],
) -> Proved:
    lower, upper = (np.array([getattr(side, end) for side in domain]) for end in ("lower", "upper"))
    enclosure = Enclosure(program, manifest.precision, manifest.profile)
    found = search(enclosure, lower, upper, most, report)
    lowers, uppers, bounds = found.whole
    safe = is_safe(bounds, enclosure.rounding)
    if not safe.all():
        raise refusal(function, enclosure, domain, lowers[~safe], uppers[~safe])
    stated = tuple(map(widened, claims(program, bounds)))
    sampled = None
    if function == "residual":
        sampled = quantiles(program, manifest.precision, manifest.profile, lower, upper)
    return Proved(program.sha256, stated, unverified(bounds, lowers, uppers), sampled, tuple(found.cells.text))
