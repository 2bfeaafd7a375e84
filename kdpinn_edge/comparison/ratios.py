"""How many times as long one call takes as another, on a core that is its own, and where a repetition is expected.

Everything rests on pairs: stretches of calls and of calls of a partner, one right after the other, each between two
readings of a loop that is always the same (`KNOWN_WORK`). Where the loop is slow, so is the core: another virtual
machine shares it, its clock is down, or what ran meanwhile has emptied the caches. Different code suffers differently
from that, so that the ratio of two backends is not the same number there; on one machine it was 22 beside nobody and
28 beside others. The ratio that is meant is the one on a core that nobody disturbs, and `undisturbed` picks its pairs
by the loop alone, which knows of no result.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from kdpinn_edge.comparison.backend import Layer
from kdpinn_edge.comparison.disturbance import is_spoilt
from kdpinn_edge.comparison.record import Block, Cell, Record

Array = NDArray[Any]

CONFIDENCE = 0.95
LEAST_TURNS = 3  # two that are alike by chance would be believed
WIDEST = 2.0
"""An interval whose ends are further apart than this factor decides nothing."""

FASTEST = 0.01  # of all readings of the known work of a run: its time on a core that nobody disturbs
SLOWED = 1.2  # times that: the core is disturbed
LEAST_SHARE = 0.25  # of a row's pairs, the least disturbed ones, are used in any case
FREEDOM = 5.0  # degrees that Scatter has
ALIKE = 2  # so many pairs tell as much as one would that is independent: those of a turn resemble each other
OF_MAD = 1.4826  # standard deviation of a normal distribution over its median absolute deviation
OF_MEDIAN = math.pi / 2  # variance of the median over that of the mean, of a normal distribution


@dataclass(frozen=True)
class Scatter:
    """By how much ratios of one kind of call differ for reasons that a run cannot see in its pairs: standard deviations
    of the logarithm, which `bench_coverage.py` shows.

    `of_run` is between runs and `of_process` between processes of one run. `slowed` is for each unit of the logarithm
    by which the known work around the pairs was slower than on a core that nobody disturbs, and `waited` for the share
    of the time in which others had the core.
    """

    of_run: float
    of_process: float
    slowed: float
    waited: float


LOOP = Scatter(of_run=0.015, of_process=0.015, slowed=0.15, waited=0.015)
FRAMEWORK = Scatter(of_run=0.055, of_process=0.02, slowed=0.6, waited=0.1)
"""A call of a framework passes through megabytes of code and data: what else runs on the machine costs it more than a
loop of a few kilobytes."""
TO_KNOWN_WORK = Scatter(of_run=0.07, of_process=0.02, slowed=0.3, waited=0.05)
"""The known work is another loop than the library's, with other units of the core and without memory."""
OF_LAYER: Mapping[Layer, Scatter] = {"kernel in C": LOOP, "call from Python": LOOP, "framework call": FRAMEWORK}


@dataclass(frozen=True)
class Ratio:
    """How many times as long one call takes as another, in time on the core: `factor`.

    A repetition of the run is expected in [low, high] in 95 of 100 cases. `spread` is the standard error of the
    logarithm, with `freedom` degrees. The three are None, and `freedom` is 0, where there are less than three
    turns. It rests on `pairs`; `disturbed` others were left out.
    """

    factor: float
    low: float | None
    high: float | None
    spread: float | None
    freedom: float
    pairs: int
    disturbed: int

    @property
    def is_decidable(self) -> bool:
        """Whether the interval is narrow enough to say anything."""
        return self.low is not None and self.high is not None and self.high <= WIDEST * self.low

    @property
    def is_longer(self) -> bool:
        """Whether the call takes longer than the other, with 95 % confidence: how many times as long may be open."""
        return self.spread is not None and math.log(self.factor) > _student(self.freedom) * self.spread


def ratio(cell: Cell, undisturbed_ns: float, scatter: Scatter) -> Ratio:
    """The Ratio of the calls of `cell` to those of their partner; the known work takes `undisturbed_ns` at best.

    A process' figure is the median over its undisturbed pairs of the difference of logarithms: whatever the machine did
    to both of a pair cancels, and what it did to one is an outlier. The run's is the mean of its processes, each
    weighted by the inverse of its variance: that of `scatter`, and that of a median of its pairs, which scatter around
    the medians of their processes. How the processes scatter around the mean corrects the variance that was taken:
    Hartung and Knapp's scale of a meta-analysis with random effects, moderated by the degrees of freedom of what was
    taken. What all processes of a run have in common is added: `scatter` has it between runs, on disturbed cores, and
    beside others.

    With s the standard error, a repetition departs from this run by Student's quantile times √2 s: √2, because it has
    an error of its own. Equal pairs, equal ratios.
    """
    figures = _figures(cell, undisturbed_ns)
    P, pairs = len(figures), np.array([found.size for found in figures.values()])
    means = np.array([np.median(found) for found in figures.values()])
    n_pairs, n_all = int(pairs.sum()), sum(len(block.pairs_ns) for block in cell.blocks)
    apart = np.concatenate([found - np.median(found) for found in figures.values()])
    of_pair = OF_MEDIAN * ALIKE * (OF_MAD * float(np.median(np.abs(apart)))) ** 2
    weights = 1 / (scatter.of_process**2 + of_pair / pairs)
    centre = float(np.average(means, weights=weights))
    if len(cell.blocks) < LEAST_TURNS:
        return Ratio(math.exp(centre), None, None, None, 0.0, n_pairs, n_all - n_pairs)
    known = _welch([scatter.of_process**2, of_pair / float(pairs.mean())], [FREEDOM, max(n_pairs / ALIKE - P, 1)])
    scale = (known + float(np.sum(weights * (means - centre) ** 2))) / (known + P - 1)
    in_common = scatter.of_run, scatter.slowed * _slowed(cell, undisturbed_ns), scatter.waited * _waited(cell)
    variances = [scale / float(weights.sum()), sum(each**2 for each in in_common)]
    freedom = _welch(variances, [known + P - 1, FREEDOM])
    return _within(centre, math.sqrt(sum(variances)), freedom, n_pairs, n_all - n_pairs)


def undisturbed_ns(record: Record) -> Mapping[Layer, float]:
    """What the known work of each layer's loop takes on a core that nobody disturbs: of all its readings in `record`
    nearly the least, since none of them can be too short.
    """
    loops: dict[bool, list[float]] = {True: [], False: []}
    layers = {entry.name: entry.layer for entry in record.entries}
    for cell in record.cells:
        loops[_in_c(layers[cell.entry])] += (work for block in cell.blocks for *_, work in block.pairs_ns)
    least = {in_c: float(np.quantile(found, FASTEST)) for in_c, found in loops.items() if found}
    return {layer: least[_in_c(layer)] for layer in layers.values() if _in_c(layer) in least}


def quotient(one: Ratio, other: Ratio) -> Ratio:
    """How many times as long `one` takes as `other`, both being ratios to the same partner."""
    centre, joint = math.log(one.factor / other.factor), _joint(one, other)
    pairs, disturbed = one.pairs + other.pairs, one.disturbed + other.disturbed
    if joint is None:
        return Ratio(math.exp(centre), None, None, None, 0.0, pairs, disturbed)
    return _within(centre, *joint, pairs, disturbed)


def has_changed(before: Ratio, after: Ratio) -> bool:
    """Whether two runs differ by more than their errors explain, with 95 % confidence."""
    joint = _joint(before, after)
    return joint is not None and abs(math.log(after.factor / before.factor)) > _student(joint[1]) * joint[0]


def _used(cell: Cell, undisturbed_ns: float) -> list[tuple[Block, Array]]:
    """For each turn of `cell` which of its pairs are used: the undisturbed ones, and where these are less than
    LEAST_SHARE of all or of less than LEAST_TURNS turns, the least disturbed ones. Spoilt turns have none, unless all
    are.
    """
    sound = [block for block in cell.blocks if not is_spoilt(block.disturbance)] or list(cell.blocks)
    works = [np.array([work for *_, work in block.pairs_ns]) for block in sound]
    of_turns = sorted(float(work.min()) for work in works)[:LEAST_TURNS]
    allowed = max(SLOWED * undisturbed_ns, float(np.quantile(np.concatenate(works), LEAST_SHARE)), of_turns[-1])
    return [(block, work <= allowed) for block, work in zip(sound, works, strict=True)]


def _slowed(cell: Cell, undisturbed_ns: float) -> float:
    """By how much the known work around the pairs that are used was slower than around undisturbed ones: the mean
    logarithm.
    """
    works = np.concatenate([np.array(block.pairs_ns)[used, 2] for block, used in _used(cell, undisturbed_ns)])
    return float(np.maximum(np.log(works / (SLOWED * undisturbed_ns)), 0.0).mean())


def _waited(cell: Cell) -> float:
    """The share of the time of its turns in which the calls waited for their core."""
    turns = [block.disturbance for block in cell.blocks if block.disturbance]
    wall_ns = sum(turn.wall_ns for turn in turns)
    return sum(turn.waited_ns for turn in turns) / wall_ns if wall_ns else 0.0


def _figures(cell: Cell, undisturbed_ns: float) -> dict[int, Array]:
    """For each process the logarithms of the ratios of the pairs that are used."""
    found: dict[int, list[Array]] = {}
    for block, used in _used(cell, undisturbed_ns):
        if used.any():
            ours, theirs, _ = np.log(np.array(block.pairs_ns)[used]).T
            found.setdefault(block.process, []).append(ours - theirs)
    return {process: np.concatenate(those) for process, those in found.items()}


def _in_c(layer: Layer) -> bool:
    return layer == "kernel in C"


def _joint(one: Ratio, other: Ratio) -> tuple[float, float] | None:
    """The standard error of a difference of logarithms, and its degrees of freedom; None where one has no error."""
    if one.spread is None or other.spread is None:
        return None
    variances = [one.spread**2, other.spread**2]
    return math.sqrt(sum(variances)), _welch(variances, [max(one.freedom, 1), max(other.freedom, 1)])


def _welch(variances: Sequence[float], freedoms: Sequence[float]) -> float:
    """The degrees of freedom of a sum of variances, by Welch and Satterthwaite."""
    inverse = sum(variance**2 / freedom for variance, freedom in zip(variances, freedoms, strict=True))
    return sum(variances) ** 2 / inverse if inverse else 1.0


def _within(centre: float, spread: float, freedom: float, pairs: int, disturbed: int) -> Ratio:
    reach = _student(freedom) * math.sqrt(2) * spread
    low, high = math.exp(centre - reach), math.exp(centre + reach)
    return Ratio(math.exp(centre), low, high, spread, freedom, pairs, disturbed)


def _student(freedom: float) -> float:
    """The quantile of Student's distribution that CONFIDENCE needs on two sides."""
    return float(stdtrit(min(freedom, 1e9), (1 + CONFIDENCE) / 2))
