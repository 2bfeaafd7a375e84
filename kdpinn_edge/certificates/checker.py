"""The checker: proves the statements of a certificate again, by its cells, without the search that found them.

It cuts the box as the certificate says, which covers it whatever the text, encloses the Program in each cell, and
compares what holds in all of them with what is claimed.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kdpinn_edge.bundle.manifest import FunctionName, Manifest
from kdpinn_edge.certificates.cells import read_cells
from kdpinn_edge.certificates.certificate import Certificate, Proved
from kdpinn_edge.certificates.enclosure import Enclosure
from kdpinn_edge.certificates.quantiles import quantiles
from kdpinn_edge.certificates.statement import box_of, claims, follows, is_safe, unverified
from kdpinn_edge.errors import CertificateError
from kdpinn_edge.program.ir import Array, Program


def prove(certificate: Certificate, manifest: Manifest, programs: Mapping[FunctionName, Program]) -> int:
    """Prove everything in `certificate` about the bundle of this manifest; returns the number of cells.

    Raises CertificateError that names what is about another bundle, or does not follow from the cells.
    """
    check_subject(certificate, manifest)
    lower, upper = (np.array([getattr(side, end) for side in certificate.domain]) for end in ("lower", "upper"))
    return sum(
        _prove(proved, function, programs[function], certificate, lower, upper)
        for function, proved in certificate.functions.items()
    )


def check_subject(certificate: Certificate, manifest: Manifest) -> None:
    """Raise CertificateError where `certificate` is about another model, arithmetic or box than this manifest."""
    about = (certificate.name, certificate.precision, certificate.profile, certificate.domain)
    expected = (manifest.name, manifest.precision, manifest.profile, box_of(manifest.inputs, manifest.precision))
    for what, found, stated in zip(("name", "precision", "profile", "domain"), about, expected, strict=True):
        if found != stated:
            raise CertificateError(
                f"the certificate is about the {what} {found}; the bundle has {stated}. Certify the bundle again."
            )
    for function, proved in certificate.functions.items():
        stated_function = manifest.functions.get(function)
        if stated_function is None or stated_function.program_sha256 != proved.program_sha256:
            raise CertificateError(
                f"the certificate is about a {function} that is the Program {proved.program_sha256}; the bundle has "
                f"{'none' if stated_function is None else stated_function.program_sha256}. Certify the bundle again."
            )


def _prove(
    proved: Proved, function: str, program: Program, certificate: Certificate, lower: Array, upper: Array
) -> int:
    enclosure = Enclosure(program, certificate.precision, certificate.profile)
    lowers, uppers = read_cells(lower, upper, proved.cells)
    bounds = enclosure(lowers, uppers)
    if not is_safe(bounds, enclosure.rounding).all():
        raise CertificateError(f"{function}: the cells do not show that every number is finite. Certify it again.")
    found = claims(program, bounds)
    if len(found) != len(proved.outputs):
        raise CertificateError(f"{function}: {len(proved.outputs)} outputs are certified; the Program has {len(found)}")
    for claim, truth in zip(proved.outputs, found, strict=True):
        if not follows(claim, truth):
            raise CertificateError(f"{function}: {claim} is claimed; the cells prove only {truth}. Certify it again.")
    box = unverified(bounds, lowers, uppers)
    if box is not None and box != proved.unverified:
        raise CertificateError(f"{function}: an activation leaves its verified arguments in {box}. Certify it again.")
    if proved.quantiles is not None:
        drawn = quantiles(program, certificate.precision, certificate.profile, lower, upper)
        if proved.quantiles != drawn:
            raise CertificateError(f"{function}: the quantiles are {drawn}; others are stated. Certify it again.")
    return len(lowers)
