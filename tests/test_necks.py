# SPDX-License-Identifier: Apache-2.0
"""The public necks that judge the weights are read as they are published."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.necks import openkbp
from benchmarks.necks.openkbp import LEVELS, SHAPE, main, read_patient
from spinefinder_fast import read_centroids, read_scan


def write_patient(folder, values, spacing=(3.9, 3.8, 2.5)):
    folder.mkdir(parents=True)
    at = np.flatnonzero(values)
    rows = "".join(f"{i},{v}\n" for i, v in zip(at, values.ravel()[at], strict=True))
    (folder / "ct.csv").write_text(",data\n" + rows)
    (folder / "voxel_dimensions.csv").write_text("".join(f"{mm}\n" for mm in spacing))


def block():
    """30 slices of a body, below them one organ alone, and a bright voxel to the back, left and below in the body."""
    values = np.zeros(SHAPE, int)
    values[40:80, 50:90, 20:50] = 1024
    values[60:62, 60:62, 50:70] = 1100
    values[75, 85, 45] = 2024
    return values


def test_a_patient_is_read_with_its_axes(tmp_path):
    write_patient(tmp_path / "pt_1", block())
    hu, grid = read_patient(tmp_path / "pt_1")
    assert hu.shape == (46, 46, 30)
    assert grid.spacing_mm == pytest.approx((3.8, 3.9, 2.5))
    (left, back, up) = np.argwhere(hu == 1000)[0]
    # Of 40 columns and rows with 3 of air, and of 30 slices counted from the feet.
    assert (left, back, up) == (35 + 3, 35 + 3, 4)
    assert set(np.unique(hu)) == {-1024, 0, 1000}


def test_what_shows_no_body_is_refused(tmp_path):
    values = np.zeros(SHAPE, int)
    values[:4, :4] = 1024
    write_patient(tmp_path / "pt_2", values)
    with pytest.raises(ValueError, match="no slice shows 70 cm2 of a body"):
        read_patient(tmp_path / "pt_2")


def test_patients_are_kept_apart(tmp_path, capsys, monkeypatch):
    levels = {f"pt_{i}": {"C2": (90.0, 80.0, 60.0), "C3": (90.0, 80.0, 42.5)} for i in (7, 240, 241, 300)}
    (tmp_path / "levels.json").write_text(json.dumps(levels))
    monkeypatch.setattr(openkbp, "LEVELS", tmp_path / "levels.json")
    for name in ("pt_240", "pt_241"):
        write_patient(tmp_path / "clone" / "provided-data" / "any-pats" / name, block())
    assert main([str(tmp_path / "clone"), str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == "pt_7: not there, left out\npt_300: not there, left out\n"
    found = sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*_ct.nii.gz"))
    assert found == ["looked_at/pt_240_ct.nii.gz", "test/pt_241_ct.nii.gz"]
    scan = read_scan(tmp_path / "out" / found[1])
    truth = read_centroids(tmp_path / "out" / "test" / "pt_241_ctd.json", scan.file_grid)
    assert {v.name: v.lps for v in truth} == {n: pytest.approx(p, abs=0.1) for n, p in levels["pt_241"].items()}
    with pytest.raises(SystemExit):
        main([str(tmp_path), str(tmp_path / "none")])
    assert "name a clone" in capsys.readouterr().err


def test_levels_follow_each_other():
    for name, places in json.loads(LEVELS.read_text()).items():
        heights = [z for _, _, z in places.values()]
        assert set(places) <= {f"C{i}" for i in range(2, 8)}, name
        assert heights == sorted(heights, reverse=True), name
