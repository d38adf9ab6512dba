# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spinefinder_fast.dataset import read_manifest
from spinefinder_fast.dataset.convert import FORMATS, import_dataset
from spinefinder_fast.dataset.layouts import read_any
from spinefinder_fast.errors import AnnotationError, OutputError, ScanError
from spinefinder_fast.geometry import Grid
from spinefinder_fast.scan import read_grid, read_scan, write_nifti
from spinefinder_fast.spine import Spine, Vertebra

POINTS = {"T12": (3.2, -11.4, 39.5), "L1": (2.0, -8.0, 8.25), "L6": (1.0, -14.0, -35.0)}


def oblique() -> np.ndarray:
    turn, _ = np.linalg.qr(np.eye(3) + 0.15 * np.random.default_rng(0).normal(size=(3, 3)))
    return turn * np.sign(np.diag(turn))


GRIDS = {
    "canonical": np.eye(3) * 2.0,
    "PIR, anisotropic": np.array([[0, 0, -3.0], [1.0, 0, 0], [0, -2.0, 0]]),
    "RAS, thick slices": np.diag([-1.5, -1.5, 5.0]),
    "oblique": oblique() * [1.0, 2.0, 2.5],
}


def make_scan(path: Path, axes: np.ndarray, seed: int = 0) -> Grid:
    shape = tuple(np.ceil(np.array([1, 1, 1]) * 110 / np.linalg.norm(axes, axis=0)).astype(int).tolist())
    affine = np.eye(4)
    affine[:3, :3] = axes
    affine[:3, 3] = -axes @ (np.array(shape) - 1) / 2
    grid = Grid(shape, affine)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(path, np.random.default_rng(seed).integers(-1000, 1000, shape).astype(np.int16), grid)
    return grid


def make_set(folder: Path, *names: str, form: str = "csv") -> Path:
    ending, write = FORMATS[form]
    for seed, name in enumerate(names):
        grid = make_scan(folder / f"{name}.nii.gz", GRIDS["PIR, anisotropic"], seed)
        write(folder / f"{name}{ending}", spine(grid))
    return folder


def spine(grid: Grid) -> Spine:
    return Spine(tuple(Vertebra(name, lps) for name, lps in POINTS.items()), grid)


@pytest.mark.parametrize("axes", GRIDS)
@pytest.mark.parametrize("out", FORMATS)
@pytest.mark.parametrize("given", FORMATS)
def test_every_format_to_every_other(tmp_path: Path, given: str, out: str, axes: str) -> None:
    grid = make_scan(tmp_path / "in" / "a.nii.gz", GRIDS[axes])
    ending, write = FORMATS[given]
    write(tmp_path / "in" / f"a{ending}", spine(grid))
    made = import_dataset([tmp_path / "in"], tmp_path / "out", form=out)
    assert made.vertebrae == (3,)
    (entry,) = made.manifest
    assert entry.centroids == tmp_path / "out" / f"a{FORMATS[out][0]}"
    assert entry.scan == tmp_path / "in" / "a.nii.gz"
    found = {p.vertebra.name: p.vertebra.lps for p in read_any(entry.centroids, read_grid(entry.scan)).points}
    assert list(found) == list(POINTS)
    for name, lps in POINTS.items():
        np.testing.assert_allclose(found[name], lps, atol=0.01)


@pytest.mark.parametrize("form", FORMATS)
def test_a_copy_stands_by_itself(tmp_path: Path, form: str) -> None:
    make_set(tmp_path / "in", "a", "b")
    import_dataset([tmp_path / "in"], tmp_path / "out", form=form, copy=True)
    (tmp_path / "in").rename(tmp_path / "gone")
    (tmp_path / "out").rename(tmp_path / "moved")
    manifest = read_manifest(tmp_path / "moved")
    assert [e.scan.name for e in manifest] == ["a.nii.gz", "b.nii.gz"]
    for entry in manifest:
        scan = read_scan(entry.scan)
        assert np.array_equal(scan.array, read_scan(tmp_path / "gone" / entry.scan.name).array)
        points = read_any(entry.centroids, scan.file_grid).points
        np.testing.assert_allclose([p.vertebra.lps for p in points], list(POINTS.values()), atol=0.01)


def test_a_header_with_its_pixels_elsewhere_is_copied_as_one_file(tmp_path: Path) -> None:
    folder = make_set(tmp_path / "in", "a")
    scan = read_scan(folder / "a.nii.gz")
    shape, step = scan.array.shape, scan.grid.spacing_mm
    (folder / "a.raw").write_bytes(np.asarray(scan.array, "<i2").tobytes(order="F"))
    (folder / "a.mhd").write_text(
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
        "TransformMatrix = 1 0 0 0 1 0 0 0 1\n"
        f"Offset = {' '.join(map(str, scan.grid.affine[:3, 3]))}\n"
        f"ElementSpacing = {' '.join(map(str, step))}\nDimSize = {' '.join(map(str, shape))}\n"
        "ElementType = MET_SHORT\nElementDataFile = a.raw\n"
    )
    (folder / "a.nii.gz").unlink()
    made = import_dataset([folder], tmp_path / "out", form="biomedia", copy=True)
    (entry,) = made.manifest
    assert entry.scan.name == "a.nii.gz"
    again = read_scan(entry.scan)
    assert np.array_equal(again.array, scan.array)
    points = read_any(entry.centroids, again.file_grid).points
    np.testing.assert_allclose([p.vertebra.lps for p in points], list(POINTS.values()), atol=0.01)


@pytest.mark.parametrize("layout", ["TotalSegmentator", "VerSe"])
def test_centroids_come_from_masks(tmp_path: Path, layout: str) -> None:
    scan = tmp_path / "in" / ("s1/ct.nii.gz" if layout == "TotalSegmentator" else "sub-s1_ct.nii.gz")
    grid = make_scan(scan, GRIDS["PIR, anisotropic"])
    places = grid.to_lps(np.moveaxis(np.indices(grid.shape), 0, -1))
    array = np.zeros(grid.shape, np.uint8)
    for name, number in (("L1", 20), ("L2", 21)):
        away = (places - [0, 0, {"L1": 20.0, "L2": -15.0}[name]]) / [20, 15, 14]
        array[(away**2).sum(axis=-1) < 1] = number
        if layout == "TotalSegmentator":
            (scan.parent / "segmentations").mkdir(exist_ok=True)
            mask = (array == number).astype(np.uint8)
            write_nifti(scan.parent / "segmentations" / f"vertebrae_{name}.nii.gz", mask, grid)
    if layout == "VerSe":
        write_nifti(scan.parent / "sub-s1_seg-vert_msk.nii.gz", array, grid)
    made = import_dataset([tmp_path / "in"], tmp_path / "out", form="slicer")
    (entry,) = made.manifest
    assert entry.patient == "s1"
    found = {p.vertebra.name: p.vertebra.lps for p in read_any(entry.centroids).points}
    for name, z in (("L1", 20.0), ("L2", -15.0)):
        np.testing.assert_allclose(found[name], (0, 0, z), atol=1.0)


def test_scans_of_one_name_do_not_overwrite_each_other(tmp_path: Path) -> None:
    folders = [make_set(tmp_path / name, "a") for name in ("one", "two")]
    made = import_dataset(folders, tmp_path / "out", copy=True)
    assert [e.scan.name for e in made.manifest] == ["a.nii.gz", "a-2.nii.gz"]
    assert [e.centroids.name for e in made.manifest] == ["a_ctd.json", "a-2_ctd.json"]


def test_patients_are_split_whole_and_by_the_seed(tmp_path: Path) -> None:
    folder = make_set(tmp_path / "in", *(f"p{i}_{j}" for i in range(10) for j in range(2)))

    def splits(seed: int) -> dict[str, set[str]]:
        made = import_dataset(
            [folder], tmp_path / "out", validation=0.1, test=0.2, seed=seed, patient_pattern=r"(p\d)_"
        )
        made.manifest.check_split()
        return {split: {e.patient for e in made.manifest.of_split(split)} for split in ("train", "validation", "test")}

    assert {split: len(patients) for split, patients in splits(0).items()} == {"train": 7, "validation": 1, "test": 2}
    assert splits(0) == splits(0)
    assert len({str(sorted(splits(seed)["test"])) for seed in range(4)}) > 1


def test_a_split_that_a_folder_states_stays(tmp_path: Path) -> None:
    folder = make_set(tmp_path / "in" / "test", "a_1").parent
    make_set(tmp_path / "in" / "more", "a_2", "b_1")
    made = import_dataset([folder], tmp_path / "out", validation=0.9, patient_pattern=r"(.)_")
    assert {e.scan.name: e.split for e in made.manifest} == {
        "a_1.nii.gz": "test",
        "a_2.nii.gz": "test",
        "b_1.nii.gz": "validation",
    }


def test_what_is_stated_goes_before_what_is_given(tmp_path: Path) -> None:
    first = import_dataset([make_set(tmp_path / "in", "a")], tmp_path / "one", source="here", licence="CC BY 4.0")
    second = import_dataset([tmp_path / "one", make_set(tmp_path / "more", "b")], tmp_path / "two", source="there")
    assert [(e.source, e.licence) for e in first.manifest] == [("here", "CC BY 4.0")]
    assert [(e.source, e.licence) for e in second.manifest] == [("here", "CC BY 4.0"), ("there", "")]


def test_what_cannot_be_used_is_left_out_with_the_reason(tmp_path: Path) -> None:
    folder = make_set(tmp_path / "in", "good", "twice", "away", "empty", "alone", "broken")
    header = (folder / "good.csv").read_text().splitlines()
    (folder / "twice.csv").write_text("\n".join([*header, header[-1]]))
    (folder / "away.csv").write_text("name,x_lps_mm,y_lps_mm,z_lps_mm\nL1,900,0,0\n")
    (folder / "empty.csv").write_text("name,x_lps_mm,y_lps_mm,z_lps_mm\n")
    (folder / "alone.csv").unlink()
    (folder / "broken.nii.gz").write_bytes(b"none")
    made = import_dataset([folder], tmp_path / "out")
    assert [e.scan.name for e in made.manifest] == ["good.nii.gz"]
    reasons = {scan.name.removesuffix(".nii.gz"): reason for scan, reason in made.left_out}
    assert set(reasons) == {"twice", "away", "empty", "alone", "broken"}
    assert "E_DUPLICATE" in reasons["twice"]
    assert "line 5" in reasons["twice"]
    assert "E_OUTSIDE" in reasons["away"]
    assert "E_NO_CENTROIDS" in reasons["empty"]
    assert reasons["alone"] == "has no centroids"
    assert reasons["broken"].startswith("[E_")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["dataset.csv", "good_ctd.json"]


def test_nothing_to_import(tmp_path: Path) -> None:
    folder = make_set(tmp_path / "in", "a")
    (folder / "a.csv").unlink()
    with pytest.raises(AnnotationError, match=r"E_NO_CENTROIDS.*a.nii.gz: has no centroids"):
        import_dataset([folder], tmp_path / "out")
    (folder / "a.nii.gz").unlink()
    with pytest.raises(ScanError, match="E_NO_SCAN"):
        import_dataset([folder], tmp_path / "out")
    with pytest.raises(ValueError, match="'vtk'"):
        import_dataset([folder], tmp_path / "out", form="vtk")
    with pytest.raises(ValueError, match="shares"):
        import_dataset([folder], tmp_path / "out", validation=0.5, test=0.5)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="E_OUTPUT"):
        import_dataset([make_set(tmp_path / "more", "b")], tmp_path / "file")
