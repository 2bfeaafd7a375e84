"""The ONNX model: reads back to an equal Program, runs in ONNX Runtime, and agrees with what torch exports itself."""

from __future__ import annotations

import io
import json
import pickle
import re
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from artifacts import Artifacts
from hypothesis import given, settings
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NotImplementedByRuntime
from strategies import mlp, points, programs

from kdpinn_edge import check, derivatives, export_bundle, load
from kdpinn_edge.bundle.manifest import (
    LARGEST_BATCH,
    ONNX_FILES,
    Input,
    Output,
    Precision,
    read_manifest,
    write_manifest,
)
from kdpinn_edge.errors import BundleError, ProgramError
from kdpinn_edge.export.onnx_model import ELEMENT, IN_FLOAT32, IR_VERSIONS, RUNTIME_LACKS, from_onnx, to_onnx
from kdpinn_edge.functions import FUNCTIONS
from kdpinn_edge.importers.model import find_model
from kdpinn_edge.program.interp import interpret
from kdpinn_edge.program.ir import (
    Add,
    Affine,
    Concat,
    Map,
    Mul,
    Op,
    Program,
    Scale,
    Select,
    Slice,
    Var,
    parameters,
)

PRECISIONS: tuple[Precision, ...] = ("float32", "float64")
CLOSE = {"float32": 2e-6, "float64": 1e-14}  # one op, values of about 1
DEEP = 1e-9  # float64, a drawn Program: ten ops, each with a slope of at most 64

a, b = Var("a", 3), Var("b", 2)
one, many = (a,), (a, b)
SINGLE_OPS: dict[str, tuple[tuple[Var, ...], Op]] = {
    "affine": (one, Affine(Var("y", 2), a, [[1, -0.5, 0.25], [0.1, 0.2, 0.3]], [0.5, -1])),
    "scale": (one, Scale(Var("y", 3), a, [1.0, -2.0, 0.1], [0.5, 0.0, -1.0])),
    **{fn: (one, Map(Var("x", 3), a, fn)) for fn in FUNCTIONS},
    "add": (one, Add(Var("y", 3), a, a)),
    "mul": (one, Mul(Var("y", 3), a, a)),
    "select": (one, Select(Var("y", 3), a, a, a)),
    "slice": (one, Slice(Var("y", 2), a, 1)),
    "concat of one": (one, Concat(Var("y", 3), (a,))),
    "concat of all": (many, Concat(Var("y", 5), (a, b))),
    "concat of some": (many, Concat(Var("y", 7), (b, a, b))),
}
SINGLE = {name: Program("single", inputs, (op.out,), (op,)) for name, (inputs, op) in SINGLE_OPS.items()}
PROGRAMS = SINGLE | {
    "no op": Program("none", one, one, ()),
    "no op, outputs swapped": Program("none", many, (b, a), ()),
    "an unused input": Program("none", many, (b,), ()),
    "an op and an input": Program("two", one, (Var("h", 3), a), (Map(Var("h", 3), a, "silu"),)),
    "names of the interface": Program(
        "x",
        (Var("y", 3),),
        (Var("x", 3),),
        (Map(Var("n", 3), Var("y", 3), "sin"), Map(Var("x", 3), Var("n", 3), "cos")),
    ),
    "mlp": mlp(2, 32, 4, 1),
}


def run(model: onnx.ModelProto, x: NDArray[np.floating]) -> NDArray[np.floating]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {session.get_inputs()[0].name: x})
    return np.asarray(y)


def rounded(program: Program) -> Program:
    """`program` with its parameters rounded to float32."""

    def op(op: Op) -> Op:
        weight_and_bias = (array.astype(np.float32) for array in parameters(op))
        return replace(op, **dict(zip(("weight", "bias"), weight_and_bias, strict=False)))

    return replace(program, ops=tuple(map(op, program.ops)))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_onnx_runtime_agrees_with_interpret(name: str, precision: Precision) -> None:
    program = PROGRAMS[name]
    model = to_onnx(program, precision)
    onnx.checker.check_model(model, full_check=True)
    x = points(program, 17).astype(precision)
    y = run(model, x)
    assert y.dtype == precision
    np.testing.assert_allclose(y, interpret(program, x), rtol=CLOSE[precision], atol=CLOSE[precision])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_operators_that_onnx_runtime_lacks(precision: Precision) -> None:
    opset = min(IR_VERSIONS)

    def is_there(operator: str) -> bool:
        ends = [onnx.helper.make_tensor_value_info(name, ELEMENT[precision], ["n"]) for name in "xy"]
        graph = onnx.helper.make_graph([onnx.helper.make_node(operator, ["x"], ["y"])], "one", ends[:1], ends[1:])
        ids = [onnx.helper.make_opsetid("", opset)]
        model = onnx.helper.make_model(graph, opset_imports=ids, ir_version=IR_VERSIONS[opset])
        try:
            run(model, np.full(1, 0.5, precision))
        except NotImplementedByRuntime:
            return False
        return True

    asked = {
        *IN_FLOAT32.split(),
        *["Abs", "Cos", "Exp", "Log", "Neg", "Reciprocal", "Relu", "Sigmoid", "Sign", "Sin", "Sqrt", "Tanh"],
    }
    assert {operator for operator in asked if not is_there(operator)} == set(RUNTIME_LACKS[precision])


@pytest.mark.parametrize("n", [0, 1, 100])
def test_any_number_of_points(n: int) -> None:
    program = PROGRAMS["mlp"]
    assert run(to_onnx(program, "float32"), points(program, n).astype(np.float32)).shape == (n, 1)


@pytest.mark.parametrize("name", PROGRAMS)
def test_round_trip(name: str) -> None:
    program = PROGRAMS[name]
    assert from_onnx(to_onnx(program, "float64")) == program
    assert from_onnx(to_onnx(program, "float32").SerializeToString()) == rounded(program)


@given(program=programs(any_function=True))
def test_round_trip_of_any_program(program: Program) -> None:
    model = to_onnx(program, "float64")
    onnx.checker.check_model(model, full_check=True)
    assert from_onnx(model) == program
    assert str(from_onnx(model)) == str(program)
    assert from_onnx(to_onnx(program, "float32")) == rounded(program)


@settings(max_examples=50)
@given(program=programs())
def test_onnx_runtime_agrees_with_interpret_on_any_program(program: Program) -> None:
    x = points(program, 9)
    y = run(to_onnx(program, "float64"), x)
    np.testing.assert_allclose(y, interpret(program, x), rtol=DEEP, atol=DEEP)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_torch_is_a_witness(precision: Precision) -> None:
    program = mlp(2, 16, 3, 1)
    layers: list[torch.nn.Module] = []
    for op in program.ops:
        if isinstance(op, Affine):
            layer = torch.nn.Linear(op.x.size, op.out.size, dtype=getattr(torch, precision))
            layer.weight.data.copy_(torch.tensor(op.weight))
            layer.bias.data.copy_(torch.tensor(op.bias))
            layers.append(layer)
        elif isinstance(op, Map):
            layers.append(torch.nn.Tanh())
    x = points(program, 50).astype(precision)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            torch.nn.Sequential(*layers),
            (torch.from_numpy(x),),
            file,
            dynamic_shapes=({0: torch.export.Dim("n")},),
            dynamo=True,
            verbose=False,
        )
    witness = onnx.load_model_from_string(file.getvalue())
    np.testing.assert_allclose(
        run(to_onnx(program, precision), x), run(witness, x), rtol=CLOSE[precision], atol=CLOSE[precision]
    )
    with pytest.raises(ProgramError, match="the producer is 'pytorch'"):
        from_onnx(witness)


def test_the_model_says_what_it_is() -> None:
    program = PROGRAMS["concat of some"]
    model = to_onnx(program, "float32")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata == {
        "kdpinn.inputs": '[["a", 3], ["b", 2]]',
        "kdpinn.outputs": '["y"]',
        "kdpinn.variables": '["y"]',
        "kdpinn.precision": "float32",
        "kdpinn.program_sha256": program.sha256,
    }
    assert model.graph.name == "single"
    assert model.doc_string == str(program)


def operators(program: Program, precision: Precision) -> list[str]:
    return [node.op_type for node in to_onnx(program, precision).graph.node]


def test_an_mlp_is_its_layers_alone() -> None:
    assert operators(mlp(1, 8, 1, 1), "float32") == ["Gemm", "Tanh", "Gemm"]
    assert operators(mlp(1, 8, 1, 1), "float64") == ["MatMul", "Add", "Tanh", "MatMul", "Add"]
    assert operators(mlp(3, 8, 1, 1), "float32") == ["Identity", "Gemm", "Tanh", "Gemm"]


def test_inputs_are_sliced_where_they_are_read() -> None:
    assert operators(PROGRAMS["an unused input"], "float32") == ["Slice", "Concat"]
    assert operators(PROGRAMS["concat of some"], "float32") == ["Slice", "Slice", "Concat"]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_versions_are_the_oldest_that_the_operators_allow(name: str, precision: Precision) -> None:
    model = to_onnx(PROGRAMS[name], precision)
    opset = model.opset_import[0].version
    assert (model.ir_version, opset) in {(4, 9), (5, 10)}
    assert (opset > 9) == ("Slice" in operators(PROGRAMS[name], precision))
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    if opset > 9:
        model.opset_import[0].version, model.ir_version = 9, 4
        with pytest.raises(onnx.checker.ValidationError):
            onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_names_are_identifiers_that_occur_once(precision: Precision) -> None:
    plain = mlp(2, 6, 1, 2)
    for program in (*PROGRAMS.values(), derivatives(plain, ["u[0]", "u[1]_x0_x1", "laplacian(u[0])"])):
        graph = to_onnx(program, precision).graph
        tensors = [tensor.name for tensor in (*graph.initializer, *graph.input)]
        tensors += [name for node in graph.node for name in node.output]
        names = [*tensors, *(node.name for node in graph.node)]
        assert len(names) == len(set(names))
        assert all(re.fullmatch(r"x|y|[nv](\d+(_[a-z]\w*)?|_outputs)", name, re.ASCII) for name in names)


@pytest.mark.parametrize("batch", [1, 9])
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_fixed_number_of_points(name: str, batch: int) -> None:
    program = PROGRAMS[name]
    model = to_onnx(program, "float64", batch=batch)
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    shapes = [each.type.tensor_type.shape.dim for each in (*inferred.input, *inferred.output, *inferred.value_info)]
    assert all(dim.dim_value > 0 for shape in shapes for dim in shape)
    assert from_onnx(model) == program
    x = points(program, batch)
    np.testing.assert_allclose(run(model, x), interpret(program, x), rtol=CLOSE["float64"], atol=CLOSE["float64"])


@pytest.mark.parametrize("batch", [0, -1, LARGEST_BATCH + 1])
def test_a_number_of_points_that_no_model_takes(batch: int, tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match=rf"batch is {batch}; expected: 1 to 65536"):
        export_bundle(mlp(2, 4, 1, 1), tmp_path / "bundle", name="net", batch=batch)
    assert not [*tmp_path.iterdir()]


COLUMNS = {
    "inputs": [Input("x0", -1.0, 2.0, "m"), Input("x1", 0.0, None)],
    "outputs": [Output("u[0]", "K"), Output("u[1]")],
}


@pytest.fixture(scope="module")
def in_fives(artifacts: Artifacts) -> Path:
    program = mlp(2, 6, 1, 2)
    return artifacts.bundle(program, name="net", derivatives=["u[0]", "u[1]_x0_x1"], batch=5, **COLUMNS)


def test_every_model_of_a_bundle_says_what_the_manifest_says(in_fives: Path) -> None:
    manifest = read_manifest(in_fives)
    assert json.loads((in_fives / "manifest.json").read_text())["batch"] == manifest.batch == 5
    for name, stated in manifest.functions.items():
        model = onnx.load(in_fives / ONNX_FILES[name])
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        columns = json.loads(metadata["kdpinn.columns"])
        assert columns == json.loads(json.dumps({"inputs": manifest.inputs, "outputs": stated.outputs}, default=vars))
        assert metadata["kdpinn.program_sha256"] == stated.program_sha256
        assert metadata["kdpinn.precision"] == manifest.precision
        assert [each.type.tensor_type.shape.dim[0].dim_value for each in (*model.graph.input, *model.graph.output)] == [
            5
        ] * 2
    model = find_model(str(in_fives / "model.onnx"))
    assert model.program == rounded(find_model(str(in_fives)).program)
    assert (model.inputs, model.outputs) == (manifest.inputs, manifest.functions["eval"].outputs)


@pytest.mark.parametrize("n", [0, 1, 5, 12])
def test_the_engine_takes_any_number_of_points(n: int, in_fives: Path) -> None:
    fixed, library = load(in_fives, "onnx"), load(in_fives)
    x = np.random.default_rng(0).uniform(0, 1, (n, 2)).astype(np.float32)
    for engine in (fixed, pickle.loads(pickle.dumps(fixed))):  # noqa: S301
        np.testing.assert_allclose(engine(x), library(x), rtol=CLOSE["float32"], atol=CLOSE["float32"])
        np.testing.assert_allclose(engine.eval(x, threads=2), library(x), rtol=CLOSE["float32"], atol=CLOSE["float32"])
    y = np.full((n, 2), np.nan, np.float32)
    fixed.bind(x, y, function="jet")()
    np.testing.assert_array_equal(y, np.stack([*fixed.jet(x).values()], 1))
    np.testing.assert_allclose(y, np.stack([*library.jet(x).values()], 1), rtol=CLOSE["float32"], atol=CLOSE["float32"])


def test_check_passes_and_another_number_is_refused(in_fives: Path, tmp_path: Path) -> None:
    verdicts = {verdict.name: verdict for verdict in check(in_fives)}
    assert {verdicts[name].result for name in ("derived files", "eval, onnx model", "jet, onnx runtime")} == {"passed"}
    edited = tmp_path / "net"
    shutil.copytree(in_fives, edited)
    write_manifest(replace(read_manifest(in_fives), batch=6), edited)
    with pytest.raises(BundleError, match=r"model\.onnx takes 5 points, the manifest says 6: export the bundle again"):
        load(edited, "onnx")
    assert {verdict.name: verdict.result for verdict in check(edited)}["derived files"] == "failed"


def test_equal_bytes() -> None:
    first, second = (to_onnx(mlp(2, 8, 2, 1), "float32").SerializeToString() for _ in range(2))
    assert first == second


def test_parameters_beyond_float32() -> None:
    program = Program("big", one, (Var("y", 3),), (Scale(Var("y", 3), a, [1e39, 1, 1], [0, 0, 0]),))
    with pytest.raises(ProgramError, match=r"1e\+39, which float32 cannot hold"):
        to_onnx(program, "float32")
    assert from_onnx(to_onnx(program, "float64")) == program


def external(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    model.graph.initializer[0].external_data.add(key="location", value="/etc/passwd")


def node(model: onnx.ModelProto, operator: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.op_type == operator)


EDITS: dict[str, tuple[Callable[[onnx.ModelProto], object], str]] = {
    "no metadata": (lambda m: m.ClearField("metadata_props"), "no kdpinn.precision"),
    "another opset": (
        lambda m: setattr(m.opset_import[0], "version", 17),
        "it has opset 17 of ai.onnx, IR version 4 instead of opset 9 of ai.onnx, IR version 4",
    ),
    "another operator": (lambda m: setattr(node(m, "Tanh"), "op_type", "Gelu"), "is Gelu of 1"),
    "another attribute": (lambda m: node(m, "Tanh").attribute.add(name="alpha", f=2.0, type=1), "node 'n4' differs"),
    "another input": (lambda m: node(m, "Tanh").input.__setitem__(0, "nowhere"), "KeyError: 'nowhere'"),
    "a weight too many": (
        lambda m: m.graph.initializer.add(name="w", data_type=7, dims=[0]),
        "initializer 'w' differs",
    ),
    "a node too many": (lambda m: m.graph.node.add(name="n9_z", op_type="Tanh", output=["z"]), "node 'n9_z' differs"),
    "a weight cut short": (lambda m: m.graph.initializer[-1].ClearField("raw_data"), "ValueError"),
    "a weight outside": (external, "is stored outside the model"),
    "another type": (lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 1), "input 'x' differs"),
    "another name": (lambda m: setattr(m.graph, "name", "../x"), "'../x' is not a name"),
    "a free output": (
        lambda m: setattr(m.graph.output[0].type.tensor_type.shape.dim[0], "dim_param", "m"),
        "output 'y' differs",
    ),
    "too few names": (
        lambda m: setattr(m.metadata_props[2], "value", "[]"),
        "IndexError",
    ),
    "an infinite weight": (
        lambda m: setattr(m.graph.initializer[-1], "raw_data", np.array([np.inf]).tobytes()),
        "bias holds a NaN or an infinity",
    ),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_model_is_refused(edit: str) -> None:
    change, message = EDITS[edit]
    model = to_onnx(mlp(2, 4, 1, 1), "float64")
    change(model)
    with pytest.raises(ProgramError) as raised:
        from_onnx(model)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    "data", [b"", b"junk\xff", b"PK\x03\x04", to_onnx(mlp(2, 4, 1, 1), "float32").SerializeToString()[:-9]]
)
def test_a_file_that_is_not_a_model_is_refused(data: bytes) -> None:
    with pytest.raises(ProgramError, match=r"expected: a model\.onnx that `export` wrote"):
        from_onnx(data)
