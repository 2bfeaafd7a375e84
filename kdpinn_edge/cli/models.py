"""`problems` and `info`: what there is, and what something is."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from kdpinn_edge.cli.facts import function_facts, manifest_facts, model_facts
from kdpinn_edge.cli.options import AsJson, SourceOptions, SourceText, option_groups
from kdpinn_edge.cli.output import print_facts, print_json, stdout

if TYPE_CHECKING:
    from kdpinn_edge.program.ir import Program


def problems(as_json: AsJson = False) -> None:
    """List the equations that can be trained."""
    from kdpinn_edge import zoo
    from kdpinn_edge.problems import names, problem

    found = [problem(name) for name in names()]
    shipped = {name: zoo.record(name) for name in zoo.names()}
    if as_json:
        fields = ("name", "equation", "conditions", "inputs", "outputs", "lower", "upper", "units")
        models = {p.name: [name for name, record in shipped.items() if record["problem"] == p.name] for p in found}
        print_json([{field: getattr(p, field) for field in fields} | {"models": models[p.name]} for p in found])
        return
    for p in found:
        facts = {"equation": p.equation, "conditions": p.conditions, "domain": p.domain}
        for name, record in shipped.items():
            if record["problem"] == p.name:
                facts[name.removeprefix(f"{p.name}_")] = (
                    f"{name}, relative L2 error {record['errors']['relative_l2']:.1e} in float64"
                )
        stdout().print(f"[bold]{p.name}[/]")
        print_facts(facts)


@option_groups
def info(
    source: SourceText,
    source_options: SourceOptions,
    with_program: Annotated[
        bool, typer.Option("--program", help="Print the Programs too, and the errors of every column.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what something is: its columns and its work; of a bundle also sizes and errors."""
    from kdpinn_edge.bundle.manifest import MANIFEST_FILE
    from kdpinn_edge.bundle.read import open_bundle
    from kdpinn_edge.certificates.certificate import read_certificate
    from kdpinn_edge.certificates.checker import check_subject

    folder = Path(source)
    if (folder / MANIFEST_FILE).exists():
        bundle = open_bundle(folder)
        manifest = bundle.manifest
        programs = {name: bundle.program(name) for name in manifest.functions}
        records = {name: _program_record(program) for name, program in programs.items()}
        document: dict[str, Any] = {"manifest": manifest.record, "sha256": bundle.sha256, "programs": records}
        certificate, stated = read_certificate(folder), {}
        if certificate:
            check_subject(certificate, manifest)
            stated = certificate.facts
        facts, rest = (
            manifest_facts(manifest) | {"SHA-256": f"{bundle.sha256} of manifest.json"} | stated,
            function_facts(manifest),
        )
    else:
        found = source_options.find(source)
        programs = {"eval": found.program}
        document = {"program": _program_record(found.program)} | (
            {"inputs": list(map(asdict, found.inputs)), "outputs": list(map(asdict, found.outputs))}
            if found.inputs and found.outputs
            else {}
        )
        facts, rest = model_facts(found), {}
    if as_json:
        print_json(document)
        return
    print_facts(facts)
    if with_program:
        print_facts(rest)
        for program in programs.values():
            stdout().print(f"\n{escape(str(program))}", soft_wrap=True)


def _program_record(program: Program) -> dict[str, Any]:
    return {
        "name": program.name,
        "sha256": program.sha256,
        "inputs": [asdict(var) for var in program.inputs],
        "outputs": [asdict(var) for var in program.outputs],
        "ops": len(program.ops),
        "text": str(program),
    }
