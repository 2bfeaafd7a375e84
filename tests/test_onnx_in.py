"""capture_onnx: ONNX files of many makers, and files that must not be read."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from strategies import mlp

from kdpinn_edge import KdpinnError, Program, capture_onnx, interpret
from kdpinn_edge.bundle.manifest import Input, Output
from kdpinn_edge.export.onnx_model import to_onnx
from kdpinn_edge.importers.model import find_model
from kdpinn_edge.importers.onnx_files.model import read_onnx

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
from onnx_node_tests import READ, cases, run

WITHOUT_TESTS = """Cast CastLike Equal EyeLike FeatureVectorizer LinearRegressor Normalizer Scaler Shape Size
    Trilu"""
"""Operators of which ONNX has no tests, or whose result is the same for all points, or of integers."""
RNG = np.random.default_rng(0)
FLOAT, DOUBLE, INT64 = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64
X = RNG.uniform(-1, 1, (64, 2))


def weights(*shape: int, dtype=np.float32):
    return RNG.standard_normal(shape).astype(dtype)


def saved(path: Path, nodes, constants, inputs, outputs, *, opset=17, metadata=None, element=FLOAT, **model) -> Path:
    """A file with these nodes; `inputs` and `outputs` are {name: shape}, `constants` {name: array}."""
    values = [
        [helper.make_tensor_value_info(name, element, shape) for name, shape in each.items()]
        for each in (inputs, outputs)
    ]
    graph = helper.make_graph(
        nodes, "g", *values, [numpy_helper.from_array(np.asarray(c), n) for n, c in constants.items()]
    )
    made = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3)], **model
    )
    for key, value in (metadata or {}).items():
        made.metadata_props.add(key=key, value=value)
    onnx.save(made, path)
    return path


def node(operator, inputs, output, **attributes):
    return helper.make_node(operator, inputs.split(), output.split(), name=f"{operator}_of_{output}", **attributes)


def dense(path: Path, shape=("n", 2), out=("n", 1), **options) -> Path:
    """tanh(x W0 + b0) W1, as Keras writes it."""
    nodes = [node("MatMul", "x W0", "m"), node("Add", "m b0", "a"), node("Tanh", "a", "h"), node("MatMul", "h W1", "u")]
    constants = {"W0": weights(2, 8), "b0": weights(8), "W1": weights(8, 1)}
    return saved(path, nodes, constants, {"x": list(shape)}, {"u": list(out)}, **options)


def agrees(program: Program, path: Path, x=X, tolerance=1e-5) -> None:
    """The Program is the file, evaluated by ONNX's reference evaluator in the precision of the file."""
    expected = ReferenceEvaluator(str(path)).run(None, {"x": x.astype(np.float32)})[0]
    assert np.abs(interpret(program, x) - expected).max() <= tolerance


@pytest.mark.parametrize("most", [3, pytest.param(None, marks=pytest.mark.proof)])
@pytest.mark.parametrize("operator", READ)
def test_onnx_node_tests_pass(operator, most):
    """ONNX's own tests of every operator that is read; `tools/onnx_node_tests.py` writes them into the docs."""
    found = cases(operator, expanded=False)
    results = [run(operator, case) for case in found[:: -(-len(found) // most) if most and found else None]]
    assert not [result for result in results if result.outcome == "failed"]
    if operator not in WITHOUT_TESTS.split():
        assert "passed" in {result.outcome for result in results}, results


# Interfaces


def test_keras_matrix(tmp_path):
    """Weights in (in, out); the axis of points free; one matrix under two names, with units and a domain."""
    path = dense(tmp_path / "mine.onnx")
    model = find_model(path, inputs="x[m]=0:5000, T[K]=300:", outputs="u[m/s]")
    assert model.name == "mine"
    assert model.inputs == (Input("x", 0, 5000, "m"), Input("T", 300, None, "K"))
    assert model.outputs == (Output("u", "m/s"),)
    agrees(model.program, path)
    assert str(model.program).count("affine") == 2  # the bias belongs to the product


@pytest.mark.parametrize(("shape", "out"), [(("n", 2), ("n", 1)), ((7, 2), (7, 1)), ((1, 2), (1, 1)), (None, None)])
def test_axis_of_points(tmp_path, shape, out):
    """Free, fixed, of size 1, and not stated at all."""
    path = dense(tmp_path / "m.onnx", shape or ("n", 2), out or ("n", 1))
    if shape is None:
        model = onnx.load(path)
        model.graph.input[0].type.tensor_type.ClearField("shape")
        onnx.save(model, path)
    agrees(capture_onnx(path, "x, t", "u"), path)


def test_missing_axis_of_points(tmp_path):
    """A file that takes one point as a vector, and returns one."""
    nodes = [node("MatMul", "W x", "h"), node("Sin", "h", "u")]
    path = saved(tmp_path / "m.onnx", nodes, {"W": weights(3, 2)}, {"x": [2]}, {"u": [3]})
    program = capture_onnx(path)
    assert [(v.name, v.size) for v in (*program.inputs, *program.outputs)] == [("x", 2), ("u", 3)]
    expected = [ReferenceEvaluator(str(path)).run(None, {"x": x.astype(np.float32)})[0] for x in X]
    assert np.abs(interpret(program, X) - expected).max() < 1e-6


@pytest.mark.parametrize("shape", [["n", 1], ["n"], [9, 1]])
def test_an_input_per_column(tmp_path, shape):
    """Named by the file, in the file's order, or in another that is stated."""
    nodes = [node("Mul", "x t", "p"), node("Sub", "p x", "u")]
    path = saved(tmp_path / "m.onnx", nodes, {}, {"x": shape, "t": shape}, {"u": shape})
    for inputs, columns in ((None, (0, 1)), ("x=0:1, t=0:2", (0, 1)), ("t, x", (1, 0)), ("a, b", (0, 1))):
        program = capture_onnx(path, inputs)
        x, t = X.T
        assert np.allclose(interpret(program, X[:, columns])[:, 0], x * t - x, rtol=0, atol=1e-15)


def test_several_outputs(tmp_path):
    """All of them, or those that are named; a constant is none."""
    nodes = [node("Sin", "x", "u"), node("Cos", "x", "v"), node("Identity", "c", "w")]
    outputs = {"u": ["n", 2], "v": ["n", 2], "w": [1]}
    path = saved(tmp_path / "m.onnx", nodes, {"c": np.ones(1, np.float32)}, {"x": ["n", 2]}, outputs)
    program = capture_onnx(path, outputs="v[2], u[2]")
    assert np.allclose(interpret(program, X), np.hstack([np.cos(X), np.sin(X)]), rtol=0, atol=1e-15)
    with pytest.raises(KdpinnError, match="the output 'w' is the same for all points"):
        capture_onnx(path)


def test_metadata_names_columns(tmp_path):
    """`kdpinn.columns` says names, units and domain, unless somebody states them."""
    text = json.dumps(
        {
            "inputs": [{"name": "x", "lower": 0, "upper": 2, "unit": "m"}, {"name": "t"}],
            "outputs": [{"name": "T", "unit": "K"}],
        }
    )
    path = dense(tmp_path / "m.onnx", metadata={"kdpinn.columns": text})
    program, inputs, outputs = read_onnx(path, "m", None, None)
    assert (inputs, outputs) == ((Input("x", 0, 2, "m"), Input("t")), (Output("T", "K"),))
    assert [v.name for v in (*program.inputs, *program.outputs)] == ["x", "t", "T"]
    assert [v.name for v in capture_onnx(path, "a, b").inputs] == ["a", "b"]
    path = dense(tmp_path / "m.onnx", metadata={"kdpinn.columns": '{"inputs": [{"name": "1x"}]}'})
    with pytest.raises(KdpinnError, match=r"the metadata kdpinn\.columns cannot be read"):
        capture_onnx(path)


def test_own_file_gives_an_equal_program(tmp_path):
    """A model.onnx that `export` wrote; under other names it is read like any other file."""
    program = mlp(2, 8, 2, 1)
    path = tmp_path / "net.onnx"
    path.write_bytes(to_onnx(program, "float64").SerializeToString())
    assert capture_onnx(path) == program
    assert find_model(path).inputs == (Input("x0"), Input("x1"))
    renamed = capture_onnx(path, "a, b", "c")
    assert np.allclose(interpret(renamed, X), interpret(program, X), rtol=1e-13, atol=1e-15)


# Makers


def test_torch_exporters(tmp_path):
    """Both of torch's exporters, dropout and batch normalisation in eval mode among the layers."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.5), nn.LayerNorm(8), nn.Linear(8, 1)
    ).eval()
    x = torch.tensor(X, dtype=torch.float32)
    shapes = {"dynamo": {"dynamic_shapes": ({0: torch.export.Dim("n")},)}, "script": {"dynamic_axes": {"x": {0: "n"}}}}
    import warnings

    for name, options in shapes.items():
        path = tmp_path / f"{name}.onnx"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                net,
                (x,),
                str(path),
                input_names=["x"],
                output_names=["u"],
                dynamo=name == "dynamo",
                verbose=False,
                **options,
            )
        program = capture_onnx(path, "x, t")
        with torch.no_grad():
            assert np.abs(interpret(program, X) - net.double()(x.double()).numpy()).max() < 1e-6
        net.float()


def test_scikit_learn_pipeline(tmp_path):
    """A scaler of ai.onnx.ml before a network, as skl2onnx writes it."""
    nodes = [
        helper.make_node("Scaler", ["x"], ["s"], domain="ai.onnx.ml", offset=[0.5, -1.0], scale=[2.0, 0.25]),
        node("Cast", "s", "c", to=FLOAT), node("MatMul", "c W", "m"), node("Add", "m b", "a"), node("Relu", "a", "h"),
        node("MatMul", "h V", "y"), node("Reshape", "y shape", "u"),
    ]  # fmt: skip
    constants = {"W": weights(2, 8), "b": weights(8), "V": weights(8, 1), "shape": np.array([-1, 1])}
    path = saved(tmp_path / "m.onnx", nodes, constants, {"x": [None, 2]}, {"u": [None, 1]})
    agrees(capture_onnx(path, "x, t"), path)


def test_shape_arithmetic_and_local_functions(tmp_path):
    """Sizes that a graph calculates, a branch whose condition is constant, a function that the file defines."""
    then, other = (
        helper.make_graph([node(op, "h", f"y{op}")], op, [], [helper.make_tensor_value_info(f"y{op}", FLOAT, None)])
        for op in ("Sin", "Cos")
    )
    nodes = [
        node("Shape", "x", "s"), node("Gather", "s zero", "n", axis=0), node("Concat", "n one", "to", axis=0),
        node("ReduceSum", "x axes", "t", keepdims=0), node("Reshape", "t to", "r"), node("ConstantOfShape", "to", "z"),
        helper.make_node("twice", ["r"], ["d"], domain="mine"), node("Add", "d z", "y"),
        node("Range", "i0 i2 i1", "r01"), node("Cast", "r01", "f01", to=FLOAT), node("ReduceSum", "f01", "f1"),
        node("Mul", "y f1", "h"), node("Equal", "one one", "yes"),
        helper.make_node("If", ["yes"], ["u"], then_branch=then, else_branch=other),
    ]  # fmt: skip
    function = helper.make_function(
        "mine", "twice", ["a"], ["b"], [node("Add", "a a", "b")], [helper.make_opsetid("", 17)]
    )
    constants = {"zero": np.array([0]), "one": np.array([1]), "axes": np.array([1])}
    constants |= {f"i{i}": np.array(i) for i in range(3)}
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("u", FLOAT, ["n", 1])],
        [numpy_helper.from_array(c, n) for n, c in constants.items()],
    )
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=imports, functions=[function]), path)
    assert np.allclose(interpret(capture_onnx(path), X)[:, 0], np.sin(2 * X.sum(1)), rtol=0, atol=1e-15)


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 18, 21])
def test_opsets(tmp_path, opset):
    """Axes and bounds are attributes in old files, and inputs in new ones."""
    axes = np.array([1], dtype=np.int64)
    old = opset < 13
    nodes = [
        node("Gemm", "x W b", "a", transB=1),
        node("Clip", "a", "c", min=-0.5, max=0.75) if opset < 11 else node("Clip", "a lower upper", "c"),
        node("ReduceSum", "c", "s", axes=[1], keepdims=0) if old else node("ReduceSum", "c axes", "s", keepdims=0),
        node("Unsqueeze", "s", "u", axes=[1]) if old else node("Unsqueeze", "s axes", "u"),
    ]
    constants = {
        "W": weights(8, 2),
        "b": weights(8),
        "lower": np.float32(-0.5),
        "upper": np.float32(0.75),
        "axes": axes,
    }
    path = saved(tmp_path / "m.onnx", nodes, constants, {"x": ["n", 2]}, {"u": ["n", 1]}, opset=opset)
    agrees(capture_onnx(path), path)


SCALES = {"scale": np.float32([1.25, 0.5, -2, 1]), "bias": np.float32([0.1, -0.3, 0.7, 0])}
PER_GROUP = {name: each[:2] for name, each in SCALES.items()}


@pytest.mark.parametrize("element", [FLOAT, DOUBLE])
@pytest.mark.parametrize(
    ("operator", "opset", "constants", "attributes"),
    [
        ("Gelu", 20, {}, {"approximate": "tanh"}),
        ("Gelu", 20, {}, {}),
        ("HardSwish", 14, {}, {}),
        ("Mish", 18, {}, {}),
        ("GroupNormalization", 18, PER_GROUP, {"num_groups": 2}),
        ("GroupNormalization", 21, SCALES, {"num_groups": 2}),
        ("LayerNormalization", 17, SCALES, {}),
        ("Celu", 12, {}, {"alpha": 0.7}),
    ],
)
def test_operators_that_onnx_defines_by_others_are_proved_in_float64(
    tmp_path, operator, opset, constants, attributes, element
):
    """The reference evaluator rounds to float32 in some of them, whatever the file is made of."""
    dtype = np.float32 if element == FLOAT else np.float64
    constants = {"W": weights(2, 4, dtype=dtype), **{name: each.astype(dtype) for name, each in constants.items()}}
    last = node(operator, " ".join(["h", *list(constants)[1:]]), "u", **attributes)
    nodes = [node("MatMul", "x W", "h"), last]
    path = saved(tmp_path / "m.onnx", nodes, constants, {"x": ["n", 2]}, {"u": ["n", 4]}, opset=opset, element=element)
    program = capture_onnx(path)
    if operator == "Gelu" and attributes:
        h = X @ constants["W"].astype(np.float64)
        expected = h / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (h + 0.044715 * h**3)))
        assert np.abs(interpret(program, X) - expected).max() < 1e-14


def test_bilinear_layer(tmp_path):
    """Both operands depend on the point, and the weight between them is constant."""
    nodes = [node("Einsum", "x W x", "a", equation="bi,oij,bj->bo"), node("Add", "a c", "u")]
    weight = weights(3, 2, 2)
    path = saved(tmp_path / "m.onnx", nodes, {"W": weight, "c": weights(3)}, {"x": ["n", 2]}, {"u": ["n", 3]})
    agrees(capture_onnx(path), path)


# What is refused

HUGE = [node("ConstantOfShape", "huge", "c"), node("ReduceSum", "c", "s"), node("Add", "x s", "u")]


@pytest.mark.parametrize(("nodes", "said"),
    [
        ([node("Ceil", "x", "u")], r"Ceil, node 'Ceil_of_u', is not read: its slope is 0"),
        ([node("ReduceMean", "x", "u", axes=[0])], r"ReduceMean, node 'ReduceMean_of_u', is not read: it mixes points"),
        ([node("RandomNormalLike", "x", "u")], r"RandomNormalLike.* it is random"),
        ([node("ArgMax", "x", "u", axis=1)], "ArgMax.* it returns places"),
        ([node("Cast", "x", "u", to=INT64)], "Cast.* it makes INT64 of what depends on the point"),
        ([helper.make_node("Fused", ["x"], ["u"], domain="com.example")], r"not of ONNX: com\.example\.Fused"),
        ([helper.make_node("Nothing", ["x"], ["u"])], "opset 17 has no such operator"),
        (HUGE, "expected: at most 16777216 numbers"),
        ([node("Transpose", "x", "t"), node("MatMul", "t x", "u")], "it mixes points"),
    ],
)  # fmt: skip
def test_what_is_no_network_of_points_is_refused_by_name(tmp_path, nodes, said):
    path = saved(tmp_path / "m.onnx", nodes, {"huge": np.array([10**6, 10**6])}, {"x": ["n", 2]}, {"u": None})
    with pytest.raises(KdpinnError, match=said):
        capture_onnx(path)


def test_loops_and_branches_on_data_are_refused(tmp_path):
    body = helper.make_graph(
        [node("Identity", "c", "d"), node("Sin", "v", "w")],
        "b",
        [
            helper.make_tensor_value_info("i", INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", FLOAT, None),
        ],
        [helper.make_tensor_value_info("d", TensorProto.BOOL, []), helper.make_tensor_value_info("w", FLOAT, None)],
    )
    loop = helper.make_node("Loop", ["trips", "yes", "x"], ["u"], name="turns", body=body)
    path = saved(
        tmp_path / "m.onnx", [loop], {"trips": np.array(3), "yes": np.array(True)}, {"x": ["n", 2]}, {"u": None}
    )
    with pytest.raises(KdpinnError, match=r"Loop, node 'turns', is not read: it is control flow"):
        capture_onnx(path)
    branch = helper.make_graph([node("Sin", "x", "w")], "b", [], [helper.make_tensor_value_info("w", FLOAT, None)])
    nodes = [
        node("ReduceSum", "x", "s", keepdims=0),
        node("Greater", "s s", "c"),
        helper.make_node("If", ["c"], ["u"], then_branch=branch, else_branch=branch),
    ]
    path = saved(tmp_path / "m.onnx", nodes, {}, {"x": [2]}, {"u": None})
    with pytest.raises(KdpinnError, match="control flow that depends on the data"):
        capture_onnx(path)


def external(path: Path, location: str, length: int | None = None) -> Path:
    """A dense file whose first matrix lies in another file."""
    model = onnx.load(dense(path))
    tensor = next(each for each in model.graph.initializer if each.name == "W0")
    data = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {
        "location": location,
        "offset": "0",
        "length": str(len(data) if length is None else length),
    }.items():
        tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    return path, data


def test_external_data_lies_beside_the_file(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "data").mkdir()
    path, data = external(tmp_path / "in" / "m.onnx", "data/w.bin")
    with pytest.raises(KdpinnError, match=r"the constant 'W0' cannot be read from 'data/w\.bin'"):
        capture_onnx(path)
    (tmp_path / "in" / "data" / "w.bin").write_bytes(data)
    assert capture_onnx(path).n_in == 2
    secret = tmp_path / "secret.bin"
    secret.write_bytes(data)
    (tmp_path / "in" / "link.bin").symlink_to(secret)
    for location in (str(secret), "../secret.bin", "data/../../secret.bin", "link.bin"):
        with pytest.raises(KdpinnError, match="expected: a file below the model's own folder"):
            capture_onnx(external(path, location)[0])
    for length in (10**9, -1):
        with pytest.raises(KdpinnError, match="cannot be read from"):
            capture_onnx(external(path, "data/w.bin", length)[0])


def test_files_that_are_none(tmp_path):
    for name, content, said in (
        ("no.onnx", None, "no such file"),
        ("empty.onnx", b"", "has no graph"),
        ("text.onnx", b"not a model", "not an ONNX file"),
        ("cut.onnx", dense(tmp_path / "m.onnx").read_bytes()[:-40], "not an ONNX file"),
    ):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(KdpinnError, match=said):
            capture_onnx(tmp_path / name)
    with pytest.raises(KdpinnError, match=r"of opset 6; expected: 7 to"):
        capture_onnx(dense(tmp_path / "old.onnx", opset=6))


@pytest.mark.parametrize(
    ("inputs", "outputs", "said"),
    [
        ("x", None, r"--inputs states 1 columns, but .* takes 2: 'x' of 2"),
        ("x, t", "u, v", r"--outputs states 2 columns, but .* returns 1: 'u' of 1"),
        ("x, u", "u", "u names an input and an output"),
        ("x=2:1, t", None, "no interval"),
    ],
)
def test_columns_that_do_not_fit(tmp_path, inputs, outputs, said):
    with pytest.raises(KdpinnError, match=said):
        capture_onnx(dense(tmp_path / "m.onnx"), inputs, outputs)


def test_where_a_file_is_not_defined(tmp_path):
    path = saved(tmp_path / "m.onnx", [node("Sqrt", "x", "u")], {}, {"x": ["n", 1]}, {"u": ["n", 1]})
    with pytest.raises(KdpinnError, match=r"expected: finite numbers\. The usual fix: give the domain"):
        capture_onnx(path)
    assert interpret(capture_onnx(path, "x=0:4"), np.array([[4.0]])) == 2
