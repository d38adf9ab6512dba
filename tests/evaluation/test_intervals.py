# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from spinefinder_fast.evaluation import Case
from spinefinder_fast.evaluation.intervals import (
    difference_interval,
    paired_intervals,
    pooled_intervals,
    ratio_interval,
    region_intervals,
    resamples,
    share_interval,
    verse_intervals,
)
from spinefinder_fast.spine import Spine, Vertebra


def spine(**heights: float) -> Spine:
    return Spine(tuple(Vertebra(name, (0.0, 0.0, float(z))) for name, z in heights.items()))


def test_the_draws_are_those_of_all_possible_ones() -> None:
    # Of two scans there are four draws, each as likely; of three, 27.
    for n in (2, 3):
        drawn = {tuple(d): 0 for d in product(range(n), repeat=n)}
        for d in resamples(n).tolist():
            drawn[tuple(d)] += 1
        shares = np.array(list(drawn.values())) / len(resamples(n))
        assert np.abs(shares - 1 / len(drawn)).max() < 0.02
    assert (resamples(5) == resamples(5)).all()


def test_an_interval_of_two_scans_by_hand() -> None:
    # 1 of 4 and 3 of 4: the draws give 2/8, 4/8, 4/8 and 6/8, the extremes with a quarter each.
    assert ratio_interval(np.array([1.0, 3.0]), np.array([4.0, 4.0])) == (0.25, 0.75)
    # The larger scan weighs more: 1 of 1 and 1 of 9 give 2/2, 2/10, 2/10 and 2/18.
    assert ratio_interval(np.array([1.0, 1.0]), np.array([1.0, 9.0])) == pytest.approx((1 / 9, 1.0))


def test_what_has_no_interval() -> None:
    assert ratio_interval(np.array([1.0]), np.array([4.0])) is None
    # One of two scans shows the region: a quarter of the draws shows nothing.
    assert ratio_interval(np.array([1.0, 0.0]), np.array([4.0, 0.0])) is None
    # One of ten does not: then one draw in 10^10 shows nothing.
    assert ratio_interval(np.array([1.0] * 9 + [0]), np.array([4.0] * 9 + [0])) == (0.25, 0.25)
    assert share_interval([]) is None


def test_a_mean_between_its_extremes() -> None:
    rng = np.random.default_rng(0)
    hits = (rng.random(200) < 0.7).tolist()
    interval = share_interval(hits)
    assert interval is not None
    low, high = interval
    # The width of a binomial's: 2 * 1.96 * sqrt(0.7 * 0.3 / 200) = 0.127.
    assert high - low == pytest.approx(0.127, abs=0.02)
    assert low < np.mean(hits) < high


def test_the_figures_of_a_region() -> None:
    cases = [
        Case("a", spine(L1=101, L2=66), spine(L1=100, L2=65)),  # 2 of 2, 2 predicted, 1 mm each
        Case("b", spine(L1=103, T3=500), spine(L1=100, L2=65)),  # 1 of 2, 2 predicted, 3 mm, one missing, one extra
    ]
    found = region_intervals(cases, "All")
    assert found["id_rate"] == (0.5, 1.0)
    assert found["precision"] == (0.5, 1.0)
    assert found["mean_mm"] == (1.0, 3.0)
    assert found["missing"] == found["extra"] == (0.0, 1.0)
    assert region_intervals(cases, "Lumbar")["extra"] == (0.0, 0.0)
    assert region_intervals(cases, "Cervical")["id_rate"] is None
    assert verse_intervals(cases) == {"id_rate": (0.5, 1.0), "mean_mm": (1.0, 3.0)}


def test_a_paired_difference_by_hand() -> None:
    # Of 4 vertebrae each: 1 and 3 against 0 and 3. The draws differ by 2/8, 1/8, 1/8 and 0, the extremes with a quarter
    # each; drawn apart they would differ by up to 6/8 either way.
    four = np.array([4.0, 4.0])
    assert difference_interval(np.array([1.0, 3.0]), four, np.array([0.0, 3.0]), four) == (0.0, 0.25)
    # Whatever makes one scan harder than the other on both sides falls out.
    assert difference_interval(np.array([2.0, 4.0]), four, np.array([1.0, 3.0]), four) == (0.25, 0.25)
    # Nothing to divide by on one side alone, and one scan alone.
    assert difference_interval(np.ones(2), four, np.ones(2), np.array([4.0, 0.0])) is None
    assert difference_interval(np.ones(1), np.ones(1), np.ones(1), np.ones(1)) is None


def test_paired_intervals_of_cases() -> None:
    truth = spine(L1=100, L2=65)
    right = [Case("a", spine(L1=101, L2=66), truth), Case("b", spine(L1=101, L2=66), truth)]
    half = [Case("a", spine(L1=104, L2=66), truth), Case("b", spine(L1=103), truth)]
    # Against `right`: 2 and 1 of 2; 4 + 1 mm of two and 3 mm of one against 1 mm of each.
    found = paired_intervals([half], [right])
    assert found["id_rate"] == (-0.5, 0.0)
    assert found["mean_mm"] == pytest.approx((1.5, 2.0))
    assert paired_intervals([right], [right]) == {"id_rate": (0.0, 0.0), "mean_mm": (0.0, 0.0)}


def test_runs_of_several_seeds_are_drawn_scan_by_scan() -> None:
    truth = spine(L1=100, L2=65)
    good, bad = Case("a", spine(L1=101, L2=66), truth), Case("a", spine(), truth)
    # Every scan is right with one seed and wrong with the other: no draw of scans differs from the next.
    assert pooled_intervals([[good, bad], [bad, good]])["id_rate"] == (0.5, 0.5)
    assert pooled_intervals([[good, bad], [good, bad]])["id_rate"] == (0.0, 1.0)
    assert pooled_intervals([[good, bad]])["mean_mm"] is None  # a quarter of the draws has no prediction
