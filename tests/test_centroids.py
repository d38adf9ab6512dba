# SPDX-License-Identifier: Apache-2.0
from math import pi

import numpy as np
import pytest

from spinefinder_fast import Grid, anatomy
from spinefinder_fast.centroids import aggregate, needed_mm3


def block(shape, box, value):
    labels = np.zeros(shape, np.float32)
    labels[box] = value
    return labels, np.ones(shape, np.uint8)


@pytest.mark.parametrize(("name", "expected"), [("C1", 3000), ("T3", 0.4 * 22**3), ("L3", 0.4 * 38**3)])
def test_equation_3_takes_the_diameter(name, expected):
    assert needed_mm3(anatomy.label_of(name), "paper") == pytest.approx(expected)


def test_the_default_never_asks_for_more_than_half_of_the_discs():
    c1 = needed_mm3(1)
    assert c1 == pytest.approx(0.5 * pi * 7**2 * anatomy.height_mm(1))
    assert c1 < needed_mm3(1, "paper")
    assert all(needed_mm3(label) <= needed_mm3(label, "paper") for label in range(1, 27))


def test_votes_must_exceed_the_threshold_not_reach_it():
    # T1: 0.4 * 19.3^3 = 2876 < 3000 votes of 1 mm^3, in the middle of the volume.
    for votes, found in ((3000, 0), (3001, 1)):
        labels = np.zeros((30, 30, 30), np.float32)
        flat = np.zeros(20**3, np.float32)
        flat[:votes] = 8
        labels[5:25, 5:25, 5:25] = flat.reshape(20, 20, 20)
        result = aggregate(enumerate(labels), np.ones(labels.shape, np.uint8), Grid.from_spacing(labels.shape), "paper")
        assert len(result) == found


def test_the_threshold_is_a_volume_not_a_number_of_voxels():
    labels, mask = block((20, 20, 20), np.s_[5:15, 5:15, 5:15], 20)
    assert not aggregate(enumerate(labels), mask, Grid.from_spacing(labels.shape, 2.0), "paper")  # 8000 mm^3 of 15722
    assert aggregate(enumerate(labels), mask, Grid.from_spacing(labels.shape, 3.0), "paper")  # 27000 mm^3


def test_a_vertebra_cut_by_the_field_of_view_needs_fewer_votes():
    labels, mask = block((40, 40, 60), np.s_[5:35, 5:35, 50:60], 21)  # the upper third of L2
    grid = Grid.from_spacing(labels.shape)
    assert not aggregate(enumerate(labels), mask, grid, "paper")
    (found,) = aggregate(enumerate(labels), mask, grid)
    assert found.name == "L2"
    assert found.truncated
    labels, mask = block((40, 40, 60), np.s_[5:35, 5:35, 40:50], 21)  # as many votes, but not at the border
    assert not aggregate(enumerate(labels), mask, grid)


def test_a_few_stray_votes_at_the_border_are_no_vertebra():
    labels, mask = block((40, 40, 60), np.s_[5:25, 5:25, 58:60], 13)  # 2 mm of T6
    assert aggregate(enumerate(labels), mask, Grid.from_spacing(labels.shape)) == []


def test_the_median_is_in_the_world_and_the_mask_is_heeded():
    labels, mask = block((40, 40, 60), np.s_[10:31, 10:31, 10:41], 19.6)  # rounds to 20 = L1
    mask[:10] = 0
    labels[:5] = 20
    grid = Grid.from_spacing(labels.shape, 1.5, (100, -50, 7))
    (found,) = aggregate(enumerate(labels), mask, grid)
    assert found.name == "L1"
    assert found.lps == pytest.approx((100 + 1.5 * 20, -50 + 1.5 * 20, 7 + 1.5 * 25))
    assert found.votes == 21 * 21 * 31
    assert found.spread_mm == pytest.approx((15, 15, 24))


def test_no_votes_no_vertebra():
    empty = np.zeros((4, 5, 6), np.float32)
    assert aggregate(enumerate(empty), np.ones(empty.shape, np.uint8), Grid.from_spacing(empty.shape)) == []
