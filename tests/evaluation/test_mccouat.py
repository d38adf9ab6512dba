# SPDX-License-Identifier: Apache-2.0
"""Every number here was worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from spinefinder_fast.evaluation import RegionScore, evaluate
from spinefinder_fast.spine import Spine, Vertebra


def spine(**heights: float) -> Spine:
    """Centroids on the z axis, mm."""
    return Spine(tuple(Vertebra(name, (0.0, 0.0, float(z))) for name, z in heights.items()))


def test_mean_and_population_std() -> None:
    result = evaluate([(spine(L1=103, L2=69), spine(L1=100, L2=70))])
    assert result["All"] == RegionScore("All", 2, 2, 2, 2.0, 1.0, 0, 0)
    assert result["All"].id_rate == 1.0
    assert result["Cervical"] == RegionScore("Cervical", 0, 0, 0, None, None, 0, 0)
    assert result["Cervical"].id_rate is None


@pytest.mark.parametrize(("off", "identified"), [(20.0, 1), (20.001, 0), (-20.0, 1)])
def test_exactly_twenty_millimetres_is_identified(off: float, identified: int) -> None:
    score = evaluate([(spine(T5=50 + off), spine(T5=50))])["Thoracic"]
    assert (score.identified, score.annotated, score.localised) == (identified, 1, 1)
    assert score.mean_mm == pytest.approx(abs(off))


def test_a_missing_prediction_costs_the_rate_but_not_the_mean() -> None:
    score = evaluate([(spine(L1=101), spine(L1=100, L2=65))])["Lumbar"]
    assert (score.identified, score.annotated, score.missing, score.extra) == (1, 2, 1, 0)
    assert (score.mean_mm, score.localised) == (1.0, 1)


def test_nothing_predicted() -> None:
    score = evaluate([(Spine(()), spine(L1=100, L2=65))])["All"]
    assert (score.id_rate, score.missing, score.mean_mm) == (0.0, 2, None)


def test_the_nearest_of_two_predictions_decides() -> None:
    # Near the true T8 lie T8 at 6 mm and T9 at 4 mm: T9 is nearer, so T8 is not identified, though its error counts.
    score = evaluate([(spine(T8=106, T9=96), spine(T8=100))])["Thoracic"]
    assert (score.identified, score.annotated, score.extra, score.mean_mm) == (0, 1, 1, 6.0)


def test_a_prediction_without_a_partner_competes() -> None:
    # One level too high throughout: T10 stands where T11 is, and so on.
    score = evaluate([(spine(T10=70, T11=45, T12=20), spine(T11=70, T12=45, L1=20))])["All"]
    assert (score.identified, score.annotated, score.missing, score.extra) == (0, 3, 1, 1)
    assert (score.mean_mm, score.localised) == (25.0, 2)


def test_l6_counts_and_cannot_be_predicted() -> None:
    result = evaluate([(spine(L5=100), spine(L5=100, L6=65))])
    assert (result["Lumbar"].annotated, result["Lumbar"].identified, result["Lumbar"].missing) == (2, 1, 1)
    assert result["All"].id_rate == 0.5


def test_the_sacrum_counts_in_all_only() -> None:
    result = evaluate([(spine(L5=100, S1=72, S2=40), spine(L5=100, S1=70))])
    assert (result["All"].annotated, result["All"].identified, result["All"].extra) == (2, 2, 1)
    assert sum(result[region].annotated for region in ("Cervical", "Thoracic", "Lumbar")) == 1
    assert result["All"].mean_mm == 1.0


def test_scans_are_pooled_and_do_not_mix() -> None:
    result = evaluate([(spine(C1=0), spine(C1=2)), (spine(C2=2), spine(C1=2))])
    assert result.scans == 2
    assert (result["Cervical"].identified, result["Cervical"].annotated) == (1, 2)
    assert (result["Cervical"].missing, result["Cervical"].extra) == (1, 1)


def test_the_table_shows_the_rate_with_its_denominator() -> None:
    result = evaluate([(spine(L1=103, L2=69), spine(L1=100, L2=70, L3=35))])
    console = Console(width=100)
    with console.capture() as capture:
        console.print(result.table())
    assert "66.7" in capture.get()
    assert "2 of 3" in capture.get()


def test_precision_counts_every_prediction() -> None:
    # L1 is right; T12 is extra and far; L3 lies 25 mm from its truth.
    score = evaluate([(spine(T12=150, L1=100, L3=5), spine(L1=100, L3=30))])["All"]
    assert score.precision == pytest.approx(1 / 3)
    assert score.id_rate == 0.5
    assert evaluate([(Spine(()), spine(L1=0))])["All"].precision is None


def brute_force(pairs: list[tuple[Spine, Spine]]) -> tuple[int, int, list[float]]:
    """The protocol once more, as plain as can be."""
    annotated = identified = 0
    errors = []
    for prediction, truth in pairs:
        for name in truth.names:
            annotated += 1
            ranked = sorted((np.linalg.norm(np.subtract(p.lps, truth[name].lps)), p.name) for p in prediction)
            if ranked and ranked[0][0] <= 20 and ranked[0][1] == name:
                identified += 1
        for name in prediction.names:
            if name in truth.names:
                errors.append(float(np.linalg.norm(np.subtract(prediction[name].lps, truth[name].lps))))
    return annotated, identified, errors


heights = st.dictionaries(st.sampled_from(["C7", "T1", "T12", "L1", "L5", "L6", "S1"]), st.integers(0, 90), max_size=7)


@given(st.lists(st.tuples(heights, heights), max_size=4))
def test_it_agrees_with_a_plain_count(scans: list[tuple[dict[str, int], dict[str, int]]]) -> None:
    # Ties between predictions at one distance have no answer in the protocol: an offset of each name avoids them.
    offset = {name: 0.01 * i for i, name in enumerate(["C7", "T1", "T12", "L1", "L5", "L6", "S1"])}
    moved = [({n: z + offset[n] ** 1.5 for n, z in p.items()}, t) for p, t in scans]
    pairs = [(spine(**p), spine(**t)) for p, t in moved]
    score = evaluate(pairs)["All"]
    annotated, identified, errors = brute_force(pairs)
    assert (score.annotated, score.identified, score.localised) == (annotated, identified, len(errors))
    if errors:
        assert score.mean_mm == pytest.approx(np.mean(errors))
        assert score.std_mm == pytest.approx(np.std(errors))
