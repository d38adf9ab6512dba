# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest

from spinefinder_fast import read_scan
from spinefinder_fast.annotations import read_centroids


def phantom(command, folder, name="phantom", seed=0):
    return command(
        "phantom", "-o", folder, "--first", "T12", "--last", "L2", "--spacing", 5, "--seed", seed, "--name", name
    )


def test_a_phantom_and_its_centroids_read_back(command, tmp_path):
    done = phantom(command, tmp_path / "new" / "folder", "ann")
    assert done.code == 0
    assert "3 vertebrae, T12 to L2" in done.out
    scan = read_scan(tmp_path / "new" / "folder" / "ann.nii.gz")
    assert scan.warnings == ()
    assert scan.grid.spacing_mm == pytest.approx((5, 5, 5))
    spine = read_centroids(tmp_path / "new" / "folder" / "ann_ctd.json", scan.file_grid)
    assert spine.names == ["T12", "L1", "L2"]
    i, j, k = np.rint(spine.voxels()).astype(int).T
    assert (scan.file_grid.reorientation().undo(scan.array)[i, j, k] > 50).all()  # bone is there


def test_a_phantom_s_centroids_in_another_format(command, tmp_path):
    done = command("phantom", "-o", tmp_path, "--first", "T12", "--last", "L2", "--spacing", 5, "--format", "biomedia")
    assert done.code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"phantom.nii.gz", "phantom.lml"}
    grid = read_scan(tmp_path / "phantom.nii.gz").file_grid
    assert read_centroids(tmp_path / "phantom.lml", grid).names == ["T12", "L1", "L2"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--first", "L7"), "L7"),
        (("--first", "L3", "--last", "L1"), "above"),
        (("--spacing", "0"), "--spacing"),
        (("--seed", "-1"), "--seed"),
        (("--format", "dicom"), "biomedia"),
    ],
)
def test_a_phantom_that_cannot_be(command, tmp_path, options, says):
    done = command("phantom", "-o", tmp_path / "out", *options)
    assert done.code == 2
    assert says in done.err
    assert not (tmp_path / "out").exists()


def test_a_phantom_without_a_place(command, tmp_path):
    (tmp_path / "out").write_text("mine")
    done = phantom(command, tmp_path / "out")
    assert done.code == 6
    assert "[E_OUTPUT]" in done.err


@pytest.fixture
def truth(command, tmp_path):
    for seed, name in enumerate(("ann", "bob")):
        phantom(command, tmp_path / "truth", name, seed)
    return tmp_path / "truth"


def test_evaluation_of_a_prediction_and_a_missing_one(command, truth, tmp_path):
    (tmp_path / "found").mkdir()
    shutil.copy(truth / "ann_ctd.json", tmp_path / "found")
    shutil.copy(truth / "ann_ctd.json", tmp_path / "found" / "eve_ctd.json")
    (tmp_path / "found" / "summary.csv").write_text("scan,status,vertebrae,count,seconds,message\n")
    done = command("evaluate", tmp_path / "found", truth, "-o", tmp_path / "scores")
    assert done.code == 0
    assert done.err.splitlines() == [
        "spinefinder: bob has no prediction; all of its vertebrae count as missing",
        "spinefinder: eve has no truth and is left out",
    ]
    row = next(line for line in done.out.splitlines() if " All " in line)
    assert "50.0" in row
    assert "3 of 6" in row
    score = json.loads((tmp_path / "scores" / "evaluation.json").read_text())
    assert score["scans"] == 2
    overall, cervical = score["mccouat"][:2]
    assert (overall["id_rate"], overall["mean_mm"], overall["missing"], overall["extra"]) == (0.5, 0.0, 3, 0)
    assert (cervical["annotated"], cervical["id_rate"]) == (0, None)
    assert "bob" in (tmp_path / "scores" / "evaluation.html").read_text()
    assert "VerSe protocol: Id rate 50.0 %, mean 0.00 mm" in done.out
    assert "scans with every vertebra right: 1 of 2; shifted by one level: 0" in done.out
    with (tmp_path / "scores" / "evaluation.csv").open(newline="") as file:
        rows = {row["region"]: row for row in csv.DictReader(file)}
    assert (rows["All"]["identified"], rows["All"]["annotated"], rows["Thoracic"]["missing"]) == ("3", "6", "1")
    with (tmp_path / "scores" / "scans.csv").open(newline="") as file:
        assert [row["scan"] for row in csv.DictReader(file)] == ["bob", "ann"]


def test_results_evaluated_where_they_lie(command, truth):
    # The scores of a first run beside the centroids are not centroids to the second.
    for _ in range(2):
        done = command("evaluate", truth, truth, "-o", truth)
        assert (done.code, done.err) == (0, "")
    assert "100.0" in done.out


@pytest.mark.parametrize("missing", ["found", "truth"])
def test_evaluation_of_a_folder_that_is_not_there(command, truth, tmp_path, missing):
    folders = [tmp_path / "nowhere", truth] if missing == "found" else [truth, tmp_path / "nowhere"]
    done = command("evaluate", *folders)
    assert done.code == 5
    assert "nowhere" in done.err


def test_evaluation_without_truth(command, truth, tmp_path):
    (tmp_path / "empty").mkdir()
    done = command("evaluate", truth, tmp_path / "empty")
    assert done.code == 5
    assert "[E_NO_CENTROIDS]" in done.err


def test_scores_without_a_place(command, truth, tmp_path):
    (tmp_path / "scores").write_text("mine")
    done = command("evaluate", truth, truth, "-o", tmp_path / "scores")
    assert done.code == 6
    assert "[E_OUTPUT]" in done.err
