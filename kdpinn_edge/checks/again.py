"""What `check` does again: all in a bundle that follows from its Programs and its manifest, or can be measured."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from kdpinn_edge.bundle.fixed_point import PARTS
from kdpinn_edge.bundle.manifest import CASADI_LIBRARY, CASADI_SOURCE, PROGRAM_FILES, Errors, FunctionName
from kdpinn_edge.bundle.read import Bundle
from kdpinn_edge.bundle.symbols import FIXED
from kdpinn_edge.errors import BundleError, MisfitError, listing
from kdpinn_edge.program.ir import Array, Program, columns

if TYPE_CHECKING:
    from kdpinn_edge.export.measure.accuracy import Values
    from kdpinn_edge.export.preparation import Prepared

SAME_ERROR = 1e-6
"""The share by which an error may differ when it is measured again, besides ROUNDING: the sums of its reference, in
float64, are those of NumPy, whose order depends on the processor."""
ROUNDING = 64 * np.finfo(np.float64).eps


class Again:
    """The parts of `bundle`, whose Programs are `programs`, made again here.

    Each method returns what it found. It raises BundleError where the bundle has something else, MisfitError where that
    cannot be told here: another version of a tool has made it, or a tool is missing.
    """

    def __init__(self, bundle: Bundle, programs: Mapping[FunctionName, Program]) -> None:
        self._bundle, self._manifest, self._programs = bundle, bundle.manifest, programs

    @cached_property
    def _model(self) -> Prepared:
        """The model as it was before it was compiled: exactly that, with all that the manifest states."""
        from kdpinn_edge.export.preparation import prepare_again

        again = prepare_again(self._manifest, self._programs, target=self._manifest.target.name)
        return again.with_toolchain(self._manifest.toolchain)

    @cached_property
    def _values(self) -> dict[FunctionName, Values]:
        """The functions where their errors are measured."""
        return self._model.values()

    def files(self) -> str:
        """The files beside the library, and that there are no others than an export writes."""
        from kdpinn_edge.export.artifacts.casadi_files import casadi_source
        from kdpinn_edge.export.artifacts.device_bench import bench_program, bench_sources
        from kdpinn_edge.export.artifacts.linking import linked_files
        from kdpinn_edge.export.artifacts.wrappers import languages_in, wrappers
        from kdpinn_edge.export.bundle import companions

        self._check_tools("kdpinn-edge", "numpy", "onnx")
        interface, found = self._model.interface, self._bundle.contents
        derived = companions(self._model, self._bundle.library, self._manifest.batch)
        derived |= wrappers(languages_in(found, interface), interface)
        if interface.linked_library != interface.library:
            derived[interface.linked_library] = self._bundle.library
        made = linked_files(interface) | {PROGRAM_FILES[function] for function in self._programs}
        if bench_program(interface) in found:
            derived |= bench_sources(interface)
            made.add(bench_program(interface))
        if CASADI_SOURCE.format(self._manifest.name) in found:
            derived |= casadi_source(interface)
            made.add(CASADI_LIBRARY.format(self._manifest.name))
        faults = [
            f"{name} is {'not what an export writes there' if name in found else 'missing'}"
            for name in derived
            if found.get(name) != derived[name]
        ]
        faults += [f"{name} is none of the files of an export" for name in sorted(found.keys() - derived.keys() - made)]
        if faults:
            raise BundleError(listing(faults))
        return f"{', '.join(sorted(derived))}: as they follow from the Programs and the manifest"

    def library(self) -> str:
        """The library, compiled and linked by the same tools."""
        from kdpinn_edge.export.artifacts.c_source import c_source
        from kdpinn_edge.export.artifacts.casadi_files import casadi_files
        from kdpinn_edge.export.artifacts.linking import link, linker, linker_version
        from kdpinn_edge.export.fmu import fmu_files
        from kdpinn_edge.export.machine_code import object_code

        model, manifest = self._model, self._manifest
        interface = model.interface
        if interface.target.artifact == "c99":
            self._check_tools("kdpinn-edge", "numpy")
            found = {interface.library: c_source(model.kernels[0], interface)}
        else:
            self._check_tools(*(tool for tool in manifest.toolchain if tool not in ("llvm", "linker", "onnx")))
            command = linker(interface)
            here, there = linker_version(command), manifest.toolchain.get("linker")
            if here != there:
                raise MisfitError(f"linked by {there}; here it would be {here}")
            is_fmu = interface.target.artifact == "fmu"
            code = b"" if is_fmu else object_code(model.kernels, interface)
            found = fmu_files(model) if is_fmu else link(code, interface, command)
            if CASADI_LIBRARY.format(manifest.name) in self._bundle.contents:
                found |= casadi_files(code, interface, command)
        faults = [name for name, data in found.items() if self._bundle.contents.get(name) != data]
        if faults:
            raise BundleError(f"{' and '.join(faults)}: not the bytes that the same tools make of these Programs")
        return f"{', '.join(found)}: the bytes that the same tools make of the Programs"

    def operations(self) -> str:
        """The work that the manifest states."""
        from kdpinn_edge.export.preparation import operations_of

        for function, program in self._programs.items():
            found, stated = operations_of(program), self._manifest.functions[function].operations
            if found != stated:
                raise BundleError(f"{function} takes {found}; the manifest says {stated}")
        return "multiply-adds and activations are those of the Programs"

    def usage(self) -> str:
        """The stack and the instructions of a call, where they can be measured here."""
        from kdpinn_edge.export.artifacts.fmu import measured_of
        from kdpinn_edge.export.measure.resources import Budget, measure

        manifest = self._manifest
        image, interface = measured_of(self._bundle.library, self._model.interface)
        usage = measure(image, interface, manifest.sizes, Budget())
        pairs: dict[str, tuple[Any, Any]] = {"stack": (usage.stack, manifest.stack)}
        for name, function in manifest.functions.items():
            pairs[f"{name}: stack"] = usage.stacks.get(name), function.stack
            pairs[f"{name}: instructions"] = usage.instructions.get(name), function.instructions
        for name, record in manifest.fixed_point.items():
            form = FIXED.format(name)
            pairs[f"{form}: stack"] = usage.stacks.get(form), record.stack
            pairs[f"{form}: instructions"] = usage.instructions.get(form), record.instructions
        both = {what: pair for what, pair in pairs.items() if None not in pair}
        faults = [
            f"{what} is {here}, the manifest says {there}" for what, (here, there) in both.items() if here != there
        ]
        if faults:
            raise BundleError(f"measured again, {listing(faults)}")
        if not both:
            raise MisfitError(usage.how if usage.stack is None else f"the manifest states none: {manifest.measured}")
        unseen = "".join(
            f"; not measured here: {what}" for what in pairs if what not in both and pairs[what][1] is not None
        )
        return f"{', '.join(both)}: as measured again, {usage.how}{unseen}"

    def errors(self, function: FunctionName) -> str:
        """The errors of a function against its Program; those of storage are against what a bundle does not hold."""
        from kdpinn_edge.export.measure.accuracy import measured_errors
        from kdpinn_edge.export.preparation import IN_FLOAT64

        stated, program = self._manifest.functions[function].errors, self._programs[function]
        found = measured_errors(function, self._values[function], self._manifest.inputs, stated.against)
        if found.n_points != stated.n_points or stated.against != IN_FLOAT64:
            raise BundleError(
                f"measured at {stated.n_points} points against {stated.against!r}; expected: {found.n_points} points, "
                f"against {IN_FLOAT64!r}"
            )
        faults = [fault for key in ("max_abs", "rms", "scale") for fault in _differences(key, program, found, stated)]
        faults += self._fixed_point(function, found.n_points)
        if faults:
            raise BundleError(f"measured again, {listing(faults)}")
        shown = zip(columns(program.outputs), found.max_abs, strict=True)
        return f"as measured again: {', '.join(f'{error:.2g} in {name}' for name, error in shown)}"

    def _fixed_point(self, function: FunctionName, n_points: int) -> list[str]:
        """What differs from what the manifest states of a function in integers."""
        stated, found = self._manifest.fixed_point.get(function), self._model.fixed_point({function: n_points})
        here = found.get(function)
        if here is None or stated is None:
            return [] if here is stated else ["fixed_point is there, or not, as the numerics profile does not have it"]
        faults = [
            f"{key} is {getattr(here, key)}, the manifest says {getattr(stated, key)}"
            for key in ("x_bits", "y_bits")
            if getattr(here, key) != getattr(stated, key)
        ]
        scale = np.array(self._manifest.functions[function].errors.scale)
        for part in PARTS:
            for key in ("max_abs", "rms"):
                ours, theirs = (np.array(getattr(getattr(each, part), key)) for each in (here, stated))
                if (np.abs(ours - theirs) > SAME_ERROR * ours + ROUNDING * scale).any():
                    faults.append(f"{key} of {part} is {ours.tolist()}, the manifest says {theirs.tolist()}")
        return faults

    def _check_tools(self, *tools: str) -> None:
        """Raise MisfitError where the bundle was made by another version of one of these packages."""
        made_by = {tool: self._manifest.toolchain.get(tool, "unknown") for tool in tools}
        others = [f"{tool} {there} (here {version(tool)})" for tool, there in made_by.items() if there != version(tool)]
        if others:
            raise MisfitError(f"the bundle was made by {', '.join(others)}")


def _differences(key: str, program: Program, found: Errors, stated: Errors) -> list[str]:
    here, there, scale = (np.array(numbers) for numbers in (getattr(found, key), getattr(stated, key), found.scale))
    allowed: Array = SAME_ERROR * here + ROUNDING * scale
    return [
        f"{key} of {name} is {ours:.6g}, the manifest says {theirs:.6g}"
        for name, ours, theirs, slack in zip(columns(program.outputs), here, there, allowed, strict=True)
        if not abs(ours - theirs) <= slack
    ]
