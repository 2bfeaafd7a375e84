"""The command line: one function per command, thin over the library.

Results go to stdout (as JSON with `--json`, and then nothing else), everything else to stderr. Exit codes: 0 all is
well, 1 a check or a budget failed, 2 bad usage or bad input, 130 interrupted.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from typer.core import TyperGroup

from kdpinn_edge.errors import BenchError, BudgetError, KdpinnError

if TYPE_CHECKING:
    from kdpinn_edge.bundle.manifest import Errors, Function, Input, Manifest, Output
    from kdpinn_edge.importers.model import Model
    from kdpinn_edge.program.ir import Program
    from kdpinn_edge.training import TrainConfig, Trained

Config = TypeVar("Config", bound="TrainConfig")

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130
COLOUR = {"passed": "green", "failed": "bold red", "skipped": "yellow"}


class _Commands(TyperGroup):
    """Turns the errors of every command into a message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # typer ends quietly, as `| head` wants
            raise
        except (KdpinnError, OSError) as error:
            message, code = str(error), FAILED if isinstance(error, BudgetError) else BAD_INPUT
        except ModuleNotFoundError as error:
            message, code = f"{error.name} is not installed; it comes with: pip install 'kdpinn-edge[all]'", BAD_INPUT
        except KeyboardInterrupt:
            message, code = "interrupted", INTERRUPTED
        _stderr().print(f"[bold red]error:[/] {escape(message)}", soft_wrap=True)
        raise typer.Exit(code)


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Distilled physics-informed neural networks as small, bit-exact C libraries.",
    epilog="Exit codes: 0 all is well, 1 a check or a budget failed, 2 bad usage or bad input, 130 interrupted.",
)


def _finite(value: float | None) -> float | None:
    """Every comparison with a NaN is false, so that a limit of one would hold."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value:g}; accepted: a finite number")
    return value


AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
BundlePath = Annotated[Path, typer.Argument(exists=True, file_okay=False, help="The folder that `export` wrote.")]
ProblemName = Annotated[str, typer.Argument(help="One of `kdpinn-edge problems`.")]
Seed = Annotated[
    int, typer.Option(min=0, max=2**63 - 1, help="Decides the first weights and every point that is drawn.")
]
Hidden = Annotated[str | None, typer.Option(help="Neurons per hidden layer, as in 32,32,32.")]
Activation = Annotated[
    str, typer.Option(help="Of the hidden layers: tanh, sin, lorentzian 1/(1 + x²), dispersion 2x/(1 + x²).")
]
Points = Annotated[int | None, typer.Option(min=1, max=10_000, help="Points per round.")]
Rounds = Annotated[int | None, typer.Option(min=1, help="Rounds of the optimiser, each on fresh points.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Steps per round.")]
FoundTeacher = Annotated[
    str | None, typer.Option(help="A run folder, a model of the zoo, a bundle, a program.npz.  [default: the zoo's]")
]
Device = Annotated[str, typer.Option(help="What calculates: cpu, cuda, or as in cuda:1.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue the run in the folder.")]


class Method(StrEnum):
    """What follows Adam."""

    lm = "lm"
    ssbroyden = "ssbroyden"
    lbfgs = "lbfgs"
    soap = "soap"


Chosen = Annotated[
    Method | None, typer.Option(help="What follows Adam: Levenberg-Marquardt, self-scaled Broyden, L-BFGS, SOAP.")
]


class Scalar(StrEnum):
    """What the exported functions compute in."""

    float32 = "float32"
    float64 = "float64"


class Graded(StrEnum):
    """How activations are computed."""

    accurate = "accurate"
    fast = "fast"


class Stored(StrEnum):
    """How parameters lie in the library."""

    float16 = "float16"
    float32 = "float32"
    float64 = "float64"


class Swept(StrEnum):
    """What can evaluate a residual."""

    library = "library"
    numpy = "numpy"
    onnx = "onnx"


@app.callback(invoke_without_command=True)
def _main(show_version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if show_version:
        print(version("kdpinn-edge"))


@app.command()
def problems(as_json: AsJson = False) -> None:
    """List the equations that can be trained."""
    from kdpinn_edge import zoo
    from kdpinn_edge.problems import names, problem

    found = [problem(name) for name in names()]
    shipped = {name: zoo.record(name) for name in zoo.names()}
    if as_json:
        fields = ("name", "equation", "conditions", "inputs", "outputs", "lower", "upper", "units")
        models = {p.name: [name for name, record in shipped.items() if record["problem"] == p.name] for p in found}
        _print_json([{field: getattr(p, field) for field in fields} | {"models": models[p.name]} for p in found])
        return
    for p in found:
        facts = {"equation": p.equation, "conditions": p.conditions, "domain": p.domain}
        for name, record in shipped.items():
            if record["problem"] == p.name:
                facts[name.removeprefix(f"{p.name}_")] = (
                    f"{name}, relative L2 error {record['errors']['relative_l2']:.1e}"
                )
        _stdout().print(f"[bold]{p.name}[/]")
        _print_facts(facts)


@app.command()
def train(
    problem: ProblemName,
    out: Annotated[Path | None, typer.Option("--out", help="The run folder.  [default: runs/PROBLEM_teacher]")] = None,
    hidden: Hidden = None,
    activation: Activation = "tanh",
    points: Points = None,
    optimiser: Chosen = None,
    rounds: Rounds = None,
    steps: Steps = None,
    seed: Seed = 0,
    device: Device = "cpu",
    resume: Resume = False,
    as_json: AsJson = False,
) -> None:
    """Train a teacher: a network that satisfies the equation. Ctrl-C keeps the best weights."""
    from kdpinn_edge.training import TrainConfig
    from kdpinn_edge.training import train as run
    from kdpinn_edge.training.console import live

    folder = out or Path("runs", f"{problem}_teacher")
    config = _configured(
        TrainConfig(seed=seed, device=device, activation=activation), hidden, points, optimiser, rounds, steps
    )
    with live(_stderr(), problem) as report:
        trained = run(problem, folder, config, resume=resume, report=report)
    _print_trained(trained, as_json)


@app.command()
def distill(
    problem: Annotated[str, typer.Argument(help="One of `kdpinn-edge problems`, or a bundle to follow.")],
    out: Annotated[Path | None, typer.Option("--out", help="The run folder.  [default: runs/PROBLEM_student]")] = None,
    teacher: FoundTeacher = None,
    hidden: Hidden = None,
    activation: Activation = "tanh",
    points: Points = None,
    optimiser: Chosen = None,
    rounds: Rounds = None,
    steps: Steps = None,
    physics_weight: Annotated[
        float | None,
        typer.Option(min=0, callback=_finite, help="Of the equation; 0 to follow the teacher alone.  [default: 1]"),
    ] = None,
    slope_weight: Annotated[
        float | None, typer.Option(min=0, callback=_finite, help="Of the teacher's first derivatives.  [default: 0]")
    ] = None,
    seed: Seed = 0,
    device: Device = "cpu",
    resume: Resume = False,
    as_json: AsJson = False,
) -> None:
    """Distill a student: a small network that follows a teacher and the equation. Ctrl-C keeps the best weights."""
    from kdpinn_edge.training import DistillConfig
    from kdpinn_edge.training import distill as run
    from kdpinn_edge.training.console import live

    folder = out or Path("runs", f"{Path(problem).name}_student")
    weights = {"physics_weight": physics_weight, "slope_weight": slope_weight}
    config = _configured(
        DistillConfig(seed=seed, device=device, activation=activation),
        hidden,
        points,
        optimiser,
        rounds,
        steps,
        weights,
    )
    with live(_stderr(), problem) as report:
        trained = run(problem, folder, config, teacher=teacher, resume=resume, report=report)
    _print_trained(trained, as_json)


@app.command()
def study(
    problem: ProblemName,
    teacher: Annotated[
        str | None, typer.Option(help="A run folder or a model of the zoo.  [default: the zoo's]")
    ] = None,
    size: Annotated[
        list[str] | None,
        typer.Option(help="A student's hidden layers, as in 16,16; repeatable.  [default: 8 to 32,32,32,32]"),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(help="scratch, scratch_long, paper, values or slopes; repeatable.  [default: all]"),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Students per method and size.")] = 5,
    seconds: Annotated[float, typer.Option(min=1, callback=_finite, help="CPU time for each.")] = 60.0,
    optimiser: Annotated[Method, typer.Option(help="What follows Adam.")] = Method.lm,
    device: Device = "cpu",
    jobs: Annotated[int, typer.Option(min=1, help="How many are trained at a time, each on one thread.")] = 2,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The study's folder; what is there is kept.  [default: runs/PROBLEM_study]"),
    ] = None,
    page: Annotated[Path | None, typer.Option(help="Write what came out as a page: an .md file, with a .png.")] = None,
    as_json: AsJson = False,
) -> None:
    """Find out whether distilling pays: students of several sizes, distilled and from scratch. Ctrl-C pauses."""
    from kdpinn_edge.studies.study import make_plan, read_plan
    from kdpinn_edge.studies.study import study as run
    from kdpinn_edge.studies.study.console import live, print_report
    from kdpinn_edge.studies.study.page import check_page, write_page
    from kdpinn_edge.studies.study.plan import METHODS, SIZES
    from kdpinn_edge.studies.study.report import report

    if page:
        check_page(page)
    folder = out or Path("runs", f"{problem}_study")
    _stderr().print("counting the steps that fit into each budget")
    plan = make_plan(
        problem,
        teacher=teacher,
        sizes=[_layers(text, "--size") for text in size] if size else SIZES,
        seeds=seeds,
        methods=method or tuple(METHODS),
        optimiser=optimiser.value,
        device=device,
        cpu_seconds=seconds,
        known=read_plan(folder),
    )
    with live(_stderr(), problem) as progress:
        finished = run(plan, folder, jobs=jobs, report=progress)
    if not finished:
        _stderr().print(f"interrupted: the same command goes on with {folder}", soft_wrap=True, markup=False)
        raise typer.Exit(INTERRUPTED)
    found = report(plan, folder)
    if page:
        write_page(found, page)
    if as_json:
        _print_json(found.document())
    else:
        print_report(_stdout(), found)


@app.command()
def search(
    problem: ProblemName,
    budget: Annotated[str | None, typer.Option(help="For a call with POINTS points, as in 10ms.")] = None,
    points: Annotated[int, typer.Option(min=1, help="What has to be within the budget.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="How many evaluate them.")] = 1,
    max_error: Annotated[
        float | None, typer.Option(min=0, callback=_finite, help="Largest relative L2 error; the fastest student wins.")
    ] = None,
    max_flash: Annotated[str | None, typer.Option(help="For code and constants, as in 32k.")] = None,
    teacher: FoundTeacher = None,
    trials: Annotated[int, typer.Option(min=1, help="Students that all workers make together.")] = 30,
    seconds: Annotated[float, typer.Option(min=1, callback=_finite, help="CPU time for each.")] = 30.0,
    storage: Annotated[
        str | None, typer.Option(help="A database that workers share, as Optuna takes it.  [default: SQLite in OUT]")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The folder of the runs.  [default: runs/PROBLEM_search]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find the student that fits: layers, activation, precision, timed as compiled. Start it again to add a worker."""
    from kdpinn_edge.comparison.durations import parse_duration
    from kdpinn_edge.export.resources import parse_bytes
    from kdpinn_edge.studies.search import Goal
    from kdpinn_edge.studies.search import search as run
    from kdpinn_edge.studies.search.console import line, print_found
    from kdpinn_edge.studies.search.trial import Task
    from kdpinn_edge.training.teacher import default_teacher

    goal = Goal(
        budget_ns=parse_duration(budget) if budget is not None else None,
        max_error=max_error,
        max_flash=parse_bytes(max_flash) if max_flash is not None else None,
    )
    task = Task(problem, teacher or default_teacher(problem), seconds, points, threads)
    found = run(
        task,
        goal,
        out or Path("runs", f"{problem}_search"),
        trials=trials,
        storage=storage,
        report=lambda n, outcome: _stderr().print(f"{n}/{trials} {line(outcome, task)}", soft_wrap=True, markup=False),
    )
    if as_json:
        _print_json(asdict(found))
    else:
        print_found(_stdout(), found, task)
    if found.best is None:
        raise typer.Exit(FAILED)


@app.command()
def export(
    model: Annotated[
        str,
        typer.Argument(help="A problem (its student), a model of the zoo, a run folder, a bundle, a program.npz."),
    ],
    out: Annotated[Path, typer.Option("--out", help="The folder to make.")],
    name: Annotated[str | None, typer.Option(help="Names the library and its functions.  [default: MODEL's]")] = None,
    lower: Annotated[
        str | None,
        typer.Option(help='The domain from below, as in "0, -1", inf where it is open.  [default: MODEL\'s]'),
    ] = None,
    upper: Annotated[str | None, typer.Option(help="The domain from above.  [default: MODEL's]")] = None,
    precision: Annotated[Scalar, typer.Option(help="What the library computes in.")] = Scalar.float32,
    storage: Annotated[
        Stored | None, typer.Option(help="How weights are kept: float16 halves them.  [default: the precision]")
    ] = None,
    grade: Annotated[
        Graded, typer.Option(help="Of the activations: fast has a cheaper tanh, off by 5 ULP instead of 2; float32.")
    ] = Graded.accurate,
    target: Annotated[
        str, typer.Option(help="What to compile for: native, or one of `kdpinn-edge targets`.")
    ] = "native",
    cc: Annotated[
        str | None, typer.Option(help="Link with this C compiler and its options.  [default: cc here, else ziglang]")
    ] = None,
    derivatives: Annotated[
        str | None, typer.Option(help='Add the function `jet`, as in "u, u_x, u_t, u_xx" or "u, laplacian(u)".')
    ] = None,
    residual: Annotated[
        bool, typer.Option("--residual", help="Add the function `residual`: what is left of the equation.")
    ] = False,
    with_bench: Annotated[
        bool, typer.Option("--with-bench", help="Add a program for the device: self-test, latency, JSON.")
    ] = False,
    max_flash: Annotated[
        str | None, typer.Option(help="Exit with 1 where code and constants exceed it, as in 32k.")
    ] = None,
    max_stack: Annotated[str | None, typer.Option(help="Exit with 1 where a call takes more stack, as in 1k.")] = None,
    as_json: AsJson = False,
) -> None:
    """Turn a model into a bundle: shared library, headers, ONNX model, manifest."""
    from kdpinn_edge.derive.names import parse_requests
    from kdpinn_edge.derive.residual import residual_program
    from kdpinn_edge.export.bundle import export_bundle
    from kdpinn_edge.export.resources import parse_bytes
    from kdpinn_edge.importers.model import find_model

    requests = parse_requests(derivatives) if derivatives is not None else ()
    found = find_model(model)
    called = name or found.name
    if called is None:
        raise typer.BadParameter(f"{model} does not say what its library is called; add --name", param_hint="--name")
    if residual and (found.problem is None or not found.problem.equation):
        raise typer.BadParameter(
            f"{model} does not say what equation it solves; accepted: a problem, a model of the zoo, the run folder of "
            "a problem. In Python: export_bundle(…, residual=residual_program(program, problem))",
            param_hint="--residual",
        )
    _stderr().print(f"compiling {called} for {target}", markup=False)
    manifest = export_bundle(
        found.program,
        out,
        name=called,
        precision=precision.value,
        storage=storage.value if storage else None,
        grade=grade.value,
        target=target,
        inputs=_bounded(found, lower, upper),
        outputs=found.outputs,
        derivatives=requests,
        residual=residual_program(found.program, found.problem) if residual and found.problem else None,
        equation=(found.problem.equation or None) if found.problem else None,
        cc=_command(cc) if cc else None,
        with_bench=with_bench,
        max_flash=parse_bytes(max_flash) if max_flash is not None else None,
        max_stack=parse_bytes(max_stack) if max_stack is not None else None,
    )
    if as_json:
        _print_json({"bundle": str(out), "manifest": asdict(manifest)})
    else:
        _print_facts({"bundle": str(out), **_manifest_facts(manifest)})


@app.command()
def targets(as_json: AsJson = False) -> None:
    """List what `export --target` compiles for, and what is promised there."""
    from kdpinn_edge.bundle.manifest import Precision
    from kdpinn_edge.export.target import REFUSED, TARGETS

    if as_json:
        facts = ("name", "serves", "triple", "cpu", "features", "artifact", "profile", "flushes")
        rows = [
            {fact: getattr(target, fact) for fact in facts}
            | {"lanes": {precision: v.lanes for precision, v in target.by_precision.items()}}
            for target in TARGETS.values()
        ]
        _print_json({"targets": rows, "refused": REFUSED})
        return
    table = _table(
        "target", "for", "makes", "lanes float32", "float64", "same bits as all of", "subnormals", "runs here"
    )
    for target in TARGETS.values():
        lanes = (target.by_precision.get(precision) for precision in get_args(Precision))
        table.add_row(
            target.name,
            target.serves,
            target.library.format("NAME"),
            *(str(vectors.lanes) if vectors else "-" for vectors in lanes),
            target.profile,
            "flushed" if target.flushes else "kept",
            "yes" if target.runs_here() else "",
        )
    _stdout().print(table)
    for reason in dict.fromkeys(REFUSED.values()):
        names = ", ".join(name for name in REFUSED if REFUSED[name] == reason)
        _stdout().print(f"\nRefused: {names}: {reason}.", soft_wrap=True)


@app.command()
def check(bundle: BundlePath, as_json: AsJson = False) -> None:
    """Prove a bundle: hashes, gates, self-test, parity of every backend."""
    from kdpinn_edge.checks.check import check as verdicts_on

    verdicts = verdicts_on(bundle)
    passed = all(verdict.result != "failed" for verdict in verdicts)
    if as_json:
        _print_json({"bundle": str(bundle), "passed": passed, "checks": [asdict(verdict) for verdict in verdicts]})
    else:
        for verdict in verdicts:
            result = f"[{COLOUR[verdict.result]}]{verdict.result}[/]"
            _stdout().print(f"{verdict.name:22}  {result}  {escape(verdict.detail)}", soft_wrap=True)
    if not passed:
        raise typer.Exit(FAILED)


@app.command()
def bench(
    bundle: BundlePath,
    full: Annotated[
        bool, typer.Option("--full", help="Every backend and mode, in less than 5 minutes; else the usual ones.")
    ] = False,
    backend: Annotated[list[str] | None, typer.Option(help="Only this one; repeatable.")] = None,
    n: Annotated[
        list[int] | None, typer.Option(help="Points per call; repeatable.  [default: 1 100 10000 100000]")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Keep the record, with every sample: a JSON file.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the record in OUT.")] = False,
    report: Annotated[Path | None, typer.Option(help="Write the record as a page: an HTML file.")] = None,
    compare: Annotated[Path | None, typer.Option(help="Say what changed since this record.")] = None,
    add: Annotated[
        list[Path] | None, typer.Option(help="What the bench on a device printed: adds that board; repeatable.")
    ] = None,
    clock: Annotated[str | None, typer.Option(help="The rate of a board that counts cycles, as in 216MHz.")] = None,
    budget: Annotated[str | None, typer.Option(help="Exit with 1 where one backend exceeds it, as in 10ms.")] = None,
    points: Annotated[int, typer.Option(min=1, help="What has to be within the budget.")] = 1,
    percentile: Annotated[float, typer.Option(callback=_finite, help="For how many % of the calls.")] = 99.0,
    samples: Annotated[int | None, typer.Option(help="Calls of the gate.  [default: what PERCENTILE needs]")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads that every backend may use.")] = 1,
    frontier: Annotated[bool, typer.Option("--frontier", help="How many points fit into the budget?")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare the backends of a bundle; or hold one to a budget."""
    from kdpinn_edge.comparison import command

    options = command.Options(
        bundle=bundle,
        full=full,
        backends=backend or (),
        n_points=n or (),
        out=out,
        resume=resume,
        report=report,
        compare=compare,
        add=add or (),
        clock=clock,
        budget=budget,
        points=points,
        percentile=percentile,
        samples=samples,
        threads=threads,
    )
    run = command.frontier if frontier else command.table if budget is None else command.gate
    document, passed = run(options, _stdout(), _stderr(), quiet=as_json)
    if as_json:
        _print_json(document)
    if not passed:
        raise typer.Exit(FAILED)


@app.command("bench-zoo")
def bench_zoo(
    problem: Annotated[list[str] | None, typer.Argument(help="Which problems.  [default: all of the zoo]")] = None,
    teacher: Annotated[
        str | None, typer.Option(help="Of one PROBLEM: a run folder or a model of the zoo.  [default: the zoo's]")
    ] = None,
    student: Annotated[str | None, typer.Option(help="The same.  [default: the zoo's]")] = None,
    n: Annotated[
        list[int] | None, typer.Option(help="Points per call; repeatable.  [default: 1 100 10000 100000]")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="A folder for the records, one PROBLEM.json each.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the records in OUT.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare every teacher with its student, in the framework and compiled."""
    from kdpinn_edge.comparison.console import live
    from kdpinn_edge.comparison.paper import pairs, paper_comparison
    from kdpinn_edge.comparison.paper_console import print_paper

    if (teacher or student) and len(problem or ()) != 1:
        raise BenchError(f"--teacher and --student go with one PROBLEM; found: {', '.join(problem or ()) or 'none'}")
    if out:
        out.mkdir(parents=True, exist_ok=True)
    documents = []
    for name in problem or pairs():
        _stderr().print(f"measuring the teacher and the student of {name}", markup=False)
        with live(_stderr()) as report:
            found = paper_comparison(
                name,
                teacher=teacher,
                student=student,
                n_points=n or (),
                out=out / f"{name}.json" if out else None,
                resume=resume,
                report=report,
            )
        documents.append(found.document())
        if not as_json:
            print_paper(_stdout(), found)
    if as_json:
        _print_json(documents)


@app.command()
def audit(
    bundle: BundlePath,
    out: Annotated[Path | None, typer.Option(help="A figure to write: .png, .svg or .pdf.")] = None,
    per_axis: Annotated[int, typer.Option(min=2, help="Points along each of the first two inputs.")] = 401,
    engine: Annotated[Swept, typer.Option(help="What evaluates the residual.")] = Swept.library,
    limit: Annotated[
        float | None, typer.Option(min=0, callback=_finite, help="Exit with 1 where |residual| exceeds it.")
    ] = None,
    percentile: Annotated[
        float, typer.Option(min=0, max=100, callback=_finite, help="At how many % of the points the limit has to hold.")
    ] = 99,
    as_json: AsJson = False,
) -> None:
    """Sweep the domain with the model's own residual: where does it violate its equation?"""
    from kdpinn_edge.checks.audit import PERCENTILES, check_figure, draw
    from kdpinn_edge.checks.audit import audit as sweep

    if out:
        check_figure(out)
    found = sweep(bundle, per_axis=per_axis, engine=engine.value)
    if out:
        draw(found, out)
    rows = found.rows(sorted({*PERCENTILES, percentile}))
    exceeded = [row for row in rows if limit is not None and row.percentile == percentile and row.value > limit]
    if as_json:
        _print_json(
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
        _print_facts(facts | {"points": f"{found.n_points:,}"})
        table = _table("", "% of points", "|residual| ≤", "of the largest term", "which is at")
        for row in rows:
            at = ", ".join(f"{name} = {value:.4g}" for name, value in row.at.items())
            table.add_row(row.equation, f"{row.percentile:g}", f"{row.value:.3g}", f"{row.relative:.1e}", at)
        _stdout().print(table)
    for row in exceeded:
        _stderr().print(f"{row.equation}: {row.value:.3g} at {percentile:g} % of the points; the limit is {limit:g}")
    if exceeded:
        raise typer.Exit(FAILED)


@app.command()
def info(
    subject: Annotated[str, typer.Argument(help="A bundle, or what `export` takes as MODEL.")],
    as_json: AsJson = False,
) -> None:
    """Show what something is: its columns and its Program; of a bundle also sizes, errors and hashes."""
    from kdpinn_edge.bundle.manifest import MANIFEST_FILE, check_files, read_manifest
    from kdpinn_edge.bundle.read import read_function
    from kdpinn_edge.importers.model import find_model

    folder = Path(subject)
    if (folder / MANIFEST_FILE).exists():
        manifest = read_manifest(folder)
        check_files(folder, manifest)
        programs = {name: read_function(folder, manifest, name) for name in manifest.functions}
        records = {name: _program_record(program) for name, program in programs.items()}
        document = {"manifest": asdict(manifest), "programs": records}
        facts = _manifest_facts(manifest)
    else:
        found = find_model(subject)
        programs = {"eval": found.program}
        document = {"program": _program_record(found.program)} | (
            {"inputs": list(map(asdict, found.inputs)), "outputs": list(map(asdict, found.outputs))}
            if found.inputs and found.outputs
            else {}
        )
        facts = _model_facts(found)
    if as_json:
        _print_json(document)
    else:
        _print_facts(facts)
        for program in programs.values():
            _stdout().print(f"\n{escape(str(program))}", soft_wrap=True)


def _configured(
    config: Config,
    hidden: str | None,
    points: int | None,
    optimiser: Method | None,
    rounds: int | None,
    steps: int | None,
    weights: Mapping[str, float | None] | None = None,
) -> Config:
    given: dict[str, Any] = {"n_points": points, "newton_rounds": rounds, "newton_steps": steps, **(weights or {})}
    if optimiser is not None:
        given["optimiser"] = optimiser.value
    if hidden is not None:
        given["hidden"] = _layers(hidden, "--hidden")
    return replace(config, **{field: value for field, value in given.items() if value is not None})


def _bounded(model: Model, lower: str | None, upper: str | None) -> tuple[Input, ...]:
    """The inputs of a model within the domain that was given, or else its own."""
    from kdpinn_edge.bundle.manifest import Input
    from kdpinn_edge.program.ir import columns

    inputs = model.inputs or tuple(map(Input, columns(model.program.inputs)))
    if lower is not None:
        sides = _numbers(lower, len(inputs), "--lower")
        inputs = tuple(replace(column, lower=side) for column, side in zip(inputs, sides, strict=True))
    if upper is not None:
        sides = _numbers(upper, len(inputs), "--upper")
        inputs = tuple(replace(column, upper=side) for column, side in zip(inputs, sides, strict=True))
    return inputs


def _numbers(text: str, count: int, option: str) -> list[float | None]:
    """One number per input; None for one that is infinite."""
    try:
        numbers = [float(number) for number in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != count or any(map(math.isnan, numbers)):
        raise typer.BadParameter(f"{text!r}; accepted: {count} numbers with commas between", param_hint=option)
    return [number if math.isfinite(number) else None for number in numbers]


def _command(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}: {error}; accepted: a command as in a shell", param_hint="--cc") from error


def _layers(text: str, option: str) -> tuple[int, ...]:
    if not re.fullmatch(r"[1-9]\d{0,3}(,[1-9]\d{0,3})*", text, re.ASCII):
        raise typer.BadParameter(f"{text!r}; accepted: sizes of layers, as in 32,32,32", param_hint=option)
    return tuple(map(int, text.split(",")))


def _print_trained(trained: Trained, as_json: bool) -> None:
    record, errors = trained.record, trained.record["errors"]
    if as_json:
        _print_json({"folder": str(trained.folder), **record})
    else:
        _print_facts(
            {
                record["role"]: f"{trained.folder}, {record['architecture']['parameters']:,} parameters",
                "error": f"relative L2 {errors['relative_l2']:.2e}, at most {errors['max_abs']:.2e}, against the "
                f"reference ({errors['n_points']:,} points)",
                "time": f"{record['training_cpu_seconds']:,.0f} s of CPU",
            }
        )
    if not trained.finished:
        _stderr().print(
            f"interrupted: {trained.folder} holds the best weights so far; --resume continues the run", soft_wrap=True
        )
        raise typer.Exit(INTERRUPTED)


def _model_facts(model: Model) -> dict[str, str]:
    facts = {}
    if model.problem and model.problem.equation:
        facts["equation"] = model.problem.equation
    if model.inputs and model.outputs:
        facts["inputs"] = ", ".join(map(_side, model.inputs))
        facts["outputs"] = ", ".join(map(_with_unit, model.outputs))
    return facts | {"program": f"SHA-256 {model.program.sha256}"}


def _manifest_facts(manifest: Manifest) -> dict[str, str]:
    sizes, target = manifest.sizes, manifest.target
    facts = {
        "model": manifest.name + (f": {manifest.equation}" if manifest.equation else ""),
        "inputs": ", ".join(map(_side, manifest.inputs)),
        "arithmetic": f"{manifest.precision}, numerics profile {manifest.profile}, weights in {manifest.storage}",
        "target": f"{target.name}, {target.lanes} lanes ({target.triple})",
        "flash": f"{sizes.flash:,} bytes: {sizes.text:,} of code, {sizes.rodata:,} of constants"
        if sizes
        else "what your compiler makes of the source",
        "stack": "not measured" if manifest.stack is None else f"{manifest.stack:,} bytes at most, self-test included",
        "measured": manifest.measured,
    }
    for name, function in manifest.functions.items():
        work, storage = function.operations, function.storage_errors
        facts |= {
            name: ", ".join(map(_with_unit, function.outputs)),
            f"{name} error": _off(function, function.errors),
            **({f"{name} storage": _off(function, storage)} if storage else {}),
            f"{name} work": f"{work.multiply_adds:,} multiply-adds and {work.activations:,} activations per point",
            f"{name} call": _call(function),
            f"{name} is": f"the Program {function.program_sha256}",
        }
    return facts


def _call(function: Function) -> str:
    stack = "" if function.stack is None else f", {function.stack:,} bytes of stack"
    if function.instructions is None:
        return f"instructions not counted{stack}"
    counts = {int(n): count for n, count in function.instructions.items()}
    shown = (f"{count:,}" if n == 1 else f"{count / n:,.0f} per point of {n}" for n, count in sorted(counts.items()))
    return f"instructions for one point {', '.join(shown)}{stack}"


def _with_unit(column: Output) -> str:
    return column.name if column.unit in (None, "1") else f"{column.name} in {column.unit}"


def _off(function: Function, errors: Errors) -> str:
    off = zip(function.outputs, errors.max_abs, errors.rms, errors.scale, strict=True)
    return f"against {errors.against} ({errors.n_points} points): " + "; ".join(
        f"{column.name} at most {largest:.2g}, rms {rms:.2g}, values up to {scale:.3g}"
        for column, largest, rms, scale in off
    )


def _side(column: Input) -> str:
    lower = "(-∞" if column.lower is None else f"[{column.lower:g}"
    upper = "∞)" if column.upper is None else f"{column.upper:g}]"
    return f"{column.name} ∈ {lower}, {upper}"


def _program_record(program: Program) -> dict[str, Any]:
    return {
        "name": program.name,
        "sha256": program.sha256,
        "inputs": [asdict(var) for var in program.inputs],
        "outputs": [asdict(var) for var in program.outputs],
        "ops": len(program.ops),
        "text": str(program),
    }


def _print_facts(facts: Mapping[str, str]) -> None:
    for name, fact in facts.items():
        _stdout().print(f"[bold]{name:14}[/]  {escape(fact)}", soft_wrap=True)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column)
    return table


def _stdout() -> Console:
    return Console(highlight=False)


def _stderr() -> Console:
    return Console(stderr=True, highlight=False)


def _print_json(document: Mapping[str, Any] | Sequence[Any]) -> None:
    print(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))
