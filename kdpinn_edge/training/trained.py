"""`Trained`: what a run made, as a person looks at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdpinn_edge.display import facts_html, facts_text, new_figure
from kdpinn_edge.training.pinn import Pinn
from kdpinn_edge.training.run_folder import read_metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False, repr=False)
class Trained:
    """The result of a run: the network with its best weights, its folder, and its record, as in `model.json`.

    `finished` is False where the run was interrupted; `resume=True` continues it.
    """

    net: Pinn
    folder: Path
    record: dict[str, Any]
    finished: bool

    def __repr__(self) -> str:
        return facts_text(f"{self.record['role']} of {self.record['problem']}", run_facts(self.folder, self.record))

    def _repr_html_(self) -> str:
        return facts_html(f"{self.record['role']} of {self.record['problem']}", run_facts(self.folder, self.record))

    def plot(self) -> Figure:
        """Draw the loss and the error along the run."""
        return draw_run(self.folder)


def run_facts(folder: Path, record: Mapping[str, Any]) -> dict[str, str]:
    """The facts that the record of a run states, in the order of printing."""
    errors, residuals = record["errors"], record.get("residuals")
    facts = {"folder": f"{folder}, {record['architecture']['parameters']:,} parameters"}
    if errors:
        against = errors.get("against", "the reference")
        facts["error"] = (
            f"relative L2 {errors['relative_l2']:.2e}, at most {errors['max_abs']:.2e}, against {against} "
            f"({errors['n_points']:,} points)"
        )
    else:
        facts["error"] = "not known: the problem has no reference solution"
    if residuals:
        rms = ", ".join(f"{value:.2e}" for value in residuals["rms"])
        facts["residual"] = f"rms {rms}, at most {max(residuals['max_abs']):.2e} ({residuals['n_points']:,} points)"
    if conditions := record.get("conditions"):
        facts["conditions"] = "rms " + ", ".join(f"{each['rms']:.2e} ({each['name']})" for each in conditions)
    if unknowns := record.get("unknowns"):
        facts["unknowns"] = ", ".join(_unknown(name, **found) for name, found in unknowns.items())
    facts["time"] = f"{record['training_cpu_seconds']:,.0f} s of CPU{'' if record['finished'] else ', interrupted'}"
    return facts | ({"warning": "\n".join(record["warnings"])} if record.get("warnings") else {})


def _unknown(name: str, value: float, standard_error: float | None) -> str:
    """What was found of an unknown, to the digits that noise of the measurements leaves."""
    if standard_error is None:
        return f"{name} = {value:.6g} (its error is not known)"
    return f"{name} = {value:.6g} ± {standard_error:.2g}"


def draw_run(folder: Path) -> Figure:
    """Draw the loss of the run in `folder`, and its error where that is known, over the steps."""
    rows = read_metrics(folder)
    figure, axes = new_figure(6.4, 4.0)
    steps = [row["step"] for row in rows]
    axes.semilogy(steps, [row["loss"] for row in rows], label="loss of the points of the round", color="C0")
    axes.semilogy(
        steps, [row["best_score"] for row in rows], label="lowest loss at held-out points", color="C0", ls=":"
    )
    if known := [(row["step"], row["relative_l2"]) for row in rows if row["relative_l2"] is not None]:
        axes.semilogy(*zip(*known, strict=True), label="relative L2 error", color="C1")
    if changed := [row["step"] for row in rows if row["phase"] == "adam"]:
        axes.axvline(changed[-1], color="0.7", lw=0.8)
    axes.set_xlabel("step")
    axes.legend()
    axes.set_title(folder.name)
    return figure
