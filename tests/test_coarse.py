# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from stubs import TrueCoarse, labelled_scan, true_model

from spinefinder_fast import Grid, locate, make_phantom
from spinefinder_fast.coarse import Box, boxes_around, search, work_of
from spinefinder_fast.detection import detect
from spinefinder_fast.identification import identify
from spinefinder_fast.procedure import Procedure
from spinefinder_fast.volume import Volume, resample

COARSE, FINE = Grid.from_spacing((60, 60, 100), 6.0), Grid.from_spacing((120, 120, 200), 3.0)


def knowing_model():
    """Networks that know the truth, the coarse one too."""
    return replace(true_model(3.0), coarse=TrueCoarse())


def held(boxes, shape):
    mask = np.zeros(shape, bool)
    for box in boxes:
        mask[tuple(slice(a, b) for a, b in zip(box.low, box.high, strict=True))] = True
    return mask


@pytest.fixture(scope="module")
def phantom():
    # A wide scan of a long and bent spine.
    return make_phantom("C6", "L4", spacing_mm=3.0, seed=4, fov_mm=(320, 280))


def test_the_boxes_hold_the_spine_and_little_else(phantom):
    volume = resample(labelled_scan(phantom.spine, phantom.grid), 3.0)
    boxes = search(volume, knowing_model())
    assert boxes is not None
    assert (held(boxes, volume.array.shape) | (volume.array <= 0)).all()
    assert work_of(boxes, volume.array.shape) < 0.35
    # One behind the other along the body, each tall enough to be worth a tile.
    assert all(a.high[2] == b.low[2] for a, b in pairwise(boxes))


def test_looking_coarsely_first_changes_no_centroid(phantom):
    scan = labelled_scan(phantom.spine, phantom.grid)
    for decode in ("order", "median"):
        fast = locate(scan, knowing_model(), procedure=Procedure(decode=decode))
        slow = locate(scan, knowing_model(), procedure=Procedure("everywhere", decode=decode))
        assert fast.details["searched"] < 0.35
        assert slow.details["searched"] == 1
        assert fast.names == slow.names
        assert fast.lps() == pytest.approx(slow.lps())


def test_without_a_coarse_network_the_whole_scan_is_searched(phantom):
    scan = labelled_scan(phantom.spine, phantom.grid)
    assert locate(scan, true_model(3.0)).details["searched"] == 1


@pytest.mark.parametrize("side", [0, 3])
def test_where_little_is_found_the_whole_scan_is_searched(side):
    mask = np.zeros(COARSE.shape, np.uint8)
    mask[20 : 20 + side, 20 : 20 + side, 20 : 20 + side] = 1  # 27 voxels are 5.8 cm3
    assert boxes_around(mask, COARSE, FINE) is None


def test_a_hole_is_bridged_and_specks_do_not_widen_the_boxes():
    mask = np.zeros(COARSE.shape, np.uint8)
    mask[20:24, 30:34, 5:20] = 1
    mask[30:34, 20:24, 80:95] = 1
    mask[50, 50, 50] = 1
    boxes = boxes_around(mask, COARSE, FINE)
    inside = held(boxes, FINE.shape)
    for z in range(10, 190):
        share = np.clip((z / 2 - 19.5) / 60, 0, 1)
        x, y = 2 * (22 + share * 10), 2 * (32 - share * 10)
        assert inside[int(x) - 4 : int(x) + 5, int(y) - 4 : int(y) + 5, z].all()
    assert not inside[100:, 100:].any()


def test_the_boxes_go_on_beyond_both_ends_and_stay_in_the_scan():
    mask = np.zeros(COARSE.shape, np.uint8)
    mask[0:5, 0:5, 40:60] = 1
    boxes = boxes_around(mask, COARSE, FINE)
    assert boxes[0].low == (0, 0, 80 - 20)
    assert boxes[-1].high[2] == 120 + 20
    assert all(np.all(np.array(b.high) <= FINE.shape) for b in boxes)


def test_detection_within_boxes_sees_what_lies_around_them_and_writes_nothing_there():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (70, 60, 95))
    volume = Volume((labels * 400).astype(np.float32), Grid.from_spacing(labels.shape))
    boxes = (Box((5, 7, 0), (30, 41, 50)), Box((11, 0, 50), (70, 60, 95)))
    for tiling in ("faithful", "large"):
        found = detect(volume, true_model(), tiling, boxes)
        assert (found == labels * held(boxes, labels.shape)).all()


@pytest.mark.parametrize(("mm", "alike"), [(2.0, 2), (1.0, 4), (5.0, 1)])
def test_in_the_strip_around_the_spine_identification_says_the_same_of_slices_4_mm_apart(mm, alike):
    random = np.random.default_rng(0).integers(1, 27, (40, 90, 150)).astype(np.float32)
    volume = Volume(random * 40, Grid.from_spacing(random.shape, mm))
    mask = np.zeros(random.shape, np.uint8)
    mask[3:36, 40:50, 70:80] = 1
    found = dict(identify(volume, mask, true_model(mm), strip=True))
    assert list(found) == list(range(3, 36))
    rows, columns = (round(around / mm) for around in (48, 120))
    window = slice(max(0, 40 - rows), 50 + rows), slice(max(0, 70 - columns), 80 + columns)
    for i, of_slice in found.items():
        group = range(i - (i - 3) % alike, min(i - (i - 3) % alike + alike, 36))
        seen = random[group[(len(group) - 1) // 2]]
        assert of_slice[window] == pytest.approx(seen[window], abs=1e-4)
        assert not of_slice[: window[0].start].any()
        assert not of_slice[:, : window[1].start].any()
