"""What linkers, CMake and pkg-config make of a bundle: two versions in one program, static archives, sources."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from artifacts import Artifacts
from conftest import Need
from strategies import mlp

from kdpinn_edge.bundle.manifest import Input, Precision, read_manifest
from kdpinn_edge.errors import ExportError
from kdpinn_edge.export.artifacts.gates import check_artifact
from kdpinn_edge.export.bundle import export_bundle
from kdpinn_edge.export.targets.interface import Interface
from kdpinn_edge.export.targets.table import target
from kdpinn_edge.program.ir import Program
from kdpinn_edge.runtime import load

FUNCTIONS = ("eval", "integrity", "model", "outside", "selftest")
OLD, NEW = mlp(2, 8, 2, 1, seed=1), mlp(2, 8, 2, 1, seed=2)
PART = '#include "net.h"\nint32_t PART(const float *x, float *y) { return net_matches() ? net_eval(x, y, 1) : -9; }\n'
BOTH = """
#include <stdint.h>
#include <stdio.h>
#include <string.h>
int32_t old(const float *x, float *y), new(const float *x, float *y);
int main(void)
{
    float x[2] = {0.25f, -0.5f}, y[2];
    uint32_t bits[2];
    if (old(x, &y[0]) != 0 || new(x, &y[1]) != 0) { return 1; }
    memcpy(bits, y, sizeof y);
    printf("%08x %08x", bits[0], bits[1]);
    return 0;
}
"""
LOADED = """
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
int main(int count, char **files)
{
    static const char *const names[] = {"old", "new"};
    int i;
    for (i = 0; i < 2 && count == 3; i++) {
        float x[2] = {0.25f, -0.5f}, y;
        uint32_t bits;
        int32_t (*part)(const float *, float *);
        void *library = dlopen(files[i + 1], RTLD_NOW | RTLD_GLOBAL), *symbol = library ? dlsym(library, names[i]) : 0;
        if (!symbol) { return 1; }
        memcpy(&part, &symbol, sizeof part);
        if (part(x, &y) != 0) { return 2; }
        memcpy(&bits, &y, sizeof y);
        printf(i ? " %08x" : "%08x", bits);
    }
    return 0;
}
"""
CPP = '#include "net.h"\n#include <cstdio>\nint main() { std::printf("%d", net_selftest()); return !net_matches(); }\n'


def run(*command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    done = subprocess.run([*map(str, command)], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def version_of(program: Program, artifacts: Artifacts, **arguments: str) -> Path:
    return artifacts.bundle(program, name="net", **arguments)


def bits(bundle: Path) -> str:
    return f"{load(bundle)(np.array([[0.25, -0.5]], np.float32)).view(np.uint32).item():08x}"


@pytest.mark.parametrize("name", ["x86-64", pytest.param("native", marks=pytest.mark.proof)])
def test_two_versions_in_one_program_are_two_libraries(
    name: str, artifacts: Artifacts, tmp_path: Path, need: Need
) -> None:
    """As parts that the program is linked with, whose symbols all lie in one scope, and as parts that it loads."""
    if not target(name).runs_here():
        pytest.skip(f"this machine does not run {name}")
    bundles = {"old": version_of(OLD, artifacts, target=name), "new": version_of(NEW, artifacts, target=name)}
    (tmp_path / "part.c").write_text(PART)
    (tmp_path / "both.c").write_text(BOTH)
    (tmp_path / "loaded.c").write_text(LOADED)
    for part, bundle in bundles.items():
        built = ["-shared", "-fPIC", f"-DPART={part}", "part.c", f"-I{bundle}", "-o", f"lib{part}.so"]
        run(need("cc"), *built, f"-L{bundle}", "-lnet", f"-Wl,-rpath,{bundle}", cwd=tmp_path)
    run(need("cc"), "both.c", "-L.", "-lold", "-lnew", f"-Wl,-rpath,{tmp_path}", "-o", "both", cwd=tmp_path)
    run(need("cc"), "loaded.c", "-ldl", "-o", "loaded", cwd=tmp_path)
    expected = f"{bits(bundles['old'])} {bits(bundles['new'])}"
    assert len(set(expected.split())) == 2
    assert run(tmp_path / "both") == expected
    assert run(tmp_path / "loaded", tmp_path / "libold.so", tmp_path / "libnew.so") == expected


def test_the_name_and_the_symbols_that_a_linker_sees(artifacts: Artifacts, need: Need) -> None:
    shown = {}
    for program in (OLD, NEW):
        bundle = version_of(program, artifacts)
        dynamic = run(need("readelf"), "-d", bundle / "libnet.so")
        (linked,) = (line.split("[")[1].rstrip("]") for line in dynamic.splitlines() if "(SONAME)" in line)
        assert (bundle / linked).read_bytes() == (bundle / "libnet.so").read_bytes()
        version = f"net_{linked.removeprefix('libnet.so.')}"
        symbols = {line.split()[-1] for line in run(need("nm"), "-D", bundle / "libnet.so").splitlines()}
        assert symbols - {version} == {f"net_{each}{work}@@{version}" for each in FUNCTIONS for work in ("", "_work")}
        shown[linked] = symbols
    assert len(shown) == 2


def test_what_may_stand_for_each_other_has_one_identity() -> None:
    """Another processor with the same bits; not another precision, numerics profile, domain or Program."""
    box, wider = ((Input("x0", 0.0, upper), Input("x1")) for upper in (1.0, 2.0))

    def identity(
        name: str, program: Program = OLD, precision: Precision = "float32", inputs: tuple[Input, ...] = box
    ) -> str:
        return Interface("net", precision, target(name), inputs, {"eval": program}).identity

    here = identity("x86-64-v3")
    others = [
        identity("x86-64-v3", NEW),
        identity("x86-64-v3", precision="float64"),
        identity("x86-64-v2"),
        identity("x86-64-v3", inputs=wider),
    ]
    assert here == identity("x86-64-v4") == identity("aarch64")
    assert len({here, *others}) == 5


def test_a_library_with_another_name_for_programs_does_not_pass(artifacts: Artifacts) -> None:
    bundle = version_of(OLD, artifacts)
    manifest = read_manifest(bundle)
    other = Interface("net", "float32", target(manifest.target.name), manifest.inputs, {"eval": NEW})
    said = r"has the name libnet\.so\.[0-9a-f]{12} for programs; expected: libnet(.|\n)* no symbols of the version net_"
    with pytest.raises(ExportError, match=said):
        check_artifact((bundle / "libnet.so").read_bytes(), other)


def test_the_static_archive_serves_a_library_that_shows_nothing_of_it(
    artifacts: Artifacts, tmp_path: Path, need: Need
) -> None:
    bundles = {"old": version_of(OLD, artifacts), "new": version_of(NEW, artifacts)}
    (tmp_path / "part.c").write_text(PART)
    (tmp_path / "both.c").write_text(BOTH)
    for part, bundle in bundles.items():
        built = ["-shared", "-fPIC", f"-DPART={part}", "part.c", f"-I{bundle}", bundle / "libnet.a"]
        run(need("cc"), *built, "-Wl,-z,defs", "-o", f"lib{part}.so", cwd=tmp_path)
        assert "net_" not in run(need("nm"), "-D", tmp_path / f"lib{part}.so")
    run(need("cc"), "both.c", "-L.", "-lold", "-lnew", f"-Wl,-rpath,{tmp_path}", "-o", "both", cwd=tmp_path)
    assert run(tmp_path / "both") == f"{bits(bundles['old'])} {bits(bundles['new'])}"


def cmake(need: Need, folder: Path, text: str, *options: str) -> subprocess.CompletedProcess[str]:
    """The project `text` in C++ alone, configured and, where that went well, built."""
    (folder / "main.cpp").write_text(CPP)
    (folder / "CMakeLists.txt").write_text(f"cmake_minimum_required(VERSION 3.16)\nproject(app CXX)\n{text}\n")
    command = [need("cmake"), "-S", str(folder), "-B", str(folder / "build"), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        run(need("cmake"), "--build", folder / "build")
    return done


def test_cmake_takes_a_bundle_as_a_folder_of_the_project(artifacts: Artifacts, tmp_path: Path, need: Need) -> None:
    """The library for a program, and the archive for a library of the project, which shows nothing of it."""
    done = cmake(
        need,
        tmp_path,
        f'add_subdirectory("{version_of(OLD, artifacts)}" net)\n'
        "add_executable(app main.cpp)\ntarget_link_libraries(app PRIVATE kdpinn::net)\n"
        "add_library(own SHARED main.cpp)\ntarget_link_libraries(own PRIVATE kdpinn::net-static)",
    )
    assert done.returncode == 0, done.stderr
    assert run(tmp_path / "build" / "app") == "0"
    assert "net_eval" not in run(need("nm"), "-D", tmp_path / "build" / "libown.so")


@pytest.mark.slow
def test_cmake_fetches_sources_into_a_project_without_c(artifacts: Artifacts, tmp_path: Path, need: Need) -> None:
    """In float64, which calls fma of the C library where the processor has none."""
    bundle = version_of(OLD, artifacts, target="c99", precision="float64")
    packed = shutil.make_archive(str(tmp_path / "net"), "zip", bundle)
    done = cmake(
        need,
        tmp_path,
        f'include(FetchContent)\nFetchContent_Declare(net URL "{packed}")\nFetchContent_MakeAvailable(net)\n'
        "add_library(app SHARED main.cpp)\ntarget_link_libraries(app PRIVATE kdpinn::net)\n"
        "add_executable(main main.cpp)\ntarget_link_libraries(main PRIVATE kdpinn::net)",
    )
    assert done.returncode == 0, done.stderr
    assert run(tmp_path / "build" / "main") == "0"
    assert "net_eval" not in run(need("nm"), "-D", tmp_path / "build" / "libapp.so")


@pytest.mark.slow
def test_cmake_finds_the_bundle_of_the_machine_and_of_the_version(
    artifacts: Artifacts, tmp_path: Path, need: Need
) -> None:
    foreign = [version_of(OLD, artifacts, target=name) for name in ("macos-arm64", "windows-x86-64")]
    here = version_of(OLD, artifacts)
    places = " ".join(f'"{each}"' for each in (*foreign, here))
    found = f"find_package(net 0.1 CONFIG REQUIRED PATHS {places})\n"
    two = f'{found}add_subdirectory("{version_of(NEW, artifacts)}" other)\n'
    for text, said in (
        (f"{found}add_executable(app main.cpp)\ntarget_link_libraries(app PRIVATE kdpinn::net)", ""),
        (found.replace("0.1", "9.0"), "9.0"),
        (two, f"kdpinn::net is already the model in\n  {here}"),
    ):
        done = cmake(need, tmp_path, text)
        assert (done.returncode != 0) == bool(said)
        assert "".join(said.split()) in "".join(done.stderr.split())
    assert run(tmp_path / "build" / "app") == "0"


@pytest.mark.parametrize("compiler", ["cc", "clang"])
def test_sources_in_float64_build_as_documented(
    compiler: str, artifacts: Artifacts, tmp_path: Path, need: Need
) -> None:
    """By the command in example.c, by pkg-config, at once and in steps."""
    bundle = tmp_path / "bundle"
    shutil.copytree(version_of(OLD, artifacts, target="c99", precision="float64"), bundle)
    (command,) = (
        line.removeprefix(" *").strip()
        for line in (bundle / "example.c").read_text().splitlines()
        if "-o example" in line
    )
    run("sh", "-c", command.replace("cc ", f"{need(compiler)} ", 1), cwd=bundle)
    env = {**os.environ, "PKG_CONFIG_PATH": str(bundle)}
    compiled = run(need("pkg-config"), "--cflags", "net", env=env).split()
    linked = run(need("pkg-config"), "--libs", "net", env=env).split()
    run(need(compiler), "-c", bundle / "example.c", *compiled, "-o", tmp_path / "main.o")
    run(need(compiler), tmp_path / "main.o", *linked, "-o", tmp_path / "app")
    assert "self-test: passed" in run(tmp_path / "app")


@pytest.mark.parametrize(("name", "chosen"), [("model", "c99"), ("jet", "c99"), ("index", "wasm")])
def test_no_name_of_a_model_is_that_of_another_file(name: str, chosen: str, tmp_path: Path) -> None:
    """Where it is written, and where names differ by more than capitals. `example` is refused everywhere."""
    small = mlp(1, 2, 1, 1)
    written = {
        each: export_bundle(small, tmp_path / each, name=each, target=chosen, derivatives=["u_x0"]).files
        for each in (name, "net")
    }
    assert len({file.casefold() for file in written[name]}) == len(written["net"])
    with pytest.raises(ExportError, match="'example' is taken by a file of every bundle"):
        export_bundle(small, tmp_path / "example", name="example", target=chosen)


def test_the_library_of_an_export_is_not_kept_open(tmp_path: Path) -> None:
    """Whoever overwrites it in place does not end the process that has exported it, at the next library it loads."""
    export_bundle(OLD, tmp_path / "net", name="net")
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()
