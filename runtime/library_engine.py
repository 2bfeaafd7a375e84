"""The shared library of a bundle, called through cffi. The GIL is released during every call."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import cffi

from kdpinn_edge.bundle.fmu import target_here
from kdpinn_edge.bundle.manifest import CASADI_LIBRARY, FunctionName, Manifest
from kdpinn_edge.bundle.read import Bundle
from kdpinn_edge.bundle.selftest import selftest_fault
from kdpinn_edge.bundle.statement import statement_of
from kdpinn_edge.bundle.symbols import FIXED, FOR
from kdpinn_edge.bundle.x86 import CHOOSING
from kdpinn_edge.errors import BundleError, EngineError, MisfitError, listing
from kdpinn_edge.runtime.bound import BoundCall
from kdpinn_edge.runtime.engine import Array, Engine, check_function, check_points, in_room
from kdpinn_edge.runtime.processor import misfit, missing_instructions
from kdpinn_edge.runtime.sealed import SealedFile

HEADER = Path(__file__).with_name("kdpinn_edge.h")
ABI = 4
NO_VARIANT = "none"
SCALAR = {"float32": "float", "float64": "double"}
PER_CALL = "int32_t {0}(const {1} *p, const {1} *x, {1} *y, int64_t n);"
FIXED_FORM = "int32_t {0}(const int32_t *x, int32_t *y, int64_t n);"
INSTEAD = "Export it for this machine, or load the bundle with engine='numpy'."


class CEngine(Engine):
    """C functions of a model in memory, found through the description that the model gives of itself.

    It must describe itself as the manifest does, and its selftest must find the bits that were exported. Raises
    BundleError or EngineError.

    `target` is what the code that runs was compiled for: that of the manifest, or what was chosen of its variants.
    `per_call` has NAME_eval_for, … where inputs are constant during a call, `fixed` NAME_eval_fixed, … of a model in
    integers.
    """

    def __init__(
        self,
        manifest: Manifest,
        ffi: cffi.FFI,
        model: Any,
        per_call: Mapping[FunctionName, Any],
        fixed: Mapping[FunctionName, Any],
    ) -> None:
        super().__init__(manifest)
        self._ffi = ffi
        self._compare(model)
        self.target = self._target(model)
        self._prove(model)
        is_single = manifest.precision == "float32"
        self._buffer_type = _interface().typeof("float[]" if is_single else "double[]")  # which remembers types
        self._functions = {
            function: model.functions[i].f32 if is_single else model.functions[i].f64
            for i, function in enumerate(manifest.functions)
        }
        self._per_call, self._fixed = per_call, fixed
        self._outside = model.outside_f32 if is_single else model.outside_f64
        self._integrity = model.integrity

    def outside(self, x: Array) -> int:
        """Count how many of the points x (n, n_in) lie outside the domain box."""
        check_points(self.manifest, x)
        return in_room(x, 0, lambda x: int(self._outside(self._ffi.from_buffer(self._buffer_type, x), len(x))))

    def address(self, function: FunctionName = "eval") -> int:
        """The address of the C function NAME_eval, NAME_jet or NAME_residual, valid as long as the engine lives."""
        check_function(self.manifest, function)
        return int(self._ffi.cast("uintptr_t", self._functions[function]))

    def is_intact(self) -> bool:
        """Whether code and constants in memory are those that were exported, by their CRC-32."""
        return int(self._integrity()) == 0

    def _bind(self, function: FunctionName, x: Array, y: Array) -> BoundCall:
        return self._call(function, self._functions[function], (x,), y)

    def _bind_for(self, function: FunctionName, p: Array, x: Array, y: Array) -> BoundCall:
        return self._call(f"{function}_for", self._per_call[function], (p, x), y)

    def _bind_fixed(self, function: FunctionName, x: Array, y: Array) -> BoundCall:
        return self._call(FIXED.format(function), self._fixed[function], (x,), y, "int32_t[]")

    def _call(self, function: str, evaluate: Any, given: tuple[Array, ...], y: Array, of: Any = None) -> BoundCall:
        """The call of `evaluate`; `of` is the type of its buffers, without it that of the precision."""
        of = of or self._buffer_type
        read = [self._ffi.from_buffer(of, array) for array in given]
        written = self._ffi.from_buffer(of, y, require_writable=True)
        return BoundCall(self, function, evaluate, (*read, written, len(y)), y)

    def _compare(self, model: Any) -> None:
        """The library's own description against the manifest."""
        if model == self._ffi.NULL:
            raise BundleError(f"{self.manifest.library}: {self.manifest.name}_model() returned NULL: export it again")
        if model.abi != ABI:
            raise BundleError(
                f"{self.manifest.library} has ABI version {model.abi}; this version calls {ABI}. "
                "Export it again, or update kdpinn_edge."
            )
        manifest = self.manifest
        described: dict[str, tuple[object, object]] = {
            "scalar_bytes": (model.scalar_bytes, self.dtype.itemsize),
            "name": (self._text(model.name), manifest.name),
            "profile": (self._text(model.profile), manifest.profile),
            "n_in": (model.n_in, manifest.n_in),
            "n_functions": (model.n_functions, len(manifest.functions)),
            "target": (
                CHOOSING if model.n_variants else self._text(model.target),
                target_here(manifest.library, manifest.target.name),
            ),
            "statement_sha256": (self._text(model.statement_sha256), statement_of(manifest)),
        }
        if model.n_in == manifest.n_in:
            described |= self._described_inputs(model)
        for i, (function, expected) in enumerate(list(manifest.functions.items())[: model.n_functions]):
            found = model.functions[i]
            described |= {
                f"functions[{i}].name": (self._text(found.name), function),
                f"functions[{i}].program_sha256": (self._text(found.program_sha256), expected.program_sha256),
                f"functions[{i}].n_out": (found.n_out, expected.n_out),
            }
            if found.n_out == expected.n_out:
                names = tuple(column.name for column in expected.outputs)
                described[f"functions[{i}].output_names"] = self._texts(found.output_names, found.n_out), names
        faults = [
            f"{field} is {here!r}, the manifest says {there!r}"
            for field, (here, there) in described.items()
            if here != there
        ]
        if faults:
            raise BundleError(
                f"{manifest.library} describes another model: {listing(faults)}\nExport the bundle again."
            )

    def _described_inputs(self, model: Any) -> dict[str, tuple[object, object]]:
        """What the library says of the inputs, and what the manifest does."""
        inputs = self.manifest.inputs
        lower = tuple(-math.inf if column.lower is None else float(column.lower) for column in inputs)
        upper = tuple(math.inf if column.upper is None else float(column.upper) for column in inputs)
        return {
            "input_names": (self._texts(model.input_names, model.n_in), tuple(column.name for column in inputs)),
            "lower": (tuple(model.lower[0 : model.n_in]), lower),
            "upper": (tuple(model.upper[0 : model.n_in]), upper),
        }

    def _texts(self, pointers: Any, n: int) -> tuple[str, ...]:
        return tuple(self._text(pointers[i]) for i in range(n))

    def _target(self, model: Any) -> str:
        """The target of the code that runs here. Raises EngineError where none does."""
        target = self._text(model.target)
        if target == NO_VARIANT:
            variants = [self._text(model.variants[i].target) for i in range(model.n_variants)]
            least = [self.manifest.target.name, *variants][-1]
            missing = ", ".join(missing_instructions(least)) or "such instructions"
            raise EngineError(
                f"{self.manifest.library} needs at least {least}; this processor has no {missing}. {INSTEAD}"
            )
        return target

    def _text(self, pointer: Any) -> str:
        return bytes(self._ffi.string(pointer)).decode()

    def _prove(self, model: Any) -> None:
        """Run the self-test of the library."""
        if code := model.selftest():
            raise EngineError(
                f"{self.manifest.library} does not pass its self-test, so it does not compute as "
                f"{self.manifest.profile} demands here: {selftest_fault(code)}."
            )


class LibraryEngine(CEngine):
    """The machine code of the library of `bundle`.

    Nothing is loaded unless the bytes of the library show that loading them runs no code. What runs are these bytes and
    no others: they are loaded from a SealedFile, so that no later change of the file in the bundle, not even one in
    place, reaches a running engine. `path` opens them for other processes, as long as this engine lives. Raises
    BundleError or EngineError.
    """

    def __init__(self, bundle: Bundle) -> None:
        manifest = bundle.manifest
        if fault := misfit(manifest):
            raise MisfitError(f"{manifest.library} was made for {manifest.target.name}; {fault}. {INSTEAD}")
        bundle.check_loadable()
        ffi = _ffi()
        describe = f"{manifest.name}_model"
        per_call = {function: f"{manifest.name}_{FOR.format(function)}" for function in _per_call(manifest)}
        fixed = {function: f"{manifest.name}_{FIXED.format(function)}" for function in manifest.fixed_point}
        ffi.cdef(f"const kdpinn_model *{describe}(void);")
        for symbol in per_call.values():
            ffi.cdef(PER_CALL.format(symbol, SCALAR[manifest.precision]))
        for symbol in fixed.values():
            ffi.cdef(FIXED_FORM.format(symbol))
        library, file = _opened(ffi, bundle)
        self.path = Path(file.path)
        weakref.finalize(self, _unload, ffi, library, file).atexit = file.outlives_process
        forms = ({function: getattr(library, name) for function, name in each.items()} for each in (per_call, fixed))
        super().__init__(manifest, ffi, getattr(library, describe)(), *forms)
        self._bundle = bundle

    def __reduce__(self) -> tuple[Any, ...]:
        return LibraryEngine, (self._bundle,)

    def casadi(self) -> Any:
        """The model as a function of CasADi, as in `Engine.casadi`."""
        image = self._bundle.contents.get(CASADI_LIBRARY.format(self.manifest.name))
        if image is None:
            return super().casadi()
        self._bundle.check_casadi_loadable()
        from kdpinn_edge.runtime.hosts.casadi_function import casadi_function

        return casadi_function(self.manifest.name, image)


class CompiledEngine(CEngine):
    """Machine code that was compiled in this process.

    `addresses` are those of its C functions, by their names, and `code` is what keeps them in memory. `compile_again`
    makes the same engine in another process.
    """

    def __init__(
        self,
        manifest: Manifest,
        addresses: Mapping[str, int],
        code: object,
        compile_again: Callable[[], Engine],
    ) -> None:
        ffi = _ffi()
        self._code = code
        describe = ffi.cast("const kdpinn_model *(*)(void)", addresses[f"{manifest.name}_model"])
        pointer = PER_CALL.format("(*)", SCALAR[manifest.precision]).rstrip(";")
        per_call = {each: ffi.cast(pointer, addresses[f"{manifest.name}_{each}_for"]) for each in _per_call(manifest)}
        pointer = FIXED_FORM.format("(*)").rstrip(";")
        fixed = {
            each: ffi.cast(pointer, addresses[f"{manifest.name}_{FIXED.format(each)}"]) for each in manifest.fixed_point
        }
        super().__init__(manifest, ffi, describe(), per_call, fixed)
        self._compile_again = compile_again

    def __reduce__(self) -> tuple[Any, ...]:
        return self._compile_again, ()


def _per_call(manifest: Manifest) -> tuple[FunctionName, ...]:
    """The functions that there are for inputs that are constant during a call."""
    return tuple(manifest.functions) if manifest.per_call else ()


def _opened(ffi: cffi.FFI, bundle: Bundle) -> tuple[Any, SealedFile]:
    """The library of `bundle`, loaded, and the file that it was loaded from."""
    manifest = bundle.manifest
    try:
        file = SealedFile(manifest.library, bundle.image.data)
        try:
            return ffi.dlopen(file.path, ffi.RTLD_NOW | ffi.RTLD_LOCAL), file
        except OSError:
            file.close()
            raise
    except OSError as error:
        raise EngineError(
            f"{manifest.library} cannot be loaded here ({error}); it was compiled for "
            f"{manifest.target.triple}. {INSTEAD}"
        ) from error


def _ffi() -> cffi.FFI:
    ffi = cffi.FFI()
    ffi.include(_interface())
    return ffi


@cache
def _interface() -> cffi.FFI:
    """The declarations in kdpinn_edge.h, from the bytes that C compilers read."""
    text = HEADER.read_text(encoding="utf-8")
    ffi = cffi.FFI()
    ffi.cdef(text.partition("/* cdef: begin */")[2].partition("/* cdef: end */")[0])
    ffi.typeof("kdpinn_model")  # keeps the type: cffi 2.1 forgets one that no FFI uses, and then makes it opaque
    return ffi


def _unload(ffi: cffi.FFI, library: Any, file: SealedFile) -> None:
    ffi.dlclose(library)
    file.close()
