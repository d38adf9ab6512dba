# SPDX-License-Identifier: Apache-2.0
import csv
import json
from dataclasses import replace

from spinefinder_fast import make_phantom
from spinefinder_fast.networks.weights import read_manifest
from spinefinder_fast.report import write_verse_json
from spinefinder_fast.scan import write_nifti
from spinefinder_fast.training.leave_out import LADDERS, deal, leave_out
from spinefinder_fast.training.run import train_model
from spinefinder_fast.training.settings import PAPER
from spinefinder_fast.training.volumes import entries_of
from spinefinder_fast.training.where import WHERE

SETTINGS = {
    "detection": replace(PAPER["detection"], width=0.125, spacing_mm=4.0, crop=(16, 16, 32), epochs=1),
    "identification": replace(
        PAPER["identification"], width=0.0625, spacing_mm=4.0, crop=(8, 32, 48), epochs=1, samples_per_scan=4
    ),
}


def test_names_are_dealt_so_that_each_is_in_one_fold():
    assert deal(["b", "d", "a", "c", "e"], 2) == [["a", "c", "e"], ["b", "d"]]


def test_no_scan_is_judged_by_weights_that_saw_it(tmp_path, monkeypatch):
    # Of Ann there are two scans.
    for i, name in enumerate(("ann", "ben", "ann2", "cat")):
        phantom = make_phantom("T12", "L2", spacing_mm=4.0, seed=i)
        of_set = tmp_path / "set" / "real" / name[:3] if i < 3 else tmp_path / "set" / "synthetic"
        for folder, file in ((of_set, f"{name}_00_ct"), (tmp_path / "scans" / name, f"{name}_ct")):
            folder.mkdir(parents=True, exist_ok=True)
            write_nifti(folder / f"{file}.nii.gz", phantom.array, phantom.grid)
            write_verse_json(folder / f"{file}d.json", phantom.spine)
    train_model(entries_of([tmp_path / "set" / "synthetic"], "train"), [], SETTINGS, tmp_path / "start")
    seen = []
    original = train_model

    def spy(training, *arguments, **named):
        seen.append({entry.scan.name for entry in training})
        original(training, *arguments, **named)

    monkeypatch.setattr("spinefinder_fast.training.leave_out.train_model", spy)
    page = leave_out(SETTINGS, tmp_path / "set", tmp_path / "scans", tmp_path / "start", tmp_path / "out", 2)
    assert seen == [
        {"cat_00_ct.nii.gz", "ben_00_ct.nii.gz"},
        {"cat_00_ct.nii.gz", "ann_00_ct.nii.gz", "ann2_00_ct.nii.gz"},
    ]
    assert page is not None
    assert page.exists()
    assert (page.parent / LADDERS).read_bytes().startswith(b"\x89PNG")
    judged = {case["scan"] for case in json.loads(page.with_suffix(".json").read_text())["cases"]}
    assert judged == {"ann_ct", "ann2_ct", "ben_ct"}
    assert (tmp_path / "out" / "results_median" / "evaluation.json").exists()
    with (page.parent / WHERE).open(newline="") as file:
        where = list(csv.DictReader(file))
    assert [(row["scan"], row["centroids"], row["searched"]) for row in where] == [
        ("ann2", "3", "1.0"),
        ("ann", "3", "1.0"),
        ("ben", "3", "1.0"),
    ]
    assert all(0 <= float(row["dice"]) <= 1 and row["in_boxes"] == "3" for row in where)
    for k, name in enumerate(("ann", "ben")):
        for network in read_manifest(tmp_path / "out" / f"fold{k}")["networks"].values():
            assert network["provenance"]["never_seen"] == [name]
