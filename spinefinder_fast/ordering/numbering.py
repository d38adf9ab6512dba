# SPDX-License-Identifier: Apache-2.0
"""The best numbering of a row of bodies: a path of least cost that goes down the levels as it goes down the spine.

Every candidate body is given a level or left out as no vertebra. What a numbering costs is the sum of

- what the networks think of each body under its level,
- how far the distances between bodies are from those of a person of one size, tried over a range of sizes,
- a price for each vertebra that was missed, left out, supernumerary or absent, also between the ends of the row and of
  the field of view.

What the networks think may be wrong for all bodies of a scan alike. So it may be given under each of several
suppositions, and a numbering is as good as under the best of them.

With the minimum taken, dynamic programming gives the best path and, from both ends, the best path through any body at
any level: the alternatives and the margin. With the sum of exponentials instead, the same sweeps give probabilities.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinefinder_fast import anatomy
from spinefinder_fast.ordering.levels import FIRST, LEVELS, MISSED_AT_END, SEEN_AS, Ways, ways

Array = NDArray[np.float64]
Verdict = Literal["certain", "probable", "ambiguous"]

SIZES: Final = np.linspace(-0.3, 0.3, 21)
"""Log of a person's size, against the adult mean."""

SIZE_SD: Final = 0.06
"""Spread of that over adults."""

NOISE_MM: Final = 1.5
"""Error of a candidate's position along the spine; both ends of a distance have it."""

OUTLIER: Final = 9.0
"""No distance costs more than this, however odd: a fracture, or a body placed badly."""

MOST_LEFT_OUT: Final = 4
"""As many candidates in a row may be no vertebrae."""

MOST_MISSED_AT_END: Final = 3
"""Beyond the ends of the row no more missed vertebrae are charged: the networks may have failed on a whole region."""

CERTAIN: Final = 0.998
PROBABLE: Final = 0.8
"""Least confidence of any vertebra for each verdict. Of the numberings of published keypoints that reach the first, 1
in 100 was wrong, of those that reach only the second 10 (`benchmarks/decoder`, the patients that it is fitted on)."""

ALTERNATIVES: Final = 3


@dataclass(frozen=True)
class Alternative:
    """Another numbering: a name per candidate (None: no vertebra), and how much worse it is, in log units."""

    names: tuple[str | None, ...]
    worse: float


@dataclass(frozen=True, eq=False)
class Numbering:
    """The levels of a row of candidate bodies.

    Attributes:
        names: a name per candidate, None where it is no vertebra.
        confidence: (n,) probability of each name among all levels its body could have; 0 where there is no name.
        margin: how much worse the best numbering is that gives any body another level, in log units.
        alternatives: the best others, best first.
        verdict: what the confidence comes to: ``"certain"``, ``"probable"`` or ``"ambiguous"``.
        size: the person's size, 1 for the adult mean.
        unnamed: candidates that look like vertebrae, and for which no numbering had a place.
    """

    names: tuple[str | None, ...]
    confidence: Array
    margin: float
    alternatives: tuple[Alternative, ...]
    verdict: Verdict
    size: float
    unnamed: int = 0

    def doubt(self) -> str:
        """One line for whoever reads names that are not certain: how sure they are, and what else they may be."""
        others = [anatomy.name_ranges(name for name in a.names if name) for a in self.alternatives[:1]]
        least = min((c for c, name in zip(self.confidence, self.names, strict=True) if name), default=0.0)
        # Rounded down: 100 % would be certain.
        parts = [f"W_NUMBERING: the levels are {self.verdict}, the least sure at {np.floor(1000 * least) / 10:g} %"]
        parts += [f"next best: {other}" for other in others]
        if self.unnamed:
            parts.append(f"{self.unnamed} more that look like vertebrae got no name")
        return "; ".join(parts)

    def of(self, candidates: Sequence[int]) -> Numbering:
        """The same numbering, told of some of the candidates only."""
        alternatives = [Alternative(tuple(a.names[i] for i in candidates), a.worse) for a in self.alternatives]
        return replace(
            self,
            names=tuple(self.names[i] for i in candidates),
            confidence=self.confidence[list(candidates)],
            alternatives=tuple(alternatives),
        )


def number(
    points: ArrayLike,
    evidence: ArrayLike,
    real: ArrayLike,
    *,
    suppositions: ArrayLike = (0.0,),
    beyond_mm: tuple[float, float] = (0.0, 0.0),
    missed_at_end: ArrayLike = MISSED_AT_END,
    gaps_mm: ArrayLike | None = None,
) -> Numbering:
    """Number candidate bodies by evidence, distances and order.

    Args:
        points: (n, 3) centres of bodies, LPS mm, from head to foot.
        evidence: (n, 26) log probability of each label 1..26 of the networks, were the body a vertebra; or (k, n, 26),
            under each of k suppositions about what is wrong with all of them.
        real: (n,) log odds that it is one.
        suppositions: (k,) log probability of each supposition.
        beyond_mm: how far the field of view goes on above the first and below the last candidate, along the spine.
        missed_at_end: log probability that a vertebra in view beyond the first or the last candidate was missed; one,
            or (26,), of each label its own.
        gaps_mm: (25,) typical distances C1-C2 ... S1-S2 of the points that are given; None for those between centroids.

    Raises:
        ValueError: the arrays do not belong together or hold NaN.
    """
    points, node, supposed = _checked(points, evidence, real, suppositions)
    if not len(points):
        return Numbering((), np.zeros(0), 0.0, (), "ambiguous", 1.0)
    gaps = np.array(list(anatomy.GAPS_MM.values())) if gaps_mm is None else np.asarray(gaps_mm, np.float64)
    down = ways(gaps)
    above, below = _beyond(points, beyond_mm)
    missed = np.broadcast_to(np.asarray(missed_at_end, np.float64), anatomy.N_LABELS)
    start = _missed_beyond(above, gaps, missed, -1) + FIRST - 0.5 * (SIZES[:, None] / SIZE_SD) ** 2
    start = start[:, None] + supposed[:, None, None]
    finish = _missed_beyond(below, gaps, missed, 1)[:, None] + np.zeros_like(supposed)[:, None, None]
    up = down.turned()
    lengths, lengths_up = _lengths(points, down), _lengths(points[::-1], up)
    joins = np.maximum, np.logaddexp
    forward = [_Sweep(node, start, down, lengths, join) for join in joins]
    backward = [_Sweep(node[::-1], finish[::-1], up, lengths_up, join) for join in joins]
    # The best path through each candidate, size and level; a candidate's own cost is in both sweeps.
    best, likely = (f.scores + b.scores[::-1] - node[:, :, None] for f, b in zip(forward, backward, strict=True))

    def path(i: int, level: int) -> tuple[int | None, ...]:
        case, size = np.unravel_index(best[i, ..., level].argmax(), best.shape[1:3])
        levels: list[int | None] = [None] * len(points)
        for k, found in forward[0].follow(i, int(case), int(size), level):
            levels[k] = found
        for k, found in backward[0].follow(len(points) - 1 - i, int(case), int(size), level):
            levels[len(points) - 1 - k] = found
        return tuple(levels)

    i, case, size, level = np.unravel_index(best.argmax(), best.shape)
    score = float(best[i, case, size, level])
    if score < 0:
        return Numbering((None,) * len(points), np.zeros(len(points)), -score, (), "ambiguous", 1.0)
    levels = path(int(i), int(level))
    through = best.max(axis=(1, 2))
    others = sorted(
        (
            (score - through[k, v], k, v)
            for k, own in enumerate(levels)
            if own is not None
            for v in range(len(LEVELS))
            if v != own
        ),
    )
    alternatives: dict[tuple[int | None, ...], float] = {}
    for worse, k, v in others:
        if len(alternatives) == ALTERNATIVES or not np.isfinite(worse):
            break
        alternatives.setdefault(path(k, v), float(worse))
    chances = np.logaddexp.reduce(likely, axis=(1, 2))
    chances = np.exp(chances - np.logaddexp.reduce(chances, axis=1)[:, None])
    confidence = np.array([0.0 if v is None else chances[k, v] for k, v in enumerate(levels)])
    least = min(confidence[k] for k, v in enumerate(levels) if v is not None)
    return Numbering(
        names=_named(levels),
        confidence=confidence,
        margin=float(others[0][0]),
        alternatives=tuple(Alternative(_named(other), worse) for other, worse in alternatives.items()),
        verdict="certain" if least >= CERTAIN else "probable" if least >= PROBABLE else "ambiguous",
        size=float(np.exp(SIZES[size])),
    )


def _named(levels: tuple[int | None, ...]) -> tuple[str | None, ...]:
    return tuple(None if level is None else LEVELS[level] for level in levels)


def _checked(
    points: ArrayLike, evidence: ArrayLike, real: ArrayLike, suppositions: ArrayLike
) -> tuple[Array, Array, Array]:
    """(n, 3) points, (n, k, 28) what each candidate is worth at each level, against being no vertebra, and (k,)."""
    points, evidence, real, supposed = (np.asarray(a, np.float64) for a in (points, evidence, real, suppositions))
    n = len(points)
    evidence = evidence[None] if evidence.ndim == 2 else evidence
    for name, array, shape in (
        ("points", points, (n, 3)),
        ("evidence", evidence, (len(supposed), n, anatomy.N_LABELS)),
        ("real", real, (n,)),
    ):
        if array.shape != shape and n:
            raise ValueError(f"{name} has shape {array.shape}; {shape} is needed for {n} candidates")
        if np.isnan(array).any():
            raise ValueError(f"{name} holds NaN; leave out candidates of which nothing is known")
    if not n:
        return points.reshape(0, 3), np.zeros((0, len(supposed), len(LEVELS))), supposed
    worth = real[:, None] + evidence + np.log(anatomy.N_LABELS)
    return points, worth[..., SEEN_AS - 1].swapaxes(0, 1), supposed


def _beyond(points: Array, beyond_mm: tuple[float, float]) -> tuple[Array, Array]:
    """(n,) each: how far the field of view goes on above and below each candidate."""
    along = np.concatenate([[0.0], np.linalg.norm(np.diff(points, axis=0), axis=1).cumsum()])
    return beyond_mm[0] + along, beyond_mm[1] + along[-1] - along


def _missed_beyond(beyond_mm: Array, gaps_mm: Array, missed: Array, towards: int) -> Array:
    """(n, sizes, 28) log probability of what is missed between each candidate and the end of the field of view."""
    place = np.concatenate([[0.0], gaps_mm.cumsum()])
    labels = np.arange(1, anatomy.N_LABELS + 1)
    half = 0.5 * np.array([anatomy.height_mm(label) for label in labels.tolist()])
    # (28, 26): how far beyond each level the far side of each other one lies.
    far = towards * (place - place[SEEN_AS - 1][:, None])
    steps = towards * (labels - SEEN_AS[:, None])
    far = np.where((steps > 0) & (steps <= MOST_MISSED_AT_END), far + half, np.inf)
    return np.asarray((np.exp(SIZES)[:, None, None] * far < beyond_mm[:, None, None, None]) @ missed)


def _lengths(points: Array, table: Ways) -> list[Array]:
    """For each candidate, (j, sizes, m) what each way to it is worth by its length and its rarity, from each of the
    candidates before it (`_before`)."""
    found = []
    for i in range(len(points)):
        mm = np.linalg.norm(points[_before(i)] - points[i], axis=1).clip(min=1.0)[:, None, None]
        spread = np.hypot(table.sd, NOISE_MM * np.sqrt(2) / mm)
        off = (np.log(mm) - SIZES[:, None] - table.log_mm) / spread
        found.append(np.log(np.exp(-0.5 * off**2) + np.exp(-OUTLIER)) + table.prior)
    return found


def _before(i: int) -> slice:
    """The candidates from which a path may come to i."""
    return slice(max(i - 1 - MOST_LEFT_OUT, 0), i)


class _Sweep:
    """The paths that end at each candidate, from one end of the row.

    Args:
        node: (n, k, 28) what a candidate is worth at each level, under each supposition; in the order of the sweep.
        start: (n, k, sizes, 28) what a path is worth that begins at a candidate.
        table: the ways from level to level.
        lengths: what they are worth, from `_lengths`.
        join: of several paths the best (`numpy.maximum`) or all of them (`numpy.logaddexp`).
    """

    def __init__(self, node: Array, start: Array, table: Ways, lengths: list[Array], join: np.ufunc) -> None:
        self._start, self._table, self._lengths = start, table, lengths
        self.scores = np.empty(start.shape)
        ends, firsts = np.unique(table.end, return_index=True)
        for i in range(len(node)):
            self.scores[i] = start[i]
            if i:
                before = self.scores[_before(i), ..., table.origin] + lengths[i][:, None]
                paths = join.reduceat(join.reduce(before, axis=0), firsts, axis=-1)
                self.scores[i][..., ends] = join(self.scores[i][..., ends], paths)
            self.scores[i] += node[i][:, None]

    def follow(self, i: int, case: int, size: int, level: int) -> Iterator[tuple[int, int]]:
        """The best path that ends at a candidate with a supposition, a size and a level: candidates and their levels,
        backwards."""
        while True:
            yield i, level
            if not i:
                return
            steps = self.scores[_before(i), case, size][:, self._table.origin] + self._lengths[i][:, size]
            steps = np.where(self._table.end == level, steps, -np.inf)
            j, way = np.unravel_index(steps.argmax(), steps.shape)
            if steps[j, way] <= self._start[i, case, size, level]:
                return
            i, level = i - len(steps) + int(j), int(self._table.origin[way])
