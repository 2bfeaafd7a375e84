"""Bundles that were changed after their export, with all hashes made right again."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from kdpinn_edge.bundle.manifest import read_manifest, write_manifest
from kdpinn_edge.bundle.statement import statement_of


def edit(bundle: Path, *, restated: bool = True, **changes: Any) -> None:
    """Change fields of the manifest, and state the hashes of the files as they are now.

    `restated` lets the library carry the hash of the changed statement, as only who writes it anew can do.
    """
    manifest = read_manifest(bundle)
    changed = replace(manifest, **changes)
    if restated:
        library = bundle / manifest.library
        before, after = (statement_of(each).encode() for each in (manifest, changed))
        library.write_bytes(library.read_bytes().replace(before, after))
    hashes = {name: hashlib.sha256((bundle / name).read_bytes()).hexdigest() for name in changed.files}
    write_manifest(replace(changed, files=hashes), bundle)
