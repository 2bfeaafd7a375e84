"""Functional mock-up units: what FMPy, its schemas and a careless importer in C say of them, and the engine's bits."""

from __future__ import annotations

import subprocess
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fmpy
import numpy as np
import pytest
from artifacts import Artifacts
from conftest import Need
from fmpy.fmi2 import FMU2Model, FMU2Slave
from fmpy.fmi3 import FMU3Model, FMU3Slave
from fmpy.validation import validate_fmu
from fmus import INPUTS, JACOBIAN, NET, OUTPUTS, fmu_bundle
from numpy.typing import NDArray
from test_c_source import WARNINGS
from wine import compiled, wine

from kdpinn_edge import check, load
from kdpinn_edge.bundle.fmu import PLATFORMS, Image, image_of
from kdpinn_edge.bundle.manifest import Output
from kdpinn_edge.comparison.selection import quick
from kdpinn_edge.derive.derivatives import derivatives
from kdpinn_edge.errors import BenchError, BundleError, ExportError, MisfitError
from kdpinn_edge.export.artifacts.fmu import check_fmus
from kdpinn_edge.export.artifacts.fmu_variables import variables
from kdpinn_edge.export.bundle import export_bundle
from kdpinn_edge.export.targets.interface import Interface
from kdpinn_edge.export.targets.table import TARGETS
from kdpinn_edge.runtime.load import load as load_of_runtime


@pytest.fixture(scope="module")
def bundle(artifacts: Artifacts) -> Path:
    return fmu_bundle(artifacts)


def files(bundle: Path) -> tuple[Path, Path]:
    return bundle / "net.fmu", bundle / "net_fmi3.fmu"


def test_fmpy_and_the_schemas_find_no_fault(bundle: Path) -> None:
    for file in files(bundle):
        assert validate_fmu(str(file)) == []
        described = fmpy.read_model_description(file, validate=True)
        assert described.description == "v = f(s) < 1"
        units = {unit.name: unit.baseUnit for unit in described.unitDefinitions}
        exponents = {name: (base.m, base.s) for name, base in units.items()}
        assert exponents["m²/s"] == (2, -1)
        assert exponents["1/(m²/s)²"] == (-4, 2)
        assert exponents["1"] == (0, 0)


def test_the_variables_are_what_the_manifest_says(bundle: Path) -> None:
    two, three = (fmpy.read_model_description(file) for file in files(bundle))
    scalars = {v.name: v for v in two.modelVariables}
    assert [n for n, v in scalars.items() if v.causality == "input"] == ["time", "s[0]", "s[1]"]
    assert (scalars["nu"].causality, scalars["nu"].variability) == ("parameter", "tunable")
    assert (scalars["s[1]"].min, scalars["s[1]"].max, scalars["s[1]"].unit) == ("-1.0", "1.0", "m")
    assert (scalars["nu"].min, scalars["nu"].max, scalars["nu"].start) == ("0.5", None, "1.5")
    assert "simulation_time" not in scalars
    assert [n for n, v in scalars.items() if v.causality == "output"] == ["v[0]", "v[1]", "p"]
    assert [n for n, v in scalars.items() if v.causality == "local"] == [*JACOBIAN, "p_nu_nu", "laplacian(p, time, nu)"]
    assert scalars["p_nu_nu"].unit == "1/(m²/s)²"
    arrays = {v.name: v for v in three.modelVariables}
    assert [int(d.start) for d in arrays["s"].dimensions] == [2]
    assert (arrays["s"].start, arrays["s"].unit, arrays["s"].min) == ("0.0 0.0", "m", "-1.0")
    assert (arrays["v"].causality, arrays["v"].valueReference) == ("output", arrays["p"].valueReference - 2)
    assert {"s[0]", "v[1]"}.isdisjoint(arrays)
    assert arrays["simulation_time"].causality == "independent"
    assert two.guid == three.guid
    assert two.modelExchange.providesDirectionalDerivative
    assert three.coSimulation.providesAdjointDerivatives


def points(n: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(2)
    return rng.uniform([0, -1, -1, 0.5], [1, 1, 1, 2], (n, 4))


@pytest.fixture(params=[FMU2Model, FMU2Slave, FMU3Model, FMU3Slave])
def instance(request: pytest.FixtureRequest, bundle: Path, tmp_path: Path) -> Iterator[Any]:
    file = files(bundle)[request.param in (FMU3Model, FMU3Slave)]
    made = request.param(
        guid=fmpy.read_model_description(file).guid,
        unzipDirectory=fmpy.extract(str(file), str(tmp_path / "fmu")),
        modelIdentifier="net",
        instanceName="one",
    )
    made.instantiate()
    if isinstance(made, FMU2Model | FMU2Slave):
        made.setupExperiment()
    made.enterInitializationMode()
    made.exitInitializationMode()
    yield made
    made.terminate()
    made.freeInstance()


def evaluated(instance: Any, point: NDArray[np.float64], outputs: list[int], n_values: int) -> list[float]:
    if isinstance(instance, FMU2Model | FMU2Slave):
        instance.setReal([0, 1, 2, 3], point)
        return list(instance.getReal(outputs))
    instance.setFloat64([0, 1, 3], point)
    return list(instance.getFloat64(outputs, n_values))


def test_values_are_the_bits_of_the_engine(instance: Any, bundle: Path) -> None:
    engine, x = load(bundle), points(20)
    is_2 = isinstance(instance, FMU2Model | FMU2Slave)
    jet = list(range(7, 21))
    slopes = np.stack([*engine.jet(x.astype("f4")).values()], axis=1)
    for point, y, columns in zip(x, engine(x.astype("f4")), slopes, strict=True):
        found = evaluated(instance, point, [4, 5, 6, *jet] if is_2 else [4, 6, *jet], 17)
        assert found == [*y.tolist(), *columns[1:].tolist()]
    assert (instance.getReal if is_2 else instance.getFloat64)([0, 3]) == [x[-1, 0], x[-1, 3]]


def test_derivatives_are_those_of_the_jet(instance: Any, bundle: Path) -> None:
    x = points(1)
    jet = load(bundle).jet(x.astype("f4"))
    jacobian = np.array([[float(jet[f"{y.name}_{column.name}"][0]) for column in INPUTS] for y in OUTPUTS])
    if isinstance(instance, FMU2Model | FMU2Slave):
        instance.setReal([0, 1, 2, 3], x[0])
        for i, row in enumerate(jacobian):
            for k, slope in enumerate(row):
                assert instance.getDirectionalDerivative([4 + i], [k], [1.0]) == [slope]
        assert instance.getDirectionalDerivative([6, 4], [1, 3], [2.0, 0.5]) == [
            2 * jacobian[i, 1] + 0.5 * jacobian[i, 3] for i in (2, 0)
        ]
        return
    instance.setFloat64([0, 1, 3], x[0])
    seed = [0.5, 2.0, -1.0]
    forward = instance.getDirectionalDerivative([4, 6], [1, 3], seed, 3)
    assert forward == [(row[1] * 0.5 + row[2] * 2.0) + row[3] * -1.0 for row in jacobian]
    adjoint = instance.getAdjointDerivative([4, 6], [1, 3], seed, 3)
    assert adjoint == [(c[0] * 0.5 + c[1] * 2.0) + c[2] * -1.0 for c in jacobian.T[1:]]


def test_a_state_is_kept_and_put_back(instance: Any) -> None:
    x, outputs, n = points(2), [4], 2
    if isinstance(instance, FMU2Model | FMU2Slave):
        outputs = [4, 5]
    here = evaluated(instance, x[0], outputs, n)
    state = instance.getFMUState()
    data = instance.serializeFMUState(state)
    assert evaluated(instance, x[1], outputs, n) != here
    instance.setFMUState(state)
    get = instance.getReal if isinstance(instance, FMU2Model | FMU2Slave) else lambda v: instance.getFloat64(v, n)
    assert list(get(outputs)) == here
    evaluated(instance, x[1], outputs, n)
    again = instance.deserializeFMUState(data)
    instance.setFMUState(again)
    assert list(get(outputs)) == here
    for each in (state, again):
        instance.freeFMUState(each)


@pytest.mark.parametrize("kind", ["ModelExchange", "CoSimulation"])
def test_fmpy_simulates_both(bundle: Path, kind: str) -> None:
    """FMPy's own series of times reaches the input that is called time, too."""
    t = np.linspace(0, 1, 5)
    engine = load(bundle)
    expected = engine(np.c_[t, np.sin(t), -t, np.full(5, 0.75)].astype("f4"))[:, 2]
    file = files(bundle)[0]
    columns = [("time", "f8"), ("s[0]", "f8"), ("s[1]", "f8")]
    inputs = np.array(list(zip(t, np.sin(t), -t, strict=True)), dtype=columns)
    found = fmpy.simulate_fmu(
        str(file),
        fmi_type=kind,
        input=inputs,
        start_values={"nu": 0.75},
        stop_time=1,
        output_interval=0.25,
        output=["p"],
    )
    delay = int(kind == "CoSimulation")  # a step takes the inputs at its begin
    assert found["p"][delay:].tolist() == expected[: len(t) - delay].tolist()


IMPORTER = Path(__file__).with_name("importer.c")


def first_output(printed: str, bundle: Path) -> tuple[float, float]:
    """What the importer printed at last, and what the engine says."""
    expected = load(bundle)(np.array([[0.25, 0.5, 0.125, 0.75]], "f4"))
    return float.fromhex(printed.splitlines()[-1]), float(expected[0, 0])


def test_a_careless_importer_is_told_of_errors(bundle: Path, tmp_path: Path, need: Need) -> None:
    """Under valgrind, which finds what is read or written out of place, and blocks that nobody gives back."""
    library, program = tmp_path / "net.so", tmp_path / "importer"
    library.write_bytes(image_of("net", "net.fmu", files(bundle)[0].read_bytes(), "fmu").data)
    subprocess.run([need("cc"), "-std=gnu11", "-g", IMPORTER, "-o", program, "-ldl"], check=True)
    guid = fmpy.read_model_description(files(bundle)[0]).guid
    watched = [need("valgrind"), "--leak-check=full", "--show-leak-kinds=all", "--error-exitcode=9", "-q"]
    done = subprocess.run([*watched, program, library, guid, "0"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    told = done.stdout.splitlines()
    assert told[0].startswith("environment other 3 logStatusError fmi2Instantiate: the GUID or token is another one")
    assert "environment me 3 logStatusError fmi2GetReal: value reference 100000 is no variable" in told
    assert "environment 3 logStatusError fmi3GetFloat64: the number of values does not fit; expected: 1" in told
    found, expected = first_output(done.stdout, bundle)
    assert found == expected
    rounding = subprocess.run([program, library, guid, "1"], capture_output=True, text=True, check=True).stdout
    assert "the floating-point environment of this thread is not the default one" in rounding


@pytest.mark.hosts
def test_windows_runs_the_binary(bundle: Path, artifacts: Artifacts, tmp_path: Path, need: Need) -> None:
    """The same importer under Wine."""
    with zipfile.ZipFile(files(bundle)[1]) as archive:
        (tmp_path / "net.dll").write_bytes(archive.read("binaries/x86_64-windows/net.dll"))
    program = compiled(IMPORTER, tmp_path / "importer.exe")
    guid = fmpy.read_model_description(files(bundle)[1]).guid
    done = wine(artifacts, need).run(program, "net.dll", guid, "0", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found, expected = first_output(done.stdout, bundle)
    assert found == expected


@pytest.mark.hosts
def test_equal_models_give_equal_bytes(bundle: Path, tmp_path: Path) -> None:
    """Also where they are exported to another folder, with directional derivatives or without."""
    stated: dict[str, Any] = {"name": "net", "target": "fmu", "precision": "float64", "storage": "float64"}
    for folder in ("one", "two"):
        export_bundle(NET, tmp_path / folder, **stated)
    for first, second in zip(files(tmp_path / "one"), files(tmp_path / "two"), strict=True):
        assert first.read_bytes() == second.read_bytes()
        assert validate_fmu(str(first)) == []
    assert check(tmp_path / "one").passed


def test_the_sources_make_the_same_bits(bundle: Path, tmp_path: Path, need: Need) -> None:
    """They are compiled as an importer does, which finds their names in the description, without a warning."""
    x = points(5)
    for file, fmi in zip(files(bundle), (2, 3), strict=True):
        folder = tmp_path / str(fmi)
        with zipfile.ZipFile(file) as archive:
            archive.extractall(folder)
        described = fmpy.read_model_description(file)
        (sources,) = described.buildConfigurations[0].sourceFileSets
        made = folder / PLATFORMS["Linux", "x86_64"].binary("net", fmi)
        made.unlink()
        paths = [folder / "sources" / source for source in sources.sourceFiles]
        compiler = [need("cc"), "-std=c99", *WARNINGS, "-O1", "-fPIC"]
        subprocess.run([*compiler, "-shared", *paths, "-o", made], check=True)
        kind = FMU2Slave if fmi == 2 else FMU3Slave
        instance = kind(guid=described.guid, unzipDirectory=folder, modelIdentifier="net", instanceName="one")
        instance.instantiate()
        found = [evaluated(instance, point, [4, 5, 6] if fmi == 2 else [4, 6], 3) for point in x]
        assert found == load(bundle)(x.astype("f4")).tolist()
        instance.freeInstance()
        prefixed = [*compiler, f"-DFMI{fmi}_FUNCTION_PREFIX=net_", "-c", paths[1], "-o", tmp_path / "prefixed.o"]
        subprocess.run(prefixed, check=True)
        symbols = subprocess.run([need("nm"), prefixed[-1]], capture_output=True, text=True, check=True).stdout
        assert f" T net_fmi{fmi}Reset" in symbols
        assert f" fmi{fmi}" not in symbols


@pytest.mark.hosts
def test_check_proves_the_bundle(bundle: Path) -> None:
    """It also builds the FMUs again, which takes as long as the export."""
    verdicts = {verdict.name: verdict for verdict in check(bundle)}
    assert {verdict.result for verdict in verdicts.values()} == {"passed"}
    assert verdicts["gates"].detail.startswith("both FMUs have the same binaries")
    assert verdicts["compiled again"].detail.startswith("net.fmu, net_fmi3.fmu: the bytes")


def test_archives_whose_binaries_differ_are_refused(bundle: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.fmu"
    with zipfile.ZipFile(files(bundle)[1]) as given, zipfile.ZipFile(other, "w") as changed:
        for name in given.namelist():
            data = given.read(name)
            changed.writestr(name, data[:-1] + b"!" if name.endswith(".dll") else data)
    interface = Interface("net", "float32", TARGETS["fmu"], INPUTS, {"eval": NET, "jet": NET}, ("nu",))
    contents = {"net.fmu": files(bundle)[0].read_bytes(), "net_fmi3.fmu": other.read_bytes()}
    with pytest.raises(ExportError, match="two binaries for windows-x86-64 that differ"):
        check_fmus(contents, interface)
    alone = replace(interface, functions={"eval": NET})
    with pytest.raises(ExportError, match=r"exports \['fmi2CancelStep'.*'net_jet'"):
        check_fmus({file.name: file.read_bytes() for file in files(bundle)}, alone)


def test_an_archive_without_its_binary_is_refused(bundle: Path, tmp_path: Path) -> None:
    data = files(bundle)[0].read_bytes()
    with pytest.raises(BundleError, match=r"has no binaries/linux64/other\.so"):
        image_of("other", "net.fmu", data, "fmu")
    name = "binaries/linux64/net.so"
    with zipfile.ZipFile(files(bundle)[0]) as archive:
        start = archive.getinfo(name).header_offset + 30 + len(name)
    for damaged in (data[:-100], data[:start] + b"\xff" * 40 + data[start + 40 :]):
        with pytest.raises(BundleError, match="that can be read"):
            image_of("net", "net.fmu", damaged, "fmu")
    assert image_of("net", "libnet.so", data, "x86-64") == Image(data, "x86-64")


def test_a_machine_without_a_binary_is_told(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "sparc64")
    with pytest.raises(MisfitError, match="no binary for Linux on sparc64"):
        load_of_runtime(bundle)


def test_what_is_timed_is_a_library(bundle: Path) -> None:
    with pytest.raises(BenchError, match="holds FMUs, which importers load; expected: a bundle with a library"):
        quick(bundle)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cc": ["gcc"]}, "built for several systems, which gcc does not; expected: no --cc"),
        ({"max_flash": 1000}, "a budget is for one"),
        ({"with_bench": True}, "fmu has no bench"),
        ({"casadi": True}, "fmu has no functions for CasADi"),
    ],
)
def test_what_does_not_go_with_an_fmu_is_said_before_any_work(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ExportError, match=message):
        export_bundle(NET, tmp_path / "net", name="net", target="fmu", **options)
    assert list(tmp_path.iterdir()) == []


def test_without_all_first_derivatives_every_column_is_an_output() -> None:
    jet = derivatives(NET, ["p", "p_nu", "time"])
    left = derivatives(NET, ["p"])
    columns = {"eval": OUTPUTS, "jet": [Output(name) for name in ("p", "p_nu", "time")], "residual": [Output("p")]}
    interface = Interface("net", "float64", TARGETS["fmu"], INPUTS, {"eval": NET, "jet": jet, "residual": left})
    found = variables(interface, columns)
    assert [(v.name, v.causality) for v in found.outputs] == [
        *((y.name, "output") for y in OUTPUTS),
        ("p_nu", "output"),
        ("residual.p", "output"),
    ]
    assert found.derivatives == ()
    assert found.places == (0, 1, 2, 4, 6)
