"""`check`, `certify` and `audit`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from kdpinn_edge.cli.options import AsJson, BundlePath, Certified, Swept, finite
from kdpinn_edge.cli.output import FAILED, print_facts, print_json, stderr, stdout, text_table

if TYPE_CHECKING:
    from kdpinn_edge.bundle.manifest import FunctionName

COLOUR = {"passed": "green", "failed": "bold red", "skipped": "yellow"}


KeyFile = Annotated[Path | None, typer.Option(help="Refuse what this public key, a PEM file, did not sign.")]
Digest = Annotated[str | None, typer.Option(help="Refuse another manifest.json than the one with this SHA-256.")]


def check(bundle: BundlePath, key: KeyFile = None, sha256: Digest = None, as_json: AsJson = False) -> None:
    """Prove a bundle: hashes, gates, self-test, parity of every backend."""
    from kdpinn_edge.checks.check import CheckResult
    from kdpinn_edge.checks.check import check as verdicts_on

    def show(verdict: CheckResult) -> None:
        if not as_json:
            result = f"[{COLOUR[verdict.result]}]{verdict.result}[/]"
            stdout().print(f"{verdict.name:22}  {result}  {escape(verdict.detail)}", soft_wrap=True)

    verdicts = verdicts_on(bundle, key=key, sha256=sha256, report=show)
    passed = all(verdict.result != "failed" for verdict in verdicts)
    if as_json:
        print_json({"bundle": str(bundle), "passed": passed, "checks": [asdict(verdict) for verdict in verdicts]})
    if not passed:
        raise typer.Exit(FAILED)


def certify(
    bundle: BundlePath,
    functions: Annotated[
        list[Certified] | None, typer.Option("--function", help="Only this one; repeatable.  [default: all it has]")
    ] = None,
    cells: Annotated[
        int, typer.Option(min=1, help="How many to try at most for each; more make it sharper.")
    ] = 200_000,
    as_json: AsJson = False,
) -> None:
    """Prove ranges, rounding errors and slopes at every point of the domain, and write certificate.json."""
    from kdpinn_edge.certificates.stage import certify as proof_of

    wanted: list[FunctionName] | None = None if functions is None else [function.value for function in functions]
    certificate = proof_of(bundle, functions=wanted, cells=cells)
    if as_json:
        functions_stated = {
            name: {key: value for key, value in asdict(proved).items() if key != "cells"}
            for name, proved in certificate.functions.items()
        }
        print_json({"bundle": str(bundle), "certificate": asdict(certificate) | {"functions": functions_stated}})
    else:
        print_facts({"bundle": str(bundle), **certificate.facts})


def evidence(
    bundle: BundlePath,
    out: Annotated[Path, typer.Option(help="The page to write; a JSON file of the same name goes beside it.")] = Path(
        "evidence.html"
    ),
    key: KeyFile = None,
    sha256: Digest = None,
    as_json: AsJson = False,
) -> None:
    """Collect requirement, test, result and artifact of a bundle: one page, one JSON file."""
    from kdpinn_edge.checks.evidence import check_page, write_evidence
    from kdpinn_edge.checks.evidence import evidence as collect

    check_page(out, bundle)
    found = collect(bundle, key=key, sha256=sha256)
    write_evidence(found, out)
    if as_json:
        print_json(found.record)
    else:
        print_facts({line.requirement.id: f"{line.outcome}: {line.requirement.text}" for line in found.lines})
        print_facts({"page": str(out), "JSON": str(out.with_suffix(".json"))})
    if not found.holds:
        raise typer.Exit(FAILED)


def audit(
    bundle: BundlePath,
    out: Annotated[Path | None, typer.Option(help="A figure to write: .png, .svg or .pdf.")] = None,
    per_axis: Annotated[int, typer.Option(min=2, help="Points along each of the first two inputs.")] = 401,
    engine: Annotated[Swept, typer.Option(help="What evaluates the residual.")] = Swept.library,
    limit: Annotated[
        float | None, typer.Option(min=0, callback=finite, help="Exit with 1 where |residual| exceeds it.")
    ] = None,
    percentile: Annotated[
        float, typer.Option(min=0, max=100, callback=finite, help="At how many % of the points the limit has to hold.")
    ] = 99,
    as_json: AsJson = False,
) -> None:
    """Sweep the domain with the model's own residual: where does it violate its equation?"""
    from kdpinn_edge.checks.audit import HEAD, PERCENTILES, check_figure, draw
    from kdpinn_edge.checks.audit import audit as sweep

    if out:
        check_figure(out)
    found = sweep(bundle, per_axis=per_axis, engine=engine.value)
    if out:
        draw(found, out)
    rows = found.rows(sorted({*PERCENTILES, percentile}))
    exceeded = [row for row in rows if limit is not None and row.percentile == percentile and row.value > limit]
    if as_json:
        print_json(
            {
                "bundle": str(bundle),
                "name": found.name,
                "equation": found.equation,
                "engine": found.engine,
                "profile": found.profile,
                "points": found.n_points,
                "residual": [asdict(row) for row in rows],
                "passed": not exceeded,
            }
        )
    else:
        facts = {"model": f"{found.name}: {found.equation or ''}", "arithmetic": f"numerics profile {found.profile}"}
        print_facts(facts | {"points": f"{found.n_points:,}"})
        table = text_table(*HEAD)
        for row in rows:
            at = ", ".join(f"{name} = {value:.4g}" for name, value in row.at.items())
            table.add_row(row.equation, f"{row.percentile:g}", f"{row.value:.3g}", f"{row.relative:.1e}", at)
        stdout().print(table)
    for row in exceeded:
        stderr().print(f"{row.equation}: {row.value:.3g} at {percentile:g} % of the points; the limit is {limit:g}")
    if exceeded:
        raise typer.Exit(FAILED)
