# SPDX-License-Identifier: Apache-2.0
"""The protocol of the VerSe challenges (Sekuboyina et al. 2021): each scan is scored by itself, and scans are averaged.

Only vertebrae that are both annotated and predicted compete. One of them is a hit where, of the annotated ones among
them, that of its own name is nearest to the prediction, and is less than 20 mm away. The identification rate of a scan
is its hits over ALL of its annotated vertebrae; the distance is the mean over those in both lists.

The challenge's text asks for less than 20 mm; its published code lets exactly 20 mm pass. The text is followed. The
code scored identification alone in 2020, because a distance says nothing of what was missed: the mean distance here is
that of 2019. L6, T13 and S1 count as every other; the challenge never annotates S2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spinefinder_fast.evaluation.cases import LIMIT_MM, Case


@dataclass(frozen=True)
class VerseScore:
    """Of a set of scans.

    Attributes:
        scans: how many have an annotated vertebra and so a rate.
        id_rate: mean over these scans of their identification rates, 0 to 1; None without any.
        localised_scans: how many have a vertebra in both lists and so a distance.
        mean_mm: mean over these of their mean distances; None without any.
        std_mm: standard deviation over these scans of their mean distances (population); None without any.
    """

    scans: int
    id_rate: float | None
    localised_scans: int
    mean_mm: float | None
    std_mm: float | None


def verse_of_scan(case: Case) -> tuple[float | None, float | None]:
    """Identification rate (0 to 1; None where nothing is annotated) and mean distance, mm (None where no name is in
    both lists) of one scan."""
    both = [vertebra.name for vertebra in case.truth if vertebra.name in case.prediction]
    if not len(case.truth):
        return None, None
    if not both:
        return 0.0, None
    predicted = np.array([case.prediction[name].lps for name in both])
    annotated = np.array([case.truth[name].lps for name in both])
    distances = np.linalg.norm(predicted[:, None] - annotated[None], axis=2)
    own = distances.diagonal()
    hits = (distances.argmin(axis=1) == np.arange(len(both))) & (own < LIMIT_MM)
    return float(hits.sum()) / len(case.truth), float(own.mean())


def score_verse(cases: Sequence[Case]) -> VerseScore:
    """Score scans by this protocol."""
    scores = [verse_of_scan(case) for case in cases]
    rates = [rate for rate, _ in scores if rate is not None]
    means = [mean for _, mean in scores if mean is not None]
    return VerseScore(
        scans=len(rates),
        id_rate=float(np.mean(rates)) if rates else None,
        localised_scans=len(means),
        mean_mm=float(np.mean(means)) if means else None,
        std_mm=float(np.std(means)) if means else None,
    )
