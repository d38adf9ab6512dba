# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from spinefinder_fast.annotations import read_centroids, read_points
from spinefinder_fast.errors import OutputError
from spinefinder_fast.files import write_bytes
from spinefinder_fast.geometry import Grid
from spinefinder_fast.report import write_csv, write_labelmap, write_lml, write_markups, write_verse_json
from spinefinder_fast.spine import Spine, Vertebra

GRID = Grid.from_spacing((40, 50, 60), (1.0, 2.0, 3.0), (-20.0, 10.0, 100.0))
SPINE = Spine(
    (Vertebra("L1", (-10.0, 30.0, 160.0), 4000, (5.0, 6.0, 7.5), True), Vertebra("S2", (-9.0, 20.0, 130.0))),
    GRID,
    "case",
)


def test_verse_json(tmp_path: Path) -> None:
    write_verse_json(tmp_path / "a_ctd.json", SPINE)
    head, first, last = json.loads((tmp_path / "a_ctd.json").read_text())
    assert head["direction"] == ["L", "P", "S"]
    assert head["shape"] == [40, 50, 60]
    np.testing.assert_array_equal(head["affine_lps"], GRID.affine)
    assert first == {"label": 20, "X": 10.0, "Y": 10.0, "Z": 20.0}
    assert last == {"label": 27, "X": 11.0, "Y": 5.0, "Z": 10.0}


def test_csv(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", SPINE)
    with (tmp_path / "a.csv").open(newline="") as file:
        first, last = csv.DictReader(file)
    assert first == {
        "scan": "case", "label": "20", "name": "L1", "x_lps_mm": "-10.0", "y_lps_mm": "30.0", "z_lps_mm": "160.0",
        "i": "10.0", "j": "10.0", "k": "20.0", "votes": "4000", "spread_x_mm": "5.0", "spread_y_mm": "6.0",
        "spread_z_mm": "7.5", "truncated": "true", "confidence": "",
    }  # fmt: skip
    assert (last["spread_x_mm"], last["truncated"], last["label"]) == ("", "false", "26")
    write_csv(tmp_path / "b.csv", Spine((Vertebra("L6", (1.0, 2.0, 3.0)),)))
    with (tmp_path / "b.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["label"], row["i"], row["x_lps_mm"]) == ("", "", "1.0")


def test_verse_json_names_the_weights_and_reading_it_tells_them(tmp_path: Path) -> None:
    write_verse_json(tmp_path / "a_ctd.json", replace(SPINE, details={"weights": "12ab"}))
    assert read_centroids(tmp_path / "a_ctd.json").details["weights"] == "12ab"
    assert read_points(tmp_path / "a_ctd.json").details == {"weights": "12ab"}


def test_markups(tmp_path: Path) -> None:
    write_markups(tmp_path / "a.mrk.json", SPINE)
    (markup,) = json.loads((tmp_path / "a.mrk.json").read_text())["markups"]
    assert (markup["type"], markup["coordinateSystem"]) == ("Fiducial", "LPS")
    assert [p["label"] for p in markup["controlPoints"]] == ["L1", "S2"]
    assert markup["controlPoints"][0]["position"] == [-10.0, 30.0, 160.0]
    assert markup["controlPoints"][0]["description"] == "4000 votes, cut by the field of view"
    assert markup["controlPoints"][1]["description"] == ""
    inferred = replace(SPINE, vertebrae=(Vertebra("C1", (0.0, 0.0, 0.0), confidence=0.9),))
    write_markups(tmp_path / "b.mrk.json", inferred)
    (markup,) = json.loads((tmp_path / "b.mrk.json").read_text())["markups"]
    assert markup["controlPoints"][0]["description"] == "inferred, not detected"


def test_labelmap(tmp_path: Path) -> None:
    labels = np.zeros(GRID.shape, np.int64)
    labels[3, 4, 5] = 26
    write_labelmap(tmp_path / "a_labels.nii.gz", labels, GRID)
    image = nibabel.load(tmp_path / "a_labels.nii.gz")
    assert image.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), labels)
    np.testing.assert_allclose(image.affine, GRID.affine_ras)
    with pytest.raises(ValueError, match=r"0\.\.27"):
        write_labelmap(tmp_path / "b.nii.gz", labels + (labels > 0), GRID)


@pytest.mark.parametrize("write", [write_verse_json, write_lml])
def test_voxels_need_a_grid(tmp_path: Path, write) -> None:
    with pytest.raises(ValueError, match="grid"):
        write(tmp_path / "a", Spine((Vertebra("C1", (0.0, 0.0, 0.0)),)))
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.csv"
    write_bytes(path, b"old")

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputError, match=r"E_WRITE.*No space left"):
        write_bytes(path, b"new")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="E_WRITE"):
        write_csv(tmp_path / "missing" / "a.csv", SPINE)
