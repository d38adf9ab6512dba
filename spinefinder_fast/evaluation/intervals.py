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
    identified, annotated, localised, errors_mm, extra = _sums([cases], region)
    predicted = localised + extra
    one = np.ones(len(cases))
    return {
        "id_rate": ratio_interval(identified, annotated),
        "precision": ratio_interval(identified, predicted),
        "mean_mm": ratio_interval(errors_mm, localised),
        "missing": ratio_interval(annotated - localised, one),
        "extra": ratio_interval(extra, one),
    }


def pooled_intervals(runs: Sequence[Sequence[Case]]) -> dict[str, Interval | None]:
    """Intervals of ``id_rate`` and ``mean_mm`` over all runs together: a scan is drawn with all of its results.

    Args:
        runs: the same scans in the same order, predicted several times (by trainings of several seeds).
    """
    identified, annotated, localised, errors_mm, _ = _sums(runs, "All")
    return {"id_rate": ratio_interval(identified, annotated), "mean_mm": ratio_interval(errors_mm, localised)}


def paired_intervals(runs: Sequence[Sequence[Case]], reference: Sequence[Sequence[Case]]) -> dict[str, Interval | None]:
    """Intervals of by how much ``id_rate`` and ``mean_mm`` of some runs exceed those of others on the same scans.

    Every draw takes the same scans on both sides. What makes a scan hard makes it hard on both, and falls out: so these
    intervals are narrower than those of the two sides by themselves, and two sides may differ surely whose intervals
    overlap.

    Args:
        runs, reference: the same scans in the same order, each side predicted once or several times.
    """
    ours, theirs = _sums(runs, "All"), _sums(reference, "All")
    return {
        "id_rate": difference_interval(ours[0], ours[1], theirs[0], theirs[1]),
        "mean_mm": difference_interval(ours[3], ours[2], theirs[3], theirs[2]),
    }


def _sums(runs: Sequence[Sequence[Case]], region: str) -> NDArray[np.float64]:
    """(5, n) float64: of each scan how many are identified, annotated, localised, the sum of errors in mm, and how many
    are extra; over all runs."""
    rows = np.zeros((len(runs[0]), 5))
    for cases in runs:
        for row, case in zip(rows, cases, strict=True):
            outcomes = in_region(case.outcomes, region)
            fates = [outcome.fate for outcome in outcomes]
            errors = [outcome.error_mm for outcome in outcomes if outcome.error_mm is not None]
            extra = fates.count("extra")
            row += (fates.count("identified"), len(fates) - extra, len(errors), sum(errors), extra)
    return rows.T


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
    return _percentiles(_ratios(above, below))


def difference_interval(
    above: NDArray[np.float64],
    below: NDArray[np.float64],
    reference_above: NDArray[np.float64],
    reference_below: NDArray[np.float64],
) -> Interval | None:
    """Interval of the ratio of `above` and `below` less that of the reference, which are (n,) summands of the same
    scans and are drawn together."""
    return _percentiles(_ratios(above, below) - _ratios(reference_above, reference_below))


def _ratios(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    """(RESAMPLES,) float64, the ratio of each draw; NaN where there is nothing to divide by. Empty with fewer than two
    scans, of which there is but one draw."""
    if len(above) < 2:
        return np.empty(0)
    drawn = resamples(len(above))
    sums = below[drawn].sum(axis=1)
    ratios = np.full(len(sums), np.nan)
    np.divide(above[drawn].sum(axis=1), sums, out=ratios, where=sums > 0)
    return ratios


def _percentiles(values: NDArray[np.float64]) -> Interval | None:
    known = values[np.isfinite(values)]
    if len(known) < 0.95 * len(values) or not len(known):
        return None
    low, high = np.percentile(known, (2.5, 97.5))
    return float(low), float(high)


def resamples(n: int) -> NDArray[np.int64]:
    """(RESAMPLES, n) int64: which scans each draw takes, always the same for as many scans."""
    return np.random.default_rng((SEED, n)).integers(0, n, (RESAMPLES, n))
