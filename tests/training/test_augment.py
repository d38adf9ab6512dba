# SPDX-License-Identifier: Apache-2.0
"""Other looks and narrower views of crops: what changes, and what must not."""

from dataclasses import replace

import numpy as np
import pytest

from spinefinder_fast.training import augment
from spinefinder_fast.training.augment import NARROWEST_MM, change_look, narrow_view
from spinefinder_fast.training.samples import CropDataset
from spinefinder_fast.training.settings import PAPER

AIR = -2.0


def crop(shape=(8, 40, 60), seed=0):
    """Soft tissue, a column of bone, and air in front."""
    image = np.random.default_rng(seed).normal(0.1, 0.02, shape).astype(np.float32)
    image[..., 20:28, :] = 0.8
    image[..., :5, :] = AIR
    return image


def only(monkeypatch, name):
    monkeypatch.setattr(augment, "SHARES", {key: float(key == name) for key in augment.SHARES})


def test_the_same_stream_gives_the_same_look_and_others_give_others():
    image = crop()
    looks = [change_look(image, 2.0, AIR, np.random.default_rng(seed)) for seed in (*range(20), 3)]
    assert (looks[3] == looks[-1]).all()
    assert len({look.tobytes() for look in looks}) > 15
    assert all(look.shape == image.shape and look.dtype == np.float32 for look in looks)
    assert (image == crop()).all()


def test_what_lies_outside_of_the_scan_stays_and_nothing_is_thinner_than_air():
    image = crop()
    for seed in range(20):
        look = change_look(image, 2.0, AIR, np.random.default_rng(seed))
        assert (look[:, :5] == AIR).all()
        assert look.min() == AIR


@pytest.mark.parametrize("name", ["blur", "sharpen", "slices"])
def test_what_lies_outside_does_not_bleed_in(monkeypatch, name):
    only(monkeypatch, name)
    image = np.full((8, 40, 60), 0.1, np.float32)
    image[..., :25] = AIR
    image[:, 30:] = AIR
    for seed in range(10):
        look = change_look(image, 1.0, AIR, np.random.default_rng(seed))
        np.testing.assert_allclose(look, image, atol=1e-4)


def test_nothing_is_denser_than_the_networks_ever_see():
    image = crop()
    image[:, 20:28] = 3.0
    assert max(change_look(image, 2.0, AIR, np.random.default_rng(seed)).max() for seed in range(20)) == 3.0


def test_bone_may_be_denser_but_fat_stays_what_it_is(monkeypatch):
    only(monkeypatch, "bone")
    image = crop()
    image[:, 30:] = -0.2
    look = change_look(image, 2.0, AIR, np.random.default_rng(1))
    assert (look[:, 30:] == image[:, 30:]).all()
    ratio = look[:, 20:28] / image[:, 20:28]
    assert ratio.min() == pytest.approx(ratio.max())
    assert abs(ratio.mean() - 1) > 0.01


def test_noise_is_as_strong_as_it_says(monkeypatch):
    only(monkeypatch, "noise")
    image = np.zeros((8, 64, 64), np.float32)
    strengths = [change_look(image, 2.0, AIR, np.random.default_rng(seed)).std() for seed in range(50)]
    assert 0.95 * augment.NOISE[0] < min(strengths) < 0.04
    assert 0.1 < max(strengths) < 1.05 * augment.NOISE[1]


def test_a_blur_takes_edges_away_and_a_sharp_kernel_adds_to_them(monkeypatch):
    image = crop(seed=2)
    steepest = {}
    for name in ("blur", "sharpen"):
        only(monkeypatch, name)
        look = change_look(image, 2.0, AIR, np.random.default_rng(0))
        steepest[name] = np.abs(np.diff(look[:, 10:], axis=1)).max()
    plain = np.abs(np.diff(image[:, 10:], axis=1)).max()
    assert steepest["blur"] < 0.9 * plain
    assert steepest["sharpen"] > 1.1 * plain


@pytest.mark.parametrize("thickness", [1.0, 1.7, 3.0, 80.0])
def test_thick_slices_keep_the_place_and_the_mean_of_what_they_hold(thickness):
    ramp = np.broadcast_to(np.arange(60, dtype=np.float32), (3, 60))
    for phase in np.linspace(-thickness, 0, 20):
        seen = augment._thick_slices(ramp, thickness, phase)
        assert seen.shape == ramp.shape
        if thickness < 60:
            # A ramp stays one, but for the slices that the ends cut.
            inner = slice(int(2 * thickness) + 1, -int(2 * thickness) - 1)
            np.testing.assert_allclose(seen[:, inner], ramp[:, inner], atol=0.13)  # voxels have no slope of their own
    spike = np.zeros((1, 60), np.float32)
    spike[0, 30] = 1
    seen = augment._thick_slices(spike, 3.0, 0.0)
    assert seen.max() == pytest.approx(1 / 3, rel=0.35)
    assert seen.sum() == pytest.approx(1, rel=0.2)


def test_a_narrow_view_cuts_image_and_labels_at_one_place():
    image = crop((30, 40, 60))
    labels = np.zeros(image.shape, np.uint8)
    labels[10:20, 18:30] = 7
    narrowed = 0
    for seed in range(60):
        seen, named = narrow_view(image, labels, (3.0,) * 3, AIR, np.random.default_rng(seed))
        inside = np.argwhere(seen[:, 5:] != AIR) + np.array([0, 5, 0])
        low, high = inside.min(axis=0), inside.max(axis=0) + 1
        window = tuple(map(slice, low, high))
        assert (seen[window] == image[window]).all()
        assert named.any()
        assert (named[window] == labels[window]).all()
        assert named.sum() == named[window].sum()
        narrowed += (seen == AIR).sum() > (image == AIR).sum()
        assert (high - low >= np.divide(NARROWEST_MM, 3) - (0, 5, 0)).all()  # the air may hide five
    assert 45 < narrowed <= 60


def test_a_narrow_slab_keeps_its_labelled_slice():
    image = crop((8, 80, 160))
    labels = np.zeros((80, 160), np.uint8)
    labels[30:50, 20:40] = 20
    widths = set()
    for seed in range(60):
        seen, named = narrow_view(image, labels, (8.0, 2.0, 2.0), AIR, np.random.default_rng(seed))
        kept = (seen != AIR).any(axis=(1, 2))
        assert kept[4]
        widths.add(int(kept.sum()))
        assert named.any()
        assert ((named == 0) | (seen[4] == image[4])).all()
    assert widths == {5, 6, 7, 8}


def test_without_labels_nothing_is_narrowed():
    image, labels = crop(), np.zeros((40, 60), np.uint8)
    seen, named = narrow_view(image, labels, (8.0, 2.0, 2.0), AIR, np.random.default_rng(0))
    assert (seen == image).all()
    assert not named.any()


@pytest.mark.parametrize("kind", ["detection", "identification"])
def test_crops_are_seen_otherwise_only_where_they_are_told_to_be(make_scan, kind):
    changes = {"crop": (8, 32, 48)} if kind == "identification" else {"crop": (48, 48, 48)}
    settings = replace(PAPER[kind], spacing_mm=4.0, deform_sigma_mm=0.0, samples_per_scan=8, **changes)
    told = replace(settings, other_looks=1.0, narrow_views=1.0)
    scan = make_scan()
    plain, other = CropDataset([scan], settings), CropDataset([scan], told)
    quiet = CropDataset([scan], told, augment=False)
    differs = 0
    for i in range(8):
        image, labels = plain[0, i]
        assert (quiet[0, i][0] == image).all()
        seen, named = other[0, i]
        assert seen.shape == image.shape
        assert ((named == labels) | (named == 0)).all()
        differs += bool((seen != image).any())
        again = other[0, i]
        assert (again[0] == seen).all()
        assert (again[1] == named).all()
    assert differs >= 6


@pytest.mark.parametrize(
    "changes", [{"other_looks": 1.1}, {"narrow_views": -0.1}, {"other_looks": 0.5, "intensity": "zscore"}]
)
def test_settings_that_make_no_sense_are_refused(changes):
    with pytest.raises(ValueError, match="other_looks"):
        replace(PAPER["detection"], **changes)
