# SPDX-License-Identifier: Apache-2.0
"""The list of public scans with this project's centroids, and the folders that are made of it."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from spinefinder_fast import anatomy, read_centroids, read_scan
from spinefinder_fast.geometry import Grid
from spinefinder_fast.scan import write_nifti
from spinefinder_fast.training import annotated
from spinefinder_fast.training.annotated import annotated_scans, write


def test_the_list_keeps_patients_and_licences_apart() -> None:
    scans = annotated_scans()
    train, test = ([s for s in scans if s.use == use] for use in ("train", "test"))
    assert len(train) + len(test) == len(scans)
    assert train
    assert test
    assert not {s.patient for s in train} & {s.patient for s in test}
    assert all(re.fullmatch(r"CC BY(-SA)? \d\.0", s.licence) for s in train)
    for scan in scans:
        assert re.fullmatch(r"[\d.]+", scan.series)


def test_the_recipe_trains_on_them_and_knows_whose_they_are() -> None:
    table = tomllib.loads((Path(annotated.__file__).with_name("recipes") / "synthetic.toml").read_text())["set"]
    train = [s for s in annotated_scans() if s.use == "train"]
    assert {s.name for s in train} <= set(table["real"])
    assert not {s.name for s in annotated_scans() if s.use == "test"} & set(table["real"])
    for one, other in combinations(train, 2):
        same = table["patients"].get(one.name, one.name) == table["patients"].get(other.name, other.name)
        assert same == (one.patient == other.patient), (one.name, other.name)


def test_the_levels_follow_each_other_down_the_spine() -> None:
    for scan in annotated_scans():
        labels = [anatomy.label_of(name) for name in scan.centroids]
        assert labels == list(range(labels[0], labels[0] + len(labels))), scan.name
        steps = np.diff(np.array(list(scan.centroids.values())), axis=0)
        assert (steps[:, 2] < 0).all(), scan.name
        assert (np.linalg.norm(steps, axis=1) < 50).all(), scan.name


def test_folders_to_train_on_and_to_judge_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = (next(s for s in annotated_scans() if s.use == use) for use in ("train", "test"))
    places = {"L1": (20.0, 30.0, 60.0), "L2": (20.0, 31.0, 25.0)}
    listed = (
        replace(one, name="a", centroids=places),
        replace(other, name="b", centroids=places),
        replace(other, name="c", centroids={"L1": (20.0, 30.0, 900.0)}),
        replace(other, name="d"),
        replace(other, name="e"),
    )
    monkeypatch.setattr(annotated, "annotated_scans", lambda: listed)
    hu = np.random.default_rng(0).integers(-1000, 900, (20, 20, 20)).astype(np.int16)
    for name in "abc":
        write_nifti(tmp_path / f"{name}.nii.gz", hu, Grid.from_spacing(hu.shape, (4.0, 4.0, 4.0)))
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "slice.dcm").write_text("no slice")
    left_out = write(tmp_path, tmp_path / "out")
    assert list(left_out) == ["c", "d", "e"]
    assert left_out["d"] == "not there"
    assert listed[2].series in left_out["c"]
    folder = tmp_path / "out" / "train" / "a"
    scan = read_scan(folder / "ct.nii.gz")
    assert np.array_equal(scan.array, hu)
    spine = read_centroids(folder / "centroids.json", scan.file_grid)
    assert {v.name: v.lps for v in spine} == {name: pytest.approx(place) for name, place in places.items()}
    assert (
        json.loads((tmp_path / "out" / "test" / "b" / "centroids.json").read_text())["centroids"].keys()
        == places.keys()
    )
