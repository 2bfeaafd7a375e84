"""A bundle as it was read: every file once, and all of them held against each other before any is used."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from kdpinn_edge.bundle.fmu import Image, image_of
from kdpinn_edge.bundle.loading import loading_faults
from kdpinn_edge.bundle.manifest import (
    CASADI_LIBRARY,
    PROGRAM_FILES,
    FunctionName,
    Manifest,
    check_files,
    parse_manifest,
    read_manifest_bytes,
)
from kdpinn_edge.bundle.signature import check_digest, check_signature
from kdpinn_edge.bundle.statement import statement_of
from kdpinn_edge.bundle.symbols import called_by_casadi, exported, for_casadi, visible
from kdpinn_edge.bundle.x86 import CHOOSING
from kdpinn_edge.derive.groups import has_hessian
from kdpinn_edge.errors import BundleError, listing
from kdpinn_edge.program.file import parse_program
from kdpinn_edge.program.ir import Program, columns


@dataclass(frozen=True)
class Bundle:
    """The files of the folder `directory`: `contents` by their names, with the hashes that `manifest` states.

    `sha256` is the hash of manifest.json, and through it of all the others.
    """

    directory: Path
    manifest: Manifest
    contents: Mapping[str, bytes]
    sha256: str

    @property
    def library(self) -> bytes:
        """The library."""
        return self.contents[self.manifest.library]

    @cached_property
    def image(self) -> Image:
        """What is loaded of the library. Raises BundleError where there is nothing to load in it."""
        return image_of(self.manifest.name, self.manifest.library, self.library, self.manifest.target.name)

    def program(self, function: FunctionName = "eval") -> Program:
        """The Program of a function. Raises BundleError where it is another than the manifest describes."""
        file, stated = PROGRAM_FILES[function], self.manifest.functions[function]
        path = self.directory / file
        if file not in self.contents:
            raise BundleError(f"the bundle has no {file}, which is the Program of {function}: export it again")
        program = parse_program(self.contents[file], str(path))
        if program.sha256 != stated.program_sha256:
            raise BundleError(f"{path} holds the Program {program.sha256}, the manifest says {stated.program_sha256}")
        found = columns(program.inputs), columns(program.outputs)
        described = tuple(side.name for side in self.manifest.inputs), tuple(side.name for side in stated.outputs)
        if found != described:
            raise BundleError(f"{path} has the columns {found}, the manifest says {described}")
        return program

    def check_loadable(self) -> None:
        """Raise BundleError where loading the library would run code, or need or show what it should not."""
        manifest = self.manifest
        symbols = exported(
            manifest.name, manifest.functions, per_call=bool(manifest.per_call), fixed=bool(manifest.fixed_point)
        )
        image = self.image
        self._check_loadable(manifest.library, image, image.exports.union(visible(symbols)))

    def check_casadi_loadable(self) -> None:
        """Raise BundleError as `check_loadable` does, for the library that CasADi loads."""
        manifest = self.manifest
        functions = for_casadi(manifest.name, twice=has_hessian(*manifest.names))
        file = CASADI_LIBRARY.format(manifest.name)
        image = Image(self.contents[file], manifest.target.name)
        self._check_loadable(file, image, called_by_casadi(functions))

    @staticmethod
    def _check_loadable(file: str, image: Image, symbols: Iterable[str]) -> None:
        may_choose = image.target == CHOOSING
        if faults := loading_faults(image.data, [*symbols], may_choose=may_choose, may_need=image.needs):
            raise BundleError(
                f"{file} is not loaded, since it does not pass the gates of an export: {listing(faults)}\n"
                "Export the bundle again."
            )


def open_bundle(
    directory: str | os.PathLike[str], *, key: str | os.PathLike[str] | None = None, sha256: str | None = None
) -> Bundle:
    """The bundle in the folder `directory`, each file read once.

    `sha256` is the hash that manifest.json must have, `key` the file of the public key that must have signed it: both
    are checked before anything of it is parsed. Then every file must have the hash that the manifest states, the folder
    must hold no other, and the library must carry the hash of what the manifest states. Raises BundleError.
    """
    text = read_manifest_bytes(directory)
    found = check_digest(text, sha256, directory)
    if key is not None:
        check_signature(text, directory, key)
    return read_files(directory, parse_manifest(text, directory), found)


def read_files(directory: str | os.PathLike[str], manifest: Manifest, sha256: str) -> Bundle:
    """The bundle with this `manifest`, which has the hash `sha256`. Raises BundleError where a file does not fit it."""
    bundle = Bundle(Path(directory), manifest, check_files(directory, manifest), sha256)
    if statement_of(manifest).encode() not in bundle.image.data:
        raise BundleError(
            f"{directory}: {manifest.library} was not made for this manifest.json: its name, columns, units, domain, "
            "equation, precision, numerics profile, target or toolchain were changed. Export the bundle again."
        )
    return bundle
