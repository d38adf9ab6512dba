# SPDX-License-Identifier: Apache-2.0
from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinefinder_fast.errors import GeometryError
from spinefinder_fast.geometry import Grid, ras_from_lps

ALL_48 = list(product(permutations(range(3)), product((1, -1), repeat=3)))


def grid_of(axes, signs, spacing=(1.0, 2.0, 3.0), shape=(4, 5, 6)):
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (world, sign) in enumerate(zip(axes, signs, strict=True)):
        affine[world, axis] = sign * spacing[axis]
    affine[:3, 3] = (-7, 11, 13)
    return Grid(shape, affine)


@pytest.mark.parametrize(("axes", "signs"), ALL_48)
def test_canonical_axes_run_to_the_left_back_and_head(axes, signs):
    grid = grid_of(axes, signs)
    canonical = grid.canonical()
    assert canonical.axcodes == "LPS"
    array = np.arange(120).reshape(4, 5, 6)
    view = grid.reorientation().apply(array)
    assert view.shape == canonical.shape
    assert np.shares_memory(view, array)
    assert (grid.reorientation().undo(view) == array).all()
    # The same voxel, found by its value, is at the same place in both grids.
    for value in (0, 17, 119):
        stored, seen = np.argwhere(array == value)[0], np.argwhere(view == value)[0]
        assert grid.to_lps(stored) == pytest.approx(canonical.to_lps(seen))


@pytest.mark.parametrize(("axes", "signs"), ALL_48)
def test_axcodes_agree_with_nibabel(axes, signs):
    grid = grid_of(axes, signs)
    assert grid.axcodes == "".join(nib.aff2axcodes(grid.affine_ras))


@given(st.lists(st.floats(-500, 500), min_size=3, max_size=3), st.floats(-0.7, 0.7), st.floats(0.1, 5))
def test_voxel_and_world_are_inverse_even_when_oblique(point, angle, spacing):
    affine = np.eye(4)
    c, s = np.cos(angle), np.sin(angle)
    affine[:3, :3] = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) * spacing
    affine[:3, 3] = (5, -6, 7)
    grid = Grid((3, 3, 3), affine)
    assert grid.to_lps(grid.to_voxel(point)) == pytest.approx(np.array(point), abs=1e-9)
    assert grid.spacing_mm == pytest.approx((spacing,) * 3)
    assert grid.axcodes == "LPS"


def test_two_oblique_axes_never_claim_one_direction():
    # Both of the first two axes lean most to the left; one of them must still be the anterior-posterior one.
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0.8, 0.75, 0], [-0.6, 0.66, 0], [0, 0, 1]])
    assert sorted(Grid((2, 2, 2), affine).reorientation().axes) == [0, 1, 2]


def test_ras_is_lps_with_two_signs_turned():
    assert (ras_from_lps([[1, 2, 3]]) == [[-1, -2, 3]]).all()
    grid = Grid.from_spacing((2, 2, 2), 1.0, (1, 2, 3))
    assert grid.affine_ras[:3, 3] == pytest.approx([-1, -2, 3])


def test_the_edge_of_the_outer_voxels_is_inside():
    grid = Grid.from_spacing((10, 10, 10), 2.0)
    assert list(grid.contains([[-0.9, 0, 0], [-1.1, 0, 0], [18.9, 18, 18], [19.1, 18, 18]])) == [
        True,
        False,
        True,
        False,
    ]


@pytest.mark.parametrize("damage", [np.zeros((4, 4)), np.full((4, 4), np.nan), np.eye(3)])
def test_an_affine_that_cannot_be_used_is_refused(damage):
    with pytest.raises(GeometryError, match="E_AFFINE"):
        Grid((2, 2, 2), damage)
