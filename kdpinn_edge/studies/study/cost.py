"""What a network takes on a machine: bytes and instructions, as an export states them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from kdpinn_edge.errors import ExportError
from kdpinn_edge.export.bundle import export_bundle
from kdpinn_edge.export.measure.resources import N_POINTS
from kdpinn_edge.importers.model import Model


@dataclass(frozen=True)
class NetCost:
    """Bytes of code and constants; instructions for one point, and per point of a call with max(N_POINTS)."""

    flash: int
    one_point: int
    per_point: float


def net_cost(model: Model, target: str) -> NetCost:
    """What `model` takes on `target`, in float32. Raises ExportError where nothing counts that here."""
    with TemporaryDirectory(prefix="kdpinn_edge_") as folder:
        bundle = Path(folder, "model")
        made = export_bundle(
            model.program, bundle, name="model", target=target, inputs=model.inputs, outputs=model.outputs
        )
    counts = made.functions["eval"].instructions
    if counts is None or made.sizes is None:
        raise ExportError(f"no instructions counted for {target}: {made.measured}")
    many = max(N_POINTS)
    return NetCost(made.sizes.flash, counts["1"], counts[str(many)] / many)
