# SPDX-License-Identifier: Apache-2.0
"""The figures in the documents are those of the last run."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

# No part of the package, and where the tests are started from does not matter.
spec = spec_from_file_location("benchmarks", Path(__file__).parents[1] / "benchmarks/__init__.py")
assert spec
sys.modules.setdefault("benchmarks", module_from_spec(spec))

from benchmarks.kernels import tables  # noqa: E402
from benchmarks.kernels.ways import Measurement, Way, compare, rows  # noqa: E402


@pytest.mark.parametrize("path", tables.texts(), ids=lambda path: path.name)
def test_the_tables_are_what_the_saved_ratios_give(path):
    text = path.read_text()
    assert text.count("<!-- kernels:begin -->") == text.count("<!-- kernels:end -->") == 1
    assert text == tables.texts()[path], "write them with: python -m benchmarks.kernels.tables"


MACHINE = dict.fromkeys(["cpu", "cores", "system", "python", "numpy", "torch", "date"], "?") | {"load": 0.0}


def row(**changes):
    return {
        "kernel": "k",
        "against": "loops",
        "shape": "2x3x4",
        "size": "full",
        "ratio": 1234.5,
        "target": 1000,
        "better": "higher",
        "device": "cpu",
        "median_s": 0.0012,
        "peak_mb": 0.4,
        "against_median_s": 1.4814,
        "against_peak_mb": None,
        "note": "",
        **changes,
    }


def test_a_row_says_whether_it_reaches_its_target():
    assert not tables.missed(row())
    assert tables.missed(row(ratio=999))
    assert tables.missed(row(better="lower", ratio=1001))
    assert not tables.missed(row(better="lower", ratio=999))
    assert not tables.missed(row(target=None, ratio=0))


def test_the_tables_show_units_targets_and_what_falls_short():
    short = row(against="reading", better="lower", target=2, ratio=2.5, note="Why.", against_peak_mb=3.2)
    assert tables.markdown([row(), short]).splitlines()[2:] == [
        "| k | 2x3x4 | loops | 1234 | ≥ 1000 |  | 1.2 ms | 1.48 s | 0 |  |",
        "| k | 2x3x4 | reading | 2.5 | ≤ 2 | short | 1.2 ms | 1.48 s | 0 | 3 |",
    ]
    assert tables.text([row(), short]).count("short") == 1
    page = tables.page([row(), short], {"cpu": MACHINE})
    assert "- k, 2x3x4, against reading: 2.5, wanted ≤ 2\n" in page
    assert "- k, against reading: Why." in page
    assert "busy" not in page
    assert "Not run: the CUDA kernels" in page
    assert "busy" in tables.page([row()], {"cpu": {**MACHINE, "load": 1.5}})


def test_the_readme_shows_the_full_volume_on_the_cpu():
    others = [row(size="small"), row(device="a GPU"), row(against="1x")]
    assert tables.readme([row(), *others], {"cpu": MACHINE}) == tables.readme([row()], {"cpu": MACHINE})


def test_a_run_replaces_the_rows_of_its_devices_only(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    (tmp_path / "benchmarks/results").mkdir(parents=True)
    (tmp_path / "docs").mkdir()
    for path in ("README.md", "docs/benchmarks.md"):
        (tmp_path / path).write_text("before\n<!-- kernels:begin -->\nold\n<!-- kernels:end -->\nafter\n")
    tables.save([row(), row(device="a GPU", ratio=7.0)], MACHINE)
    tables.save([row(ratio=5678.0, against="others")], {**MACHINE, "cpu": "Another"})
    page = (tmp_path / "docs/benchmarks.md").read_text()
    assert page.startswith("before\n")
    assert page.endswith("after\n")
    assert "| others | 5678 |" in page
    assert "| 7 |" in page
    assert "Another" in page
    assert "1234" not in page
    assert "Not run" not in page


SIZES = {"small": (1, 2, 3), "full": (2, 4, 6)}
OURS, LOOPS = Way(print), Way(print, "the loops", 10)
LIMIT = Way(print, "a limit", 2, better="lower", answers=False)


def measured(way, size, median_s, **changes):
    return Measurement(
        **{"kernel": "k", "device": "cpu", "peak_mb": 1.0, **changes},
        way=way,
        size=size,
        sizes=SIZES,
        median_s=median_s,
    )


def test_a_ratio_is_how_many_times_as_fast_ours_is_and_of_a_limit_how_many_times_as_long():
    found = rows([measured(OURS, "full", 2.0), measured(LOOPS, "full", 30.0), measured(LIMIT, "full", 0.5)])
    assert [(r["against"], r["ratio"], r["target"]) for r in found] == [("the loops", 15, 10), ("a limit", 4, 2)]
    assert [(r["shape"], r["median_s"], r["against_median_s"]) for r in found] == [("2x4x6", 2, 30), ("2x4x6", 2, 0.5)]


def test_the_target_is_for_the_largest_size():
    assert rows([measured(OURS, "small", 2.0), measured(LOOPS, "small", 30.0)])[0]["target"] is None


def test_growth_is_the_time_per_voxel_relative_to_the_smallest_size():
    (growth,) = rows([measured(OURS, "small", 2.0), measured(OURS, "full", 24.0)])
    assert (growth["against"], growth["shape"], growth["ratio"], growth["better"]) == ("1x", "2x4x6", 1.5, "lower")


def test_there_is_no_row_without_ours_or_the_smallest():
    others = measured(OURS, "full", 1.0, kernel="other"), measured(OURS, "full", 1.0, device="a GPU")
    assert rows([measured(LOOPS, "full", 30.0), *others]) == []


def test_the_rate_is_of_the_bytes_that_were_counted():
    found = rows([measured(OURS, "full", 2.0, moved_bytes=4 * 10**9), measured(LOOPS, "full", 2.0)])
    assert found[0]["gb_per_s"] == 2


def test_others_run_at_the_ends_and_ours_everywhere():
    sizes = {"small": (1, 1, 1), "middle": (2, 2, 2), "full": (3, 3, 3)}

    @compare([OURS, LOOPS, Way(print, "slow", sizes=("small",))], sizes)
    def benchmark():
        pass

    (mark,) = benchmark.pytestmark
    assert [case.id for case in mark.args[1]] == [
        "small-ours",
        "small-the_loops",
        "small-slow",
        "middle-ours",
        "full-ours",
        "full-the_loops",
    ]
