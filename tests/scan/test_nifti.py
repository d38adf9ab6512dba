# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gzip
from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spinefinder_fast.errors import GeometryError, ScanError
from spinefinder_fast.geometry import Grid, ras_from_lps
from spinefinder_fast.scan import read_scan, write_nifti

SHAPE = (5, 7, 9)
LANDMARKS = [(1, 2, 3), (4, 0, 8), (0, 6, 1)]


def volume() -> np.ndarray:
    """A small asymmetric scan, int16 HU, with three voxels that no other equals."""
    array = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE) - 1000
    for i, landmark in enumerate(LANDMARKS):
        array[landmark] = 2000 + i
    return array


def affine_ras(degrees: float = 0.0) -> np.ndarray:
    """Canonical axes (towards L, P, S) with spacing 0.7, 0.9, 2.5 mm, turned about an oblique axis."""
    axis = np.array([1.0, 2.0, 3.0]) / np.sqrt(14)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    angle = np.deg2rad(degrees)
    turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-0.7, -0.9, 2.5])
    affine[:3, 3] = (31.0, -12.5, -800.25)
    return affine


def shuffled(array: np.ndarray, affine: np.ndarray, axes: tuple[int, ...], flips: tuple[bool, ...]):
    """The same voxels in the same places, stored along other axes."""
    stored, moved = array.transpose(axes), affine.copy()
    moved[:3, :3] = affine[:3, :3][:, axes]
    for axis, flip in enumerate(flips):
        if flip:
            stored = np.flip(stored, axis)
            moved[:3, 3] += moved[:3, axis] * (stored.shape[axis] - 1)
            moved[:3, axis] *= -1
    return stored, moved


def save(path: Path, array: np.ndarray, affine: np.ndarray, kind: type = nibabel.Nifti1Image) -> Path:
    image = kind(array, affine)
    image.set_sform(affine, 1)
    nibabel.save(image, path)
    return path


@pytest.fixture
def scan_file(tmp_path: Path) -> Path:
    return save(tmp_path / "case_ct.nii.gz", volume(), affine_ras())


@pytest.mark.parametrize("degrees", [0.0, 30.0])
@pytest.mark.parametrize("axes", list(permutations(range(3))))
def test_every_storage_order_is_the_same_scan(tmp_path: Path, axes: tuple[int, ...], degrees: float) -> None:
    reference = volume()
    for flips in product([False, True], repeat=3):
        stored, affine = shuffled(reference, affine_ras(degrees), axes, flips)
        scan = read_scan(save(tmp_path / "a.nii", stored, affine))
        np.testing.assert_array_equal(scan.array, reference)
        np.testing.assert_allclose(scan.grid.affine_ras, affine_ras(degrees), atol=1e-4)
        np.testing.assert_allclose(scan.file_grid.affine_ras, affine, atol=1e-4)
        for i, landmark in enumerate(LANDMARKS):
            found = np.argwhere(scan.array == 2000 + i)[0]
            expected = ras_from_lps(nibabel.affines.apply_affine(affine_ras(degrees), landmark))
            np.testing.assert_allclose(scan.grid.to_lps(found), expected, atol=0.01)
            in_file = np.argwhere(stored == 2000 + i)[0]
            np.testing.assert_allclose(scan.file_grid.to_voxel(expected), in_file, atol=0.01)


def test_the_array_is_a_view_of_int16(scan_file: Path) -> None:
    scan = read_scan(scan_file)
    assert scan.array.dtype == np.int16
    assert not scan.array.flags.owndata
    assert (scan.name, scan.path, scan.warnings) == ("case_ct", scan_file, ())


@pytest.mark.parametrize("dtype", ["i2", "i4", "i8", "u2", "f4", "f8", ">i2", ">f4", "i1"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_number_types(tmp_path: Path, dtype: str, kind: type) -> None:
    if dtype == "i1":
        values = volume().clip(-128, 127)
        values[0, 0, 0] = -101
    else:
        values = volume() + (1024 if dtype == "u2" else 0)
    header = kind.header_class(endianness=">" if dtype.startswith(">") else "<")
    image = kind(values.astype(dtype), affine_ras(), header, dtype=np.dtype(dtype))
    image.header.set_slope_inter(1, 0 if dtype != "u2" else -1024)
    nibabel.save(image, tmp_path / "a.nii.gz")
    if dtype == "i1":
        with pytest.raises(ScanError, match="E_NOT_HU"):
            read_scan(tmp_path / "a.nii.gz")
        return
    scan = read_scan(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(scan.array, volume())
    assert scan.array.dtype == (np.float32 if "f" in dtype else np.int16)


def test_fractional_slope(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(volume(), affine_ras())
    image.header.set_slope_inter(1.5, -20.25)
    nibabel.save(image, tmp_path / "a.nii")
    scan = read_scan(tmp_path / "a.nii")
    assert scan.array.dtype == np.float32
    oracle = nibabel.load(tmp_path / "a.nii").get_fdata()
    np.testing.assert_allclose(scan.file_grid.reorientation().undo(scan.array), oracle, rtol=1e-6)


def test_a_damaged_slope_is_an_error_of_the_scan(tmp_path: Path) -> None:
    # A constant 0 fits every number type, whatever it is multiplied by.
    image = nibabel.Nifti1Image(np.zeros((8, 8, 8), np.int16), np.eye(4))
    image.header.set_slope_inter(1e38, 0)
    nibabel.save(image, tmp_path / "a.nii")
    with pytest.raises(ScanError, match="E_CONSTANT"):
        read_scan(tmp_path / "a.nii")


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, ending: str) -> None:
    whole = save(tmp_path / f"a{ending}", np.random.default_rng(0).integers(-1000, 1000, SHAPE, np.int16), affine_ras())
    content = whole.read_bytes()
    for length in range(0, len(content), 7):
        (tmp_path / f"b{ending}").write_bytes(content[:length])
        with pytest.raises(ScanError) as caught:
            read_scan(tmp_path / f"b{ending}")
        assert caught.value.code in ("E_TRUNCATED", "E_NOT_NIFTI", "E_EMPTY"), length
    for missing in range(1, 9):  # gzip's own trailer, or the last voxels
        (tmp_path / f"b{ending}").write_bytes(content[:-missing])
        with pytest.raises(ScanError, match="E_TRUNCATED"):
            read_scan(tmp_path / f"b{ending}")


def test_truncation_says_how_much_is_missing(tmp_path: Path) -> None:
    content = save(tmp_path / "a.nii", volume(), affine_ras()).read_bytes()
    (tmp_path / "b.nii").write_bytes(content[:-100])
    with pytest.raises(ScanError, match=f"{len(content) - 100:,} bytes.*{len(content):,}"):
        read_scan(tmp_path / "b.nii")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_a_flipped_bit_never_gives_another_scan(scan_file: Path, data: st.DataObject) -> None:
    content = bytearray(scan_file.read_bytes())
    place = data.draw(st.integers(10, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    broken = scan_file.with_name("b.nii.gz")
    broken.write_bytes(content)
    try:
        scan = read_scan(broken)
    except ScanError:
        return  # Which code depends on where the flip leads the decoder.
    np.testing.assert_array_equal(scan.array, volume())


def test_gzip_checksum_and_length(scan_file: Path) -> None:
    content = bytearray(scan_file.read_bytes())
    for place in (-8, -4):  # CRC-32, then the length
        broken = content.copy()
        broken[place] ^= 1
        scan_file.write_bytes(broken)
        with pytest.raises(ScanError, match=r"E_GZIP_CRC.*checksum"):
            read_scan(scan_file)


def test_content_not_name_tells_gzip(tmp_path: Path, scan_file: Path) -> None:
    content = gzip.decompress(scan_file.read_bytes())
    (tmp_path / "plain.nii.gz").write_bytes(content)
    (tmp_path / "two.nii").write_bytes(gzip.compress(content[:700]) + gzip.compress(content[700:]))
    (tmp_path / "long.nii").write_bytes(content + b"xyz")
    (tmp_path / "padded.nii.gz").write_bytes(gzip.compress(content) + bytes(512))
    for name in ("plain.nii.gz", "two.nii", "long.nii", "padded.nii.gz"):
        scan = read_scan(tmp_path / name)
        np.testing.assert_array_equal(scan.array, volume())
        assert [w.split(":")[0] for w in scan.warnings] == (["W_TRAILING"] if name == "long.nii" else [])


def test_a_zipped_scan_beside_a_plain_one_of_its_name(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii", volume(), Grid.from_spacing(SHAPE))
    write_nifti(tmp_path / "a.nii.gz", volume() + 1, Grid.from_spacing(SHAPE))
    np.testing.assert_array_equal(read_scan(tmp_path / "a.nii.gz").array, volume() + 1)
    np.testing.assert_array_equal(read_scan(tmp_path / "a.nii").array, volume())


def test_a_gzip_bomb_is_refused(tmp_path: Path, scan_file: Path) -> None:
    content = gzip.decompress(scan_file.read_bytes())
    (tmp_path / "bomb.nii.gz").write_bytes(gzip.compress(content + bytes(30 << 20)))
    with pytest.raises(ScanError, match="E_TOO_MUCH_DATA"):
        read_scan(tmp_path / "bomb.nii.gz")


def patched(path: Path, **fields: object) -> Path:
    """The scan with other header fields, written as they are."""
    image = nibabel.Nifti1Image(volume(), affine_ras())
    nibabel.save(image, path)
    content = path.read_bytes()
    header = np.frombuffer(content[:348], nibabel.nifti1.header_dtype).copy()
    for name, value in fields.items():
        header[name] = value
    path.write_bytes(header.tobytes() + content[348:])
    return path


@pytest.mark.parametrize(
    ("code", "fields"),
    [
        ("E_DIMS", {"dim": (0, 5, 7, 9, 1, 1, 1, 1)}),
        ("E_DIMS", {"dim": (8, 5, 7, 9, 1, 1, 1, 1)}),
        ("E_DIMS", {"dim": (3, 5, -7, 9, 1, 1, 1, 1)}),
        ("E_DIMS", {"dim": (3, 5, 0, 9, 1, 1, 1, 1)}),
        ("E_4D", {"dim": (4, 5, 7, 3, 3, 1, 1, 1)}),
        ("E_TRUNCATED", {"dim": (3, 32767, 32767, 32767, 1, 1, 1, 1)}),
        ("E_TOO_FEW_SLICES", {"dim": (3, 5, 7, 2, 1, 1, 1, 1)}),
        ("E_TOO_FEW_SLICES", {"dim": (2, 5, 7, 1, 1, 1, 1, 1)}),
        ("E_DTYPE", {"datatype": 0}),
        ("E_DTYPE", {"datatype": 32}),
        ("E_OFFSET", {"vox_offset": 12}),
        ("E_OFFSET", {"vox_offset": np.nan}),
        ("E_NO_ORIENTATION", {"sform_code": 0, "qform_code": 0}),
        ("E_AFFINE", {"srow_x": 0, "qform_code": 0}),
        ("E_AFFINE", {"srow_x": np.nan, "qform_code": 0}),
        ("E_AFFINE", {"sform_code": 0, "quatern_b": 2, "qform_code": 1}),
        ("E_NOT_NIFTI", {"magic": b"ni1"}),
        ("E_SPACING", {"srow_x": (-0.001, 0, 0, 0)}),
    ],
)
def test_damaged_headers(tmp_path: Path, code: str, fields: dict[str, object]) -> None:
    with pytest.raises((ScanError, GeometryError)) as caught:
        read_scan(patched(tmp_path / "a.nii", **fields))
    assert caught.value.code == code
    assert "\n" not in str(caught.value)


def test_qform_where_the_sform_is_unset_or_damaged(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(volume(), affine_ras(30))
    image.set_qform(affine_ras(30), 1)
    image.set_sform(None, 0)
    nibabel.save(image, tmp_path / "a.nii")
    scan = read_scan(tmp_path / "a.nii")
    np.testing.assert_allclose(scan.file_grid.affine_ras, affine_ras(30), atol=1e-4)
    image.set_sform(np.zeros((4, 4)), 1)
    nibabel.save(image, tmp_path / "a.nii")
    assert read_scan(tmp_path / "a.nii").warnings[0].startswith("W_SFORM")


def test_left_handed_qform(tmp_path: Path) -> None:
    affine = affine_ras() @ np.diag([1, 1, -1, 1])
    image = nibabel.Nifti1Image(volume(), affine)
    image.set_qform(affine, 1)
    image.set_sform(None, 0)
    nibabel.save(image, tmp_path / "a.nii")
    np.testing.assert_allclose(read_scan(tmp_path / "a.nii").file_grid.affine_ras, affine, atol=1e-4)


def test_one_volume_in_four_dimensions(tmp_path: Path) -> None:
    save(tmp_path / "a.nii", volume()[..., None], affine_ras())
    np.testing.assert_array_equal(read_scan(tmp_path / "a.nii").array, volume())


def test_sheared_axes_are_read_as_they_are(tmp_path: Path) -> None:
    affine = affine_ras()
    affine[0, 2] = 0.4
    scan = read_scan(save(tmp_path / "a.nii", volume(), affine))
    np.testing.assert_allclose(scan.file_grid.affine_ras, affine, atol=1e-4)


def test_what_is_not_nifti(tmp_path: Path) -> None:
    for content in (b"<html>" * 200, b"\x89PNG" + bytes(900), b"short"):
        (tmp_path / "a.nii.gz").write_bytes(content)
        with pytest.raises(ScanError, match="E_NOT_NIFTI"):
            read_scan(tmp_path / "a.nii.gz")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    axes=st.permutations(range(3)),
    flips=st.tuples(*[st.booleans()] * 3),
    degrees=st.floats(0, 40),
    dtype=st.sampled_from([np.uint8, np.int16, np.int32, np.float32, np.bool_]),
    gz=st.booleans(),
)
def test_what_is_written_is_read_by_nibabel_and_simpleitk(tmp_path, axes, flips, degrees, dtype, gz) -> None:
    stored, affine = shuffled((volume() % 100).astype(dtype), affine_ras(degrees), tuple(axes), flips)
    grid = Grid(stored.shape, np.diag([-1, -1, 1, 1]) @ affine)
    # Two names: given a.nii.gz, SimpleITK takes the voxels of an a.nii beside it.
    path = tmp_path / ("zipped.nii.gz" if gz else "plain.nii")
    write_nifti(path, stored, grid)
    image = nibabel.load(path)
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), stored)
    for form in (image.get_sform(), image.get_qform()):
        np.testing.assert_allclose(form, affine, atol=2e-3)
    other = sitk.ReadImage(str(path))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(other).T, stored)
    centre = [(n - 1) / 2 for n in stored.shape]
    np.testing.assert_allclose(other.TransformContinuousIndexToPhysicalPoint(centre), grid.to_lps(centre), atol=2e-3)


def test_writing_is_repeatable_and_checked(tmp_path: Path) -> None:
    grid = Grid.from_spacing(SHAPE)
    write_nifti(tmp_path / "a.nii.gz", volume(), grid)
    write_nifti(tmp_path / "b.nii.gz", volume(), grid)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nii.gz", "b.nii.gz"]
    with pytest.raises(ValueError, match="shape"):
        write_nifti(tmp_path / "c.nii", volume()[1:], grid)
    with pytest.raises(TypeError, match="complex"):
        write_nifti(tmp_path / "c.nii", volume().astype(complex), grid)
