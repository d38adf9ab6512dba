# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from spinefinder_fast import Grid, locate, make_phantom
from spinefinder_fast.annotations import read_centroids
from spinefinder_fast.dataset import Entry, write_manifest
from spinefinder_fast.scan import write_nifti

ENDINGS = ("_ctd.json", ".csv", ".mrk.json", ".png")


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def summary(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "summary.csv").open(newline="") as file:
        return {row["scan"]: row for row in csv.DictReader(file)}


def bad_scans(folder: Path, good: Path) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "cut.nii.gz").write_bytes(good.read_bytes()[:-400])
    (folder / "text.nii.gz").write_text("this is no scan\n" * 100)


def same_centroids(folder: Path, name: str, truth) -> None:
    """Every format that was written holds the true spine, within half a voxel or so."""
    spine = truth[2]
    for ending in ("_ctd.json", ".csv", ".mrk.json"):
        found = read_centroids(folder / f"{name}{ending}")
        assert found.names == spine.names, ending
        assert np.linalg.norm(found.lps() - spine.lps(), axis=1).max() < 4, ending


@pytest.mark.usefixtures("truth_networks")
def test_bad_files_do_not_stop_the_batch_and_are_named(command, write_scan, truth, tmp_path):
    good = write_scan(tmp_path / "scans" / "good.nii.gz")
    bad_scans(tmp_path / "scans", good)
    done = command("predict", tmp_path / "scans", "-o", tmp_path / "out", "--decode", "median")
    assert done.code == 8
    errors = [line for line in done.err.splitlines() if line.startswith("spinefinder: ")]
    assert len(errors) == 2
    assert str(tmp_path / "scans" / "cut.nii.gz") in errors[0]
    assert "[E_TRUNCATED]" in errors[0]
    assert str(tmp_path / "scans" / "text.nii.gz") in errors[1]
    assert "[E_NOT_NIFTI]" in errors[1]
    assert files_in(tmp_path / "out") == {"summary.csv", *(f"good{ending}" for ending in ENDINGS)}
    same_centroids(tmp_path / "out", "good", truth)
    rows = summary(tmp_path / "out")
    assert {name: row["status"] for name, row in rows.items()} == {"cut": "refused", "good": "ok", "text": "refused"}
    assert (rows["good"]["vertebrae"], rows["good"]["count"]) == ("L1-L3", "3")
    assert "E_TRUNCATED" in rows["cut"]["message"]
    for name in ("cut", "good", "text"):
        assert name in done.out


@pytest.mark.usefixtures("truth_networks")
def test_a_data_set_gives_its_scans_or_those_of_a_split(command, write_scan, tmp_path):
    entries = []
    for name, split in (("a", "train"), ("b", "test"), ("gone", "test")):
        scan = write_scan(tmp_path / "elsewhere" / f"{name}.nii.gz")
        entries.append(Entry(scan, scan.with_name(f"{name}_ctd.json"), name, split))
    entries[2].scan.unlink()
    (tmp_path / "data").mkdir()
    write_manifest(tmp_path / "data" / "dataset.csv", entries)
    options = ("--decode", "median", "--no-picture")
    done = command("predict", tmp_path / "data", "--split", "test", "-o", tmp_path / "out", *options)
    assert done.code == 8
    assert {name: row["status"] for name, row in summary(tmp_path / "out").items()} == {"b": "ok", "gone": "refused"}
    done = command("predict", tmp_path / "data" / "dataset.csv", "-o", tmp_path / "all", "--no-picture")
    assert set(summary(tmp_path / "all")) == {"a", "b", "gone"}
    for inputs, split, says in ((tmp_path / "data", "tset", "tset"), (tmp_path / "elsewhere", "test", "dataset.csv")):
        done = command("predict", inputs, "--split", split, "-o", tmp_path / "none")
        assert done.code == 2
        assert says in done.err


@pytest.mark.usefixtures("truth_networks")
def test_one_scan_has_its_centroids_in_the_terminal(command, write_scan, truth, tmp_path):
    done = command("predict", write_scan(tmp_path / "one.nii.gz"), "-o", tmp_path / "out", "--no-picture", "--profile")
    for shown in ("load", "detect", "write", "by the clock", "peak memory"):
        assert shown in done.out
    assert done.code == 0
    assert files_in(tmp_path / "out") == {"one_ctd.json", "one.csv", "one.mrk.json", "summary.csv"}
    found = read_centroids(tmp_path / "out" / "one.csv")
    for vertebra in found:
        line = next(line for line in done.out.splitlines() if f" {vertebra.name} " in line)
        assert [f"{c:.1f}" for c in vertebra.lps] == [word for word in line.split() if word[-1].isdigit()][1:4]


@pytest.mark.usefixtures("truth_networks")
def test_the_precision_reaches_the_networks(command, write_scan, tmp_path, monkeypatch):
    used = []

    def spy(scan, model, **named):
        used.append(model.dtype)
        return locate(scan, model, **named)

    monkeypatch.setattr("spinefinder_fast.batch.locate", spy)
    scan = write_scan(tmp_path / "one.nii.gz")
    for options in ((), ("--precision", "float32"), ("--procedure", "faithful")):
        assert command("predict", scan, "-o", tmp_path / "out", "--no-picture", *options).code == 0
    assert used == [torch.bfloat16, torch.float32, torch.float32]
    done = command("predict", scan, "-o", tmp_path / "none", "--precision", "half")
    assert done.code == 2
    assert "auto, float32, bfloat16" in done.err


@pytest.mark.usefixtures("truth_networks")
def test_a_batch_of_bad_scans_alone(command, write_scan, tmp_path):
    bad_scans(tmp_path / "scans", write_scan(tmp_path / "good.nii.gz"))
    done = command("predict", tmp_path / "scans", "-o", tmp_path / "out")
    assert done.code == 4
    assert files_in(tmp_path / "out") == {"summary.csv"}


@pytest.mark.usefixtures("truth_networks")
def test_a_scan_without_a_vertebra_is_done_and_says_so(command, truth, tmp_path):
    air = np.full(truth[1].shape, -1000, np.int16)
    air[0, 0, 0] = -900
    write_nifti(tmp_path / "air.nii.gz", air, truth[1])
    done = command("predict", tmp_path / "air.nii.gz", "-o", tmp_path / "out", "--label-map")
    assert done.code == 0
    row = summary(tmp_path / "out")["air"]
    assert (row["status"], row["count"], row["message"]) == ("ok_warn", "0", "no vertebra found")
    assert len(read_centroids(tmp_path / "out" / "air_ctd.json")) == 0
    assert "no vertebra found" in done.out


@pytest.mark.usefixtures("truth_networks")
def test_no_scan(command, tmp_path):
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "notes.txt").write_text("nothing")
    done = command("predict", tmp_path / "scans", "-o", tmp_path / "out")
    assert done.code == 3
    assert "[E_NO_SCAN]" in done.err
    assert str(tmp_path / "scans") in done.err
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("truth_networks")
def test_a_missing_input(command, write_scan, tmp_path):
    good = write_scan(tmp_path / "good.nii.gz")
    done = command("predict", good, tmp_path / "missing.nii.gz", "-o", tmp_path / "out")
    assert done.code == 5
    assert "missing.nii.gz" in done.err


@pytest.mark.usefixtures("truth_networks")
def test_an_input_that_may_not_be_read(command, tmp_path, monkeypatch):
    def refuse(self: Path) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", refuse)
    done = command("predict", tmp_path, "-o", tmp_path / "out")
    assert done.code == 5
    assert done.err == f"spinefinder: [E_UNREADABLE] {tmp_path}: Permission denied\n"


@pytest.mark.usefixtures("truth_networks")
def test_an_output_that_is_a_file(command, write_scan, tmp_path):
    good = write_scan(tmp_path / "good.nii.gz")
    (tmp_path / "out").write_text("mine")
    done = command("predict", good, "-o", tmp_path / "out")
    assert done.code == 6
    assert "[E_OUTPUT]" in done.err
    assert "it is a file" in done.err
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.usefixtures("truth_networks")
def test_an_output_that_may_not_be_written_is_found_out_before_the_work(command, write_scan, tmp_path, monkeypatch):
    good = write_scan(tmp_path / "good.nii.gz")
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path / "out")
    monkeypatch.setattr("spinefinder_fast.batch.open_scan", lambda path: pytest.fail("the work has begun"))
    done = command("predict", good, "-o", tmp_path / "out")
    assert done.code == 6
    assert "cannot be written into" in done.err


@pytest.mark.parametrize("damage", ["missing", "flipped"])
def test_weights_that_cannot_be_used(command, write_scan, weights, tmp_path, damage):
    folder = shutil.copytree(weights, tmp_path / "weights") if damage == "flipped" else tmp_path / "weights"
    if damage == "flipped":
        content = bytearray((folder / "detection.safetensors").read_bytes())
        content[-1] ^= 1
        (folder / "detection.safetensors").write_bytes(content)
    good = write_scan(tmp_path / "good.nii.gz")
    done = command("predict", good, "-o", tmp_path / "out", "--weights", folder)
    assert done.code == 7
    assert {"missing": "[E_WEIGHTS_MISSING]", "flipped": "[E_WEIGHTS_HASH]"}[damage] in done.err
    assert not (tmp_path / "out").exists()


def test_weights_from_a_folder_are_run(command, weights, tmp_path):
    phantom = make_phantom("L1", "L3", spacing_mm=4.0, fov_mm=(80, 80))
    write_nifti(tmp_path / "phantom.nii.gz", phantom.array, phantom.grid)
    done = command("predict", tmp_path / "phantom.nii.gz", "-o", tmp_path / "out", "--weights", weights)
    assert done.code == 0
    assert files_in(tmp_path / "out") == {"summary.csv", *(f"phantom{ending}" for ending in ENDINGS)}


@pytest.mark.usefixtures("truth_networks")
@pytest.mark.parametrize(
    ("option", "value", "code"),
    [("--threshold", "half", 2), ("--device", "tpu", 2), ("--device", "cuda:999", 6), ("--nonsense", "1", 2)],
)
def test_options_that_cannot_be(command, write_scan, tmp_path, option, value, code):
    done = command("predict", write_scan(tmp_path / "good.nii.gz"), "-o", tmp_path / "out", option, value)
    assert done.code == code
    assert (value if code == 6 else option) in done.err
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("truth_networks")
def test_a_dicom_folder(command, truth, tmp_path):
    array, grid, _ = truth
    folder = tmp_path / "patient" / "series"
    folder.mkdir(parents=True)
    for k in range(grid.shape[2]):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = f"1.2.3.{k + 1}"
        image = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
        image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, f"1.2.3.{k + 1}"
        image.SeriesInstanceUID, image.Modality = "1.2.3", "CT"
        image.Rows, image.Columns = grid.shape[1], grid.shape[0]
        image.PixelSpacing = [grid.spacing_mm[1], grid.spacing_mm[0]]
        image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        image.ImagePositionPatient = [round(c, 4) for c in grid.to_lps((0, 0, k))]
        image.RescaleSlope, image.RescaleIntercept = 1, -1024
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
        image.PixelData = (array[:, :, k].T + 1024).astype(np.uint16).tobytes()
        # Without an ending and against the order along the body, as archives export them.
        image.save_as(folder / f"IM{grid.shape[2] - k:04d}", enforce_file_format=True)
    done = command("predict", tmp_path / "patient", "-o", tmp_path / "out")
    assert done.code == 0, done.err
    assert list(summary(tmp_path / "out")) == ["series"]
    same_centroids(tmp_path / "out", "series", truth)


@pytest.mark.usefixtures("truth_networks")
def test_two_scans_of_one_name_both_have_results(command, write_scan, truth, tmp_path):
    for patient in ("anna", "bert"):
        write_scan(tmp_path / "scans" / patient / "ct.nii.gz")
    done = command("predict", tmp_path / "scans", "-o", tmp_path / "out", "--no-picture")
    assert done.code == 0
    assert list(summary(tmp_path / "out")) == ["anna_ct", "bert_ct"]
    for name in ("anna_ct", "bert_ct"):
        same_centroids(tmp_path / "out", name, truth)


@pytest.mark.usefixtures("truth_networks")
@pytest.mark.parametrize("axcodes", ["LPS", "PIR", "SRA"])
def test_the_label_map_lies_on_the_grid_of_the_file(command, truth, tmp_path, axcodes):
    array, grid, spine = truth
    world = ["LR", "PA", "SI"]
    axes = [next(w for w in range(3) if letter in world[w]) for letter in axcodes]
    flips = [letter in "RAI" for letter in axcodes]
    stored = array.transpose(axes)[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
    affine = grid.affine.copy()
    affine[:3, :3] = grid.affine[:3, axes] * np.where(flips, -1, 1)
    affine[:3, 3] = grid.to_lps([flips[axes.index(w)] * (grid.shape[w] - 1) for w in range(3)])
    file_grid = Grid(stored.shape, affine)
    assert file_grid.axcodes == axcodes
    write_nifti(tmp_path / "scan.nii.gz", stored, file_grid)

    options = ("-o", tmp_path / "out", "--label-map", "--no-picture")
    assert command("predict", tmp_path / "scan.nii.gz", *options).code == 0
    image = nibabel.load(tmp_path / "out" / "scan_labels.nii.gz")
    assert image.get_data_dtype() == np.uint8
    assert "".join(nibabel.aff2axcodes(image.affine)) == axcodes
    np.testing.assert_allclose(image.affine, nibabel.load(tmp_path / "scan.nii.gz").affine)
    labels = np.asarray(image.dataobj)
    assert labels.shape == stored.shape
    assert set(np.unique(labels)) == {0, *(v.label for v in spine)}
    # The voxel at a centroid, both taken by other people's code from the file alone.
    for vertebra in spine:
        ras = np.array([*vertebra.lps, 1]) * (-1, -1, 1, 1)
        i, j, k, _ = np.rint(np.linalg.inv(image.affine) @ ras).astype(int)
        assert labels[i, j, k] == vertebra.label
    # What was put in is what comes out, nearly: the scan shows its dense labels.
    shown = stored > -1000
    assert ((labels > 0) & shown).sum() / ((labels > 0) | shown).sum() > 0.7

    again = command("predict", tmp_path / "out", "-o", tmp_path / "again")
    assert again.code == 3


@pytest.mark.usefixtures("truth_networks")
def test_a_scan_called_like_the_batch_table_keeps_its_centroids(command, write_scan, truth, tmp_path):
    write_scan(tmp_path / "scans" / "summary.nii.gz")
    assert command("predict", tmp_path / "scans", "-o", tmp_path / "out", "--no-picture").code == 0
    same_centroids(tmp_path / "out", "scans_summary", truth)
    assert list(summary(tmp_path / "out")) == ["scans_summary"]
