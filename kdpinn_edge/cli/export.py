"""`export` and `targets`."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, get_args

import typer

from kdpinn_edge.bundle.manifest import LARGEST_BATCH, MAX_RELATIVE_ERROR, read_manifest_bytes
from kdpinn_edge.cli.facts import manifest_facts
from kdpinn_edge.cli.interrupt import ended_by_interrupt
from kdpinn_edge.cli.options import (
    ArithmeticName,
    AsJson,
    BundlePath,
    Calculated,
    Force,
    Graded,
    Scalar,
    SourceOptions,
    SourceText,
    Stored,
    TargetName,
    compiler_command,
    option_groups,
)
from kdpinn_edge.cli.output import print_facts, print_json, stderr, stdout, text_table


@option_groups
def export(
    source: SourceText,
    source_options: SourceOptions,
    out: Annotated[Path, typer.Option(help="The folder to make.")],
    name: Annotated[str | None, typer.Option(help="Names the library and its functions.  [default: SOURCE's]")] = None,
    precision: Annotated[Scalar, typer.Option(help="What the library computes in.")] = Scalar.float32,
    storage: Annotated[
        Stored | None,
        typer.Option(help="How weights are kept; float16 halves them, adds code.  [default: the precision]"),
    ] = None,
    grade: Annotated[
        Graded, typer.Option(help="Of the activations: fast has a cheaper tanh, off by 5 ULP instead of 2; float32.")
    ] = Graded.accurate,
    arithmetic: ArithmeticName = Calculated.float,
    target: TargetName = "native",
    cc: Annotated[
        str | None, typer.Option(help="Link with this C compiler and its options.  [default: cc here, else ziglang]")
    ] = None,
    derivatives: Annotated[
        str | None, typer.Option(help='Add the function `jet`, as in "u, u_x, u_xx", "u, laplacian(u)", "jacobian".')
    ] = None,
    residual: Annotated[
        bool, typer.Option("--residual", help="Add the function `residual`: what is left of the equation.")
    ] = False,
    per_call: Annotated[
        str | None,
        typer.Option(
            help='Inputs that are constant during a call, as in "nu, s[100]": adds NAME_eval_for(p, x, y, n).'
        ),
    ] = None,
    casadi: Annotated[
        bool, typer.Option("--casadi", help="Add functions for CasADi; without --derivatives jacobian and hessian.")
    ] = False,
    batch: Annotated[
        int | None,
        typer.Option(
            min=1, max=LARGEST_BATCH, help="Fix the number of points of the ONNX models.  [default: any number]"
        ),
    ] = None,
    with_bench: Annotated[
        bool, typer.Option("--with-bench", help="Add a program for the device: self-test, latency, JSON.")
    ] = False,
    languages: Annotated[
        str | None, typer.Option("--with", help="Add files for these languages: cpp, fortran, matlab, rust.")
    ] = None,
    max_flash: Annotated[
        str | None, typer.Option(help="Exit with 1 where code and constants exceed it, as in 32k.")
    ] = None,
    max_stack: Annotated[str | None, typer.Option(help="Exit with 1 where a call takes more stack, as in 1k.")] = None,
    max_relative_error: Annotated[
        float,
        typer.Option(help="Refuse what rounding makes a larger error in than this share of the values; inf: nothing."),
    ] = MAX_RELATIVE_ERROR,
    force: Force = False,
    sign: Annotated[
        Path | None, typer.Option(help="Sign the bundle with this Ed25519 private key, a PEM file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Turn a model into a bundle: shared library, headers, ONNX model, manifest."""
    with ended_by_interrupt(), _resting_collector():
        from kdpinn_edge.derive.names import parse_requests
        from kdpinn_edge.derive.per_call import parse_per_call
        from kdpinn_edge.export.bundle import export_bundle
        from kdpinn_edge.export.measure.resources import parse_bytes

        requests = parse_requests(derivatives) if derivatives is not None else ()
        found = source_options.find(source)
        called = found.name if name is None else name
        if called is None:
            message = f"{source} does not say what its library is called; add --name"
            raise typer.BadParameter(message, param_hint="--name")
        if residual and (found.problem is None or not found.problem.equation):
            raise typer.BadParameter(
                f"{source} does not say what equation it solves; expected: a problem, a model of the zoo, the run "
                "folder of a problem. In Python: export_bundle(…, residual=problem)",
                param_hint="--residual",
            )
        manifest = export_bundle(
            found.program,
            out,
            name=called,
            precision=precision.value,
            storage=storage.value if storage else None,
            grade=grade.value,
            arithmetic=arithmetic.value,
            target=target,
            inputs=found.inputs,
            outputs=found.outputs,
            derivatives=requests,
            residual=found.problem if residual else None,
            per_call=parse_per_call(per_call, found.program.inputs) if per_call is not None else (),
            equation=(found.problem.equation or None) if found.problem else None,
            cc=compiler_command(cc) if cc is not None else None,
            casadi=casadi,
            batch=batch,
            with_bench=with_bench,
            languages=[each.strip() for each in languages.split(",")] if languages is not None else (),
            max_flash=parse_bytes(max_flash) if max_flash is not None else None,
            max_stack=parse_bytes(max_stack) if max_stack is not None else None,
            max_relative_error=max_relative_error,
            force=force,
            sign=sign,
            report=partial(stderr().print, markup=False),
        )
    digest = hashlib.sha256(read_manifest_bytes(out)).hexdigest()
    if as_json:
        print_json({"bundle": str(out), "sha256": digest, "manifest": manifest.record})
    else:
        print_facts({"bundle": str(out), **manifest_facts(manifest), "SHA-256": f"{digest} of manifest.json"})


class BuildTool(StrEnum):
    """What builds programs for boards."""

    arduino = "arduino"
    esp_idf = "esp-idf"
    zephyr = "zephyr"
    platformio = "platformio"


def layout(
    bundle: BundlePath,
    tool: Annotated[BuildTool, typer.Option("--for", help="The build tool of the board.")],
    out: Annotated[Path, typer.Option(help="The folder to make.")],
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Arrange a bundle as a library of Arduino, ESP-IDF, Zephyr or PlatformIO."""
    from kdpinn_edge.export.layouts import arrange

    files = arrange(bundle, tool.value, out, force=force)
    if as_json:
        print_json({"folder": str(out), "files": files})
    else:
        print_facts({"folder": str(out), "files": ", ".join(files)})


@contextmanager
def _resting_collector() -> Iterator[None]:
    """Let the garbage collector rest: the work is short, and it would search all that imports and Numba make."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def targets(as_json: AsJson = False) -> None:
    """List what `export --target` compiles for, and what is promised there."""
    from kdpinn_edge.bundle.manifest import Precision
    from kdpinn_edge.export.targets.table import REFUSED, TARGETS

    if as_json:
        facts = ("name", "serves", "triple", "cpu", "features", "artifact", "profile", "flushes")
        rows = [
            {fact: getattr(target, fact) for fact in facts}
            | {"lanes": {precision: v.lanes for precision, v in target.by_precision.items()}}
            for target in TARGETS.values()
        ]
        print_json({"targets": rows, "refused": REFUSED})
        return
    table = text_table("target", "for", "makes", "lanes float32, float64", "same bits as all of", "runs here")
    for name in ("target", "makes"):
        next(column for column in table.columns if column.header == name).no_wrap = True
    for target in TARGETS.values():
        lanes = (target.by_precision.get(precision) for precision in get_args(Precision))
        table.add_row(
            target.name,
            target.serves,
            target.library.format("NAME"),
            ", ".join(str(vectors.lanes) if vectors else "-" for vectors in lanes),
            f"{target.profile}{', subnormals flushed' if target.flushes else ''}",
            "yes" if target.runs_here() else "",
        )
    stdout().print(table)
    for reason in dict.fromkeys(REFUSED.values()):
        names = ", ".join(name for name in REFUSED if REFUSED[name] == reason)
        stdout().print(f"\nRefused: {names}: {reason}.", soft_wrap=True)
