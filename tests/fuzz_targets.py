"""Every reader of files, with a well-formed file, the way in which that is mutated, and what an accepted file means.

`meaning` decodes the bytes on its own and says whether what was read is what they state: that nothing was dropped,
rounded or taken for something else. Where the file is protected by a hash, it has to be the file as it was.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import sqlite3
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import mutations
import numpy as np
import onnx
import torch
from mutations import Mutate
from records import example_record
from rich.console import Console
from safetensors.torch import load

from kdpinn_edge import zoo
from kdpinn_edge.bundle.manifest import MANIFEST_FILE, SIGNATURE_FILE, read_manifest
from kdpinn_edge.bundle.probe import DEVICE_SCHEMA
from kdpinn_edge.bundle.read import Bundle, open_bundle
from kdpinn_edge.bundle.signature import check_signature, fingerprint
from kdpinn_edge.certificates.certificate import (
    Certificate,
    Claim,
    Proved,
    Quantile,
    Side,
    read_certificate,
    write_certificate,
)
from kdpinn_edge.comparison.device import _read as read_device
from kdpinn_edge.comparison.record import Cell
from kdpinn_edge.comparison.record_file import read_record, write_record
from kdpinn_edge.comparison.report import html
from kdpinn_edge.comparison.statistics import summary
from kdpinn_edge.comparison.text_tables import print_record
from kdpinn_edge.equation.condition import Condition
from kdpinn_edge.equation.measurements import measurements
from kdpinn_edge.export.artifacts.gates import check_artifact
from kdpinn_edge.export.bundle import export_bundle
from kdpinn_edge.export.onnx_model import from_onnx
from kdpinn_edge.export.targets.interface import Interface
from kdpinn_edge.export.targets.table import target as find_target
from kdpinn_edge.importers.onnx_files.model import read_onnx
from kdpinn_edge.importers.pytorch.archive import read_pt2
from kdpinn_edge.importers.pytorch.physicsnemo import read_mdlus
from kdpinn_edge.importers.pytorch.weights import read_weights_file
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.problems import problem
from kdpinn_edge.program.file import read_program, write_program
from kdpinn_edge.studies.search.candidate import Candidate, Cost
from kdpinn_edge.studies.search.storage import OUTCOME, open_study, outcomes, sealed
from kdpinn_edge.studies.search.trial import Outcome, Task
from kdpinn_edge.studies.study.plan import Plan, StudyCell, read_plan, write_plan
from kdpinn_edge.studies.study.results import read_accuracy
from kdpinn_edge.training import DistillConfig, TrainConfig, load_pinn, train
from kdpinn_edge.training.domain import Box
from kdpinn_edge.training.fit import _Run
from kdpinn_edge.training.objective import Physics
from kdpinn_edge.training.pinn import Pinn
from kdpinn_edge.training.run_folder import read_checkpoint, read_metrics, record_of, run_config
from kdpinn_edge.training.samples import read_samples


@dataclass(frozen=True)
class Target:
    """A reader: `read` reads `path`, which holds `data` mutated by `mutate`, and uses what it found."""

    path: Path
    data: bytes
    mutate: Mutate
    read: Callable[[], Any]
    meaning: Callable[[bytes, Any], bool]


Targets = Iterator[tuple[str, Target]]


def anything(data: bytes, found: Any) -> bool:
    """The meaning of a file that has none to compare: it is enough that it is read or refused."""
    return True


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    return json.loads(json.dumps(value))


def _loads(data: bytes) -> Any:
    return json.loads(data.decode())


def _bundle(folder: Path) -> Targets:
    """A bundle: its manifest, its files behind their hashes, its library behind the gates."""
    bundle = folder / "heat"
    export_bundle(
        read_program(zoo.program("heat_small")), bundle, name="heat", target="cortex-m7", residual=problem("heat")
    )
    path = bundle / "manifest.json"
    yield (
        "manifest",
        Target(
            path,
            path.read_bytes(),
            mutations.mutated_json,
            lambda: read_manifest(bundle),
            lambda data, found: plain(found.record) == _loads(data),
        ),
    )
    copy = folder / "copy"
    shutil.copytree(bundle, copy)

    def whole() -> object:
        opened = open_bundle(copy)
        return [opened.program(function) for function in opened.manifest.functions]

    path = copy / "residual.npz"
    yield (
        "files of a bundle",
        Target(path, path.read_bytes(), mutations.mutated_bytes, whole, _unchanged(path.read_bytes())),
    )
    machines = {
        "archive": "cortex-m7",
        "elf": "x86-64-v3",
        "dll": "windows-x86-64",
        "dylib": "macos-arm64",
        "wasm": "wasm",
    }
    libraries = {kind: _library(folder / machine, machine) for kind, machine in machines.items()}
    yield from ((f"library, {kind}", target) for kind, target in libraries.items())
    loaded = folder / "loaded"
    described = read_manifest(folder / "x86-64-v3")

    def loadable() -> None:
        Bundle(folder, described, {described.library: loaded.read_bytes()}, "").check_loadable()

    yield "library, to load", Target(loaded, libraries["elf"].data, mutations.mutated_bytes, loadable, anything)
    claim = Claim("u", -1.0, 1.0, 1e-7, (2.0, 3.0))
    proved = Proved("0" * 64, (claim,), None, (Quantile(0.99, (1e-3,)),), ("", "01"))
    sides = (Side("x", 0.0, 1.0), Side("t", 0.0, 0.5))
    path = write_certificate(Certificate("heat", "float32", "fma-2", sides, {"eval": proved}), folder)
    yield (
        "certificate",
        Target(
            path,
            path.read_bytes(),
            mutations.mutated_json,
            lambda: read_certificate(folder),
            lambda data, found: plain(asdict(found)) == _loads(data),
        ),
    )
    yield from _signatures(bundle, folder)
    path = bundle / "model.onnx"
    original, graph = from_onnx(path.read_bytes()), _graph(onnx.load_model_from_string(path.read_bytes()))

    def same(data: bytes, found: Any) -> bool:
        model = onnx.load_model_from_string(data)
        stated = {entry.key: entry.value for entry in model.metadata_props}["kdpinn.inputs"]
        if [[var.name, var.size] for var in found.inputs] != json.loads(stated):
            return False
        if found.inputs != original.inputs:  # the names of columns are beside the graph
            return _graph(model) == graph
        return (_graph(model) == graph) == (found == original)

    yield (
        "onnx of a bundle",
        Target(
            folder / "m.onnx",
            path.read_bytes(),
            mutated_onnx,
            lambda: from_onnx((folder / "m.onnx").read_bytes()),
            same,
        ),
    )


def _graph(model: onnx.ModelProto) -> bytes:
    return model.graph.SerializeToString(deterministic=True)


def _signatures(bundle: Path, folder: Path) -> Targets:
    """A signature of a manifest, and the key that has made it."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    private, public, text = Ed25519PrivateKey.generate(), folder / "public.pem", (bundle / MANIFEST_FILE).read_bytes()
    signed = folder / SIGNATURE_FILE
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signature = private.sign(text)

    def target(path: Path, data: bytes, meaning: Callable[[bytes, Any], bool]) -> Target:
        def read() -> str:
            for each, whole in ((public, pem), (signed, signature)):
                if each != path:
                    each.write_bytes(whole)
            return check_signature(text, folder, public)

        return Target(path, data, mutations.mutated_bytes, read, meaning)

    yield "signature", target(signed, signature, _unchanged(signature))
    own = fingerprint(private.public_key())
    yield "public key", target(public, pem, lambda data, found: found == own)


def _library(folder: Path, machine: str) -> Target:
    """A library for another machine, read by its gates."""
    program = read_program(zoo.program("heat_small"))
    manifest = export_bundle(program, folder, name="heat", target=machine)
    interface = Interface("heat", manifest.precision, find_target(machine), manifest.inputs, {"eval": program}, ())
    path = folder / "mutated"  # the library itself is loaded, by the self-test of its export
    return Target(
        path,
        (folder / manifest.library).read_bytes(),
        mutations.mutated_bytes,
        lambda: check_artifact(path.read_bytes(), interface),
        anything,
    )


def _unchanged(before: bytes) -> Callable[[bytes, Any], bool]:
    return lambda data, found: data == before


def mutated_onnx(rng: Random, data: bytes) -> bytes:
    """An ONNX file, its bytes mutated, or its nodes and constants."""
    if rng.random() < 0.6:
        return mutations.mutated_bytes(rng, data)
    model = onnx.load_model_from_string(data)
    graph = model.graph
    for _ in range(rng.choice((1, 1, 2))):
        if not graph.node or not graph.initializer:
            break
        node, constant = rng.choice(graph.node), rng.choice(graph.initializer)
        match rng.randrange(9):
            case 0:
                node.op_type = rng.choice(("Foo", "Loop", "If", "Gemm", "Tanh", "Concat", "Expand", "Tile"))
            case 1:
                node.input.append(rng.choice(("x", "y", "")))
            case 2 if node.input:
                node.input[0] = rng.choice(("", "zz", "y", "x"))
            case 3:
                del node.output[:]
            case 4:
                constant.dims[:] = [rng.choice((-1, 0, 2**40, 3))] * len(constant.dims)
            case 5:
                constant.data_type = rng.choice((0, 1, 7, 8, 11, 16, 99))
            case 6:
                constant.data_location = 1
                entry = constant.external_data.add()
                entry.key, entry.value = "location", rng.choice(("/etc/passwd", "../x", "m.onnx"))
            case 7:
                graph.node.append(graph.node[0])
            case _:
                del graph.node[rng.randrange(len(graph.node))]
    return model.SerializeToString()


def _programs(folder: Path) -> Targets:
    """Programs, and samples: archives of arrays."""
    path = folder / "p.npz"
    data = zoo.program("burgers_student").read_bytes()

    def used() -> Any:
        program = read_program(path)
        str(program)
        if sum(var.size for var in program.inputs) == 2:
            NumpyProgram(program, "float64")(np.zeros((2, 2)))
        return program

    def same(data: bytes, found: Any) -> bool:
        write_program(found, folder / "again.npz")
        return _arrays(data) == _arrays((folder / "again.npz").read_bytes())

    yield "program", Target(path, data, mutations.mutated_arrays, used, same)
    rng = np.random.default_rng(0)
    samples = io.BytesIO()
    x = rng.random((60, 2))
    np.savez(samples, x=x, u=np.sin(x[:, :1]), du=np.stack([np.cos(x[:, :1]), 0 * x[:, :1]], 2))
    file = folder / "s.npz"

    def all_there(data: bytes, found: Any) -> bool:
        with np.load(io.BytesIO(data)) as archive:
            given = {name: np.asarray(archive[name], np.float64).reshape(len(archive["x"]), -1) for name in archive}
        rows = np.hstack([given["x"], given["u"]])
        if len(np.unique(given["x"], axis=0)) < len(rows):
            return len(found.x) < len(rows)  # averaged
        kept = np.hstack([found.x, found.u])
        order = np.lexsort(rows.T[::-1])
        return np.array_equal(rows[order], kept[np.lexsort(kept.T[::-1])]) and (
            ("du" in given) == (found.du is not None)
        )

    yield (
        "samples",
        Target(file, samples.getvalue(), mutations.mutated_arrays, lambda: read_samples(file, 2, 1), all_there),
    )
    table = folder / "sensors.csv"
    rows = "".join(f"{a!r},note {i},{b!r},{a * b!r}\n" for i, (a, b) in enumerate(x.tolist()))
    yield (
        "measurements",
        Target(
            table,
            f"x,note,t,u\n{rows}".encode(),
            mutations.mutated_table,
            lambda: measurements(table, ("x", "t"), ("u",)),
            numbers_there,
        ),
    )


def numbers_there(data: bytes, found: Condition) -> bool:
    """Whether a condition has the numbers of a CSV file, which is split here at commas alone."""
    if b'"' in data or b"\r" in data:
        return True
    head, *rows = [[cell.strip() for cell in line.split(",")] for line in data.decode("utf-8-sig").split("\n")]
    rows = [row for row in rows if row != [""]] if rows[-1] == [""] else rows
    stated = [[row[head.index(name)] for name in ("x", "t", "u")] for row in rows]
    kept = np.column_stack([found.at, *found.data.values()]).tolist()
    return kept == [[float(text.encode("ascii")) for text in row] for row in stated] and "_" not in str(stated)


def _arrays(data: bytes) -> tuple[Any, dict[str, bytes]]:
    with np.load(io.BytesIO(data)) as archive:
        arrays = {name: archive[name] for name in archive}
    structure = json.loads(arrays.pop("structure").tobytes())
    return structure, {name: repr(each.shape).encode() + each.astype(float).tobytes() for name, each in arrays.items()}


def _networks(folder: Path) -> Targets:
    """Networks of this package and of others, in files."""
    weights = zoo.weights("heat_small").read_bytes()
    path = folder / "m.safetensors"

    def as_stated(data: bytes, found: Pinn) -> bool:
        end = 8 + int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8:end])["__metadata__"]
        stated = {name: tensor.double() for name, tensor in load(data).items()}
        own = found.state_dict()
        named = (metadata["problem"], metadata.get("activation", "tanh")) == (found.problem.name, found.activation)
        return named and stated.keys() == own.keys() and all(torch.equal(stated[name], own[name]) for name in own)

    yield "weights", Target(path, weights, mutations.mutated_safetensors, lambda: load_pinn(path), as_stated)
    torch.manual_seed(0)
    layers = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    state = io.BytesIO()
    torch.save(layers.state_dict(), state)
    file = folder / "m.pt"

    def is_state(data: bytes, found: Any) -> bool:
        return all(torch.equal(found[name], tensor) for name, tensor in layers.state_dict().items() if name in found)

    yield (
        "state dict",
        Target(file, state.getvalue(), mutations.mutated_bytes, lambda: read_weights_file(file), is_state),
    )
    network = folder / "m.mdlus"
    args = {
        "__name__": "FullyConnected",
        "__args__": {"in_features": 2, "layer_size": 4, "out_features": 1, "num_layers": 1},
    }
    inner = io.BytesIO()
    torch.save(
        {
            "layers.0.linear.weight": torch.ones(4, 2),
            "layers.0.linear.bias": torch.ones(4),
            "final_layer.linear.weight": torch.ones(1, 4),
            "final_layer.linear.bias": torch.ones(1),
        },
        inner,
    )
    outer = io.BytesIO()
    import zipfile

    with zipfile.ZipFile(outer, "w") as archive:
        archive.writestr("args.json", json.dumps(args))
        archive.writestr("model.pt", inner.getvalue())
    yield "mdlus", Target(network, outer.getvalue(), mutations.mutated_zip, lambda: read_mdlus(network), anything)
    exported = io.BytesIO()
    torch.export.save(torch.export.export(layers, (torch.zeros(5, 2),)), exported)
    program = folder / "m.pt2"
    yield "pt2", Target(program, exported.getvalue(), mutations.mutated_zip, lambda: read_pt2(program), anything)
    foreign = folder / "m.onnx"
    x = onnx.helper.make_tensor_value_info("x", 1, ["n", 2])
    y = onnx.helper.make_tensor_value_info("y", 1, ["n", 1])
    nodes = [
        onnx.helper.make_node("Gemm", ["x", "w", "b"], ["h"], transB=1),
        onnx.helper.make_node("Tanh", ["h"], ["t"]),
        onnx.helper.make_node("Gemm", ["t", "v"], ["y"], transB=1),
    ]
    constants = {"w": np.ones((3, 2)), "b": np.ones(3), "v": np.ones((1, 3))}
    tensors = [onnx.numpy_helper.from_array(each.astype("f4"), name) for name, each in constants.items()]
    graph = onnx.helper.make_graph(nodes, "g", [x], [y], tensors)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    yield (
        "onnx of others",
        Target(
            foreign, model.SerializeToString(), mutated_onnx, lambda: read_onnx(foreign, None, None, None), anything
        ),
    )


TINY = TrainConfig(
    hidden=(6,), n_points=50, n_candidates=50, adam_rounds=1, adam_steps=5, newton_rounds=2, n_held_out=50
)


def _runs(folder: Path) -> Targets:
    """A run folder: each of its files."""
    run = folder / "run"
    train("heat", run, TINY)
    files = {path.name: path.read_bytes() for path in run.iterdir()}
    state = _Run(
        Pinn(problem("heat"), TINY.hidden, TINY.seed), Physics(problem("heat")), Box(problem("heat")), TINY
    ).start()

    def target(name: str, mutate: Mutate, read: Callable[[], Any], meaning: Callable[[bytes, Any], bool]) -> Target:
        below = folder / name
        shutil.copytree(run, below)
        return Target(below / name, files[name], mutate, read, meaning)

    def rows(data: bytes, found: Any) -> bool:
        return found == [_loads(line) for line in data.split(b"\n")[:-1]]

    def made(data: bytes, found: Any) -> bool:
        stated = _loads(data)
        architecture = stated["architecture"]["parameters"]
        return asdict(found) == {key: stated[key] for key in ("command", "training_cpu_seconds")} | {
            "architecture": {"parameters": architecture}
        }

    yield (
        "config",
        target(
            "config.json",
            mutations.mutated_json,
            lambda: run_config(folder / "config.json", TrainConfig),
            lambda data, found: plain(asdict(found)) == _loads(data)["config"],
        ),
    )
    yield (
        "metrics",
        target("metrics.jsonl", mutations.mutated_lines, lambda: read_metrics(folder / "metrics.jsonl"), rows),
    )
    yield "run record", target("model.json", mutations.mutated_json, lambda: record_of(folder / "model.json"), made)
    yield (
        "checkpoint",
        target(
            "checkpoint.safetensors",
            mutations.mutated_safetensors,
            lambda: read_checkpoint(folder / "checkpoint.safetensors", state),
            lambda data, found: load_same(data, files["checkpoint.safetensors"]),
        ),
    )
    yield (
        "run",
        target(
            "model.safetensors",
            mutations.mutated_safetensors,
            lambda: load_pinn(folder / "model.safetensors"),
            _unchanged(files["model.safetensors"]),
        ),
    )


def load_same(data: bytes, before: bytes) -> bool:
    """Whether two safetensors hold the same tensors, to the bit."""
    now, then = load(data), load(before)
    return now.keys() == then.keys() and all(
        now[name].dtype == then[name].dtype and now[name].numpy().tobytes() == then[name].numpy().tobytes()
        for name in then
    )


def _studies(folder: Path) -> Targets:
    """The plan of a study, and the accuracy of a network in it."""
    cells = (StudyCell("values", DistillConfig(hidden=(8,))), StudyCell("scratch", TrainConfig(hidden=(8, 8), seed=1)))
    write_plan(Plan("heat", "heat_teacher", "lm", 60.0, 12.5, cells), folder)
    path = folder / "plan.json"
    yield (
        "plan",
        Target(
            path,
            path.read_bytes(),
            mutations.mutated_json,
            lambda: read_plan(folder),
            lambda data, found: plain(asdict(found)) == _loads(data),
        ),
    )
    measured = folder / "accuracy.json"
    data = json.dumps({"relative_l2": 1e-3, "rmse": 1e-3, "max_abs": 2e-3, "slopes_l2": 1e-2})
    yield (
        "accuracy",
        Target(
            measured,
            data.encode(),
            mutations.mutated_json,
            lambda: read_accuracy(folder),
            lambda data, found: plain(asdict(found)) == json.loads(data.decode(), parse_int=float),
        ),
    )


def _searches(folder: Path) -> Targets:
    """The database of a search."""
    task = Task("heat", "0" * 64, 1.0, 1, 1)
    path = folder / "search.db"
    study = open_study(task, f"sqlite:///{path}", 20)
    for i in range(3):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a heartbeat is for work that lasts
            trial = study.ask()
        candidate = Candidate((8,) * (i + 1), "tanh", "float32")
        cost = Cost(100 + i, 2000, "counted")
        outcome = Outcome(candidate, 0.01 / (i + 1), 120.0 + i, cost, "kdpinn-edge distill", "/runs/1", "here")
        trial.set_user_attr(OUTCOME, sealed(outcome))
        study.tell(trial, (outcome.relative_l2, outcome.price))
    known = set(outcomes(study))
    _close(study)

    def read() -> Any:
        opened = open_study(task, f"sqlite:///{path}", 20)
        try:
            return set(outcomes(opened))
        finally:
            _close(opened)

    yield (
        "search",
        Target(
            path,
            path.read_bytes(),
            partial(mutated_database, folder / "edited.db"),
            read,
            lambda data, found: found == known,
        ),
    )


def _close(study: Any) -> None:
    study._storage._backend.engine.dispose()


def mutated_database(path: Path, rng: Random, data: bytes) -> bytes:
    """A database of SQLite, its bytes mutated, or what its tables hold."""
    if rng.random() < 0.6:
        made = bytearray(data)
        for _ in range(rng.choice((1, 3, 10, 40))):
            made[rng.randrange(len(made))] = rng.randrange(256)
        return bytes(made[: rng.randrange(len(made))] if rng.random() < 0.1 else made)
    path.write_bytes(data)
    with sqlite3.connect(path) as connection:
        tables = ("trials", "studies", "trial_user_attributes", "version_info", "trial_params", "study_directions")
        text = rng.choice(("[1]", '"x"', "null", "NaN", "{", "[" * 2000, "{}"))
        statements: tuple[tuple[str, tuple[str, ...]], ...] = (
            ("update study_user_attributes set value_json=?", (text,)),
            ("update trial_user_attributes set value_json=?", (text,)),
            (f"drop table {rng.choice(tables)}", ()),
            ("update version_info set schema_version=99", ()),
            ("update alembic_version set version_num='zzz'", ()),
            ("delete from study_directions", ()),
            ("update trials set state=?", (rng.choice(("COMPLETED", "7", "")),)),
        )
        connection.execute(*rng.choice(statements))
    connection.close()
    return path.read_bytes()


def _records(folder: Path) -> Targets:
    """Records of comparisons, and what devices print."""
    record, path = example_record(), folder / "record.json"
    small = replace(record, cells=tuple(map(_shorter, record.cells[:10])))
    small = replace(small, baselines=tuple(replace(each, cells=()) for each in small.baselines))
    write_record(small, path)

    def used() -> Any:
        found = read_record(path)
        with open("/dev/null", "w") as nowhere:
            print_record(Console(file=nowhere), found)
        summary(found)
        return found

    def as_stated(data: bytes, found: Any) -> bool:
        return bool(msgspec.json.decode(msgspec.json.encode(found)) == msgspec.json.decode(data))

    yield "record", Target(path, path.read_bytes(), mutations.mutated_json, used, as_stated)
    pages = folder / "pages.json"
    yield (
        "page of a record",
        Target(pages, path.read_bytes(), mutations.mutated_json, lambda: html(read_record(pages)), anything),
    )
    results = {
        "schema": DEVICE_SCHEMA,
        "name": "heat",
        "precision": "float32",
        "profile": "fma-2",
        "target": "cortex-m7",
        "points_crc32": 1,
        "selftest": 0,
        "clock": {"source": "DWT", "unit": "cycles", "resolution": 1, "per_second": 0},
        "functions": [
            {
                "name": "eval",
                "program_sha256": hashlib.sha256().hexdigest(),
                "rows": [{"n": 1, "status": 0, "crc32": 7, "batch": 3, "ticks": [5, 6, 7]}],
            }
        ],
    }
    printed = folder / "device.json"
    defaults = {"crc32": 0, "batch": 1, "ticks": []}

    def complete(document: Any) -> Any:
        functions = [{**each, "rows": [defaults | row for row in each["rows"]]} for each in document["functions"]]
        return document | {"functions": functions}

    yield (
        "device",
        Target(
            printed,
            json.dumps(results).encode(),
            mutations.mutated_json,
            lambda: read_device(printed),
            lambda data, found: plain(msgspec.to_builtins(found)) == complete(_loads(data)),
        ),
    )


def _shorter(cell: Cell) -> Cell:
    """The cell with a few numbers of its first block."""
    few = {name: getattr(cell.blocks[0], name)[:3] for name in ("samples_ns", "pairs_ns", "on_core_ns")}
    return replace(cell, blocks=(replace(cell.blocks[0], **few),))


MAKERS: dict[str, Callable[[Path], Targets]] = {
    "bundle": _bundle,
    "programs": _programs,
    "networks": _networks,
    "runs": _runs,
    "studies": _studies,
    "searches": _searches,
    "records": _records,
}


WEIGHTS: dict[str, dict[str, int]] = {
    "bundle": {
        "manifest": 150,
        "files of a bundle": 60,
        "library, archive": 5,
        "library, elf": 5,
        "library, dll": 60,
        "library, dylib": 60,
        "library, wasm": 60,
        "library, to load": 60,
        "certificate": 100,
        "signature": 100,
        "public key": 100,
        "onnx of a bundle": 60,
    },
    "programs": {"program": 20, "samples": 40, "measurements": 100},
    "networks": {"weights": 60, "state dict": 100, "mdlus": 80, "pt2": 5, "onnx of others": 15},
    "runs": {"config": 150, "metrics": 200, "run record": 150, "checkpoint": 150, "run": 200},
    "studies": {"plan": 150, "accuracy": 300},
    "searches": {"search": 1},
    "records": {"record": 2, "page of a record": 2, "device": 250},
}
"""About how many mutations of a reader, below its maker, take as long as one of the slowest."""


def targets(folder: Path, which: str) -> dict[str, Target]:
    """The targets of one of MAKERS, their files below `folder`."""
    below = folder / which
    below.mkdir(parents=True)
    return dict(MAKERS[which](below))
