"""The functional mock-up units (FMUs) of a model: one archive for FMI 2.0, one for FMI 3.0.

Each has the description of the variables, the sources, and a shared library for every system of `PLATFORMS`: the
machine code of the target for that system, and around it the interfaces of FMI, which ziglang compiles from C.
"""

from __future__ import annotations

import hashlib
import textwrap
import zipfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from io import BytesIO

from kdpinn_edge.bundle.fmi_functions import FMI_FUNCTIONS
from kdpinn_edge.bundle.fmu import FMI3_FILE, LINUX, PLATFORMS, Platform, member
from kdpinn_edge.bundle.manifest import Artifact, FunctionName, Output
from kdpinn_edge.errors import ExportError
from kdpinn_edge.export.artifacts.build_files import needs_libm
from kdpinn_edge.export.artifacts.c_files import c_files, filled_template
from kdpinn_edge.export.artifacts.c_source import c_source
from kdpinn_edge.export.artifacts.fmu_description import build_description, fmi2_description, fmi3_description
from kdpinn_edge.export.artifacts.fmu_variables import Variables, first_places, variables
from kdpinn_edge.export.artifacts.gates import Contents, Surroundings, check_artifact
from kdpinn_edge.export.artifacts.integrity import with_record
from kdpinn_edge.export.artifacts.linking import OBJECT, ZIG, Command, run_in
from kdpinn_edge.export.lowering.kernel import Kernel
from kdpinn_edge.export.targets.interface import Interface
from kdpinn_edge.export.targets.table import TARGETS

SYSTEMS = {
    "x86-64": "x86_64-linux-gnu",
    "aarch64": "aarch64-linux-gnu",
    "windows-x86-64": "x86_64-windows-gnu",
    "macos-arm64": "aarch64-macos",
}
"""What Zig calls the system of each target."""

COMPILE = (
    *("-c", "-O2", "-std=c99", "-fvisibility=hidden", "-fno-builtin", "-fno-stack-protector"),
    *("-fno-sanitize=undefined", "-Wall", "-Wextra", "-Wpedantic", "-Werror"),
)
BARE = ("-fPIC", "-fno-unwind-tables", "-fno-asynchronous-unwind-tables")
OPTIONS: Mapping[Artifact, Command] = {"elf": BARE, "dylib": BARE, "dll": ()}
"""Those that differ: under Windows code is position-independent as it is, and every frame has unwind information."""

STANDARDS: Mapping[str, Mapping[str, str]] = {
    "fmi2": {
        "standard": "2.0",
        "instance": "fmi2Component",
        "state": "FMUstate",
        "deserialize": "DeSerialize",
        "slopes": "Derivatives",
        "number": "Real",
        "n_values": "",
    },
    "fmi3": {
        "standard": "3.0",
        "instance": "fmi3Instance",
        "state": "FMUState",
        "deserialize": "Deserialize",
        "slopes": "ContinuousStateDerivatives",
        "number": "Float64",
        "n_values": ", size_t n_values",
    },
}
"""What the standards call what they have in common, in templates/fmi.c."""

IMPORTS = b"LIBRARY KERNEL32.dll\nEXPORTS\nGetProcessHeap\nHeapAlloc\nHeapFree\n"
IMPORT_LIBRARY = ("dlltool", "-m", "i386:x86-64", "-d", "heap.def", "-l", "heap.lib")


def check_no_compiler(command: Sequence[str] | None) -> None:
    """Raise ExportError where a compiler, the `command`, was named to build an FMU."""
    if command:
        raise ExportError(
            f"target fmu is built for several systems, which {command[0]} does not; expected: no --cc. "
            "An importer may compile the files in the FMU's sources/ itself."
        )


def fmus(
    interface: Interface,
    outputs: Mapping[FunctionName, Sequence[Output]],
    equation: str | None,
    kernel: Kernel,
    objects: Mapping[str, bytes],
) -> dict[str, bytes]:
    """File name → contents of both FMUs.

    `outputs` describes the columns of each function, `kernel` is printed as C99, and `objects` are its machine code for
    each target of `PLATFORMS`. Equal models give equal bytes. Raises ExportError where a compiler or a gate refuses.
    """
    name, found = interface.name, variables(interface, outputs)
    token = _token(interface, found)
    as_source = replace(interface, target=replace(interface.target, name="c99", artifact="c99"))
    source, libraries = c_source(kernel, as_source), ["m"] if needs_libm(as_source) else []
    interfaces = _interfaces(interface, found, token)
    headers = {**c_files(interface), f"{name}_fmu.h": interfaces.pop(f"{name}_fmu.h")}
    binaries = {
        platform: _library(objects[platform.target], {**headers, **interfaces}, tuple(interfaces), interface, platform)
        for platform in PLATFORMS.values()
    }
    archives = {}
    for fmi, file in ((2, f"{name}.fmu"), (3, FMI3_FILE.format(name))):
        own = f"{name}_fmi{fmi}.c"
        compiled = {f"{name}.c": source, own: interfaces[own]}
        contents = {f"sources/{path}": data for path, data in {**headers, **compiled}.items()}
        if fmi == 2:
            contents["modelDescription.xml"] = fmi2_description(name, token, equation, found, compiled)
        else:
            contents["modelDescription.xml"] = fmi3_description(name, token, equation, found)
            contents["sources/buildDescription.xml"] = build_description(name, compiled, libraries)
        contents |= {platform.binary(name, fmi): binary for platform, binary in binaries.items()}
        archives[file] = _archive(contents)
    return archives


def check_fmus(contents: Mapping[str, bytes], interface: Interface) -> Contents:
    """What the binary for Linux on x86-64 holds, where all of both FMUs among `contents` pass the gates.

    Raises ExportError with what does not, and where the two differ; BundleError where a binary is missing.
    """
    name, found = interface.name, {}
    for platform in PLATFORMS.values():
        first, second = (
            member(contents[file], platform.binary(name, fmi))
            for fmi, file in ((2, f"{name}.fmu"), (3, FMI3_FILE.format(name)))
        )
        if first != second:
            raise ExportError(f"the FMUs have two binaries for {platform.target} that differ: export the bundle again")
        found[platform.target] = _checked(first, interface, platform)
    return found[PLATFORMS[LINUX].target]


def for_platform(interface: Interface, platform: Platform) -> Interface:
    """What the model shows to C in the binary for a platform."""
    return replace(interface, target=replace(TARGETS[platform.target], profile=interface.target.profile))


def binaries(library: bytes, interface: Interface) -> list[tuple[bytes, Interface]]:
    """Every binary of a library, and what it shows to C: itself, or those of an FMU, that for Linux on x86-64 first."""
    if interface.target.artifact != "fmu":
        return [(library, interface)]
    return [
        (member(library, each.binary(interface.name, 2)), for_platform(interface, each)) for each in PLATFORMS.values()
    ]


def measured_of(library: bytes, interface: Interface) -> tuple[bytes, Interface]:
    """The one of the `binaries` whose stack and instructions are those of the manifest."""
    return binaries(library, interface)[0]


def _checked(binary: bytes, interface: Interface, platform: Platform) -> Contents:
    made_for = for_platform(interface, platform)
    around = Surroundings(FMI_FUNCTIONS, platform.needs, f"{interface.name}{platform.suffix}")
    return check_artifact(binary, made_for, around=around)


def _token(interface: Interface, found: Variables) -> str:
    """Identifies the Programs, how they are computed, and their variables; written as a GUID."""
    programs = [program.sha256 for program in interface.functions.values()]
    said = [interface.name, interface.precision, interface.target.profile, *programs, *map(repr, found.with_arrays)]
    digest = hashlib.sha256("\n".join(said).encode()).hexdigest()
    parts = (digest[a:b] for a, b in ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32)))
    return f"{{{'-'.join(parts)}}}"


def _interfaces(interface: Interface, found: Variables, token: str) -> dict[str, bytes]:
    """The C files that make an FMU of the model."""
    first = first_places(interface)
    derivatives = [place for row in found.derivatives for place in row]
    sizes = {each.reference: each.size for each in found.with_arrays}
    words = {
        "token": token,
        "n_out": str(len(found.outputs)),
        "n_functions": str(len(interface.functions)),
        "n_y": str(first[-1]),
        "differentiable": str(int(bool(derivatives))),
        "start": _listed(number for each in found.inputs for number in each.start),
        "tunable": _listed(int(each.causality == "parameter") for each in found.inputs),
        "first": _listed(first),
        "places": _listed(found.places),
        "derivatives": _listed(derivatives or [-1]),
        "sizes": _listed(sizes.get(i, 0) for i in range(found.time.reference + 1)),
    }
    made = {f"{interface.name}_fmu.h": filled_template("fmu.h", interface, words)}
    for fmi, own in STANDARDS.items():
        common = filled_template("fmi.c", interface, {"fmi": fmi, "FMI": fmi.upper(), **own}).decode()
        made[f"{interface.name}_{fmi}.c"] = filled_template(f"{fmi}.c", interface, {**words, "common": common})
    return made


def _listed(numbers: Iterable[float]) -> str:
    """The numbers as C writes those of an array, in lines of at most 112 characters."""
    lines = textwrap.wrap(", ".join(map(repr, numbers)), 112)
    return lines[0] if len(lines) == 1 else "".join(f"\n    {line}" for line in lines) + "\n"


def _library(
    object_code: bytes, files: Mapping[str, bytes], sources: Collection[str], interface: Interface, platform: Platform
) -> bytes:
    """The shared library for a platform, which has passed its gates."""
    made_for, library = for_platform(interface, platform), f"{interface.name}{platform.suffix}"
    target = made_for.target
    compile_it = (*ZIG, "cc", "-target", SYSTEMS[platform.target], *COMPILE, *OPTIONS[target.artifact])
    objects = {OBJECT: object_code}
    for source in sources:
        compiled = source.replace(".c", ".o")
        objects |= run_in(files, (*compile_it, source, "-o", compiled), [compiled], "compiler")
    if target.artifact == "dll":
        objects |= run_in({"heap.def": IMPORTS}, (*ZIG, *IMPORT_LIBRARY), ["heap.lib"], "linker")
    link_it = (*ZIG, *LINK[target.artifact](made_for, library))
    binary = with_record(run_in(objects, (*link_it, *objects), [library], "linker")[library], made_for)
    _checked(binary, interface, platform)
    return binary


def _elf(_: Interface, library: str) -> Command:
    options = ("-shared", "--build-id=none", "-s", "-Bsymbolic", "-z", "now", "-z", "noexecstack")
    return ("ld.lld", *options, "-soname", library, "-o", library)


def _dll(interface: Interface, library: str) -> Command:
    exports = (f"/export:{symbol}" for symbol in interface.visible)
    return ("lld-link", "/nologo", "/dll", "/noentry", "/Brepro", "/machine:x64", *exports, f"/out:{library}")


def _dylib(_: Interface, library: str) -> Command:
    options = ("-shared", "-nostdlib", "-lSystem", "-s", f"-Wl,-install_name,@rpath/{library}")
    return ("cc", "-target", SYSTEMS["macos-arm64"], *options, "-o", library)


LINK: Mapping[Artifact, Callable[[Interface, str], Command]] = {"elf": _elf, "dll": _dll, "dylib": _dylib}


def _archive(contents: Mapping[str, bytes]) -> bytes:
    """A ZIP archive whose bytes depend on nothing but `contents`."""
    data = BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name in sorted(contents, key=lambda name: (name != "modelDescription.xml", name)):
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.external_attr = (0o755 if name.startswith("binaries/") else 0o644) << 16
            entry.create_system = 3
            archive.writestr(entry, contents[name], zipfile.ZIP_DEFLATED)
    return data.getvalue()
