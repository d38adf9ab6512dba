# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from spinefinder_fast import make_phantom
from spinefinder_fast.dataset import read_manifest
from spinefinder_fast.geometry import Grid
from spinefinder_fast.report import write_csv
from spinefinder_fast.scan import write_nifti


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two scans with centroids beside them."""
    folder = tmp_path / "data"
    folder.mkdir()
    for seed, name in enumerate(("ann_1", "bob_1")):
        phantom = make_phantom("T11", "L3", spacing_mm=4.0, seed=seed)
        write_nifti(folder / f"{name}.nii.gz", phantom.array, phantom.grid)
        write_csv(folder / f"{name}.csv", phantom.spine)
    return folder


def spoil(data: Path) -> None:
    text = (data / "ann_1.csv").read_text()
    (data / "ann_1.csv").write_text(text.replace(",L2,", ",L9,"))


def test_a_clean_data_set(command, data):
    done = command("dataset", "check", data)
    assert done.code == 0
    assert done.out == "2 scans, 10 centroids: 0 errors, 0 warnings\n"


def test_each_fault_is_a_line_with_file_and_line(command, data, tmp_path):
    spoil(data)
    done = command("dataset", "check", data, "--csv", tmp_path / "findings.csv")
    assert done.code == 9
    first, second, summary = done.out.splitlines()
    assert first.startswith(f"{data / 'ann_1.csv'}:5: E_LABELS unknown vertebra 'L9'")
    assert second.startswith(f"{data / 'ann_1.csv'}:6: W_GAP L2 is not annotated")
    assert summary == "2 scans, 9 centroids: 1 error, 1 warning"
    with (tmp_path / "findings.csv").open(newline="") as file:
        assert [(row["code"], row["line"], row["scan"]) for row in csv.DictReader(file)] == [
            ("E_LABELS", "5", "ann_1"),
            ("W_GAP", "6", "ann_1"),
        ]


def test_warnings_alone_are_no_failure(command, data):
    (data / "bob_1.csv").unlink()
    done = command("dataset", "check", data)
    assert done.code == 0
    assert "bob_1.nii.gz: W_NO_CENTROIDS" in done.out
    assert "1 scan, 5 centroids: 0 errors, 1 warning" in done.out


def test_import_and_check_of_what_came_out(command, data, tmp_path):
    options = ("--format", "biomedia", "--copy", "--test", 0.5, "--source", "code", "--licence", "CC0")
    done = command("dataset", "import", data, "-o", tmp_path / "out", *options, "--patient-pattern", "^([a-z]+)_")
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        f"{tmp_path / 'out' / 'dataset.csv'}: 2 scans of 2 patients (1 train, 0 validation, 1 test), 10 centroids; "
        "0 left out\n"
    )
    manifest = read_manifest(tmp_path / "out")
    assert [(e.scan.name, e.centroids.name, e.patient) for e in manifest] == [
        ("ann_1.nii.gz", "ann_1.lml", "ann"),
        ("bob_1.nii.gz", "bob_1.lml", "bob"),
    ]
    assert {(e.source, e.licence) for e in manifest} == {("code", "CC0")}
    assert command("dataset", "check", tmp_path / "out").code == 0


def test_what_is_left_out_is_said(command, data, tmp_path):
    spoil(data)
    done = command("dataset", "import", data, "-o", tmp_path / "out")
    assert done.code == 8
    assert done.err.startswith(f"spinefinder: left out: {data / 'ann_1.nii.gz'}: [E_LABELS] ")
    assert "line 5: unknown vertebra 'L9'" in done.err
    assert done.out.endswith("1 scan of 1 patient (1 train, 0 validation, 0 test), 5 centroids; 1 left out\n")


def test_what_a_file_does_not_give_is_said(command, data, tmp_path):
    (data / "ann_1.csv").unlink()
    name = "ann_1_ctd.json"
    (data / name).write_text(
        '[{"direction": ["L", "P", "S"]},\n{"label": 20, "X": NaN, "Y": NaN, "Z": NaN},\n'
        '{"label": 21, "X": 20, "Y": 20, "Z": 20}]'
    )
    done = command("dataset", "import", data, "-o", tmp_path / "out")
    assert done.code == 0
    assert f"spinefinder: {data / name}: W_NAN" in done.err


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (("check", "{data}", "--patient-pattern", "("), 2, "--patient-pattern"),
        (("check", "{data}/nowhere"), 5, "[E_NO_SCAN]"),
        (("check", "{empty}"), 3, "[E_NO_SCAN]"),
        (("import", "{data}", "-o", "{out}", "--format", "vtk"), 2, "'vtk'"),
        (("import", "{data}", "-o", "{out}", "--test", "0.6", "--validation", "0.5"), 2, "shares"),
        (("import", "{data}", "-o", "{data}/ann_1.csv"), 6, "[E_OUTPUT]"),
        (("import", "{empty}", "-o", "{out}"), 3, "[E_NO_SCAN]"),
        (("import", "{alone}", "-o", "{out}"), 4, "[E_NO_CENTROIDS]"),
        (("import", "{bad}", "-o", "{out}"), 5, "[E_MANIFEST]"),
    ],
)
def test_what_cannot_be_done(command, data, tmp_path, options, code, says):
    folders = {name: tmp_path / name for name in ("data", "empty", "alone", "bad", "out")}
    for name in ("empty", "alone", "bad"):
        folders[name].mkdir()
    write_nifti(folders["alone"] / "a.nii.gz", np.zeros((5, 5, 5), np.int16), Grid.from_spacing((5, 5, 5)))
    (folders["bad"] / "dataset.csv").write_text("scan\n")
    done = command("dataset", *(option.format(**folders) for option in options))
    assert done.code == code
    assert says in done.err
    assert len(done.err.splitlines()) == 1
