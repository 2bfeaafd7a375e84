"""What the command line takes as SOURCE beside our own models: columns as text, networks of torch in files."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from strategies import mlp
from test_cli import refused, run
from torch import nn

from kdpinn_edge import KdpinnError, interpret
from kdpinn_edge.bundle.manifest import Input, Output
from kdpinn_edge.importers.columns import Column, parse_columns
from kdpinn_edge.importers.model import Model, find_model, model_name
from kdpinn_edge.importers.pytorch.weights import load_into

X = np.random.default_rng(0).uniform(0, 1, (50, 2))
COLUMNS = {"inputs": "x[m]=0:1, t=0:2", "outputs": "u[K]"}
PROGRAM = """
from torch import nn
def build():
    return nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
ready = build().double()
def broken():
    raise ValueError("no such thing")
def number():
    return 3
"""


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))


def agrees(model: Model, net: nn.Module) -> None:
    with torch.no_grad():
        assert np.abs(interpret(model.program, X) - net.double()(torch.from_numpy(X)).numpy()).max() < 1e-14


# Columns


def test_columns_are_read():
    assert parse_columns("x[m]=0:5000, T[K]=300:1500,s[100], v[kg/(m s)][3] = -1:inf") == (
        Column("x", 1, "m", 0, 5000),
        Column("T", 1, "K", 300, 1500),
        Column("s", 100),
        Column("v", 3, "kg/(m s)", -1, None),
    )
    assert parse_columns("x=:1, t=0:") == (Column("x", upper=1), Column("t", lower=0))
    assert Column("v", 2).names == ("v[0]", "v[1]")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'' is no column"),
        ("x,,t", "'' is no column"),
        ("1x", "'1x' is no column"),
        ("x=1", "'x=1' is no column"),
        ("x=a:b", "the bound 'a' of x is no number"),
        ("x=nan:1", "the bound 'nan' of x is no number"),
        ("x=1:0", "x=1:0 is no interval"),
        ("x[3][4]", "other brackets than one unit and one size"),
        ("x[]", "other brackets"),
        ("x[0]", "x has 0 columns"),
        ("x, x", "x is named twice"),
    ],
)
def test_columns_that_cannot_be_read(text, said):
    with pytest.raises(KdpinnError, match=said.replace("[", r"\[")):
        parse_columns(text)


def test_columns_of_our_own_models():
    """They have names, and are given units and a domain."""
    model = find_model("burgers", inputs="x[m]=-2:2, t[s]=0:", outputs="u[m/s]")
    assert model.inputs == (Input("x", -2, 2, "m"), Input("t", 0, None, "s"))
    assert model.outputs == (Output("u", "m/s"),)
    assert find_model(model.program, inputs="x=0:1, t").inputs == (Input("x", 0, 1), Input("t"))
    for options, said in (
        ({"inputs": "x"}, "--inputs states x, but the model has x, t"),
        ({"outputs": "u=0:1"}, "outputs: u has bounds"),
        ({"activation": "tanh"}, "--activation is given"),
        ({"weights": "w.pt"}, "--weights is given"),
    ):
        with pytest.raises(KdpinnError, match=said):
            find_model("burgers", **options)


@pytest.mark.parametrize("name", ["My Net-3.onnx", "net.v2.onnx", "3.onnx", "int.onnx", "ä.onnx"])
def test_a_file_names_its_model(name):
    assert model_name(Path(name)) in {"my_net_3", "net", "model"}


# Files of torch


def test_a_program_of_the_user(tmp_path):
    """A function, or a module that is there already; weights under other names."""
    path = tmp_path / "net.py"
    path.write_text(PROGRAM)
    net = network()
    state = net.state_dict()
    torch.save(
        {"epoch": 3, "state_dict": {f"model._orig_mod.{k}": v for k, v in state.items()}, "lr": torch.ones(1)},
        tmp_path / "a.ckpt",
    )
    torch.save({f"module.{k}": v for k, v in state.items()}, tmp_path / "b.pt")
    save_file(state, tmp_path / "c.safetensors")
    for weights in ("a.ckpt", "b.pt", "c.safetensors"):
        model = find_model(f"{path}:build", weights=tmp_path / weights, **COLUMNS)
        assert model.inputs == (Input("x", 0, 1, "m"), Input("t", 0, 2))
        agrees(model, net)
    assert find_model(f"{path}:ready", **COLUMNS).name == "net"


def test_weights_under_a_prefix_that_the_module_has():
    outer = nn.ModuleDict({"net": network()})
    load_into(outer, nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)).state_dict(), "w.pt")


@pytest.mark.parametrize(("source", "weights", "said"),
    [
        ("net.py", None, "expected: also the function in it that makes the network, as in .*net.py:build"),
        ("net.py:other", None, "has no other"),
        ("net.py:broken", None, r"net\.py:7: the program fails: ValueError: no such thing"),
        ("none.py:build", None, "no such file"),
        ("net.py:build", "wrong.pt", r"(?s)0\.weight has shape \(7, 2\).*3\.weight is not of the module"),
        ("net.py:build", "two.pt", "the weights of several such modules, as a., b."),
        ("net.py:build", "none.pt", "no such file"),
        ("net.py:build", "object.pt", "this is a pickle of Python objects"),
        ("net.py:build", "script.pt", "this is TorchScript"),
        ("net.py:build", "cut.pt", "not a file that torch.save wrote"),
        ("object.pt", None, "this is a pickle of Python objects"),
        ("script.pt", None, "this is TorchScript"),
        ("cut.pt2", "b.pt", "--weights goes with model.py:build"),
        ("cut.pt2", None, "cut.pt2: not an archive"),
        ("none.pt2", None, "none.pt2: no such file"),
        ("b.pt", None, "add --activation for dense layers .*, one of celu, cos,"),
        ("other.bin", None, "other.bin is no file of a model"),
    ],
)  # fmt: skip
def test_files_that_are_refused(tmp_path, monkeypatch, source, weights, said):
    """With what is wrong, before anything is captured."""
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(PROGRAM)
    net = network()
    state = net.state_dict()
    torch.save(state, "b.pt")
    torch.save({**state, "0.weight": torch.ones(7, 2), "3.weight": torch.ones(1)}, "wrong.pt")
    torch.save({f"{p}.{k}": v for p in "ab" for k, v in state.items()}, "two.pt")
    torch.save(net, "object.pt")
    Path("script.pt").write_bytes(script())
    Path("cut.pt").write_bytes(Path("b.pt").read_bytes()[:300])
    Path("cut.pt2").write_bytes(b"PK\x03\x04")
    Path("other.bin").write_bytes(b"x")
    with pytest.raises(KdpinnError, match=said):
        find_model(source, weights=weights, **COLUMNS)


def script() -> bytes:
    """The names in an archive of TorchScript, without the functions of torch that warn."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("net/constants.pkl", b"")
        archive.writestr("net/data.pkl", b"")
    return data.getvalue()


def test_columns_are_asked_for(tmp_path):
    torch.save(network().state_dict(), tmp_path / "w.pt")
    with pytest.raises(KdpinnError, match="does not say what its columns are called; add --outputs"):
        find_model(tmp_path / "w.pt", inputs="x, t", activation="tanh")


def test_dense_layers_alone(tmp_path):
    """In natural order, whatever the layers are called."""
    torch.manual_seed(0)
    layers = [nn.Linear(a, b) for a, b in ((2, 8), *[(8, 8)] * 10, (8, 1))]
    net = nn.Sequential(*(part for layer in layers for part in (layer, nn.Tanh())))[:-1]
    state = {
        f"fc{i}.{name}": tensor.detach() for i, layer in enumerate(layers) for name, tensor in layer.named_parameters()
    }
    save_file(state, tmp_path / "w.safetensors")
    agrees(find_model(tmp_path / "w.safetensors", activation="tanh", **COLUMNS), net)
    names = ("first", "hidden.0", "last")
    state = {
        f"{n}.{p}": t.detach()
        for n, layer in zip(names, (layers[0], layers[1], layers[-1]), strict=True)
        for p, t in layer.named_parameters()
    }
    torch.save(state, tmp_path / "w.pt")
    agrees(
        find_model(tmp_path / "w.pt", activation="tanh", **COLUMNS),
        nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.Tanh(), layers[-1]),
    )


@pytest.mark.parametrize(
    ("state", "activation", "said"),
    [
        ({"a.weight": torch.ones(8, 2), "b.weight": torch.ones(1, 7)}, "tanh", "make no chain"),
        ({"b.weight": torch.ones(2, 2), "a.weight": torch.ones(2, 2)}, "tanh", "a chain in more than one order"),
        ({"conv.weight": torch.ones(8, 2, 3)}, "tanh", r"conv.weight \(8, 2, 3\) belongs to no dense layer"),
        ({"a.weight": torch.ones(1, 2), "a.scale": torch.ones(1)}, "tanh", "a.scale"),
        ({"a.weight": torch.ones(1, 2)}, "tann", "no activation is called 'tann'"),
    ],
)
def test_what_is_no_dense_network(tmp_path, state, activation, said):
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(KdpinnError, match=said):
        find_model(tmp_path / "w.pt", activation=activation, **COLUMNS)


def exported(path: Path) -> None:
    program = torch.export.export(network(), (torch.rand(5, 2),), dynamic_shapes=({0: torch.export.Dim("n")},))
    torch.export.save(program, path)


def edited(path: Path, entry: str, change) -> Path:
    """The archive with one entry changed."""
    out = path.with_name("edited.pt2")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, change(content) if name.endswith(entry) else content)
    return out


class Attack:
    """What a pickle runs when it is read."""

    def __reduce__(self):
        return (Path("attacked").touch, ())


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")
def test_exported_programs(tmp_path, monkeypatch):
    """Read as data: what would run code is refused, and nothing is run."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.pt2"
    exported(path)
    agrees(find_model(path, **COLUMNS), network())
    evil = "__import__('pathlib').Path('attacked').touch()"
    guarded = edited(path, "models/model.json", lambda c: json.dumps(json.loads(c) | {"guards_code": [evil]}).encode())
    agrees(find_model(guarded, **COLUMNS), network())
    data = io.BytesIO()
    torch.save((Attack(),), data)
    for entry, change, said in (
        ("models/model.json", lambda c: c.replace(b"torch.ops.aten.tanh.default", b"torch.hub.load"), "a node calls"),
        ("models/model.json", lambda c: c.replace(b"Symbol('s", b"eval('s"), "is no arithmetic"),
        ("models/model.json", lambda c: c.replace(b"builtins.tuple", b"os.PathLike"), "are made of os.PathLike"),
        ("sample_inputs/model.pt", lambda c: data.getvalue(), "which runs code when it is read"),
        ("model_weights_config.json", lambda c: c.replace(b"pickle\": false", b"pickle\": true"), "stored as a pickle"),
        ("models/model.json", lambda c: b"{}", "is damaged"),
    ):  # fmt: skip
        with pytest.raises(KdpinnError, match=said):
            find_model(edited(path, entry, change), **COLUMNS)
    assert not Path("attacked").exists()


def mdlus(path: Path, state, *, tar: bool = False, name: str = "FullyConnected", **options) -> Path:
    data = io.BytesIO()
    torch.save(state, data)
    entries = {
        "model.pt": data.getvalue(),
        "args.json": json.dumps({"__name__": name, "__args__": options}).encode(),
        "metadata.json": b"{}",
    }
    if tar:
        with tarfile.open(path, "w") as archive:
            for entry, content in entries.items():
                info = tarfile.TarInfo(f"./{entry}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            for entry, content in entries.items():
                archive.writestr(entry, content)
    return path


def test_physicsnemo(tmp_path):
    """Both containers, and every option of FullyConnected, against the equations written out."""
    torch.manual_seed(0)
    W = [torch.randn(s, dtype=torch.float64) for s in ((6, 2), (6, 6), (6, 6), (6, 6), (1, 6))]
    b = [torch.randn(len(w), dtype=torch.float64) for w in W]
    a, g = torch.tensor([1.3]), [torch.rand(6, 1, dtype=torch.float64) + 0.5 for _ in W]
    layer = [f"layers.{i}" for i in range(4)] + ["final_layer"]
    biases = {f"{n}.linear.bias": c for n, c in zip(layer, b, strict=True)}
    x = torch.from_numpy(X)

    def expected(weights, slope=1.0, skips=False):
        h, kept = x, None
        for i, (w, c) in enumerate(zip(weights[:-1], b[:-1], strict=True)):
            h = nn.functional.silu(slope * (h @ w.T + c))
            if skips and i % 2 == 0:
                h, kept = (h if kept is None else h + kept), h
        return (h @ weights[-1].T + b[-1]).numpy()

    plain = biases | {f"{n}.linear.weight": w for n, w in zip(layer, W, strict=True)}
    normed = plain | {f"{n}.linear.weight_g": s for n, s in zip(layer[:-1], g, strict=False)}
    factored = biases | {"final_layer.linear.weight": W[-1]}
    factored |= {
        f"{n}.linear.{k}": v for n, s, w in zip(layer[:-1], g, W, strict=False) for k, v in (("g", s), ("v", w))
    }
    unit = [s * w / w.norm(dim=1, keepdim=True) for s, w in zip(g, W[:-1], strict=False)]
    adaptive = plain | {f"{n}.activation_par": a for n in layer[:-1]}
    for state, options, y in (
        (plain, {}, expected(W)),
        (plain, {"tar": True, "activation_fn": ["silu"]}, expected(W)),
        (plain, {"skip_connections": True}, expected(W, skips=True)),
        (adaptive, {"adaptive_activations": True}, expected(W, slope=a.double())),
        (normed, {"weight_norm": True}, expected([*unit, W[-1]])),
        (factored, {"weight_fact": True}, expected([*(s * w for s, w in zip(g, W[:-1], strict=False)), W[-1]])),
    ):
        model = find_model(mdlus(tmp_path / "m.mdlus", state, **options), **COLUMNS)
        assert np.abs(interpret(model.program, X) - y).max() < 1e-12 * np.abs(y).max()
    for state, options, said in (
        (plain, {"name": "FNO"}, "the network is a FNO of PhysicsNeMo"),
        (plain, {"activation_fn": "stan"}, "the activation stan is unknown"),
        (plain | {"extra.weight": a}, {}, "extra.weight is not of a FullyConnected"),
        (
            {k: v for k, v in plain.items() if "layers.1" not in k} | {"layers.0.linear.weight": torch.ones(3, 2)},
            {},
            "a weight",
        ),
    ):
        with pytest.raises(KdpinnError, match=said):
            find_model(mdlus(tmp_path / "m.mdlus", state, **options), **COLUMNS)
    (tmp_path / "m.mdlus").write_bytes(pickle.dumps(1))
    with pytest.raises(KdpinnError, match=r"not an archive with args\.json"):
        find_model(tmp_path / "m.mdlus", **COLUMNS)


# The command line


def test_commands_take_a_source(tmp_path, monkeypatch):
    """`export` and `info` of a foreign file; the columns are in the manifest, and in the ONNX file of the bundle."""
    monkeypatch.chdir(tmp_path)
    torch.save(network().state_dict(), "w.pt")
    columns = ("--inputs", COLUMNS["inputs"], "--outputs", COLUMNS["outputs"], "--activation", "tanh")
    assert run("export", "w.pt", *columns, "--out", "b", "--name", "mine", "--target", "c99").exit_code == 0
    manifest = json.loads(Path("b/manifest.json").read_text())
    assert manifest["inputs"][0] == {"name": "x", "lower": 0, "upper": 1, "unit": "m"}
    assert manifest["functions"]["eval"]["outputs"] == [{"name": "u", "unit": "K"}]
    again = find_model("b/model.onnx")
    assert (again.inputs, again.outputs) == ((Input("x", 0, 1, "m"), Input("t", 0, 2)), (Output("u", "K"),))
    assert "tanh(" in run("info", "w.pt", *columns, "--program").output
    assert "add --inputs and --outputs" in refused("export", "w.pt", "--out", "none")
    assert "is no column" in refused("export", "w.pt", "--inputs", "x y", "--out", "none")
    assert not Path("none").exists()


def test_a_program_is_its_own_source():
    program = mlp(2, 4, 1, 1)
    assert find_model(program).program is program
