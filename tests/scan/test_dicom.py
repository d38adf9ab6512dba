# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from spinefinder_fast.errors import ScanError
from spinefinder_fast.scan import find_scans, open_scan, read, read_scan

SHAPE = (6, 5, 4)  # columns, rows, slices
SPACING = (0.8, 0.9, 2.5)


def hu() -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 2000, SHAPE, np.int16)


def write_series(
    folder: Path, edit: Callable[[int, FileDataset], None] | None = None, uid: str = "1.2.3", tilt: float = 0.0
) -> Path:
    """One file per slice, named against their order along the body."""
    folder.mkdir(exist_ok=True)
    for k in range(SHAPE[2]):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = f"{uid}.{k + 1}"
        slice_ = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
        slice_.SOPClassUID, slice_.SOPInstanceUID = CTImageStorage, f"{uid}.{k + 1}"
        slice_.SeriesInstanceUID = uid
        slice_.PatientName = "CANARY^PATIENT"
        slice_.Modality = "CT"
        slice_.Rows, slice_.Columns = SHAPE[1], SHAPE[0]
        slice_.PixelSpacing = [SPACING[1], SPACING[0]]
        slice_.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        slice_.ImagePositionPatient = [-30.5, -12.25 + tilt * k, 100 + SPACING[2] * k]
        slice_.RescaleSlope, slice_.RescaleIntercept = 1, -1024
        slice_.SamplesPerPixel, slice_.PhotometricInterpretation = 1, "MONOCHROME2"
        slice_.BitsAllocated, slice_.BitsStored, slice_.HighBit, slice_.PixelRepresentation = 16, 12, 11, 0
        slice_.PixelData = (hu()[:, :, k].T + 1024).astype(np.uint16).tobytes()
        if edit is not None:
            edit(k, slice_)
        slice_.save_as(folder / f"slice{SHAPE[2] - k}.dcm", enforce_file_format=True)
    return folder


def test_a_series_is_what_simpleitk_reads(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series")
    scan = read_scan(folder)
    assert (scan.name, scan.array.dtype, scan.warnings) == ("series", np.int16, ())
    np.testing.assert_array_equal(scan.array, hu())
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).T, scan.file_grid.reorientation().undo(scan.array))
    for voxel in ((0, 0, 0), (5, 4, 3)):
        np.testing.assert_allclose(scan.file_grid.to_lps(voxel), image.TransformIndexToPhysicalPoint(voxel), atol=1e-6)


@pytest.mark.parametrize("slices", [1, 2, 3])
def test_slab_by_slab_a_series_is_the_same(tmp_path: Path, slices: int, monkeypatch) -> None:
    write_series(tmp_path)
    whole = read_scan(tmp_path)
    monkeypatch.setattr(read, "_SLAB_VOXELS", slices * whole.array.shape[0] * whole.array.shape[1])
    slabs = list(open_scan(tmp_path).slabs())
    assert len(slabs) == -(-whole.array.shape[2] // slices) > 1
    np.testing.assert_array_equal(np.concatenate([slab.array for slab in slabs], axis=2), whole.array)


def test_one_file_stands_for_its_series(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series")
    (folder / "Thumbs.db").write_bytes(b"junk")
    np.testing.assert_array_equal(read_scan(folder / "slice2.dcm").array, hu())
    assert find_scans([tmp_path]) == [folder]


def test_a_series_may_lie_in_a_folder_that_is_named_like_a_mask(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "patient_seg")
    assert find_scans([tmp_path]) == [folder]


def test_the_index_of_a_disc_is_no_scan(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series")
    (tmp_path / "DICOMDIR").write_bytes(bytes(128) + b"DICM" + b"directory")
    assert find_scans([tmp_path]) == [folder]


@pytest.mark.parametrize("keyword", ["Rows", "Columns"])
def test_a_header_without_its_size_is_refused(tmp_path: Path, keyword: str) -> None:
    folder = write_series(tmp_path / "series", lambda k, d: d.__delattr__(keyword))
    with pytest.raises(ScanError, match=f"E_HEADER.*has no {keyword}"):
        read_scan(folder)


def test_two_series_in_a_folder(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "study", uid="1.2.3")
    for path in folder.iterdir():
        path.rename(path.with_name(f"a_{path.name}"))
    write_series(folder, uid="1.2.4")
    with pytest.raises(ScanError, match=r"E_MANY_SERIES.*2 series.*a_slice1\.dcm, slice1\.dcm"):
        read_scan(folder)
    assert find_scans([folder]) == [folder / "a_slice1.dcm", folder / "slice1.dcm"]
    np.testing.assert_array_equal(read_scan(folder / "slice1.dcm").array, hu())


def test_localizers_and_other_modalities_are_passed_over(tmp_path: Path) -> None:
    folder = write_series(
        tmp_path / "study", lambda k, d: setattr(d, "ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"])
    )
    for path in folder.iterdir():
        path.rename(path.with_name(f"a_{path.name}"))
    write_series(folder, lambda k, d: setattr(d, "Modality", "PT"), uid="1.2.5")
    for path in folder.glob("slice*"):
        path.rename(path.with_name(f"b_{path.name}"))
    write_series(folder, uid="1.2.4")
    assert find_scans([folder]) == [folder]
    np.testing.assert_array_equal(read_scan(folder).array, hu())


def test_a_tilted_gantry_gives_a_sheared_grid(tmp_path: Path) -> None:
    scan = read_scan(write_series(tmp_path / "series", tilt=0.5))
    np.testing.assert_allclose(scan.grid.to_lps((0, 0, 3)), (-30.5, -12.25 + 1.5, 107.5))
    np.testing.assert_array_equal(scan.array, hu())


def test_rescale_per_slice(tmp_path: Path) -> None:
    def edit(k: int, d: FileDataset) -> None:
        d.RescaleIntercept = -1024 - k
        d.PixelData = (hu()[:, :, k].T + 1024 + k).astype(np.uint16).tobytes()

    np.testing.assert_array_equal(read_scan(write_series(tmp_path / "series", edit)).array, hu())


def test_fractional_rescale_gives_float32(tmp_path: Path) -> None:
    scan = read_scan(write_series(tmp_path / "series", lambda k, d: setattr(d, "RescaleSlope", 0.5)))
    assert scan.array.dtype == np.float32
    np.testing.assert_allclose(scan.array, (hu() + 1024.0) * 0.5 - 1024)


def shift(k_moved: int, mm: float) -> Callable[[int, FileDataset], None]:
    def edit(k: int, d: FileDataset) -> None:
        if k == k_moved:
            d.ImagePositionPatient = [-30.5, -12.25, 100 + SPACING[2] * k + mm]

    return edit


def remove(keyword: str, k_from: int = 0) -> Callable[[int, FileDataset], None]:
    return lambda k, d: delattr(d, keyword) if k == k_from else None


def put(keyword: str, value: object, k_at: int = 1) -> Callable[[int, FileDataset], None]:
    return lambda k, d: setattr(d, keyword, value) if k == k_at else None


@pytest.mark.parametrize(
    ("code", "edit"),
    [
        ("E_GAP", shift(3, 2.5)),
        ("E_DUPLICATE_POSITION", shift(3, -2.5)),
        ("E_MODALITY", lambda k, d: setattr(d, "Modality", "MR")),
        ("E_NO_RESCALE", remove("RescaleSlope")),
        ("E_NO_RESCALE", remove("RescaleIntercept", 2)),
        ("E_SPACING", remove("PixelSpacing")),
        ("E_SPACING", put("PixelSpacing", [0.0, 0.8])),
        ("E_NO_POSITION", remove("ImagePositionPatient")),
        ("E_ORIENTATION", remove("ImageOrientationPatient")),
        ("E_ORIENTATION", put("ImageOrientationPatient", [1, 0, 0, 1, 0, 0])),
        ("E_MIXED_GRID", put("PixelSpacing", [1.9, 1.8])),
        ("E_MIXED_GRID", put("Rows", 3, 2)),
        ("E_MULTIFRAME", put("NumberOfFrames", 2)),
        ("E_COLOUR", put("SamplesPerPixel", 3)),
    ],
)
def test_series_that_are_refused(tmp_path: Path, code: str, edit: Callable[[int, FileDataset], None]) -> None:
    with pytest.raises(ScanError) as caught:
        read_scan(write_series(tmp_path / "series", edit))
    assert caught.value.code == code
    assert "slice" in str(caught.value)
    assert "CANARY" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_gap_names_its_two_files(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series", shift(2, 0.05))
    assert read_scan(folder).warnings[0].startswith("W_GAP: 2.550 mm between slice3.dcm and slice2.dcm")
    (folder / "slice3.dcm").unlink()
    with pytest.raises(ScanError, match=r"E_GAP.*slice4\.dcm and slice2\.dcm"):
        read_scan(folder)


def test_too_few_slices(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series")
    (folder / "slice1.dcm").unlink()
    (folder / "slice2.dcm").unlink()
    with pytest.raises(ScanError, match="E_TOO_FEW_SLICES"):
        read_scan(folder)


def test_pixels_that_end_early(tmp_path: Path) -> None:
    def edit(k: int, d: FileDataset) -> None:
        d.Rows = d.Columns = 64

    with pytest.raises(ScanError, match=r"E_TRUNCATED.*8,192"):
        read_scan(write_series(tmp_path / "series", edit))


def test_a_damaged_header_is_told_and_hides_no_other_scan(tmp_path: Path) -> None:
    write_series(tmp_path / "good")
    write_series(tmp_path / "bad")
    victim = sorted((tmp_path / "bad").iterdir())[1]
    content = victim.read_bytes()
    rng = np.random.default_rng(0)
    spoilt = [content[:n] for n in range(133, len(content), 29)]
    for _ in range(150):
        flipped = bytearray(content)
        flipped[int(rng.integers(132, len(content)))] ^= 1 << int(rng.integers(8))
        spoilt.append(bytes(flipped))
    codes = set()
    for each in spoilt:
        victim.write_bytes(each)
        found = find_scans([tmp_path])
        assert tmp_path / "good" in found
        assert any(tmp_path / "bad" in (path, path.parent) for path in found)
        try:
            read_scan(tmp_path / "bad")
        except ScanError as error:
            codes.add(error.code)
    assert "E_HEADER" in codes


def test_a_slice_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    write_series(tmp_path)
    victim = sorted(tmp_path.iterdir())[2]
    victim.write_bytes(victim.read_bytes()[:-2])
    with pytest.raises(ScanError, match=f"E_DECODE.*{victim.name}: ITK cannot decode"):
        read_scan(tmp_path)
