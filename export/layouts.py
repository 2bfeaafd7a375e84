"""`arrange`: a bundle → a folder in which the build tool of a board finds the model.

The bundle lies whole in `extras/bundle`, to be checked as ever. The tools that name their files take them from there;
Arduino, which takes whatever lies in `src`, gets copies.
"""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, get_args

from kdpinn_edge.bundle.manifest import BESIDE, MANIFEST_FILE, Manifest, check_files, read_manifest
from kdpinn_edge.errors import BundleError, ExportError
from kdpinn_edge.export.artifacts.c_files import COMMON_HEADER
from kdpinn_edge.export.artifacts.versions import version
from kdpinn_edge.export.bundle import whole_folder
from kdpinn_edge.files import Kind, check_free

Tool = Literal["arduino", "esp-idf", "zephyr", "platformio"]
Files = Mapping[str, bytes]

BUNDLE = "extras/bundle"
VERSION = "1.0.0"
"""Of the library, which has none of its own: a bundle is known by the hashes in its manifest."""

MICROCONTROLLERS: Mapping[str, tuple[str, ...]] = {
    "cortex-m0plus": ("cortex-m0plus", "rp2040"),
    "cortex-m3": ("cortex-m3",),
    "cortex-m4": ("cortex-m4/fpv4-sp-d16-hard", "cortex-m4/fpv4-sp-d16-softfp"),
    "cortex-m7": ("cortex-m7/fpv5-d16-hard", "cortex-m7/fpv5-d16-softfp"),
    "cortex-m33": ("cortex-m33/fpv5-sp-d16-hard", "cortex-m33/fpv5-sp-d16-softfp"),
    "rv32imc": ("esp32c3",),
    "rv32imac": ("esp32c6", "esp32h2"),
}
"""The folders of `src` where Arduino seeks an archive: {build.mcu}, and there {build.fpu}-{build.float-abi}, if any.

Arduino library specification, "Precompiled binaries".
"""

CHIPS: Mapping[str, tuple[str, ...]] = {"rv32imc": ("esp32c2", "esp32c3"), "rv32imac": ("esp32c6", "esp32h2")}
"""The chips, as ESP-IDF calls them, that an archive of the target runs on; source runs on all."""


def arrange(
    bundle: str | os.PathLike[str], tool: Tool, directory: str | os.PathLike[str], *, force: bool = False
) -> tuple[str, ...]:
    """Write the bundle to the new folder `directory` as `tool` wants a library; returns the paths of its files.

    `arduino` is a library for the folder `libraries`, `esp-idf` a component, `zephyr` a module, `platformio` a library
    for the folder `lib`. The bundle is one of an archive for bare metal, or of C99. `force` replaces what `directory`
    holds where that is such a folder.

    Raises BundleError for a bundle that is not whole; ExportError for another kind of bundle, a target that the tool
    does not build for, a folder that exists.
    """
    manifest = read_manifest(bundle)
    contents = check_files(bundle, manifest)
    if tool not in get_args(Tool):
        raise ExportError(f"the build tool {tool!r} is unknown; expected: {', '.join(get_args(Tool))}")
    _check(manifest, tool)
    folder = Path(directory)
    check_free(folder, _kind(folder), ExportError, force=force)
    files = {
        **{f"{BUNDLE}/{name}": data for name, data in contents.items()},
        **{
            f"{BUNDLE}/{name}": (Path(bundle) / name).read_bytes() for name in BESIDE if (Path(bundle) / name).is_file()
        },
        **LAYOUTS[tool](manifest, contents),
    }
    with whole_folder(folder) as place:
        for name, data in files.items():
            path = place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return tuple(sorted(files))


def _check(manifest: Manifest, tool: Tool) -> None:
    target = manifest.target.name
    accepted = CHIPS if tool == "esp-idf" else MICROCONTROLLERS
    if not _is_source(manifest) and target not in accepted:
        raise ExportError(
            f"a bundle for {target} is nothing that {tool} builds with; expected: one that was exported with --target "
            f"{', '.join(accepted)}, c99 or c99-muladd"
        )


def _is_source(manifest: Manifest) -> bool:
    return manifest.library.endswith(".c")


def _kind(directory: Path) -> Kind:
    """What `arrange` writes: the files of the bundle in the folder, and those of a layout of it."""
    names = {f"{BUNDLE}/{name}" for name in BESIDE}
    try:
        manifest = read_manifest(directory / BUNDLE)
    except BundleError:
        pass
    else:
        nothing = dict.fromkeys(manifest.files, b"")
        names |= {f"{BUNDLE}/{name}" for name in nothing}
        names |= {name for layout in LAYOUTS.values() for name in layout(manifest, nothing)}
    return Kind("layout of a bundle", f"{BUNDLE}/{MANIFEST_FILE}", tuple(map(glob.escape, sorted(names))))


def _sentence(manifest: Manifest) -> str:
    inputs = ", ".join(column.name for column in manifest.inputs)
    outputs = ", ".join(column.name for column in manifest.functions["eval"].outputs)
    return f"A neural network, {outputs} of ({inputs}), as C functions {manifest.name}_eval and others."


def _headers(manifest: Manifest) -> tuple[str, ...]:
    return f"{manifest.name}.h", COMMON_HEADER


def _arduino(manifest: Manifest, contents: Files) -> dict[str, bytes]:
    """Arduino library specification, 1.5: https://arduino.github.io/arduino-cli/latest/library-specification."""
    properties = {
        "name": manifest.name,
        "version": VERSION,
        "author": "kdpinn-edge",
        "maintainer": "kdpinn-edge",
        "sentence": _sentence(manifest),
        "paragraph": f"Exported by kdpinn-edge {version('kdpinn-edge')}; extras/bundle has its manifest.",
        "category": "Data Processing",
        "url": "",
        "architectures": "*",
        "includes": f"{manifest.name}.h",
    }
    if _is_source(manifest):
        placed = {f"src/{manifest.library}": contents[manifest.library]}
    else:
        properties |= {"precompiled": "true", "ldflags": f"-l{manifest.name}"}
        folders = MICROCONTROLLERS.get(manifest.target.name, ())
        placed = {f"src/{folder}/{manifest.library}": contents[manifest.library] for folder in folders}
    text = "".join(f"{key}={value}\n" for key, value in properties.items())
    headers = {f"src/{name}": contents[name] for name in _headers(manifest)}
    return {"library.properties": text.encode(), **headers, **placed}


def _esp_idf(manifest: Manifest, contents: Files) -> dict[str, bytes]:
    """ESP-IDF, "Build System": a component, of source or around a prebuilt library."""
    source = f'SRCS "{BUNDLE}/{manifest.library}" ' if _is_source(manifest) else ""
    cmake = f'idf_component_register({source}INCLUDE_DIRS "{BUNDLE}")\n'
    described = f'version: "{VERSION}"\ndescription: "{_sentence(manifest)}"\n'
    if not source:
        cmake += (
            f'add_prebuilt_library({manifest.name}_model "{BUNDLE}/{manifest.library}")\n'
            f"target_link_libraries(${{COMPONENT_LIB}} INTERFACE {manifest.name}_model)\n"
        )
        described += "targets:\n" + "".join(f"  - {chip}\n" for chip in CHIPS.get(manifest.target.name, ()))
    return {"CMakeLists.txt": cmake.encode(), "idf_component.yml": described.encode()}


def _zephyr(manifest: Manifest, contents: Files) -> dict[str, bytes]:
    """Zephyr, "Modules (External projects)": found through ZEPHYR_EXTRA_MODULES."""
    place = f"${{CMAKE_CURRENT_LIST_DIR}}/{BUNDLE}"
    if _is_source(manifest):
        library = f"zephyr_library_named({manifest.name})\nzephyr_library_sources({place}/{manifest.library})\n"
    else:
        library = f"zephyr_library_import({manifest.name} {place}/{manifest.library})\n"
    return {
        "zephyr/module.yml": f"name: {manifest.name}\nbuild:\n  cmake: .\n".encode(),
        "CMakeLists.txt": f"zephyr_include_directories({place})\n{library}".encode(),
    }


def _platformio(manifest: Manifest, contents: Files) -> dict[str, bytes]:
    """PlatformIO, "library.json"."""
    source = _is_source(manifest)
    described = {
        "name": manifest.name,
        "version": VERSION,
        "description": _sentence(manifest),
        "keywords": ["neural network", "physics"],
        "headers": f"{manifest.name}.h",
        "build": {
            "includeDir": BUNDLE,
            "srcDir": BUNDLE,
            "srcFilter": ["-<*>", *([f"+<{manifest.library}>"] if source else [])],
            "flags": [] if source else [f"-L{BUNDLE}", f"-l{manifest.name}"],
        },
    }
    return {"library.json": (json.dumps(described, indent=2) + "\n").encode()}


LAYOUTS: Mapping[Tool, Callable[[Manifest, Files], dict[str, bytes]]] = {
    "arduino": _arduino,
    "esp-idf": _esp_idf,
    "zephyr": _zephyr,
    "platformio": _platformio,
}
