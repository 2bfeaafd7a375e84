"""What changed between two records, beyond what a repetition would change."""

from __future__ import annotations

from dataclasses import dataclass

from kdpinn_edge.comparison.record import Mode, Record
from kdpinn_edge.comparison.statistics import Percentile, rows

LEAST_EFFECT = 0.05
COMPARED: tuple[Mode, ...] = ("closed", "periodic", "periodic, load")


@dataclass(frozen=True)
class Change:
    """One percentile of one cell in both records, in nanoseconds."""

    entry: str
    n: int
    mode: Mode
    before: Percentile
    after: Percentile

    @property
    def factor(self) -> float:
        """The factor by which it takes longer now."""
        return self.after.ns / self.before.ns

    @property
    def is_beyond_noise(self) -> bool:
        """Whether the intervals are apart, and the effect is at least 5 %."""
        apart = self.after.low_ns > self.before.high_ns or self.after.high_ns < self.before.low_ns
        return apart and max(self.factor, 1 / self.factor) >= 1 + LEAST_EFFECT


@dataclass(frozen=True)
class Comparison:
    """The Changes of what is in both records; what else is different; what is in one of them only."""

    changes: tuple[Change, ...]
    differences: tuple[str, ...]
    gone: tuple[str, ...]
    new: tuple[str, ...]


def compare(before: Record, after: Record) -> Comparison:
    """Compare the p50 and p99 of every cell that both have."""
    earlier = {(row.entry, row.n, row.mode): row for row in rows(before) if row.mode in COMPARED}
    changes = []
    for row in rows(after):
        if old := earlier.get((row.entry, row.n, row.mode)):
            pairs = [(old.percentile(p), row.percentile(p)) for p in (50.0, 99.0)]
            changes += [Change(row.entry, row.n, row.mode, a, b) for a, b in pairs if a and b]
    names = [{entry.name for entry in record.entries} for record in (before, after)]
    return Comparison(
        changes=tuple(changes),
        differences=tuple(_differences(before, after)),
        gone=tuple(sorted(names[0] - names[1])),
        new=tuple(sorted(names[1] - names[0])),
    )


def _differences(before: Record, after: Record) -> list[str]:
    """Why the two records may differ, apart from the backends."""
    found = []
    for field in ("machine", "protocol", "subjects", "versions"):
        old, new = getattr(before, field), getattr(after, field)
        if old != new:
            found.append(f"{field}: {old}, now {new}")
    versions = {entry.name: entry.versions for entry in before.entries}
    for entry in after.entries:
        old = versions.get(entry.name, entry.versions)
        if old != entry.versions:
            found.append(f"{entry.name}: {dict(old)}, now {dict(entry.versions)}")
    return found
