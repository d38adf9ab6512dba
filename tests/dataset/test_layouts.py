# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from spinefinder_fast.annotations import read_centroids
from spinefinder_fast.dataset import Entry, write_manifest
from spinefinder_fast.dataset.layouts import case_of, find_entries, read_any
from spinefinder_fast.errors import AnnotationError, ScanError
from spinefinder_fast.geometry import Grid
from spinefinder_fast.report import write_markups
from spinefinder_fast.scan import write_nifti
from spinefinder_fast.spine import Spine, Vertebra

# Stored to the back, downwards and to the right, with voxels of three lengths.
GRID = Grid((12, 20, 8), np.array([[0, 0, -3.0, 10], [2.0, 0, 0, -20], [0, -4.0, 0, 90], [0, 0, 0, 1]], np.float64))
POINT = (-2.0, -6.0, 50.0)


def scan(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(path, np.zeros(GRID.shape, np.int16), GRID)
    return path


def text(path: Path, content: object = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def verse(path: Path) -> Path:
    x, y, z = GRID.to_voxel(POINT).tolist()
    return text(path, [{"direction": list("PIR")}, {"label": 20, "X": x, "Y": y, "Z": z}])


def lml(path: Path) -> Path:
    x, y, z = (GRID.to_voxel(POINT) * GRID.spacing_mm).tolist()
    return text(path, f"any header\n1\tL1_center\t{x}\t{y}\t{z}\n")


def iso(path: Path) -> Path:
    # mm from the voxel that is furthest back, down and right, to the front, up and to the left.
    back, low, right = -20 + 2 * 11, 90 - 4 * 19, 10 - 3 * 7
    return text(path, [{"label": 20, "X": back - POINT[1], "Y": POINT[2] - low, "Z": POINT[0] - right}])


def markups(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_markups(path, Spine((Vertebra("L1", POINT),)))
    return path


def plain(path: Path) -> Path:
    meta = {"patient": "p7", "source": "there", "licence": "CC0"}
    return text(path, {"meta": meta, "centroids": {"L1": {"lps_mm": POINT}}})


LAYOUTS = {
    "BioMedia": ("4542094.nii.gz", lml, "4542094.lml", "4542094"),
    "BIDS": (
        "rawdata/sub-verse004/sub-verse004_ct.nii.gz",
        verse,
        "derivatives/sub-verse004/sub-verse004_seg-vb_ctd.json",
        "verse004",
    ),
    "BIDS, split": (
        "rawdata/sub-gl3/sub-gl3_dir-ax_ct.nii.gz",
        verse,
        "derivatives/sub-gl3/sub-gl3_dir-ax_seg-subreg_ctd.json",
        "gl3",
    ),
    "MICCAI 2020": ("GL017/GL017.nii.gz", iso, "GL017/GL017_iso-ctd.json", "GL017"),
    "MICCAI 2020, turned": ("v400/v400.nii.gz", iso, "v400/v400_CT-iso_iso-ctd.json", "v400"),
    "Slicer": ("a b.nii.gz", markups, "a b.mrk.json", "a b"),
    "results": ("x.nii.gz", verse, "x_ctd.json", "x"),
    "a folder per scan": ("s1/ct.nii.gz", plain, "s1/centroids.json", "p7"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_found_and_read(tmp_path: Path, layout: str) -> None:
    place, write, file, patient = LAYOUTS[layout]
    scan(tmp_path / place)
    write(tmp_path / file)
    found = find_entries(tmp_path)
    (entry,) = found.entries
    assert (entry.scan, entry.centroids) == (tmp_path / place, tmp_path / file)
    assert (entry.patient, entry.split) == (patient, "")
    assert found.without == found.strays == ()
    (point,) = read_any(entry.centroids, GRID).points
    assert point.vertebra.name == "L1"
    np.testing.assert_allclose(point.vertebra.lps, POINT, atol=0.01)


def test_the_two_frames_of_verse_are_told_apart(tmp_path: Path) -> None:
    # Under the other's name a file is refused, not read wrongly.
    with pytest.raises(AnnotationError, match=r"E_FRAME.*only files named iso-ctd.json"):
        read_centroids(iso(tmp_path / "a_ctd.json"), GRID)
    fine = Grid((300, 300, 300), np.diag([-0.4, -0.4, 0.4, 1.0]))
    voxels = text(tmp_path / "b_iso-ctd.json", [{"label": 20, "X": 150.0, "Y": 160.0, "Z": 290.0}])
    with pytest.raises(AnnotationError, match=r"E_FRAME.*read as mm .* miss the scan, as voxels .* they fit"):
        read_centroids(voxels, fine)


def test_what_a_folder_per_scan_states_is_kept(tmp_path: Path) -> None:
    scan(tmp_path / "s1" / "ct.nii.gz")
    plain(tmp_path / "s1" / "centroids.json")
    (entry,) = find_entries(tmp_path).entries
    assert (entry.source, entry.licence) == ("there", "CC0")


def test_a_linked_scan_belongs_to_the_folder_that_holds_the_link(tmp_path: Path) -> None:
    elsewhere = scan(tmp_path / "store" / "x" / "ct.nii.gz")
    (tmp_path / "set" / "s1").mkdir(parents=True)
    link = tmp_path / "set" / "s1" / "ct.nii.gz"
    link.symlink_to(elsewhere)
    plain(tmp_path / "set" / "s1" / "centroids.json")
    (entry,) = find_entries(tmp_path / "set").entries
    assert entry.scan == link


def test_masks_belong_to_their_scans_and_are_none(tmp_path: Path) -> None:
    scan(tmp_path / "rawdata" / "sub-a" / "sub-a_ct.nii.gz")
    mask = scan(tmp_path / "derivatives" / "sub-a" / "sub-a_seg-vert_msk.nii.gz")
    scan(tmp_path / "s2" / "ct.nii.gz")
    scan(tmp_path / "s2" / "segmentations" / "vertebrae_L1.nii.gz")
    scan(tmp_path / "s2" / "segmentations" / "liver.nii.gz")
    found = find_entries(tmp_path)
    assert {e.scan.name: e.centroids for e in found.entries} == {
        "sub-a_ct.nii.gz": mask,
        "ct.nii.gz": tmp_path / "s2" / "segmentations",
    }
    assert found.without == ()
    # Annotated points come before what masks give.
    points = verse(tmp_path / "derivatives" / "sub-a" / "sub-a_seg-vb_ctd.json")
    assert points in [e.centroids for e in find_entries(tmp_path).entries]


def test_scans_and_centroids_that_are_alone(tmp_path: Path) -> None:
    alone = scan(tmp_path / "alone.nii.gz")
    stray = lml(tmp_path / "stray.lml")
    found = find_entries(tmp_path)
    assert (found.entries, found.without, found.strays) == ((), (alone,), (stray,))
    with pytest.raises(ScanError, match="E_NO_SCAN"):
        find_entries(tmp_path / "nowhere")


def test_scans_of_one_name_have_the_centroids_beside_them(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        scan(tmp_path / folder / "scan.nii.gz")
        lml(tmp_path / folder / "scan.lml")
    assert [(e.scan.parent, e.centroids.parent) for e in find_entries(tmp_path).entries] == [
        (tmp_path / folder, tmp_path / folder) for folder in ("one", "two")
    ]


@pytest.mark.parametrize(
    ("folder", "split"),
    [
        ("dataset-verse19training", "train"),
        ("dataset-01validation", "validation"),
        ("test", "test"),
        ("train_val", "validation"),
        ("latest", ""),
        ("data", ""),
    ],
)
def test_folders_that_are_named_after_a_split(tmp_path: Path, folder: str, split: str) -> None:
    scan(tmp_path / folder / "a.nii.gz")
    lml(tmp_path / folder / "a.lml")
    (entry,) = find_entries(tmp_path).entries
    assert entry.split == split


def test_a_pattern_says_whose_a_scan_is(tmp_path: Path) -> None:
    for name in ("ann_1", "ann_2", "bob"):
        scan(tmp_path / f"{name}.nii.gz")
        lml(tmp_path / f"{name}.lml")
    assert [e.patient for e in find_entries(tmp_path, r"^([a-z]+)_\d").entries] == ["ann", "ann", "bob"]
    entries = find_entries(tmp_path).entries
    write_manifest(tmp_path / "dataset.csv", [Entry(e.scan, e.centroids, e.patient, "test") for e in entries])
    for place in (tmp_path, tmp_path / "dataset.csv"):
        found = find_entries(place, r"^([a-z]+)_\d").entries
        assert [(e.patient, e.split) for e in found] == [("ann", "test"), ("ann", "test"), ("bob", "test")]


@pytest.mark.parametrize(
    ("name", "case"),
    [("a_ct", "a"), ("a_seg-vert_msk", "a"), ("a_ct_seg", "a"), ("a_ctx", "a_ctx"), ("object", "object")],
)
def test_what_data_sets_append(name: str, case: str) -> None:
    assert case_of(name) == case


def test_centroids_called_ct_belong_to_the_scan_called_ct_beside_them(tmp_path: Path) -> None:
    for folder in ("s1", "s2"):
        scan(tmp_path / folder / "ct.nii.gz")
        write_markups(tmp_path / folder / "ct.mrk.json", Spine((Vertebra("L1", POINT),)))
    found = find_entries(tmp_path)
    assert [(e.scan.parent.name, e.centroids.parent.name) for e in found.entries] == [("s1", "s1"), ("s2", "s2")]
    assert not found.without
    assert not found.strays
