"""Bundles as libraries of the build tools of boards: what these find, and that it compiles, links and runs."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from artifacts import Artifacts
from conftest import Need
from typer.testing import CliRunner

from kdpinn_edge.bundle.manifest import check_files, read_manifest
from kdpinn_edge.cli import app
from kdpinn_edge.errors import BundleError, ExportError
from kdpinn_edge.export.artifacts.gnu import MACHINES
from kdpinn_edge.export.layouts import BUNDLE, LAYOUTS, MICROCONTROLLERS, arrange
from kdpinn_edge.export.targets.table import TARGETS

SKETCH = "#include <net.h>\nint main(void) { return net_selftest(); }\n"
SOURCE, ARCHIVE = "c99-muladd", "rv32imc"
GCC, *OPTIONS = (*MACHINES[ARCHIVE], "-ffreestanding")

SDK = """
cmake_minimum_required(VERSION 3.16)
project(firmware C)
set(linked "" CACHE INTERNAL "")
set(headers "" CACHE INTERNAL "")

# What the build systems of the boards document of these functions.
function(idf_component_register)
    cmake_parse_arguments(arg "" "" "SRCS;INCLUDE_DIRS" ${ARGN})
    if(arg_SRCS)
        add_library(component STATIC ${arg_SRCS})
        target_include_directories(component PUBLIC ${arg_INCLUDE_DIRS})
    else()
        add_library(component INTERFACE)
        target_include_directories(component INTERFACE ${arg_INCLUDE_DIRS})
    endif()
    set(COMPONENT_LIB component PARENT_SCOPE)
    set(linked component CACHE INTERNAL "")
endfunction()
function(add_prebuilt_library name file)
    get_filename_component(path "${file}" ABSOLUTE BASE_DIR "${CMAKE_CURRENT_LIST_DIR}")
    add_library(${name} STATIC IMPORTED GLOBAL)
    set_property(TARGET ${name} PROPERTY IMPORTED_LOCATION "${path}")
endfunction()
function(zephyr_include_directories folder)
    set(headers "${folder}" CACHE INTERNAL "")
endfunction()
function(zephyr_library_named name)
    add_library(${name} STATIC)
    set(ZEPHYR_CURRENT_LIBRARY ${name} PARENT_SCOPE)
    set(linked ${name} CACHE INTERNAL "")
endfunction()
function(zephyr_library_sources)
    target_sources(${ZEPHYR_CURRENT_LIBRARY} PRIVATE ${ARGN})
endfunction()
function(zephyr_library_import name file)
    add_library(${name} STATIC IMPORTED GLOBAL)
    set_property(TARGET ${name} PROPERTY IMPORTED_LOCATION "${file}")
    set(linked ${name} CACHE INTERNAL "")
endfunction()

add_subdirectory("${LIBRARY}" library)
add_executable(firmware main.c)
target_include_directories(firmware PRIVATE ${headers})
target_link_libraries(firmware PRIVATE ${linked})
"""


@pytest.fixture(params=[SOURCE, ARCHIVE])
def bundle(request: pytest.FixtureRequest, artifacts: Artifacts) -> Path:
    return artifacts.small(request.param)


def built(command: list[Any], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def holds(program: Path, need: Need) -> None:
    """The program has the model: it runs and passes the self-test here, or is one for the board."""
    if program.suffix != ".elf":
        subprocess.run([program], check=True)
        return
    named = subprocess.run([need(GCC.replace("gcc", "nm")), program], capture_output=True, text=True, check=True).stdout
    assert "net_selftest" in named
    assert " U " not in named


@pytest.mark.parametrize("tool", LAYOUTS)
def test_the_bundle_in_a_layout_is_whole(tool: Any, bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "net"
    files = arrange(bundle, tool, out)
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()) == list(files)
    assert check_files(out / BUNDLE, read_manifest(out / BUNDLE)) == check_files(bundle, read_manifest(bundle))
    with pytest.raises(ExportError, match="already holds a layout of a bundle"):
        arrange(bundle, tool, out)
    arrange(bundle, "zephyr", out, force=True)
    (out / "mine.c").touch()
    with pytest.raises(ExportError, match=r"other files than those of a layout of a bundle \(mine\.c\)"):
        arrange(bundle, tool, out, force=True)


def test_arduino(bundle: Path, tmp_path: Path, need: Need) -> None:
    """As its builder does: every source in src, its headers, and the archive in the folder of the microcontroller."""
    library = tmp_path / "net"
    arrange(bundle, "arduino", library)
    lines = (library / "library.properties").read_text().splitlines()
    properties = dict(line.split("=", 1) for line in lines)
    required = {"name", "version", "author", "maintainer", "sentence", "paragraph", "category", "url", "architectures"}
    assert required <= properties.keys()
    assert re.fullmatch(r"\d+\.\d+\.\d+", properties["version"])
    (tmp_path / "sketch.c").write_text(SKETCH)
    sources = [tmp_path / "sketch.c", *(library / "src").rglob("*.c")]
    compiler, linked, program = [need("cc")], ["-lm"], tmp_path / "sketch"
    if properties.get("precompiled") == "true":
        compiler, program = [need(GCC), *OPTIONS], tmp_path / "sketch.elf"
        linked = ["-nostdlib", f"-L{library / 'src' / 'esp32c3'}", properties["ldflags"], "-lgcc", "-Wl,-e,main"]
    built([*compiler, "-O2", f"-I{library / 'src'}", *sources, *linked, "-o", program], tmp_path)
    holds(program, need)


@pytest.mark.parametrize("tool", ["esp-idf", "zephyr"])
def test_cmake_of_the_boards(tool: Any, artifacts: Artifacts, tmp_path: Path, need: Need) -> None:
    """By functions that do what ESP-IDF and Zephyr document: here, and for a board."""
    (tmp_path / "CMakeLists.txt").write_text(SDK)
    (tmp_path / "main.c").write_text(SKETCH)
    board = [
        "-DCMAKE_SYSTEM_NAME=Generic",
        "-DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY",
        "-DCMAKE_C_STANDARD_LIBRARIES=-lgcc",
    ]
    board += [f"-DCMAKE_C_COMPILER={need(GCC)}", f"-DCMAKE_C_FLAGS={' '.join(OPTIONS)}"]
    board += ["-DCMAKE_EXE_LINKER_FLAGS=-nostdlib -Wl,-e,main", "-DCMAKE_EXECUTABLE_SUFFIX_C=.elf"]
    for target, arguments in ((SOURCE, ["-DCMAKE_C_STANDARD_LIBRARIES=-lm"]), (ARCHIVE, board)):
        library, build = tmp_path / target, tmp_path / f"build_{target}"
        arrange(artifacts.small(target), tool, library)
        built([need("cmake"), "-S", tmp_path, "-B", build, f"-DLIBRARY={library}", *arguments], tmp_path)
        built(["cmake", "--build", build], tmp_path)
        holds(build / ("firmware" if target == SOURCE else "firmware.elf"), need)
    described = yaml.safe_load(
        (library / ("idf_component.yml" if tool == "esp-idf" else "zephyr/module.yml")).read_text()
    )
    expected = (
        {"version": "1.0.0", "targets": ["esp32c2", "esp32c3"]} if tool == "esp-idf" else {"build": {"cmake": "."}}
    )
    assert expected.items() <= described.items()


def test_platformio(bundle: Path, tmp_path: Path, need: Need) -> None:
    """By its fields: the one source, or the archive by flags that are relative to the library."""
    library = tmp_path / "net"
    arrange(bundle, "platformio", library)
    described = json.loads((library / "library.json").read_text())
    build = described["build"]
    (tmp_path / "main.c").write_text(SKETCH)
    chosen = [entry[2:-1] for entry in build["srcFilter"] if entry.startswith("+")]
    sources = [library / build["srcDir"] / name for name in chosen]
    assert bool(sources) != bool(build["flags"])
    compiler, linked, program = [need("cc")], ["-lm"], tmp_path / "main"
    if not sources:
        compiler, program = [need(GCC), *OPTIONS], tmp_path / "main.elf"
        linked = ["-nostdlib", *build["flags"], "-lgcc", "-Wl,-e,main"]
    include = f"-I{library / build['includeDir']}"
    built([*compiler, "-O2", include, tmp_path / "main.c", *sources, *linked, "-o", program], library)
    holds(program, need)


def test_every_archive_has_its_folders_in_an_arduino_library() -> None:
    assert set(MICROCONTROLLERS) == {target.name for target in TARGETS.values() if target.artifact == "archive"}


def test_what_a_board_cannot_build_is_refused(artifacts: Artifacts, tmp_path: Path) -> None:
    linux = artifacts.small("x86-64-v3")
    with pytest.raises(
        ExportError, match=r"x86-64-v3 is nothing that arduino builds with; .* cortex-m0plus, .*, c99 or"
    ):
        arrange(linux, "arduino", tmp_path / "net")
    m4 = artifacts.small("cortex-m4")
    with pytest.raises(ExportError, match="cortex-m4 is nothing that esp-idf builds with"):
        arrange(m4, "esp-idf", tmp_path / "net")
    with pytest.raises(ExportError, match="the build tool 'make' is unknown; expected: arduino, esp-idf"):
        arrange(m4, "make", tmp_path / "net")  # type: ignore[arg-type]
    with pytest.raises(BundleError, match="cannot be read"):
        arrange(tmp_path, "zephyr", tmp_path / "net")
    assert list(tmp_path.iterdir()) == []


def test_the_command(artifacts: Artifacts, tmp_path: Path) -> None:
    bundle = artifacts.small(SOURCE)
    arguments = ["layout", str(bundle), "--for", "zephyr", "--out", str(tmp_path / "net"), "--json"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert {"CMakeLists.txt", "zephyr/module.yml", f"{BUNDLE}/net.c"} <= {*json.loads(done.stdout)["files"]}
