# SPDX-License-Identifier: Apache-2.0
"""Images: every tissue gets its own HU, whatever the map comes from."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from spinefinder_fast.phantom import Look, Tissue, make_phantom, render, shell
from spinefinder_fast.phantom.image import WITHOUT, draw_look

QUIET = Look(noise_hu=0.0, blur_mm=0.1, marbling=0.0)


@pytest.mark.parametrize(
    ("tissue", "low", "high"),
    [
        (Tissue.AIR, -1024, -990),
        (Tissue.LUNG, -960, -700),
        (Tissue.FAT, -140, -70),
        (Tissue.MUSCLE, 25, 85),
        (Tissue.LIVER, 25, 100),
        (Tissue.DISC, 30, 130),
        (Tissue.TRABECULAR, 90, 320),
        (Tissue.CORTICAL, 350, 1400),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_tissues_have_their_hu(tissue: Tissue, low: float, high: float, seed: int) -> None:
    block = np.full((20, 20, 20), tissue, np.uint8)
    image = render(block, (1.0, 1.0, 1.0), np.random.default_rng(seed), QUIET)
    assert low <= image.mean() <= high


def test_bone_gain_makes_spongy_bone_denser_and_nothing_else() -> None:
    block = np.full((16, 16, 40), Tissue.MUSCLE, np.uint8)
    block[8:] = Tissue.TRABECULAR
    gain = np.repeat([1.0, 2.0], 20)
    image = render(block, (1.0, 1.0, 1.0), np.random.default_rng(0), QUIET, bone_gain=gain)
    assert image[11:, :, 25:].mean() == pytest.approx(2 * image[11:, :, :15].mean(), rel=0.15)
    assert image[:5, :, 25:].mean() == pytest.approx(image[:5, :, :15].mean(), abs=15)


def test_noise_has_the_strength_asked_for() -> None:
    block = np.full((350, 40, 10), Tissue.ORGAN, np.uint8)
    noisy = render(block, (1.0, 1.0, 1.0), np.random.default_rng(0), Look(noise_hu=30.0))
    assert 24 < noisy.std() < 38


def test_contrast_medium_brightens_blood() -> None:
    block = np.full((12, 12, 12), Tissue.BLOOD, np.uint8)
    plain, bright = (
        render(block, (1.0, 1.0, 1.0), np.random.default_rng(0), Look(contrast_hu=hu)).mean() for hu in (0.0, 200.0)
    )
    assert 150 < bright - plain < 250


def test_values_stay_within_those_of_a_scanner() -> None:
    block = np.full((20, 20, 20), Tissue.AIR, np.uint8)
    block[8:12, 8:12] = Tissue.METAL
    image = render(block, (1.0, 1.0, 1.0), np.random.default_rng(0), Look(noise_hu=80.0))
    assert image.dtype == np.int16
    assert image.min() == -1024
    assert image.max() == 3071


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.5, 1.5, 1.5), (0.7, 0.7, 3.0)])
def test_shell_splits_solid_bone_into_wall_and_inside(spacing: tuple[float, float, float]) -> None:
    bone = np.zeros((30, 30, 30), bool)
    bone[5:25, 6:24, 7:23] = True
    tissue = shell(bone, spacing)
    assert ((tissue > 0) == bone).all()
    surface = bone & ~ndimage.binary_erosion(bone)
    assert (tissue[surface] == Tissue.CORTICAL).all()
    assert tissue[15, 15, 15] == Tissue.TRABECULAR


def test_bone_cut_by_the_border_has_no_wall_there() -> None:
    bone = np.zeros((20, 20, 20), bool)
    bone[:, 5:15, 5:15] = True
    assert shell(bone, (1.0, 1.0, 1.0))[0, 10, 10] == Tissue.TRABECULAR


def test_solid_bone_of_other_maps_is_rendered_with_a_bright_wall() -> None:
    block = np.full((30, 30, 30), Tissue.MUSCLE, np.uint8)
    block[8:22, 8:22, 8:22] = Tissue.BONE
    image = render(block, (1.0, 1.0, 1.0), np.random.default_rng(0), QUIET)
    assert image[8, 15, 15] > image[15, 15, 15] + 150 > image[2, 2, 2] + 150


def test_bodies_stand_out_in_a_whole_phantom() -> None:
    phantom = make_phantom("L1", "L3", spacing_mm=2.0, seed=4)
    inside = ndimage.binary_erosion(phantom.tissue == Tissue.TRABECULAR)
    muscle = ndimage.binary_erosion(phantom.tissue == Tissue.MUSCLE)
    assert phantom.array[inside].mean() > phantom.array[muscle].mean() + 50


def test_what_a_look_is_drawn_without_is_usual_and_all_else_is_as_drawn() -> None:
    for ingredient, usual in WITHOUT.items():
        drawn, without = (draw_look(np.random.default_rng(7), 1.3, some) for some in ((), (ingredient,)))
        changed = {k for k, v in vars(drawn).items() if vars(without)[k] != v}
        assert changed <= usual.keys()
        assert all(getattr(without, k) == v for k, v in usual.items())


def test_without_spread_every_scan_has_the_same_muscle_and_without_texture_an_even_one() -> None:
    block = np.full((24, 24, 24), Tissue.MUSCLE, np.uint8)
    for changes, of_what in (({"spread": 0.0}, np.mean), ({"texture": 0.0}, np.std)):
        look = Look(noise_hu=0.0, marbling=0.0, **changes)
        values = [of_what(render(block, (1.0, 1.0, 1.0), np.random.default_rng(seed), look)) for seed in range(6)]
        usual = [of_what(render(block, (1.0, 1.0, 1.0), np.random.default_rng(seed), QUIET)) for seed in range(6)]
        assert np.ptp(values) < 0.3 * np.ptp(usual) if of_what is np.mean else max(values) < 0.2 * min(usual)
