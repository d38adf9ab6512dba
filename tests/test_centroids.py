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


def heaps(*boxes, shape=(60, 50, 120), label=20):
    """Labels that are `label` in some boxes, and a mask of everything."""
    labels = np.zeros(shape, np.float32)
    for box in boxes:
        labels[box] = label
    return labels, np.ones(shape, np.uint8)


def centre_vox(labels, mask, centre, grid=None):
    grid = grid or Grid.from_spacing(labels.shape)
    (found,) = aggregate(enumerate(labels), mask, grid, centre=centre)
    return grid.to_voxel(found.lps)


CENTRES = ("median", "mean", "geometric_median", "mean_shift")
VERTEBRA = np.s_[10:41, 10:41, 30:61]  # centred on (25, 25, 45)


@pytest.mark.parametrize("centre", CENTRES)
def test_every_centre_of_one_block_is_its_middle(centre):
    labels, mask = heaps(VERTEBRA)
    grid = Grid.from_spacing(labels.shape, (1.5, 1.0, 2.0), (100, -50, 7))
    assert centre_vox(labels, mask, centre, grid) == pytest.approx((25, 25, 45), abs=0.05)


@pytest.mark.parametrize("centre", CENTRES)
def test_the_mask_and_what_is_no_label_do_not_vote(centre):
    labels, mask = heaps(VERTEBRA)
    labels[10:41, 10:41, 90:110] = 20
    mask[:, :, 80:] = 0
    labels[0, 0, :9] = (np.nan, np.inf, -np.inf, 0.5, 26.6, 300, -20, 1e20, 0)
    assert centre_vox(labels, mask, centre) == pytest.approx((25, 25, 45), abs=0.05)


def test_far_voters_draw_the_mean_and_hardly_the_others():
    labels, mask = heaps(VERTEBRA, np.s_[10:41, 10:41, 105:110])  # 14 % of the voters, 62 mm too high
    places = {centre: centre_vox(labels, mask, centre)[2] - 45 for centre in CENTRES}
    assert places["mean"] == pytest.approx(5 / 36 * (107 - 45))
    assert places["median"] == pytest.approx(2.5)
    assert 0.5 < places["geometric_median"] < 0.5 * places["mean"]
    assert abs(places["mean_shift"]) < 0.1


def test_of_two_heaps_the_mean_shift_takes_the_larger_and_the_mean_none():
    larger, smaller = np.s_[5:26, 5:26, 20:56], np.s_[34:55, 28:49, 80:106]
    labels, mask = heaps(larger, smaller)
    inside = {}
    for centre in ("mean", "mean_shift"):
        place = np.rint(centre_vox(labels, mask, centre)).astype(int)
        inside[centre] = labels[tuple(place)] != 0
    assert inside == {"mean": False, "mean_shift": True}
    assert centre_vox(labels, mask, "mean_shift") == pytest.approx((15, 15, 37.5), abs=1)


def test_the_geometric_median_has_the_least_sum_of_distances():
    # An L, which is its own mirror image at the diagonal. No point nearby has a smaller sum of distances.
    labels, mask = heaps(np.s_[5:48, 5:20, 45:65], np.s_[5:20, 5:48, 45:65])
    place = centre_vox(labels, mask, "geometric_median")
    assert place[0] == pytest.approx(place[1], abs=0.05)
    voters = np.argwhere(labels)
    best = np.linalg.norm(voters - place, axis=1).sum()
    for step in np.vstack([np.eye(3), -np.eye(3)]):
        assert np.linalg.norm(voters - place - 0.5 * step, axis=1).sum() > best


@pytest.mark.parametrize("centre", CENTRES)
def test_how_many_votes_are_enough_is_the_same_for_every_centre(centre):
    labels, mask = block((40, 40, 60), np.s_[5:35, 5:35, 50:60], 21)
    assert not aggregate(enumerate(labels), mask, Grid.from_spacing(labels.shape), "paper", centre)
    (found,) = aggregate(enumerate(labels), mask, Grid.from_spacing(labels.shape), centre=centre)
    assert found.truncated
    assert found.votes == 30 * 30 * 10


def test_an_unknown_centre():
    labels, mask = heaps()
    with pytest.raises(ValueError, match="'middle'; median, mean, geometric_median, mean_shift are known"):
        aggregate(enumerate(labels), mask, Grid.from_spacing(labels.shape), centre="middle")
