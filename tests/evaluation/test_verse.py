# SPDX-License-Identifier: Apache-2.0
"""Every number here was worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinefinder_fast.evaluation import Case, VerseScore, score_verse
from spinefinder_fast.evaluation.verse import verse_of_scan
from spinefinder_fast.spine import Spine, Vertebra


def spine(**heights: float) -> Spine:
    """Centroids on the z axis, mm."""
    return Spine(tuple(Vertebra(name, (0.0, 0.0, float(z))) for name, z in heights.items()))


def of(prediction: Spine, truth: Spine) -> tuple[float | None, float | None]:
    return verse_of_scan(Case("a", prediction, truth))


def test_all_annotated_vertebrae_are_the_denominator() -> None:
    assert of(spine(L1=102), spine(L1=100, L2=65, L3=30)) == (pytest.approx(1 / 3), 2.0)


@pytest.mark.parametrize(("off", "rate"), [(19.999, 1.0), (20.0, 0.0), (20.001, 0.0)])
def test_exactly_twenty_millimetres_is_no_hit(off: float, rate: float) -> None:
    assert of(spine(T5=50 + off), spine(T5=50)) == (rate, pytest.approx(off))


def test_only_vertebrae_in_both_lists_compete() -> None:
    # T9 lies nearer to the true T8 than T8 does, but T9 is not annotated: unlike in McCouat's protocol T8 is a hit.
    assert of(spine(T8=106, T9=96), spine(T8=100)) == (1.0, 6.0)
    # Annotated but not predicted, T9 at 104 does not compete for the prediction of T8 either.
    assert of(spine(T8=106), spine(T8=100, T9=104)) == (0.5, 6.0)


def test_the_nearest_annotated_vertebra_of_a_prediction_decides() -> None:
    # The prediction of L1 lies 18 mm from L1, but 17 mm from L2: no hit. That of L2 is one.
    assert of(spine(L1=82, L2=66), spine(L1=100, L2=65)) == (0.5, 9.5)


def test_a_shift_by_one_is_no_hit_at_all() -> None:
    assert of(spine(T10=70, T11=45, T12=20), spine(T11=70, T12=45, L1=20)) == (0.0, 25.0)


def test_s1_l6_and_t13_count() -> None:
    assert of(spine(S1=0, L6=40), spine(S1=1, L6=43, T13=200)) == (pytest.approx(2 / 3), 2.0)


def test_nothing_predicted_and_nothing_annotated() -> None:
    assert of(Spine(()), spine(L1=100)) == (0.0, None)
    assert of(spine(L1=100), Spine(())) == (None, None)


def test_scans_are_averaged_and_not_pooled() -> None:
    cases = [
        Case("a", spine(L1=101), spine(L1=100)),  # 1 of 1, 1 mm
        Case("b", spine(L1=103, L2=68), spine(L1=100, L2=65, L3=30, L4=0)),  # 2 of 4, 3 mm
        Case("c", Spine(()), spine(L1=100)),  # 0 of 1, no distance
        Case("d", spine(L1=1), Spine(())),  # no rate
    ]
    assert score_verse(cases) == VerseScore(3, 0.5, 2, 2.0, 1.0)
    # The pool would say 3 of 6 too, and 7/3 mm.
    assert score_verse([]) == VerseScore(0, None, 0, None, None)


def plain(prediction: dict[str, float], truth: dict[str, float]) -> float:
    """The rate once more, as plain as can be."""
    both = [name for name in truth if name in prediction]
    hits = 0
    for name in both:
        away = {other: abs(prediction[name] - truth[other]) for other in both}
        hits += away[name] == min(away.values()) and away[name] < 20
    return hits / len(truth)


heights = st.dictionaries(st.sampled_from(["C7", "T1", "T12", "L1", "L5", "L6", "S1"]), st.integers(0, 90), max_size=7)


@given(heights, heights.filter(bool))
def test_it_agrees_with_a_plain_count(prediction: dict[str, int], truth: dict[str, int]) -> None:
    # No two distances are alike, for between such the protocol says nothing.
    moved = {name: z + 0.013 * i**1.5 for i, (name, z) in enumerate(truth.items())}
    rate, mean = of(spine(**prediction), spine(**moved))
    assert rate == pytest.approx(plain(prediction, moved))
    both = [abs(prediction[n] - moved[n]) for n in moved if n in prediction]
    assert mean == (pytest.approx(np.mean(both)) if both else None)
