# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pickle
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from spinefinder_fast.discs import dense_labels
from spinefinder_fast.identification import identify
from spinefinder_fast.kernels.stitch import AS_IT_IS
from spinefinder_fast.networks.identification import SLICES, TARGET
from spinefinder_fast.networks.weights import Model
from spinefinder_fast.training.samples import BatchOrder, CropDataset, batches, steps_per_epoch
from spinefinder_fast.training.settings import PAPER
from spinefinder_fast.volume import Volume

DETECTION = replace(PAPER["detection"], crop=(16, 16, 32), spacing_mm=4.0)
IDENTIFICATION = replace(PAPER["identification"], crop=(8, 32, 48), spacing_mm=4.0, samples_per_scan=6)


def raw(scans, settings):
    """Crops of intensities as they are."""
    crops = CropDataset(scans, settings)
    source = crops._source
    crops._source = lambda scan, mirrored: replace(source(scan, mirrored), ramp=AS_IT_IS)
    return crops


@pytest.fixture(scope="module")
def scan(make_scan):
    made = make_scan()
    # Each voxel's value is its own number, so that a crop says where it was taken.
    return make_scan(array=np.arange(made.array.size, dtype=np.float32).reshape(made.array.shape))


def whole_labels(scan):
    return dense_labels(scan.labels, scan.centroids_vox, scan.array.shape, (4.0,) * 3)


def test_a_detection_crop_carries_the_labels_of_its_place(scan):
    crops = raw([scan], DETECTION)
    truth = whole_labels(scan)
    places = set()
    for i in range(len(crops)):
        image, labels = crops[0, i]
        assert image.shape == (1, 16, 16, 32)
        x, y, z = np.unravel_index(int(image[0, 0, 0, 0]), scan.array.shape)
        places.add((x, y, z))
        assert (labels.numpy() == truth[x : x + 16, y : y + 16, z : z + 32]).all()
    assert len(places) > 1


def test_four_of_five_detection_crops_hold_vertebrae(scan):
    crops = CropDataset([scan], DETECTION)
    assert len(crops) == 5
    for epoch in range(5):
        assert all(crops[epoch, i][1].any() for i in range(4))


def test_an_identification_slab_is_labelled_at_its_target_slice(scan):
    crops = raw([scan], replace(IDENTIFICATION, deform_sigma_mm=0.0))
    truth = whole_labels(scan)
    for i in range(len(crops)):
        image, labels = crops[0, i]
        assert image.shape == (SLICES, 32, 48)
        x = np.unravel_index(int(image[TARGET].max()), scan.array.shape)[0]
        inside = image[TARGET] >= 0
        first = np.argwhere(inside.numpy())[0]
        y0, z0 = np.unravel_index(int(image[TARGET][tuple(first)]), scan.array.shape)[1:] - first
        assert (image[TARGET][inside] // (scan.array.shape[1] * scan.array.shape[2]) == x).all()
        for (r, c), value in np.ndenumerate(labels.numpy()):
            if inside[r, c]:
                assert value == truth[x, y0 + r, z0 + c]
        assert (labels > 0).sum() * 16 > 500


def test_deformation_moves_image_and_labels_together(make_scan, scan):
    # An image that shows its own labels: after the deformation it still must, but where linear interpolation mixes two.
    shown = make_scan(array=whole_labels(scan).astype(np.float32))
    still = raw([shown], replace(IDENTIFICATION, deform_sigma_mm=0.0))
    moved = raw([shown], replace(IDENTIFICATION, deform_sigma_mm=14.0))
    differs, agree = False, []
    for i in range(len(moved)):
        image, labels = moved[0, i]
        around = labels.float()[None, None]
        highest, lowest = (s * torch.nn.functional.max_pool2d(s * around, 3, 1, 1)[0, 0] for s in (1, -1))
        inner = (labels > 0) & (highest == lowest)
        agree.append((image[TARGET].round() == labels)[inner])
        differs = differs or not torch.equal(labels, still[0, i][1])
    assert differs
    assert len(torch.cat(agree)) > 50
    assert torch.cat(agree).float().mean() > 0.95


def test_crops_depend_on_seed_epoch_and_index_alone(scan):
    settings = replace(IDENTIFICATION, flip=True, hu_jitter=0.1)
    a, b = CropDataset([scan], settings), CropDataset([scan], settings)
    _ = [b[0, i] for i in (3, 1)]
    assert all(torch.equal(x, y) for i in range(6) for x, y in zip(a[0, i], b[0, i], strict=True))
    assert not torch.equal(a[0, 0][0], b[1, 0][0])


def test_mirroring_keeps_image_and_labels_together(make_scan, scan):
    shown = make_scan(array=whole_labels(scan).astype(np.float32))
    for i in range(5):
        image, labels = raw([shown], replace(DETECTION, flip=True))[0, i]
        assert (image[0].clamp(min=0) == labels).all()


def test_a_mirrored_slab_is_still_labelled_at_its_target_slice(make_scan, scan):
    # Each voxel's value is its x, and so is its label: whichever way the slab is turned, they agree at the target.
    width = scan.array.shape[0]
    shown = make_scan(array=np.broadcast_to(np.arange(width, dtype=np.float32)[:, None, None], scan.array.shape))
    settings = replace(IDENTIFICATION, flip=True, deform_sigma_mm=0.0, samples_per_scan=30)
    truth = whole_labels(scan)
    steps = set()
    for image, labels in (raw([shown], settings)[0, i] for i in range(30)):
        x = int(image[TARGET].max())
        before, after = image[TARGET - 1].max(), image[TARGET + 1].max()
        if min(before, after) >= 0:
            steps.add(int(after - x))
        assert set(np.unique(labels)) <= set(np.unique(truth[x]))
        assert (labels > 0).any()
    assert steps == {1, -1}


@pytest.mark.parametrize("step", [1, 3, 4])
@pytest.mark.parametrize("flip", [False, True])
def test_a_slab_is_what_identification_is_fed_at_its_place(make_scan, step, flip):
    class Seen(torch.nn.Module):
        def forward(self, x):
            fed.append(x[0].clone())
            return x[:, :1]

    fed = []
    made = make_scan()
    shape = (made.array.shape[0], 32, 48)
    scan = make_scan(array=np.random.default_rng(0).integers(-900, 1400, shape).astype(np.int16))
    array = scan.array[::-1] if flip else scan.array
    volume = Volume(np.array(array, np.float32), scan.grid)
    model = Model(torch.nn.Identity(), Seen(), 4.0, slice_step=step)
    list(identify(volume, np.ones(shape, np.uint8), model))
    # As high and wide as the scan, a slab can only differ in its slices.
    settings = replace(IDENTIFICATION, crop=(8, 32, 48), slice_step=step, deform_sigma_mm=0.0, flip=flip)
    truth = whole_labels(scan)[::-1] if flip else whole_labels(scan)
    places = set()
    for image, labels in (CropDataset([scan], replace(settings, seed=seed))[0, 0] for seed in range(30)):
        places |= (found := {x for x, window in enumerate(fed) if torch.equal(window, image)})
        # Without a match this one was not turned.
        assert len(found) == 1 or (flip and not found)
        assert all((labels.numpy() == truth[x]).all() for x in found)
    assert len(places) > 3


def test_a_scan_smaller_than_the_crop_is_padded(make_scan, scan):
    small = make_scan(array=np.array(scan.array[:5, :6, :7]))
    image, _ = raw([small], DETECTION)[0, 4]
    assert image.shape == (1, 16, 16, 32)
    assert (image == -2).sum() == 16 * 16 * 32 - 5 * 6 * 7


def test_scans_without_vertebrae_teach_background(make_scan):
    empty = make_scan(points={})
    for settings in (DETECTION, IDENTIFICATION, replace(DETECTION, sampling="even")):
        assert not CropDataset([empty], settings)[0, 0][1].any()


def test_hu_become_what_the_network_sees(make_scan):
    scan = make_scan()
    image, _ = CropDataset([scan], replace(DETECTION, crop=(64, 64, 96)))[0, 0]
    assert image.min() >= -2
    assert image.max() <= 3
    zscore, _ = CropDataset([scan], replace(DETECTION, crop=(64, 64, 96), intensity="zscore"))[0, 0]
    inside = zscore[zscore != -5]
    assert len(inside) == scan.array.size
    assert inside.mean() == pytest.approx(0, abs=1e-3)
    assert inside.std() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("settings", [DETECTION, IDENTIFICATION], ids=["detection", "identification"])
def test_even_sampling_shows_every_level_alike(make_scan, settings):
    # One scan has two cervical vertebrae, three have the same five lumbar ones: drawn by scans, C3 is rare.
    necks = [make_scan("C3", "C4")]
    backs = [make_scan("L1", "L5", seed=seed) for seed in (1, 2, 3)]
    small = (settings.crop[0], 16, 16)
    few = replace(settings, samples_per_scan=50, with_vertebrae=50, crop=small)
    levels = {}
    for sampling in ("paper", "even"):
        crops = CropDataset(necks + backs, replace(few, sampling=sampling))
        shown = Counter()
        for i in range(len(crops)):
            labels = crops[0, i][1]
            assert labels.any()
            shown.update(v for v in labels.unique().tolist() if v)
        levels[sampling] = sum(shown[v] for v in (3, 4)) / sum(shown.values())
    # Two of seven levels are cervical.
    assert levels["even"] == pytest.approx(2 / 7, abs=0.1)
    assert levels["even"] > levels["paper"] - 0.02


def test_a_scan_sent_to_another_process_is_mapped_there(make_scan):
    scan = make_scan()
    assert scan.array is scan.array
    sent = pickle.dumps(scan)
    assert len(sent) < 20_000 < scan.array.nbytes
    received = pickle.loads(sent)
    assert (received.array == scan.array).all()
    assert isinstance(received.array, np.memmap)


def test_every_epoch_takes_every_crop_once_in_another_order(scan):
    crops = CropDataset([scan] * 4, replace(DETECTION, batch=5))  # 20 crops
    per_epoch = steps_per_epoch(crops)
    assert per_epoch == 4
    steps = list(BatchOrder(crops, 0, 2 * per_epoch))
    epochs = [[key for step in half for key in step] for half in (steps[:4], steps[4:])]
    assert [sorted(e) for e in epochs] == [[(n, i) for i in range(20)] for n in (0, 1)]
    assert [i for _, i in epochs[0]] != [i for _, i in epochs[1]]
    # From the middle of an epoch it goes on as if it had not been interrupted.
    assert list(BatchOrder(crops, 3, 8)) == steps[3:]
    # A team's shares make up the batches.
    shares = [list(BatchOrder(crops, 0, 8, rank, 2)) for rank in (0, 1)]
    assert [sorted(a + b) for a, b in zip(*shares, strict=True)] == [sorted(step) for step in steps]


def test_workers_prepare_the_same_crops(make_scan):
    crops = CropDataset([make_scan()], replace(DETECTION, batch=2, workers=2))
    alone = CropDataset(crops.scans, replace(DETECTION, batch=2, workers=0))
    order = BatchOrder(crops, 1, 6)
    for (a, b), (c, d) in zip(batches(crops, order, "cpu"), batches(alone, order, "cpu"), strict=True):
        assert torch.equal(a, c)
        assert torch.equal(b, d)
