# SPDX-License-Identifier: Apache-2.0
"""docs/performance.md says what the last run of the benchmark measured, and the benchmark runs."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

# No part of the package, and where the tests are started from does not matter.
ROOT = Path(__file__).parents[1]
spec = spec_from_file_location("benchmarks", ROOT / "benchmarks/__init__.py")
assert spec
sys.modules.setdefault("benchmarks", module_from_spec(spec))

from benchmarks.end_to_end import measure, page  # noqa: E402
from benchmarks.end_to_end.sizes import QUICK  # noqa: E402


def row(**changes):
    return {
        "kernel": "file to centroids",
        "against": "faithful",
        "shape": "2x3x4",
        "size": "full",
        "ratio": 61.25,
        "target": 60,
        "better": "higher",
        "device": "cpu",
        "median_s": 1.5,
        "peak_mb": 812.0,
        "against_median_s": 91.88,
        "against_peak_mb": None,
        "note": "",
        **changes,
    }


MACHINE = dict.fromkeys(["cpu", "cores", "system", "python", "numpy", "torch", "date", "weights"], "?") | {"load": 0.0}
STAGES = {"fast": {"load": 0.5, "detect": 1.0}, "faithful": {"load": 0.5, "detect": 90.0, "aggregate": 1.25}}


def results(*rows):
    return {"machine": MACHINE, "stages": STAGES, "rows": list(rows)}


def test_the_page_is_what_the_saved_results_give():
    text = (page.ROOT / page.PAGE).read_text()
    assert text.count("<!-- performance:begin -->") == text.count("<!-- performance:end -->") == 1
    assert text == page.page(page.read()), "write it with: python -m benchmarks.end_to_end.page"
    assert page.read() is None or (page.ROOT / page.PAGE).with_name(page.PICTURE).exists()


def test_the_table_shows_units_targets_and_what_falls_short():
    memory = row(kernel="peak memory, MB", against="limit", ratio=2100.0, target=2000, better="lower")
    memory |= {"against_median_s": None, "note": "Why."}
    text = page.generated(results(row(), memory))
    assert "| file to centroids | 2x3x4 | faithful | 61.2 | ≥ 60 |  | 1.5 s | 91.9 s | 812 |  |" in text
    assert "| peak memory, MB | 2x3x4 | limit | 2100 | ≤ 2000 | short | 1.5 s |  | 812 |  |" in text
    assert "- peak memory, MB, 2x3x4, against limit: 2100, wanted ≤ 2000\n" in text
    assert "- peak memory, MB, against limit: Why." in text
    assert "| faithful | 0.5 | 0 | 0 | 90 | 0 | 1.25 | 91.8 |" in text
    assert "busy" not in text
    assert "busy" in page.machine_text({**MACHINE, "load": 1.5})
    assert "Nothing falls short" in page.generated(results(row()))


def test_the_terminal_shows_the_same_cells():
    assert page.text([row()]).splitlines()[1].split() == [
        "file",
        "to",
        "centroids",
        "2x3x4",
        "faithful",
        "61.2",
        "≥",
        "60",
        "1.5",
        "s",
        "91.9",
        "s",
        "812",
    ]


def test_results_can_go_into_a_folder_and_come_back(tmp_path):
    before = (page.ROOT / page.PAGE).read_text()
    page.save(results(row()), output=tmp_path)
    assert json.loads((tmp_path / "end_to_end.json").read_text()) == results(row())
    assert "| 61.2 |" in (tmp_path / "performance.md").read_text()
    assert (tmp_path / "performance.png").read_bytes().startswith(b"\x89PNG")
    assert (page.ROOT / page.PAGE).read_text() == before


LOCATED = {
    "seconds": {"load": 1.0, "detect": 2.0, "total": 3.0},
    "peak_mb": 900.0,
    "names": ["L1", "L2"],
    "lps": [[0.0, 0.0, 30.0], [0.0, 0.0, 0.0]],
    "import_all_s": 1.0,
    "load_model_s": 1.0,
}
CASE = {"mm": [0.25, 1.0], "equal": 1, "either": 2, "inside": 2, "vertebrae": 2, "fast_s": 1.0, "faithful_s": 9.0}
CASE |= {"true": 4, "fast_right": [1.0, 2.0, 3.0], "faithful_right": [1.5, 2.5]}
SLOW = LOCATED | {"seconds": {"load": 1.0, "detect": 200.0, "total": 201.0}}


def answer(job, **given):
    """What the processes would say, if they were run."""
    if job == "scans":
        files = {}
        for n in given["lengths"]:
            files[str(n)] = str(Path(given["folder"]) / f"{n}")
            Path(files[str(n)]).touch()
        return {"files": files, "names": LOCATED["names"], "lps": LOCATED["lps"]}
    if job == "whole_way":
        return SLOW if given["procedure"] == measure.FAITHFUL else LOCATED
    other = {"form": "eager", "overlap": 0.5, "seconds": 8.0, "dice": 0.95}
    return {
        "paper": {"patch_s": 1.0, "slice_s": 0.5, "patches": 100, "slices": given.get("detected_mm")},
        "windows": {"ours_s": 2.0, "theirs": [other], "shape": [1, 2, 3], "detected_mm": 40},
        "segresnet": {"seconds": 4.0, "resample_s": 0.5, "peak_mb": 3000.0},
        "takes": {"files": ["a", "b"]},
        "batch": {"together_s": 3.0, "single_s": 4.0, "one_s": 2.0, "peak_mb": 950.0},
        "agreement": {"phantoms": [CASE], "scans": [CASE]},
    }[job]


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "_process", lambda *arguments: "0.25")
    bench = measure.Bench(QUICK, tmp_path)
    monkeypatch.setattr(bench, "_job", answer)
    return bench


def test_the_rows_hold_ours_against_the_others(bench):
    bench.run()
    assert bench.failed == []
    found = {(r["kernel"], r["against"]): r for r in bench.rows}
    assert found["file to centroids", "faithful"]["ratio"] == 67
    assert found["scan to centroids", "faithful"]["ratio"] == 100
    assert found["scan to centroids", "the paper's networks, 1 mm"]["against_median_s"] == 120
    assert found["scan to centroids", "MONAI SegResNet, 3 mm"]["ratio"] == 2
    assert found["coarse look and detection", "MONAI sliding window, overlap 0.5, eager"]["ratio"] == 4
    assert found["seconds per slice", "1x"]["ratio"] == 0.5
    assert found["a batch", "one by one"]["ratio"] == 0.75
    assert found["distance, median mm", "faithful tiling everywhere"]["ratio"] == 0.625
    assert found["share named alike", "faithful tiling everywhere"]["ratio"] == 0.5
    named = found["vertebrae named rightly", "faithful tiling everywhere"]
    assert named["ratio"] == 1.5
    assert named["note"] == "3 and 2 of 4 annotated vertebrae, at a median of 2.00 and 2.00 mm"
    assert [r["ratio"] for r in bench.rows if r["kernel"] == "peak memory, MB"] == [900, 900]
    assert all(r.keys() == row().keys() for r in bench.rows)
    assert bench.stages["fast"] == {"load": 1.0, "detect": 2.0}


def test_a_wrong_answer_and_an_error_are_kept_and_the_rest_is_measured(bench, monkeypatch):
    def wrong(job, **given):
        if job == "windows":
            raise measure.Failed("out of memory")
        found = answer(job, **given)
        return found | {"names": ["T12", "L1"]} if job == "whole_way" else found

    monkeypatch.setattr(bench, "_job", wrong)
    bench.run()
    assert "fast: of ['L1', 'L2'] only [] are named rightly" in bench.failed
    assert "windows: out of memory" in bench.failed
    assert "a batch" in {r["kernel"] for r in bench.rows}


@pytest.mark.slow
def test_the_quick_form_runs_and_writes_into_its_folder_only(tmp_path):
    pytest.importorskip("monai")
    before = (page.ROOT / page.PAGE).read_bytes()
    command = [sys.executable, "-m", "benchmarks.end_to_end", "--quick", "--output", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "end_to_end.json").read_text())
    assert {"faithful", "fast"} == found["stages"].keys()
    assert all(r["ratio"] >= 0 for r in found["rows"])
    assert (tmp_path / "performance.png").exists()
    assert (page.ROOT / page.PAGE).read_bytes() == before
