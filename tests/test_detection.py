# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stubs import true_model
from torch import nn
from torch.nn import functional

from spinefinder_fast import Grid
from spinefinder_fast import detection as module
from spinefinder_fast.detection import (
    BATCH,
    GPU_BATCH,
    LARGEST_TILE,
    MARGIN,
    PATCH,
    SMALLER_TILES,
    detect,
    largest_tile,
    tile_shape,
    tiles_at_once,
)
from spinefinder_fast.kernels import patch_origins
from spinefinder_fast.volume import Volume

SIDES = st.integers(1, 400)


class Far(nn.Module):
    """Sees voxels `reach` away along every axis; its sums are of small whole numbers, and so exact."""

    def __init__(self, reach):
        super().__init__()
        self.reach, self.sent = reach, 0

    def forward(self, x):
        self.sent += x.numel()
        x = x.round()
        padded = functional.pad(x, [self.reach] * 6)
        seen = sum(sign * padded.roll(sign * self.reach, axis) for axis in (2, 3, 4) for sign in (1, -1))
        y = x + seen[(..., *[slice(self.reach, -self.reach)] * 3)]
        return torch.cat([torch.zeros_like(y), y], dim=1)


def noise(shape):
    hu = np.random.default_rng(1).integers(-2, 4, shape) * 500.0
    return Volume(hu.astype(np.float32), Grid.from_spacing(shape))


def detected(network, volume, tiling):
    return detect(volume, replace(true_model(), detection=network), tiling)


def test_large_tiles_find_the_same_where_nothing_is_seen_beyond_the_margin():
    volume = noise((70, 40, 130))
    patches, tiles = Far(16), Far(16)
    faithful = detected(patches, volume, "faithful")
    assert 0.1 < faithful.mean() < 0.9
    assert (detected(tiles, volume, "large") == faithful).all()
    assert tiles.sent < 0.5 * patches.sent


def test_large_tiles_differ_by_what_lies_beyond():
    volume = noise((70, 40, 130))
    assert (detected(Far(24), volume, "large") != detected(Far(24), volume, "faithful")).any()


@given(st.tuples(SIDES, SIDES, SIDES))
def test_large_tiles_are_few_and_no_larger_than_needed(shape):
    tile = tile_shape(shape, "large")
    kept = np.subtract(tile, 2 * np.array(MARGIN))
    assert all(side % 16 == 0 and side <= most for side, most in zip(tile, LARGEST_TILE, strict=True))
    tiles = [-(-n // k) for n, k in zip(shape, kept, strict=True)]
    assert len(patch_origins(shape, tile, MARGIN)) == np.prod(tiles)
    assert tiles == [-(-n // k) for n, k in zip(shape, np.subtract(LARGEST_TILE, 2 * np.array(MARGIN)), strict=True)]
    # Tiles 16 voxels smaller would not do.
    assert all((k - 16) * t < n for n, k, t in zip(shape, kept, tiles, strict=True))


def test_the_paper_s_patches_for_any_volume():
    assert tile_shape((10, 500, 80), "faithful") == PATCH == (64, 64, 80)


def test_an_unknown_tiling():
    with pytest.raises(ValueError, match="'huge'; faithful or large is needed"):
        detect(noise((4, 5, 6)), true_model(), "huge")


@pytest.mark.parametrize(
    ("megabytes", "width", "tile", "at_once"),
    [
        (None, 1.0, LARGEST_TILE, BATCH),
        (16000, 1.0, LARGEST_TILE, BATCH),
        (6000, 1.0, SMALLER_TILES[0], BATCH),
        (6000, 0.5, LARGEST_TILE, BATCH),
        (1800, 1.0, PATCH, 2),
        (1, 1.0, PATCH, 1),
    ],
)
def test_tiles_are_as_large_as_the_memory_allows(monkeypatch, megabytes, width, tile, at_once):
    monkeypatch.setattr(module, "free_bytes", lambda device: None if megabytes is None else megabytes * 10**6)
    model = replace(true_model(), detection_width=width)
    assert largest_tile(model) == tile
    assert tiles_at_once(PATCH, model) == at_once
    assert tiles_at_once(LARGEST_TILE, model) == 1


def test_a_gpu_sees_many_tiles_at_once(monkeypatch):
    monkeypatch.setattr(module, "free_bytes", lambda device: 120 * 10**9)
    model = replace(true_model(), device="cuda")
    assert tiles_at_once(PATCH, model) == GPU_BATCH
    assert tiles_at_once(LARGEST_TILE, model) == GPU_BATCH // 8
    monkeypatch.setattr(module, "free_bytes", lambda device: 8 * 10**9)
    assert tiles_at_once(PATCH, model) == 10
    # Half the bytes per number, twice the tiles.
    assert tiles_at_once(PATCH, replace(model, dtype=torch.bfloat16)) == 20


def test_short_memory_changes_nothing_but_the_tiles(monkeypatch):
    volume = noise((150, 60, 170))
    known = detected(Far(16), volume, "large")
    sent = []
    for megabytes in (100_000, 1):
        monkeypatch.setattr(module, "free_bytes", lambda device, megabytes=megabytes: megabytes * 10**6)
        network = Far(16)
        model = replace(true_model(), detection=network)
        assert (detect(volume, model, "large", None, largest_tile(model)) == known).all()
        sent.append(network.sent)
    assert sent[1] > 1.5 * sent[0]


def test_networks_are_fed_what_they_compute_in():
    class Seen(nn.Module):
        def forward(self, x):
            dtypes.append(x.dtype)
            return torch.cat([torch.zeros_like(x), x], dim=1)

    dtypes = []
    volume = noise((20, 20, 20))
    masks = [detect(volume, replace(true_model(), detection=Seen(), dtype=d)) for d in (torch.float32, torch.bfloat16)]
    assert dtypes == [torch.float32, torch.bfloat16]
    assert (masks[0] == masks[1]).all()
    assert 0.1 < masks[0].mean() < 0.9
