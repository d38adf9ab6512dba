# SPDX-License-Identifier: Apache-2.0
"""Every number here was worked out by hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
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


def test_the_table_and_the_files(tmp_path: Path) -> None:
    result = evaluate([(spine(L1=103, L2=69), spine(L1=100, L2=70, L3=35))])
    console = Console(width=100)
    with console.capture() as capture:
        console.print(result.table())
    assert "66.7" in capture.get()
    assert "2 of 3" in capture.get()
    result.write_json(tmp_path / "a.json")
    document = json.loads((tmp_path / "a.json").read_text())
    assert document["scans"] == 1
    assert document["regions"][0]["id_rate"] == pytest.approx(2 / 3)
    assert document["regions"][1]["mean_mm"] is None
    result.write_csv(tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["region"] for row in rows] == ["All", "Cervical", "Thoracic", "Lumbar"]
    assert (rows[3]["annotated"], rows[3]["identified"], rows[1]["id_rate"]) == ("3", "2", "")
