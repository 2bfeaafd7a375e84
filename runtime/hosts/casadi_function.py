"""A model as an external function of CasADi, loaded from the bytes that were checked."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import casadi

from kdpinn_edge.runtime.sealed import SealedFile


def casadi_function(name: str, image: bytes) -> Any:
    """The function NAME_cas in `image`, the bytes of the library that the bundle has for CasADi.

    They are loaded from sealed memory, as the library itself is. CasADi wants a file name that ends in .so: that of a
    link, which is gone when this returns.
    """
    file = SealedFile(name, image)
    try:
        with TemporaryDirectory(prefix="kdpinn_edge_") as folder:
            link = Path(folder) / f"{name}.so"
            link.symlink_to(file.path)
            return casadi.external(f"{name}_cas", str(link))
    finally:
        file.close()
