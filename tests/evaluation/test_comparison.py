# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
import io
import json

import pytest
from rich.console import Console

from spinefinder_fast.evaluation import Case, score_cases
from spinefinder_fast.evaluation.comparison import (
    Contender,
    compare,
    comparison_markdown,
    comparison_table,
    write_comparison,
)
from spinefinder_fast.spine import Spine, Vertebra


def spine(**heights: float) -> Spine:
    return Spine(tuple(Vertebra(name, (0.0, 0.0, float(z))) for name, z in heights.items()))


TRUTH = spine(T12=135, L1=100, L2=65, L3=30)


def run(*predictions: Spine) -> list[Case]:
    return [Case(f"scan{i}", prediction, TRUTH) for i, prediction in enumerate(predictions)]


ALL = spine(T12=136, L1=101, L2=66, L3=31)
TWO = spine(T12=138, L1=103, S1=900)
REFERENCE = run(ALL, TWO)
BETTER = run(ALL, ALL)
WORSE = run(TWO, TWO)


def test_figures_by_hand() -> None:
    first, other = compare([Contender("one", [REFERENCE], dice=0.9, seconds=2.0), Contender("other", [BETTER])])
    assert (first.scans, first.annotated, first.id_rate, first.missing, first.extra) == (2, 8, 6 / 8, 2, 1)
    assert first.id_rate_interval == (0.5, 1.0)
    assert (first.median_mm, first.mean_mm) == (1.0, pytest.approx((4 * 1 + 2 * 3) / 6))
    assert first.mean_mm_interval == pytest.approx((1.0, 3.0))
    assert (first.all_right, first.dice, first.seconds) == (1, 0.9, 2.0)
    assert first.id_rate_difference is first.mean_mm_difference is first.id_rate_difference_interval is None
    assert (other.id_rate, other.id_rate_difference, other.all_right, other.dice) == (1.0, 0.25, 2, None)
    # By the scans drawn it is 0, 2/8 or 4/8 better: surely, though 1.0 lies within the first one's own interval.
    assert other.id_rate_difference_interval == (0.0, 0.5)
    assert other.mean_mm_difference == pytest.approx(1 - 10 / 6)
    pool = score_cases(REFERENCE)["All"]
    assert (first.mean_mm, first.std_mm) == (pool.mean_mm, pool.std_mm)


def test_several_seeds() -> None:
    one = Contender("one", [REFERENCE, WORSE], (3, 5))
    other = Contender("other", [BETTER, REFERENCE], (3, 5))
    first, second = compare([one, other])
    assert (first.id_rate, first.id_rate_seeds) == (10 / 16, (6 / 8, 4 / 8))
    assert (first.annotated, first.missing, first.extra, first.all_right) == (8, 3, 1.5, 0.5)
    assert second.id_rate_difference_seeds == (0.25, 0.25)
    assert second.id_rate_difference == pytest.approx(0.25)
    text = comparison_markdown([first, second])
    assert "2 scans, 8 vertebrae, 2 seeds; Δ against one." in text
    assert "| 50.0 … 75.0 |" in text
    assert "| +25.0 … +25.0 |" in text


def test_nothing_predicted() -> None:
    _, row = compare([Contender("one", [REFERENCE]), Contender("none", [run(spine(), spine())])])
    assert (row.id_rate, row.id_rate_difference, row.mean_mm, row.mean_mm_difference) == (0, -0.75, None, None)
    assert "| none | 0.0 [0.0, 0.0] | -75.0 [-100.0, -50.0] | – | – | – | – | 8 | 0 | 0 | – | – |" in (
        comparison_markdown(compare([Contender("one", [REFERENCE]), Contender("none", [run(spine(), spine())])]))
    )


def test_what_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="few and one are of other scans"):
        compare([Contender("one", [REFERENCE]), Contender("few", [REFERENCE[:1]])])
    with pytest.raises(ValueError, match="few has seeds"):
        compare([Contender("one", [REFERENCE, WORSE], (0, 1)), Contender("few", [REFERENCE], (0,))])


def test_the_files_hold_the_rows(tmp_path) -> None:
    rows = compare([Contender("a | b", [REFERENCE], seconds=1.5), Contender("better", [BETTER])])
    write_comparison(rows, tmp_path, "table")
    with (tmp_path / "table.csv").open(newline="") as file:
        one, better = csv.DictReader(file)
    assert (one["name"], one["id_rate"], one["id_rate_low"], one["id_rate_high"]) == ("a | b", "0.75", "0.5", "1.0")
    assert (one["seeds"], one["seconds"], one["dice"], one["id_rate_difference_low"]) == ("0", "1.5", "", "")
    assert (better["id_rate_difference"], better["id_rate_difference_seeds_lowest"]) == ("0.25", "0.25")
    kept = json.loads((tmp_path / "table.json").read_text())
    assert [row["name"] for row in kept] == ["a | b", "better"]
    assert kept[1]["id_rate_difference_interval"] == [0.0, 0.5]
    text = (tmp_path / "table.md").read_text()
    assert text == comparison_markdown(rows)
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 4
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1


def test_the_table_fits_a_terminal() -> None:
    far = run(spine(T12=100, L1=82.4, L2=47.5, L3=12), spine())
    rows = compare([Contender("discs", [REFERENCE]), Contender("large tiles, mean shift", [far], seconds=123.4)])
    text = io.StringIO()
    Console(file=text, width=80).print(comparison_table(rows))
    lines = text.getvalue().splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert "…" not in text.getvalue().replace("-100.0…-50.0", "")  # nothing is cut
    assert "2 scans, 8 vertebrae; Δ against discs" in lines[0]
    assert any(line.split()[:2] == ["discs", "75.0"] for line in lines)
    assert any(line.split()[-1:] == ["123.4"] for line in lines)
