# SPDX-License-Identifier: Apache-2.0
"""How sure the scores are: 95 % intervals by bootstrap over scans.

Scans are drawn, not vertebrae: the vertebrae of a scan go right or wrong together. With few scans the interval is too
narrow, and it knows nothing of patients who are not among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spinefinder_fast.evaluation.cases import Case
from spinefinder_fast.evaluation.mccouat import in_region
from spinefinder_fast.evaluation.verse import verse_of_scan

RESAMPLES: Final = 5000
SEED: Final = 2019

Interval = tuple[float, float]
"""The 2.5th and the 97.5th percentile."""


def region_intervals(cases: Sequence[Case], region: str) -> dict[str, Interval | None]:
    """Intervals of ``id_rate``, ``precision``, ``mean_mm``, ``missing`` and ``extra`` (per scan) of one region.

    None where there are fewer than two scans, or a draw in twenty has nothing to divide by.
    """
    rows = []
    for case in cases:
        outcomes = in_region(case.outcomes, region)
        fates = [outcome.fate for outcome in outcomes]
        errors = [outcome.error_mm for outcome in outcomes if outcome.error_mm is not None]
        rows.append((fates.count("identified"), len(fates), len(errors), sum(errors), fates.count("extra")))
    identified, counted, localised, errors_mm, extra = np.array(rows, float).reshape(-1, 5).T
    annotated, predicted = counted - extra, localised + extra
    one = np.ones(len(rows))
    return {
        "id_rate": ratio_interval(identified, annotated),
        "precision": ratio_interval(identified, predicted),
        "mean_mm": ratio_interval(errors_mm, localised),
        "missing": ratio_interval(annotated - localised, one),
        "extra": ratio_interval(extra, one),
    }


def verse_intervals(cases: Sequence[Case]) -> dict[str, Interval | None]:
    """Intervals of ``id_rate`` and ``mean_mm`` of the VerSe protocol."""
    scores = [verse_of_scan(case) for case in cases]

    def of(values: Sequence[float | None]) -> Interval | None:
        known = np.array([value is not None for value in values], float)
        return ratio_interval(np.array([value or 0.0 for value in values]), known)

    return {"id_rate": of([rate for rate, _ in scores]), "mean_mm": of([mean for _, mean in scores])}


def share_interval(hits: Sequence[bool]) -> Interval | None:
    """Interval of the share of scans of which something is true."""
    return ratio_interval(np.array(hits, float), np.ones(len(hits)))


def ratio_interval(above: NDArray[np.float64], below: NDArray[np.float64]) -> Interval | None:
    """Interval of ``sum(above) / sum(below)`` over scans, each given by its (n,) summands."""
    if len(above) < 2:
        return None
    drawn = resamples(len(above))
    sums = below[drawn].sum(axis=1)
    if np.mean(sums == 0) > 0.05:
        return None
    ratios = above[drawn].sum(axis=1)[sums > 0] / sums[sums > 0]
    low, high = np.percentile(ratios, (2.5, 97.5))
    return float(low), float(high)


def resamples(n: int) -> NDArray[np.int64]:
    """(RESAMPLES, n) int64: which scans each draw takes, always the same for as many scans."""
    return np.random.default_rng((SEED, n)).integers(0, n, (RESAMPLES, n))
