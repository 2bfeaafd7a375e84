"""What changed between two records, beyond what a repetition would change.

Ratios to the library are compared, which do not depend on how fast the machine was. The library itself is compared by
its ratio to a loop that is always the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from kdpinn_edge.comparison.ratios import Ratio, has_changed
from kdpinn_edge.comparison.record import Record
from kdpinn_edge.comparison.statistics import LatencyRow, rows

LEAST_EFFECT = 0.05


@dataclass(frozen=True)
class Change:
    """The ratio of one backend at n points in both records."""

    entry: str
    n: int
    before: Ratio
    after: Ratio

    @property
    def factor(self) -> float:
        """The factor by which it takes longer now."""
        return self.after.factor / self.before.factor

    @property
    def is_beyond_noise(self) -> bool:
        """Whether the two differ by more than their errors explain, and by at least 5 %."""
        return has_changed(self.before, self.after) and max(self.factor, 1 / self.factor) >= 1 + LEAST_EFFECT


@dataclass(frozen=True)
class Comparison:
    """The Changes of what is in both records; what else is different; what is in one of them only."""

    changes: tuple[Change, ...]
    differences: tuple[str, ...]
    gone: tuple[str, ...]
    new: tuple[str, ...]


def compare(before: Record, after: Record) -> Comparison:
    """Compare the ratios of every backend and n that both have."""
    earlier = {(row.entry, row.n): found for row in rows(before) if (found := _compared(row))}
    changes = tuple(
        Change(row.entry, row.n, earlier[row.entry, row.n], found)
        for row in rows(after)
        if (found := _compared(row)) and (row.entry, row.n) in earlier
    )
    names = [{entry.name for entry in record.entries} for record in (before, after)]
    return Comparison(
        changes=changes,
        differences=tuple(_differences(before, after)),
        gone=tuple(sorted(names[0] - names[1])),
        new=tuple(sorted(names[1] - names[0])),
    )


def _compared(row: LatencyRow) -> Ratio | None:
    return row.work or row.ratio


def _differences(before: Record, after: Record) -> list[str]:
    """Why the two records may differ, apart from the backends."""
    found = []
    for field in ("machine", "protocol", "subjects", "versions"):
        old, new = getattr(before, field), getattr(after, field)
        if old != new:
            found.append(f"{field}: {old}, now {new}")
    known = {entry.name: entry for entry in before.entries}
    for entry in after.entries:
        old = known.get(entry.name, entry)
        if old.versions != entry.versions:
            found.append(f"{entry.name}: {dict(old.versions)}, now {dict(entry.versions)}")
        if old.partner != entry.partner:
            found.append(f"{entry.name}: compared with {old.partner}, now with {entry.partner}")
    return found
