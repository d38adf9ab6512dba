# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from spinefinder_fast import anatomy
from spinefinder_fast.dataset.masks import body_centroid, centroids_of_masks, is_mask_folder
from spinefinder_fast.errors import AnnotationError
from spinefinder_fast.geometry import Grid
from spinefinder_fast.phantom.anatomy import _atlas, _dens, _posterior, _shoulders_of_axis, _vertebra
from spinefinder_fast.phantom.canvas import Canvas
from spinefinder_fast.phantom.person import Person, draw_person
from spinefinder_fast.scan import write_nifti

REACH_MM = np.array([55.0, 55.0, 45.0])
BEHIND_MM = np.array([0.0, 20.0, 0.0])
"""A vertebra reaches further back than forward."""


@pytest.fixture(scope="module", params=range(3))
def person(request: pytest.FixtureRequest) -> Person:
    return draw_person(np.random.default_rng(request.param))


def vertebra(
    person: Person, name: str, spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
) -> tuple[np.ndarray, np.ndarray, Grid]:
    """A whole vertebra, its body alone (of C1 the ring, of C2 with the dens), and their grid."""
    i = anatomy.label_of(name) - 1
    spacing = np.array(spacing_mm)
    origin = person.centroids[i] + BEHIND_MM - REACH_MM
    shape = tuple(np.ceil(2 * REACH_MM / spacing).astype(int).tolist())
    painted = []
    for whole in (True, False):
        canvas = Canvas(shape, spacing_mm, origin, np.random.default_rng(0), bend_mm=0.0)
        if name == "C1":
            canvas.paint(_atlas(canvas, person), 1)
        else:
            parts = [_dens(canvas, person)] if name == "C2" else []
            if whole:
                parts += [*(_shoulders_of_axis(canvas, person) if name == "C2" else []), *_posterior(canvas, person, i)]
            _vertebra(canvas, person, i, parts)
        painted.append(canvas.tissue > 0)
    return painted[0], painted[1], Grid.from_spacing(shape, spacing_mm, tuple(origin.tolist()))


def centre(mask: np.ndarray, grid: Grid) -> np.ndarray:
    return grid.to_lps(np.argwhere(mask).mean(axis=0))


def turned(mask: np.ndarray, grid: Grid, axes: tuple[int, ...], flips: tuple[bool, ...]) -> tuple[np.ndarray, Grid]:
    """The same voxels in the same places, stored in another order."""
    affine = grid.affine[:, [*axes, 3]].copy()
    mask = mask.transpose(axes)
    for axis, flip in enumerate(flips):
        if flip:
            affine[:3, 3] += affine[:3, axis] * (mask.shape[axis] - 1)
            affine[:3, axis] *= -1
            mask = np.flip(mask, axis)
    return mask, Grid(mask.shape, affine)


@pytest.mark.parametrize("name", ["C3", "C4", "C5", "C6", "C7", "T1", "T4", "T8", "T12", "L1", "L3", "L5"])
def test_the_body_is_found_where_the_middle_of_the_mask_is_not(person: Person, name: str) -> None:
    whole, body, grid = vertebra(person, name)
    true = centre(body, grid)
    found = body_centroid(whole, grid, name)
    assert found is not None
    assert np.linalg.norm(found - true) < 2.0
    behind = centre(whole, grid)[1] - true[1]
    assert behind > 5.0


def test_the_atlas_is_its_ring_and_the_axis_is_with_its_dens(person: Person) -> None:
    whole, ring, grid = vertebra(person, "C1")
    np.testing.assert_allclose(body_centroid(whole, grid, "C1"), centre(ring, grid), atol=1e-6)
    whole, body, grid = vertebra(person, "C2")
    found = body_centroid(whole, grid, "C2")
    assert np.linalg.norm(found - centre(body, grid)) < 1.5
    assert centre(whole, grid)[1] - found[1] > 5.0


@pytest.mark.parametrize("spacing", [(0.5, 0.5, 1.0), (1.5, 1.5, 1.5), (1.0, 0.8, 3.0), (3.0, 1.0, 1.0)])
def test_any_spacing(spacing: tuple[float, float, float]) -> None:
    whole, body, grid = vertebra(draw_person(np.random.default_rng(1)), "L2", spacing)
    assert np.linalg.norm(body_centroid(whole, grid, "L2") - centre(body, grid)) < 2.0


@pytest.mark.parametrize("axes", list(permutations(range(3))))
def test_any_axes(axes: tuple[int, ...]) -> None:
    whole, _, grid = vertebra(draw_person(np.random.default_rng(1)), "T9", (1.0, 1.2, 1.5))
    expected = body_centroid(whole, grid, "T9")
    for flips in ((False, True, False), (True, False, True)):
        found = body_centroid(*turned(whole, grid, axes, flips), "T9")
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_stray_voxels_do_not_count() -> None:
    whole, _, grid = vertebra(draw_person(np.random.default_rng(2)), "L1")
    expected = body_centroid(whole, grid, "L1")
    strayed = whole.copy()
    strayed[:6, :6, :6] = True
    np.testing.assert_allclose(body_centroid(strayed, grid, "L1"), expected, atol=1e-6)


def test_an_empty_mask_has_no_body() -> None:
    assert body_centroid(np.zeros((9, 9, 9), bool), Grid.from_spacing((9, 9, 9)), "L1") is None


def test_a_cut_vertebra_keeps_its_point_while_a_body_is_left() -> None:
    whole, body, grid = vertebra(draw_person(np.random.default_rng(0)), "L3")
    # The border takes the lower third of the body.
    bottom, top = np.argwhere(body)[:, 2].min(), np.argwhere(body)[:, 2].max()
    first = round(float(bottom + (top - bottom) / 3))
    left = np.ascontiguousarray(whole[:, :, first:])
    seen = Grid.from_spacing(left.shape, 1.0, tuple(grid.to_lps((0, 0, first)).tolist()))
    found = body_centroid(left, seen, "L3")
    assert found is not None
    true = centre(body[:, :, first:], seen)
    assert np.linalg.norm(found - true) < 0.35 * np.linalg.norm(centre(left, seen) - true)
    # From behind only the arch is seen.
    back = int(np.argwhere(body)[:, 1].max()) + 2
    arch = np.ascontiguousarray(whole[:, back:])
    assert arch.sum() > 1000
    assert body_centroid(arch, Grid.from_spacing(arch.shape), "L3") is None


def test_a_flat_body_is_no_facet() -> None:
    # A collapsed vertebra: what is thickest in it is its joints, not its body.
    x, y, z = np.meshgrid(*[np.arange(-n, n + 1.0) for n in (35, 45, 25)], indexing="ij")
    body = (x / 20) ** 2 + ((y + 20) / 15) ** 2 < 1
    body &= np.abs(z) < 5
    pedicles = (np.abs(np.abs(x) - 14) < 3.5) & (np.abs(y - 2) < 14) & (np.abs(z) < 3.5)
    joints = (np.abs(x) - 16) ** 2 + (y - 18) ** 2 + (z / 1.5) ** 2 < 7**2
    grid = Grid.from_spacing(body.shape)
    found = body_centroid(body | pedicles | joints, grid, "L1")
    assert found is not None
    assert np.linalg.norm(found - centre(body, grid)) < 3.0


@pytest.fixture(scope="module")
def labels() -> tuple[np.ndarray, dict[str, np.ndarray], Grid]:
    """A label map with VerSe's numbers: L1, T13 and L6 as copies of it; where L1's and L6's bodies are."""
    whole, body, grid = vertebra(draw_person(np.random.default_rng(0)), "L1", (1.5, 1.5, 1.5))
    numbers = [anatomy.VERSE_NUMBERS[name] for name in ("T13", "L1", "L6")]
    array = np.concatenate([whole * np.int16(number) for number in numbers], axis=2)
    long = Grid(array.shape, grid.affine)
    step = np.array([0, 0, whole.shape[2] * 1.5])
    truth = {name: centre(body, grid) + k * step for k, name in enumerate(("T13", "L1", "L6"))}
    return array, truth, long


def test_a_label_map_of_verse(tmp_path: Path, labels: tuple[np.ndarray, dict[str, np.ndarray], Grid]) -> None:
    array, truth, grid = labels
    array = array.copy()
    array[2:6, 2:6, 2:6] = anatomy.VERSE_NUMBERS["S1"]  # its mask is the whole sacrum's
    array[-6:-2, 2:6, 2:6] = 9  # a crumb of T2
    write_nifti(tmp_path / "sub-a_seg-vert_msk.nii.gz", array, grid)
    spine = centroids_of_masks(tmp_path / "sub-a_seg-vert_msk.nii.gz")
    assert spine.names == ["T13", "L1", "L6"]
    for name, place in truth.items():
        assert np.linalg.norm(spine[name].lps - place) < 2.0
    assert spine.warnings == ("W_NO_BODY: the mask of T2 holds no vertebral body; it was left out",)
    assert not any(v.truncated for v in spine)
    write_nifti(tmp_path / "other.nii.gz", np.where(array > 0, array + 60, 0), grid)
    with pytest.raises(AnnotationError, match=r"E_LABELS.*no VerSe label map"):
        centroids_of_masks(tmp_path / "other.nii.gz")


def test_a_folder_of_totalsegmentator(tmp_path: Path, labels: tuple[np.ndarray, dict[str, np.ndarray], Grid]) -> None:
    array, truth, grid = labels
    folder = tmp_path / "s1" / "segmentations"
    folder.mkdir(parents=True)
    assert not is_mask_folder(folder)
    with pytest.raises(AnnotationError, match="E_MASKS"):
        centroids_of_masks(folder)
    l1 = (array == anatomy.VERSE_NUMBERS["L1"]).astype(np.uint8)
    first = int(np.argwhere(l1)[:, 2].min())
    cut = l1[:, :, first + 3 :]  # the border takes the lowest tip
    cut_grid = Grid(cut.shape, Grid.from_spacing(cut.shape, 1.5, tuple(grid.to_lps((0, 0, first + 3)).tolist())).affine)
    write_nifti(folder / "vertebrae_L1.nii.gz", cut, cut_grid)
    write_nifti(folder / "vertebrae_L2.nii.gz", np.zeros_like(cut), cut_grid)
    write_nifti(folder / "liver.nii.gz", cut, cut_grid)
    assert is_mask_folder(folder)
    spine = centroids_of_masks(folder)
    assert spine.names == ["L1"]
    assert spine.source == "s1"
    assert spine["L1"].truncated
    assert np.linalg.norm(spine["L1"].lps - truth["L1"]) < 2.0
    (folder / "vertebrae_L3.nii.gz").write_bytes(b"no image")
    with pytest.raises(AnnotationError, match="E_MASKS"):
        centroids_of_masks(folder)


@pytest.mark.parametrize("name", ["C1", "C2", "L1"])
@pytest.mark.parametrize("voxels", [[(1, 1, 1)], [(1, 1, 1), (2, 2, 2)], [(3, 3, 3), (4, 4, 3)]])
def test_specks_are_no_body(name: str, voxels: list[tuple[int, int, int]]) -> None:
    # At this spacing every second voxel of a row is looked at.
    mask = np.zeros((12, 12, 12), bool)
    mask[tuple(np.transpose(voxels))] = True
    assert body_centroid(mask, Grid.from_spacing(mask.shape, (0.35, 0.35, 1.25)), name) is None
