"""`certificate.json`: statements that hold at every point of a bundle's domain box, and the cells that prove them.

It lies beside the manifest and is not one of its files: it names the Programs, the precision, the numerics profile and
the box that it is about, so that it can be made at any time, and `checker.py` proves it again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdpinn_edge.bundle.manifest import CERTIFICATE_FILE, FUNCTIONS, FunctionName
from kdpinn_edge.bundle.shape import (
    BOUND,
    MAGNITUDE,
    SHA256,
    TEXT,
    Leaf,
    Optional,
    Shape,
    Table,
    misfits,
)
from kdpinn_edge.certificates.cells import DEEPEST, read_cells
from kdpinn_edge.certificates.quantiles import SHARES, Quantile
from kdpinn_edge.display import facts_html, facts_text, new_figure
from kdpinn_edge.errors import CertificateError, listing
from kdpinn_edge.files import write_whole
from kdpinn_edge.reading import MIB, parse_json, read_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCHEMA = 1
LARGEST_FILE = 64 * MIB
"""The largest file that is read, in bytes."""


@dataclass(frozen=True)
class Side:
    """The interval of one input."""

    name: str
    lower: float
    upper: float


@dataclass(frozen=True)
class Claim:
    """What holds for one output at every point of the box.

    lower, upper  between these lie the value of the exact Program and the one that the library computes
    error         the largest difference of the two
    slopes        the largest magnitude of the derivative of the exact Program by each input, in the order of the
                  inputs; None where the Program has a jump or a Select in the box
    """

    name: str
    lower: float
    upper: float
    error: float
    slopes: tuple[float, ...] | None


@dataclass(frozen=True)
class Box:
    """A part of the domain, one side for each input."""

    lower: tuple[float, ...]
    upper: tuple[float, ...]


@dataclass(frozen=True)
class Proved:
    """What is proved of one function of the model, by the `cells` of a subdivision (`cells.py`).

    `unverified` is a box outside of which every activation is called where its error bound was verified; None if that
    is so everywhere. Inside it the bounds still hold, by the range of the activation. `quantiles` is a statement of
    another kind, which holds with a confidence (`quantiles.py`): of a residual, whose range can be far from sharp.
    """

    program_sha256: str
    outputs: tuple[Claim, ...]
    unverified: Box | None
    quantiles: tuple[Quantile, ...] | None
    cells: tuple[str, ...]


@dataclass(frozen=True, repr=False)
class Certificate:
    """The contents of `certificate.json`."""

    name: str
    precision: str
    profile: str
    domain: tuple[Side, ...]
    functions: Mapping[FunctionName, Proved]
    schema: int = SCHEMA

    def __repr__(self) -> str:
        return facts_text(f"Certificate of {self.name}", self.facts)

    def _repr_html_(self) -> str:
        return facts_html(f"Certificate of {self.name}", self.facts)

    @property
    def facts(self) -> dict[str, str]:
        """What is stated, as lines of text."""
        inputs = [side.name for side in self.domain]
        facts = {"certified for": ", ".join(f"{s.name} ∈ [{s.lower:g}, {s.upper:g}]" for s in self.domain)}
        for function, proved in self.functions.items():
            for claim in proved.outputs:
                slopes = "no slope, since it may jump"
                if claim.slopes is not None:
                    terms = (f"{slope:.4g} by {name}" for slope, name in zip(claim.slopes, inputs, strict=True))
                    slopes = f"slopes up to {', '.join(terms)}"
                facts[f"{function} {claim.name}"] = (
                    f"in [{claim.lower:.6g}, {claim.upper:.6g}], rounding at most {claim.error:.2g}, {slopes}"
                )
            for quantile in proved.quantiles or ():
                sizes = ", ".join(f"{size:.2g}" for size in quantile.at_most)
                facts[f"{function} on {100 * quantile.share:g} %"] = f"at most {sizes}, with a confidence of 99.9 %"
            if proved.unverified is not None:
                ends = zip(inputs, proved.unverified.lower, proved.unverified.upper, strict=True)
                facts[f"{function} unverified"] = "an activation leaves its verified arguments in " + ", ".join(
                    f"{name} ∈ [{lower:g}, {upper:g}]" for name, lower, upper in ends
                )
        return facts

    def plot(self) -> Figure:
        """Draw the cells of eval over the first two inputs."""
        import numpy as np
        from matplotlib.patches import Rectangle

        figure, axes = new_figure(5.0, 4.0)
        ends = (np.array([getattr(side, end) for side in self.domain]) for end in ("lower", "upper"))
        lower, upper = read_cells(next(ends), next(ends), self.functions["eval"].cells)
        heights = upper - lower if len(self.domain) > 1 else np.ones((len(lower), 2))
        for low, size in zip(lower, heights, strict=True):
            corner = (low[0], low[1] if len(low) > 1 else 0.0)
            axes.add_patch(Rectangle(corner, size[0], size[1], fill=False, linewidth=0.3))
        axes.autoscale_view()
        axes.set_xlabel(self.domain[0].name)
        axes.set_ylabel(self.domain[1].name if len(self.domain) > 1 else "")
        axes.set_title(f"{self.name}: {len(lower)} cells")
        return figure


def write_certificate(certificate: Certificate, bundle: str | os.PathLike[str]) -> Path:
    """Write `certificate` into the folder `bundle`; equal ones give equal bytes. Raises OSError where that fails."""
    path = Path(bundle) / CERTIFICATE_FILE
    write_whole(path, (json.dumps(asdict(certificate), indent=1, sort_keys=True) + "\n").encode())
    return path


def read_certificate(bundle: str | os.PathLike[str]) -> Certificate | None:
    """The Certificate in the folder `bundle`; None where there is none. Raises CertificateError with every fault."""
    text = read_certificate_bytes(bundle)
    return None if text is None else parse_certificate(text, bundle)


def read_certificate_bytes(bundle: str | os.PathLike[str]) -> bytes | None:
    """The bytes of `bundle`/certificate.json; None where there is none. Raises CertificateError."""
    path = Path(bundle) / CERTIFICATE_FILE
    if not path.exists() and not path.is_symlink():
        return None
    try:
        return read_whole(path, LARGEST_FILE, link=False)
    except OSError as error:
        raise CertificateError(f"{path}: cannot be read ({error.strerror}); remove it, or certify again") from error


def parse_certificate(text: bytes, bundle: str | os.PathLike[str]) -> Certificate:
    """The Certificate in `text`, the bytes of `bundle`/certificate.json. Raises CertificateError with every fault."""
    path = Path(bundle) / CERTIFICATE_FILE
    try:
        record = parse_json(text, strict=True, largest=LARGEST_FILE)
    except ValueError as error:
        raise CertificateError(f"{path}: not a certificate ({error}); remove it, or certify again") from error
    faults = misfits(record, SHAPE, "") or _contradictions(record)
    if faults:
        raise CertificateError(f"{path}: not a certificate: {listing(faults)}\nRemove it, or certify again.")
    return _certificate(record)


def _is_cells(value: Any) -> bool:
    return isinstance(value, list) and 0 < len(value) <= DEEPEST and all(isinstance(level, str) for level in value)


_NUMBER = Leaf("a finite number", lambda value: value is not None and BOUND.holds(value))
_BOX: dict[str, Shape] = {"lower": [_NUMBER], "upper": [_NUMBER]}
SHAPE: dict[str, Shape] = {
    "schema": Leaf(str(SCHEMA), lambda value: value == SCHEMA and not isinstance(value, bool)),
    "name": TEXT,
    "precision": Leaf("float32 or float64", lambda value: value in ("float32", "float64")),
    "profile": TEXT,
    "domain": [{"name": TEXT, "lower": _NUMBER, "upper": _NUMBER}],
    "functions": Table(
        Leaf(", ".join(FUNCTIONS), lambda value: value in FUNCTIONS),
        {
            "program_sha256": SHA256,
            "outputs": [
                {
                    "name": TEXT,
                    "lower": _NUMBER,
                    "upper": _NUMBER,
                    "error": MAGNITUDE,
                    "slopes": Optional([MAGNITUDE]),
                }
            ],
            "unverified": Optional(_BOX),
            "quantiles": Optional(
                [{"share": Leaf(f"one of {SHARES}", lambda value: value in SHARES), "at_most": [MAGNITUDE]}]
            ),
            "cells": Leaf(f"up to {DEEPEST} texts", _is_cells),
        },
    ),
}


def _contradictions(record: dict[str, Any]) -> list[str]:
    """What is wrong between fields that are each well-formed."""
    n_in = len(record["domain"])
    faults = [f"domain: {s['name']} has no width" for s in record["domain"] if not s["lower"] < s["upper"]]
    for name, function in record["functions"].items():
        n_out = len(function["outputs"])
        box, sampled = function["unverified"] or {"lower": [0] * n_in, "upper": [0] * n_in}, function["quantiles"] or []
        lengths = [len(claim["slopes"]) for claim in function["outputs"] if claim["slopes"] is not None]
        if any(length != n_in for length in (*lengths, len(box["lower"]), len(box["upper"]))):
            faults.append(f"functions[{name!r}]: slopes or unverified have another length; expected: {n_in} inputs")
        if any(len(quantile["at_most"]) != n_out for quantile in sampled):
            faults.append(f"functions[{name!r}].quantiles: another length; expected: {n_out} outputs")
    return faults


def _certificate(record: dict[str, Any]) -> Certificate:
    return Certificate(
        record["name"],
        record["precision"],
        record["profile"],
        tuple(Side(**side) for side in record["domain"]),
        {name: _proved(record["functions"][name]) for name in FUNCTIONS if name in record["functions"]},
    )


def _proved(record: dict[str, Any]) -> Proved:
    box, sampled = record["unverified"], record["quantiles"]
    return Proved(
        record["program_sha256"],
        tuple(
            Claim(**claim | {"slopes": None if claim["slopes"] is None else tuple(claim["slopes"])})
            for claim in record["outputs"]
        ),
        None if box is None else Box(tuple(box["lower"]), tuple(box["upper"])),
        None if sampled is None else tuple(Quantile(each["share"], tuple(each["at_most"])) for each in sampled),
        tuple(record["cells"]),
    )
