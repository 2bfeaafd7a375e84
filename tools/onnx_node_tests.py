"""ONNX's own backend node tests, run through capture: `tools/onnx_node_tests.py` writes the table in docs/onnx.md.

A test of an operator is a graph of one node with the numbers that go in and come out, and of many operators another
graph, of the nodes that the standard defines it by ("expanded"). It is read in float32 and in float64, each in the ways
that suit it, until one is accepted: with the first axis of its first input as points and all else constant; with that
axis of every input that has it; and with everything as one point. Its Program is then evaluated by `interpret` and as
a NumPy program, and compared with the numbers of the test, to the test's own tolerance.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import pkgutil
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from kdpinn_edge import capture_onnx, interpret
from kdpinn_edge.errors import KdpinnError
from kdpinn_edge.importers.columns import Column
from kdpinn_edge.importers.onnx_files.file import OLDEST_OPSET
from kdpinn_edge.importers.onnx_files.operators import OPERATORS
from kdpinn_edge.importers.onnx_files.reader import MOVES
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.program.ir import Program

DOCS = Path(__file__).parent.parent / "docs" / "onnx.md"
BEGIN, END = "<!-- made by tools/onnx_node_tests.py -->\n", "<!-- end -->\n"
READ = tuple(sorted({*OPERATORS, *MOVES, "MeanVarianceNormalization"}))
"""The operators that are read."""
VARYING = (np.float32, np.float64, np.bool_)
"""Types of inputs that may depend on the point; truth values are cast from numbers."""
ABSOLUTE = 1e-6
"""Absolute tolerance in float32; the relative one is the test's own, 1e-3."""
PROFILE = "fma-2"


@dataclass(frozen=True)
class Result:
    """What became of a test: "passed", why it is left out, or how it failed."""

    operator: str
    test: str
    outcome: str
    reason: str = ""


def cases(operator: str, *, expanded: bool) -> list[Any]:
    """ONNX's tests of an operator, in the order in which it makes them."""
    import onnx.backend.test.case.node as node

    wanted = operator.lower()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for folder in (node.__path__, [f"{path}/ai_onnx_ml" for path in node.__path__]):
            for module in pkgutil.iter_modules(folder):
                if module.name.replace("_", "") == wanted:
                    inner = "" if folder is node.__path__ else ".ai_onnx_ml"
                    importlib.import_module(f"{node.__name__}{inner}.{module.name}")
    found: list[Any] = []
    for case in node._NodeTestCases:
        first = re.sub(r"_expanded.*", "", case.name)
        itself = case.name == first and [each.op_type for each in case.model.graph.node] == [operator]
        if itself or (expanded and found and first == re.sub(r"_expanded.*", "", found[-1].name)):
            found.append(case)
    return found


def run(operator: str, case: Any) -> Result:
    """Read a test in both precisions."""
    ins, outs = arrays(case)
    if left := left_out(ins, outs):
        return Result(operator, case.name, "left out", left)
    for wide in (False, True):
        reasons = []
        for vary, n in ways(ins):
            try:
                fault = difference(case, vary, n, wide=wide)
            except KdpinnError as error:
                reasons.append(re.sub(r"\S*model\.onnx:? ?", "", " ".join(str(error).splitlines())).strip())
                continue
            if fault:
                return Result(operator, case.name, "failed", fault)
            reasons = []
            break
        if reasons:
            return Result(operator, case.name, "left out", reason_of(reasons))
    return Result(operator, case.name, "passed")


def arrays(case: Any) -> list[list[Any]]:
    """The numbers that go in and come out, as far as they are arrays."""
    return [
        [numpy_helper.to_array(each) if isinstance(each, TensorProto) else each for each in side]
        for side in case.data_sets[0]
    ]


def left_out(ins: Sequence[Any], outs: Sequence[Any]) -> str:
    """Why a test has nothing that a Program could calculate; empty where it has."""
    if not all(isinstance(each, np.ndarray | np.generic) for each in (*ins, *outs)):
        return "its values are no arrays"
    if not any(each.dtype in VARYING for each in ins):
        return "it has no input of float32, float64 or truth values"
    if not all(np.size(each) for each in (*ins, *outs)):
        return "it has an empty array"
    if not all(np.isfinite(each).all() for each in ins if each.dtype.kind == "f"):
        return "it has an input that is not finite"
    return ""


def reason_of(reasons: Sequence[str]) -> str:
    """The reason of the last way, without the name of the node."""
    if "expected: an int, 1..4096" in reasons[-1]:
        return "it has more than 4096 numbers per point"
    return re.sub(r"^.* is not read: ", "", reasons[-1]).partition("; expected")[0].partition(":")[0]


def ways(ins: Sequence[Any]) -> Iterator[tuple[list[int], int]]:
    """Which inputs depend on the point, and how many points lie along their first axis, 0 where all is one point."""
    floats = [i for i, each in enumerate(ins) if each.dtype in VARYING[:2]]
    floats = floats or [i for i, each in enumerate(ins) if each.dtype in VARYING]
    first = np.shape(ins[floats[0]])
    if first and first[0] > 1:
        yield floats[:1], first[0]
        alike = [i for i in floats if np.shape(ins[i])[:1] == first[:1]]
        if len(alike) > 1:
            yield alike, first[0]
    yield floats, 0


def difference(case: Any, vary: Sequence[int], n: int, *, wide: bool) -> str:
    """How the Program of a test differs from the numbers of the test; empty where it does not."""
    ins, outs = arrays(case)
    dtype = np.float64 if wide else np.float32
    model = graph_of(case, vary, wide=wide)
    x = np.hstack([ins[i].reshape(n or 1, -1) for i in vary]).astype(np.float64)
    names = [each.name for each in model.graph.input]
    inputs = [Column(name, int(np.size(ins[i])) // (n or 1)) for name, i in zip(names, vary, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model.SerializeToString())
        program = capture_onnx(path, inputs, name="test", probe=x)
    expected = np.asarray(outs[0], dtype=np.float64)
    for what, y in values(program, x, dtype):
        if not any(
            np.allclose(y, rows.reshape(len(y), -1), rtol=case.rtol, atol=ABSOLUTE) for rows in rows_of(expected, n, y)
        ):
            return f"{what} in {dtype.__name__} returns {y.ravel()[:4].tolist()}, not {expected.ravel()[:4].tolist()}"
    return ""


def values(program: Program, x: Any, dtype: Any) -> Iterator[tuple[str, Any]]:
    """What the Program returns, as a Program and as a NumPy program."""
    yield "the Program", interpret(program, x)
    with np.errstate(all="ignore"):
        yield "the NumPy program", NumpyProgram(program, np.dtype(dtype).name, PROFILE)(x.astype(dtype))


def rows_of(expected: Any, n: int, y: Any) -> Iterator[Any]:
    """The expected numbers with the points first, wherever they may lie."""
    if n == 0:
        yield expected[None]
    for axis in (i for i, size in enumerate(expected.shape) if size == n and expected.size == y.size):
        yield np.moveaxis(expected, axis, 0)


def graph_of(case: Any, vary: Sequence[int], *, wide: bool) -> onnx.ModelProto:
    """The graph of a test, with the inputs `vary` and the others as constants, and its first output."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    for each in model.opset_import:
        if each.domain in ("", "ai.onnx"):
            each.version = max(each.version, OLDEST_OPSET)
    graph = model.graph
    named = list(zip([each.name for each in graph.input], arrays(case)[0], strict=True))
    graph.ClearField("input")
    for i, (name, given) in enumerate(named):
        array = np.asarray(given)
        if wide and array.dtype == np.float32:
            array = array.astype(np.float64)
        if i in vary and array.dtype == np.bool_:
            array = array.astype(np.float64 if wide else np.float32)
            cast = helper.make_node("Cast", [f"{name}_number"], [name], to=TensorProto.BOOL)
            graph.node.insert(0, cast)
            name += "_number"
        if i in vary:
            graph.input.append(
                helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            )
        else:
            graph.initializer.append(numpy_helper.from_array(array, name))
    output = graph.output[0].name
    graph.ClearField("output")
    graph.output.append(helper.make_tensor_value_info(output, TensorProto.UNDEFINED, None))
    return model


def table(results: Sequence[Result]) -> str:
    """The table of the docs, an operator a line."""
    lines = ["| operator | passed | left out, and why |", "|---|---|---|"]
    for operator, group in itertools.groupby(results, key=lambda result: result.operator):
        found = list(group)
        passed = sum(result.outcome == "passed" for result in found)
        reasons: dict[str, int] = {}
        for result in found:
            if result.outcome == "left out":
                reasons[result.reason] = reasons.get(result.reason, 0) + 1
        left = "; ".join(f"{count}: {reason}" for reason, count in reasons.items())
        lines.append(f"| {operator} | {passed} | {left} |")
    without = [operator for operator in READ if not any(result.operator == operator for result in results)]
    total = sum(result.outcome == "passed" for result in results)
    operators = len({result.operator for result in results if result.outcome == "passed"})
    return (
        f"{total} tests of {operators} operators pass, in float32 and in float64.\n\n"
        + "\n".join(lines)
        + f"\n\nONNX has no such tests of {', '.join(without)}.\n"
    )


def main() -> int:
    """Run every test, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("operators", nargs="*", help="only these, and print instead of writing")
    chosen = parser.parse_args().operators
    results = [run(operator, case) for operator in chosen or READ for case in cases(operator, expanded=True)]
    failed = [result for result in results if result.outcome == "failed"]
    for result in failed:
        print(f"{result.test}: {result.reason}", file=sys.stderr)
    if chosen:
        print(table(results))
    else:
        before, _, rest = DOCS.read_text().partition(BEGIN)
        DOCS.write_text(before + BEGIN + "\n" + table(results) + "\n" + END + rest.partition(END)[2])
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
