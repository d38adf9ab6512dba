# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gc
import subprocess
import sys
from concurrent.futures import Future
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from spinefinder_fast.errors import ScanError
from spinefinder_fast.geometry import Grid, Reorientation
from spinefinder_fast.scan import find_scans, open_scan, read, read_grid, read_scan, scan_name, write_nifti
from spinefinder_fast.scan.sample import sample
from spinefinder_fast.volume import resample, resample_slabs

SHAPE = (6, 5, 4)


def hu(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1000, 1500, SHAPE, np.int16)


def sitk_image(array: np.ndarray) -> sitk.Image:
    image = sitk.GetImageFromArray(array.T)
    image.SetSpacing((0.8, 0.9, 3.0))
    image.SetOrigin((-20.0, 31.0, 500.0))
    # 20 degrees about x, with the second axis running to the front: not canonical.
    c, s = np.cos(np.deg2rad(20)), np.sin(np.deg2rad(20))
    image.SetDirection((1, 0, 0, 0, -c, -s, 0, -s, c))
    return image


@pytest.mark.parametrize("ending", [".nrrd", ".nhdr", ".mha", ".mhd", ".nii.gz"])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_every_format_gives_what_simpleitk_gives(tmp_path: Path, ending: str, dtype: type) -> None:
    image = sitk_image(hu().astype(dtype))
    sitk.WriteImage(image, str(tmp_path / f"neck{ending}"))
    scan = read_scan(tmp_path / f"neck{ending}")
    assert (scan.name, scan.array.dtype, scan.grid.axcodes, scan.file_grid.axcodes) == ("neck", dtype, "LPS", "LAS")
    np.testing.assert_array_equal(scan.file_grid.reorientation().undo(scan.array), hu())
    for voxel in ((0, 0, 0), (5, 0, 1), (2, 4, 3)):
        expected = image.TransformIndexToPhysicalPoint(voxel)
        np.testing.assert_allclose(scan.file_grid.to_lps(voxel), expected, atol=1e-3)
        canonical = scan.grid.to_voxel(expected).round().astype(int)
        assert scan.array[tuple(canonical)] == hu()[voxel]


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_a_cut_file_is_refused_by_itk_too(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    sitk.WriteImage(sitk_image(hu()), str(path))
    content = path.read_bytes()
    for length in range(1, len(content), 13):
        path.write_bytes(content[:length])
        with pytest.raises(ScanError):
            read_scan(path)


def test_values_that_cannot_be_hu(tmp_path: Path) -> None:
    def reason(array: np.ndarray) -> str:
        write_nifti(tmp_path / "a.nii", array, Grid.from_spacing(SHAPE))
        with pytest.raises(ScanError) as caught:
            read_scan(tmp_path / "a.nii")
        return str(caught.value)

    spread = np.linspace(0, 1, hu().size).reshape(SHAPE)
    assert "E_NOT_HU" in reason(spread.astype(np.float32))
    assert "0 to 255" in reason((255 * spread).astype(np.uint8))
    assert "E_CONSTANT" in reason(np.full(SHAPE, -1000, np.int16))
    # One voxel that is no number makes HU of none of the others.
    for array, code in ((spread, "E_NOT_HU"), (np.full(SHAPE, 40.0), "E_CONSTANT")):
        array[1, 1, 1] = np.nan
        assert code in reason(array.astype(np.float32))
    assert "E_NONFINITE" in reason(np.where(spread > 0.97, np.nan, hu()).astype(np.float32))


TURNS = [(axes, flips) for axes in permutations(range(3)) for flips in product((False, True), repeat=3)]


@pytest.fixture(params=[1, 2, 3, 1000])
def slab_slices(request, monkeypatch) -> int:
    """So many of a file's slices in a slab."""
    monkeypatch.setattr(read, "_SLAB_VOXELS", request.param * SHAPE[0] * SHAPE[1])
    return request.param


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd"])
def test_slab_by_slab_it_is_the_same_scan(tmp_path: Path, ending: str, slab_slices: int) -> None:
    path = tmp_path / f"a{ending}"
    sitk.WriteImage(sitk_image(hu()), str(path))
    whole, opened = read_scan(path), open_scan(path)
    for _ in range(2):  # a file may be read again
        slabs = list(opened.slabs())
        assert len(slabs) == max(1, -(-SHAPE[2] // slab_slices))
        found = np.zeros_like(whole.array)
        for slab in slabs:
            part = [slice(None)] * 3
            part[slab.axis] = slice(slab.first, slab.first + slab.array.shape[slab.axis])
            found[tuple(part)] = slab.array
        np.testing.assert_array_equal(found, whole.array)
    assert (opened.voxels, opened.name, opened.warnings) == (whole.array.size, whole.name, whole.warnings)


@pytest.mark.parametrize(("axes", "flips"), TURNS)
def test_however_it_is_stored_slabs_give_the_volume_and_the_values_of_the_whole(tmp_path, axes, flips, monkeypatch):
    monkeypatch.setattr(read, "_SLAB_VOXELS", 100)
    canonical = Grid.from_spacing((9, 11, 13), (1.1, 0.9, 1.7))
    turn = Reorientation(axes, flips)
    array = np.random.default_rng(0).integers(-1000, 1500, canonical.shape, np.int16)
    affine = np.eye(4)
    affine[:3, :3] = turned = np.zeros((3, 3))
    for world, (axis, flip) in enumerate(zip(axes, flips, strict=True)):
        turned[world, axis] = canonical.spacing_mm[world] * (-1 if flip else 1)
    affine[:3, :3] = turned
    stored = np.ascontiguousarray(turn.undo(array))
    write_nifti(tmp_path / "a.nii", stored, Grid(stored.shape, affine))
    scan, opened = read_scan(tmp_path / "a.nii"), open_scan(tmp_path / "a.nii")
    np.testing.assert_array_equal(scan.array, array)
    for spacing, volume in zip((1.0, 2.3), resample_slabs(opened.slabs(), opened.grid, (1.0, 2.3)), strict=True):
        want = resample(scan, spacing)
        np.testing.assert_array_equal(volume.array, want.array)
        np.testing.assert_array_equal(volume.grid.affine, want.grid.affine)
    points = scan.grid.to_lps(np.random.default_rng(1).uniform(-1, 13, (3, 400, 3)))
    np.testing.assert_allclose(sample(opened, points), sample(scan, points), atol=1e-3)
    assert (sample(scan, points) > -1000).mean() > 0.2  # there was something to see


def test_without_its_slabs_a_scan_is_not_resampled(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii", hu(), Grid.from_spacing(SHAPE))
    with pytest.raises(ValueError, match="no slab came"):
        resample_slabs([], open_scan(tmp_path / "a.nii").grid, (1.0,))


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
def test_the_grid_alone(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    sitk.WriteImage(sitk_image(hu()), str(path))
    np.testing.assert_array_equal(read_grid(path).affine, read_scan(path).file_grid.affine)
    assert read_grid(path).shape == SHAPE


def test_what_only_all_slabs_tell_is_told_after_the_last(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(read, "_SLAB_VOXELS", 1)
    spoilt = hu().astype(np.float32)
    spoilt[3, 2, 1] = np.nan
    write_nifti(tmp_path / "a.nii", spoilt, Grid.from_spacing(SHAPE))
    opened = open_scan(tmp_path / "a.nii")
    assert opened.warnings == ()
    slabs = list(opened.slabs())
    assert slabs[1].array[3, 2, 0] == -1024
    assert "W_NONFINITE: 1 voxels" in opened.warnings[0]
    spoilt[:2, 0, 0] = np.nan
    write_nifti(tmp_path / "a.nii", spoilt, Grid.from_spacing(SHAPE))
    slabs = iter(open_scan(tmp_path / "a.nii").slabs())
    for _ in range(SHAPE[2]):
        next(slabs)
    with pytest.raises(ScanError, match=r"E_NONFINITE\] 2.5 %"):
        next(slabs)


def test_a_scan_that_is_held_is_judged_alike_each_time(tmp_path: Path) -> None:
    spoilt = hu().astype(np.float32)
    spoilt[2, 2, 2] = np.nan
    sitk.WriteImage(sitk_image(spoilt), str(tmp_path / "a.mha"))
    opened = open_scan(tmp_path / "a.mha")
    for _ in range(2):
        assert opened.read().array.min() == -1024
        assert "W_NONFINITE: 1 voxels" in opened.warnings[0]
    spoilt[:4] = np.nan
    sitk.WriteImage(sitk_image(spoilt), str(tmp_path / "a.mha"))
    opened = open_scan(tmp_path / "a.mha")
    for _ in range(2):
        with pytest.raises(ScanError, match="E_NONFINITE"):
            opened.read()


def test_a_read_that_fails_leaves_nothing_to_collect(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    write_nifti(
        path,
        np.random.default_rng(0).integers(-1000, 2000, (64, 64, 64)).astype(np.int16),
        Grid.from_spacing((64, 64, 64)),
    )
    path.write_bytes(path.read_bytes()[:-40_000])
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(ScanError, match="E_TRUNCATED") as caught:
            read_scan(path)
        del caught
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        assert not any(isinstance(found, Future) for found in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def test_a_file_that_is_cut_or_gone_when_it_is_read(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(read, "_SLAB_VOXELS", 1)
    path = tmp_path / "a.nii"
    write_nifti(path, hu(), Grid.from_spacing(SHAPE))
    content, opened = path.read_bytes(), open_scan(path)
    path.write_bytes(content[:-1])
    with pytest.raises(ScanError, match="E_TRUNCATED"):
        list(opened.slabs())
    path.unlink()
    with pytest.raises(ScanError, match="E_UNREADABLE"):
        opened.read()


def test_a_crop_without_air_is_a_scan(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii", hu().clip(-150, 1400), Grid.from_spacing(SHAPE))
    assert read_scan(tmp_path / "a.nii").warnings == ()
    write_nifti(tmp_path / "a.nii", hu().clip(0, 1400), Grid.from_spacing(SHAPE))
    assert read_scan(tmp_path / "a.nii").warnings[0].startswith("W_NOT_HU")


def test_a_voxel_that_is_no_number_becomes_air(tmp_path: Path) -> None:
    array = hu().astype(np.float32)
    array[1, 2, 3] = np.nan
    write_nifti(tmp_path / "a.nii", array, Grid.from_spacing(SHAPE))
    scan = read_scan(tmp_path / "a.nii")
    assert scan.array[1, 2, 3] == -1024
    assert "1 voxels" in scan.warnings[0]


def test_not_a_scan(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("L1 is fractured")
    for path, code in (
        (tmp_path / "notes.txt", "E_NO_SCAN"),
        (tmp_path / "no.nii", "E_NO_SCAN"),
        (tmp_path, "E_NO_SCAN"),
    ):
        with pytest.raises(ScanError) as caught:
            read_scan(path)
        assert caught.value.code == code


def test_names() -> None:
    assert scan_name(Path("a/sub-verse005_dir-sag_ct.nii.gz")) == "sub-verse005_dir-sag_ct"
    assert scan_name(Path("a/b.c.NRRD")) == "b.c"
    assert scan_name(Path("a/IM0001")) == "IM0001"


def test_finding_scans(tmp_path: Path) -> None:
    for name in ("b/x.nii.gz", "b/x_labels.nii.gz", "a.mha", "b/c/y.nrrd", "b/readme.txt", "b/.hidden.nii"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"content" * 30)
    found = [str(p.relative_to(tmp_path)) for p in find_scans([tmp_path, tmp_path / "a.mha"])]
    assert found == ["a.mha", "b/c/y.nrrd", "b/x.nii.gz"]
    assert find_scans([tmp_path / "b/readme.txt"]) == [tmp_path / "b/readme.txt"]  # named by hand: read_scan explains
    with pytest.raises(ScanError, match="E_NO_SCAN"):
        find_scans([tmp_path / "missing"])


def test_masks_beside_scans_are_none(tmp_path: Path) -> None:
    masks = ["a_seg.nii.gz", "a_seg-vert_msk.nii.gz", "s1/segmentations/liver.nii.gz", "s1/vertebrae_L1.nii.gz"]
    for name in ("a.nii.gz", "s1/ct.nii.gz", *masks):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(b"content" * 30)
    assert find_scans([tmp_path]) == [tmp_path / "a.nii.gz", tmp_path / "s1/ct.nii.gz"]
    assert len(find_scans([tmp_path], masks=True)) == 6
    assert find_scans([tmp_path / masks[0]]) == [tmp_path / masks[0]]  # named by hand: read_scan explains


def test_importing_the_readers_costs_no_itk() -> None:
    code = "import sys, spinefinder_fast.scan; sys.exit(any(m in sys.modules for m in ('itk', 'pydicom', 'torch')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
