"""`bench` and `bench-zoo`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from kdpinn_edge.cli.completion import problem_names
from kdpinn_edge.cli.options import AsJson, BenchOptions, Force, PointsPerCall, SourceOptions, SourceText, option_groups
from kdpinn_edge.cli.output import FAILED, announcing, print_json, stderr, stdout
from kdpinn_edge.errors import BenchError


@option_groups
def bench(
    source: SourceText,
    source_options: SourceOptions,
    options: BenchOptions,
    frontier: Annotated[bool, typer.Option("--frontier", help="How many points fit into the budget?")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare the backends of a bundle, or of any model, exported for here; or hold one to a budget."""
    from kdpinn_edge.cli import bench as command

    table = partial(command.table, source=source)
    run = command.frontier if frontier else table if options.budget is None else command.gate
    with source_options.bundle(source) as bundle:
        document, passed = run(bundle, options, stdout(), stderr(), quiet=as_json)
    if as_json:
        print_json(document)
    if not passed:
        raise typer.Exit(FAILED)


def bench_zoo(
    problem: Annotated[
        list[str] | None,
        typer.Argument(help="Which problems.  [default: all of the zoo]", autocompletion=problem_names),
    ] = None,
    teacher: Annotated[
        list[str] | None,
        typer.Option(
            help="Of one PROBLEM: a run folder or a model of the zoo; repeatable, for runs of other seeds.  [default: "
            "the zoo's]"
        ),
    ] = None,
    student: Annotated[
        list[str] | None, typer.Option(help="The same, one for each teacher.  [default: the zoo's]")
    ] = None,
    n_points: PointsPerCall = None,
    out: Annotated[Path | None, typer.Option(help="A folder for the records, one PROBLEM.json each.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the records in OUT.")] = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Compare every teacher with its student, in the framework and compiled."""
    from kdpinn_edge.comparison.paper import pairs, paper_comparison
    from kdpinn_edge.comparison.paper_tables import print_paper
    from kdpinn_edge.comparison.text_tables import live

    if (teacher or student) and len(problem or ()) != 1:
        raise BenchError(f"--teacher and --student go with one PROBLEM; found: {', '.join(problem or ()) or 'none'}")
    if out:
        out.mkdir(parents=True, exist_ok=True)
    documents = []
    for name in problem or pairs():
        said = f"measuring the teacher and the student of {name}"
        with live(stderr()) as progress:
            report = announcing(said, progress)
            found = paper_comparison(
                name,
                teacher=teacher or (),
                student=student or (),
                n_points=n_points or (),
                out=out / f"{name}.json" if out else None,
                resume=resume,
                force=force,
                report=report,
            )
        documents.append(found.document())
        if not as_json:
            print_paper(stdout(), found)
    if as_json:
        print_json(documents)
