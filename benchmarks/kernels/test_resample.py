# SPDX-License-Identifier: Apache-2.0
"""A scan of 0.8 x 0.8 x 1.25 mm, as a file holds it, onto 2 mm: from int16 to float32, with a triangle filter that fits
the new voxels; against torch, whose antialiased interpolation is the same filter in two dimensions."""

from __future__ import annotations

from functools import cache, partial

import numpy as np
import torch
from torch.nn import functional

from spinefinder_fast.kernels import resample_grid
from spinefinder_fast.kernels.resample import taps_of

from .ways import Way, compare

SIZES = {"small": (128, 128, 100), "middle": (256, 256, 200), "full": (512, 512, 400)}
"""Of the scan: voxels like 1 : 8 : 64."""

STEP = (2.5, 2.5, 1.6)
"""Old voxels per new one."""


@cache
def scan(size: str) -> tuple[np.ndarray, tuple[int, ...]]:
    """HU, int16, the first axis fastest in memory as in a file, and the shape of the result."""
    shape = SIZES[size]
    hu = np.random.default_rng(0).integers(-1000, 1500, shape[::-1], np.int16).T
    return hu, tuple(int(n / s) for n, s in zip(shape, STEP, strict=True))


def ours(volume: np.ndarray, size: tuple[int, ...], threads: int | None = None) -> np.ndarray:
    return resample_grid(volume, size, STEP, threads=threads)


def torch_antialiased(volume: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """In two dimensions twice: across, then along."""
    x, y, z = (1 / step for step in STEP)
    how = {"mode": "bilinear", "antialias": True}
    slices = torch.from_numpy(volume.T).float()[:, None]
    across = functional.interpolate(slices, scale_factor=(y, x), **how)
    planes = across[:, 0].permute(1, 0, 2)[:, None]
    along = functional.interpolate(planes, scale_factor=(z, 1.0), **how)
    return along[:, 0].permute(2, 0, 1).contiguous().numpy()


def torch_matrices(volume: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """The filter as a matrix for each axis."""
    array = torch.from_numpy(volume.T).float()
    for axis, (old, new, step) in enumerate(zip(volume.shape, size, STEP, strict=True)):
        first, weights = taps_of(old, new, step)
        columns = (first[:, None] + np.arange(weights.shape[1])).clip(max=old - 1)
        matrix = np.zeros((new, old), np.float32)
        np.add.at(matrix, (np.arange(new)[:, None], columns), weights)
        array = torch.tensordot(array, torch.from_numpy(matrix), dims=([2 - axis], [1])).movedim(-1, 2 - axis)
    return array.permute(2, 1, 0).contiguous().numpy()


WAYS = [
    Way(ours),
    Way(partial(ours, threads=1), "one thread"),
    Way(torch_antialiased, "torch, antialiased, twice in two dimensions"),
    Way(torch_matrices, "torch, a matrix per axis"),
]


@cache
def expected(size: str) -> np.ndarray:
    # Each axis by itself, and in double precision: none of the ways.
    volume, shape = scan(size)
    array = volume
    for axis, (old, new, step) in enumerate(zip(volume.shape, shape, STEP, strict=True)):
        first, weights = taps_of(old, new, step)
        places = [(first + k).clip(max=old - 1) for k in range(weights.shape[1])]
        array = sum(
            np.moveaxis(np.moveaxis(array, axis, -1)[..., place] * weights[:, k].astype(np.float64), -1, axis)
            for k, place in enumerate(places)
        )
    return np.asarray(array, np.float32)


@compare(WAYS, SIZES)
def test_resample_grid(measure, size, way):
    np.testing.assert_allclose(measure(*scan(size)), expected(size), rtol=0, atol=0.05)
