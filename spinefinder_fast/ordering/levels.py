# SPDX-License-Identifier: Apache-2.0
"""Which vertebra may stand below which, how far, and how often: what is known before a scan is seen.

Beside the 26 levels of the networks stand the two supernumerary ones, T13 and L6; the networks see them as T12 and L5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinefinder_fast import anatomy

Array = NDArray[np.float64]

LEVELS: Final = anatomy.EVERY_NAME
"""C1 ... T12, T13, L1 ... L5, L6, S1, S2: 28 levels in cranio-caudal order."""

SEEN_AS: Final = np.array([anatomy.label_of(anatomy.like(name)) for name in LEVELS])
"""(28,) the label, 1..26, under which the networks see each level."""

GAP_SD: Final = 0.06
"""Relative spread of one gap in one person. In the annotations of VerSe (Sekuboyina et al. 2021) and the keypoints of
Buergin et al. 2023, 0.05 are left when the person's size is taken out; neighbours deviate together, which a chain of
independent gaps makes up for with a little more."""

MOST_MISSED: Final = 3
"""As many neighbours may be missed in a row; behind a longer hole any numbering would be a guess."""

MISSED: Final = float(np.log(0.01))
"""Log probability that a vertebra between others is not among the detected bodies."""

MISSED_AT_END: Final = float(np.log(0.3))
"""The same beyond the first and the last: networks fail on whole ends, above all on the sacrum and at C1."""

RARE: Final = {
    ("T12", "T13"): ("T12", np.log(0.0005)),
    ("T13", "L1"): ("T12", 0.0),
    ("T11", "L1"): ("T12", np.log(0.003)),
    ("L5", "L6"): ("L4", np.log(0.05)),
    ("L6", "S1"): ("L5", 0.0),
    ("L4", "S1"): ("L5", np.log(0.01)),
}
"""The variants of the two passages: below which usual level the gap is taken from, and the log probability, rounded.
One person in ten or so has a variant; VerSe, which collected them, has L6 in one scan of eight and T13 in two of a
hundred. T13 is dearer than it is rare: where networks err, they do so at the border of chest and loin, and a T13 would
explain that too."""


FIRST: Final = np.array([{"T13": RARE["T12", "T13"][1], "L6": RARE["L5", "L6"][1]}.get(name, 0.0) for name in LEVELS])
"""(28,) log probability that a row begins with each level: as rare as a variant is, it is also at the top of a row."""


@dataclass(frozen=True)
class Ways:
    """All ways from level to level; a way passes over vertebrae that were missed. Sorted by where they end.

    Attributes:
        origin: (m,) int, the level where each way begins.
        end: (m,) int, the level where it ends.
        log_mm: (m,) log of its typical length.
        sd: (m,) relative spread of the length in one person.
        prior: (m,) log probability.
    """

    origin: NDArray[np.intp]
    end: NDArray[np.intp]
    log_mm: Array
    sd: Array
    prior: Array

    def turned(self) -> Ways:
        """The same ways, up the spine."""
        by_origin = np.argsort(self.origin, kind="stable")
        return Ways(
            self.end[by_origin],
            self.origin[by_origin],
            self.log_mm[by_origin],
            self.sd[by_origin],
            self.prior[by_origin],
        )


def ways(gaps_mm: ArrayLike) -> Ways:
    """The ways down the spine.

    Args:
        gaps_mm: (25,) typical distances between neighbours, C1-C2 ... S1-S2.
    """
    gaps = dict(zip(anatomy.NAMES, np.asarray(gaps_mm, np.float64), strict=False))
    usual = {(a, b): (a, 0.0) for a, b in zip(anatomy.NAMES, anatomy.NAMES[1:], strict=False)}
    below: list[list[tuple[int, float, float]]] = [[] for _ in LEVELS]
    for (a, b), (gap, prior) in (usual | RARE).items():
        below[LEVELS.index(a)].append((LEVELS.index(b), float(gaps[gap]), prior))
    found = []
    for first in range(len(LEVELS)):
        reached = [(first, 0.0, 0.0)]
        for missed in range(MOST_MISSED + 1):
            reached = [(b, mm + gap, p + prior) for level, mm, p in reached for b, gap, prior in below[level]]
            sd = GAP_SD / np.sqrt(missed + 1)
            found += [(last, first, np.log(mm), sd, prior + missed * MISSED) for last, mm, prior in reached]
    end, origin, log_mm, sd, prior = np.array(sorted(found)).T
    return Ways(origin.astype(np.intp), end.astype(np.intp), log_mm, sd, prior)
