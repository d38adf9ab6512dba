# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinefinder_fast import anatomy
from spinefinder_fast.discs import DenseAnnotation, dense_labels, vertebra_parts
from spinefinder_fast.ordering.bodies import HIGH_VOXELS


def spine(*heights: float) -> np.ndarray:
    """Centroids above each other at x 20, y 20 mm."""
    return np.array([(20.0, 20.0, z) for z in heights]).reshape(-1, 3)


def test_neighbours_meet_at_their_midpoints_and_ends_are_mirrored():
    points = np.array([(0.0, 0, 60), (4, 0, 40), (4, 2, 10)])
    order, parts = vertebra_parts(np.array([20, 21, 22]), points)
    assert order.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(parts[0], [(-2, 0, 70), (0, 0, 60), (2, 0, 50)])
    np.testing.assert_array_equal(parts[1], [(2, 0, 50), (4, 0, 40), (4, 1, 25)])
    np.testing.assert_array_equal(parts[2], [(4, 1, 25), (4, 2, 10), (4, 3, -5)])


@given(permutation=st.permutations(range(6)))
def test_order_of_input_does_not_matter(permutation):
    labels = np.array([3, 4, 5, 9, 12, 13])
    points = np.random.default_rng(1).uniform(0, 99, (6, 3))
    order, parts = vertebra_parts(labels[permutation], points[permutation])
    assert labels[permutation][order].tolist() == labels.tolist()
    np.testing.assert_array_equal(parts, vertebra_parts(labels, points)[1])


def test_a_gap_is_not_bridged():
    _, parts = vertebra_parts(np.array([8, 9, 12, 13]), spine(100, 80, 20, 0))
    assert parts[:, ::2, 2].tolist() == [[110, 90], [90, 70], [30, 10], [10, -10]]


def test_an_isolated_vertebra_has_its_typical_height_towards_the_nearest():
    _, parts = vertebra_parts(np.array([8, 9, 12]), np.array([(0.0, 0, 100), (0, 0, 80), (30, 0, 40)]))
    away = parts[2] - (30, 0, 40)
    np.testing.assert_allclose(away[0], -away[2])
    np.testing.assert_allclose(np.linalg.norm(parts[2, 2] - parts[2, 0]), anatomy.height_mm(12))
    np.testing.assert_allclose(np.cross(away[0], (-30, 0, 40)), 0, atol=1e-9)


@pytest.mark.parametrize("points", [spine(50), np.array([(20.0, 20, 50), (20, 20, 50)])])
def test_alone_or_on_the_same_place_it_stands_upright(points):
    labels = np.array([5, 9])[: len(points)]
    _, parts = vertebra_parts(labels, points)
    half = anatomy.height_mm(5) / 2
    np.testing.assert_allclose(parts[0], [(20, 20, 50 - half), (20, 20, 50), (20, 20, 50 + half)])


def test_no_vertebra_is_no_part():
    order, parts = vertebra_parts(np.empty(0, np.int64), np.empty((0, 3)))
    assert order.shape == (0,)
    assert parts.shape == (0, 3, 3)
    assert not dense_labels(np.empty(0, np.int64), np.empty((0, 3)), (3, 4, 5), (1, 1, 1)).any()


@pytest.mark.parametrize(
    ("labels", "points", "message"),
    [
        ([3, 3], spine(0, 20), "hold one too often"),
        ([24, 24, 24], spine(0, 30, 60), "hold one too often"),
        ([0, 1], spine(0, 20), "not whole numbers in 1..26"),
        ([26, 27], spine(0, 20), "not whole numbers in 1..26"),
        ([1.0, 2.0], spine(0, 20), "not whole numbers"),
        ([1], spine(0, 20), "do not fit"),
        ([[1, 2]], spine(0), "do not fit"),
        ([1], np.full((1, 3), np.nan), "NaN"),
    ],
)
def test_what_is_no_spine_is_named(labels, points, message):
    with pytest.raises(ValueError, match=message):
        vertebra_parts(np.array(labels), points)


def test_discs_have_the_vertebra_s_width_and_meet_without_gap():
    dense = dense_labels(np.array([21, 20, 22]), spine(40, 70, 10), (41, 41, 90), (1, 1, 1))
    column = dense[20, 20]
    assert column[:56].tolist() == [22] * 26 + [21] * 30  # the plane at the midpoint goes to the one further down
    assert set(column[56:86]) == {20}
    for label, z in ((20, 70), (21, 40), (22, 10)):
        radius = anatomy.DIAMETERS_MM[anatomy.name_of(label)] / 2
        assert (dense[:, 20, z] == label).sum() == 2 * int(radius) + 1


@pytest.mark.parametrize("dense", ["discs", "spheres"])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.5, 2.0, 3.0)])
def test_spacing_changes_the_grid_and_not_the_anatomy(dense, spacing):
    points = np.array([(30.0, 30, 80), (34, 30, 55), (30, 33, 30)])
    shape = [int(n / s) for n, s in zip((64, 64, 110), spacing, strict=True)]
    volume = dense_labels(np.array([20, 21, 22]), points / spacing, shape, spacing, dense=dense)
    fine = dense_labels(np.array([20, 21, 22]), points, (64, 64, 110), (1, 1, 1), dense=dense)
    for label in (20, 21, 22):
        here, there = ((v == label).sum() * c for v, c in ((volume, np.prod(spacing)), (fine, 1)))
        assert here == pytest.approx(there, rel=0.12)


def test_spheres_have_one_radius():
    dense = dense_labels(np.array([1, 9]), spine(20, 60), (41, 41, 81), (1, 1, 1), dense="spheres")
    for label, z in ((1, 20), (9, 60)):
        assert (dense[:, 20, z] == label).sum() == 29
        assert (dense == label).sum() == pytest.approx(4 / 3 * np.pi * 14**3, rel=0.01)


def test_a_centroid_outside_paints_what_reaches_in_and_nothing_else():
    dense = dense_labels(np.array([20]), np.array([(-10.0, 20, 30)]), (40, 40, 60), (1, 1, 1))
    assert np.flatnonzero(dense.any(axis=(1, 2))).tolist() == list(range(8))  # L1: radius 17
    assert not dense_labels(np.array([20]), np.array([(-18.0, 20, 30)]), (40, 40, 60), (1, 1, 1)).any()


@pytest.mark.parametrize("dense", ["discs", "spheres"])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 1.3, 2.1)])
def test_a_window_is_cut_out_of_the_whole(dense, spacing):
    points = np.array([(21.3, 20, 60), (19.7, 22.2, 38), (20, 18, 15)])
    labels = np.array([20, 21, 22])
    whole = dense_labels(labels, points, (41, 41, 80), spacing, dense=dense)
    annotation = DenseAnnotation.of(labels, points, spacing, dense)
    window = annotation.window((15, 9, 12), (7, 30, 50))
    np.testing.assert_array_equal(window, whole[15:22, 9:39, 12:62])
    assert window.any()
    around = annotation.window((-5, -10, -10), (51, 61, 100))
    np.testing.assert_array_equal(around[5:46, 10:51, 10:90], whole)


def test_another_dense_is_named():
    with pytest.raises(ValueError, match='"discs" or "spheres"'):
        dense_labels(np.array([20]), spine(30), (41, 41, 60), (1, 1, 1), dense="cubes")


def test_what_lies_too_far_apart_for_neighbours_is_not_bridged():
    # L5 and S1 around an L6 that nobody annotated.
    dense = dense_labels(np.array([24, 25]), spine(100, 32), (41, 41, 130), (1, 1, 1))
    column = dense[20, 20]
    assert not column[60:72].any()
    assert set(column[90:110]) == {24}


def test_an_l6_is_one_more_l5():
    order, parts = vertebra_parts(np.array([25, 24, 24, 23]), spine(0, 60, 30, 95))
    assert order.tolist() == [3, 1, 2, 0]
    assert parts[:, 1, 2].tolist() == [95, 60, 30, 0]
    assert parts[1:3, ::2, 2].tolist() == [[77.5, 45], [45, 15]]


@pytest.mark.parametrize("dense", ["discs", "spheres"])
def test_nothing_is_painted_outside_of_the_bounds_and_something_at_each_side(dense):
    points = np.array([(21.3, 20, 60), (19.7, 22.2, 38), (20, 18, 15)])
    annotation = DenseAnnotation.of(np.array([20, 21, 22]), points, (0.7, 1.3, 2.1), dense)
    low, high = annotation.bounds_vox()
    painted = np.argwhere(annotation.window((-50, -50, -50), (150, 150, 200))) - 50
    assert (painted.min(axis=0) >= low).all()
    assert (painted.max(axis=0) < high).all()
    # No looser than rounding.
    assert (painted.min(axis=0) - low <= 2).all()
    assert (high - 1 - painted.max(axis=0) <= 2).all()
    empty = DenseAnnotation.of(np.empty(0, np.int64), np.empty((0, 3)), (1, 1, 1), dense)
    assert [b.tolist() for b in empty.bounds_vox()] == [[0, 0, 0], [0, 0, 0]]
    assert not empty.window((0, 0, 0), (3, 3, 3)).any()


@pytest.mark.parametrize("spacing", [1.0, 2.0])
def test_the_dense_annotation_lies_half_a_voxel_too_high(spacing):
    # A plane in which two parts meet goes to the lower one, which is painted last. `ordering.bodies` makes up for it.
    rng = np.random.default_rng(0)
    shape = [int(n / spacing) for n in (80, 80, 130)]
    high = []
    for _ in range(100):
        points = np.array([(40.0, 40, z) for z in 40 + rng.uniform(0, spacing) + np.array([50, 25, 0])])
        dense = dense_labels(np.array([20, 21, 22]), points / spacing, shape, (spacing,) * 3)
        high.append(np.argwhere(dense == 21)[:, 2].mean() - points[1, 2] / spacing)
    assert np.mean(high) == pytest.approx(HIGH_VOXELS, abs=0.1)
