# SPDX-License-Identifier: Apache-2.0
"""The figures in the documents are those of the last run."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


def load(name: str) -> ModuleType:
    """A module of benchmarks/kernels, which is no part of the package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"benchmarks/kernels/{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tables = load("tables")


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
        "against_s": 1.4814,
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
    rows = [row(), row(size="small"), row(device="a GPU"), row(against="1x")]
    assert tables.readme(rows, {"cpu": MACHINE}) == tables.readme(rows[:1], {"cpu": MACHINE})


def test_a_run_replaces_the_rows_of_its_devices_only(tmp_path, monkeypatch):
    tables = load("tables")
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
