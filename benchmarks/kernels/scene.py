# SPDX-License-Identifier: Apache-2.0
"""The volumes that the benchmarks work on. `-k small` runs the quick ones only."""

from __future__ import annotations

from functools import cache

import numpy as np

from spinefinder_fast.anatomy import DIAMETERS_MM, NAMES
from spinefinder_fast.kernels import rasterize_discs

SIZES = {"small": (75, 75, 150), "middle": (150, 150, 300), "full": (300, 300, 600)}
"""The same body at 4, 2 and 1 mm: voxels like 1 : 8 : 64. The full one is a scan of the whole body's length."""

HUGE = {"huge": (1024, 1024, 1280)}
"""The same body for a GPU: over 1 GB of bytes."""

SHAPES = SIZES | HUGE

PATCH, MARGIN = (64, 64, 80), (16, 16, 20)
"""Voxels of the paper's patches, and of what is left out of each on both sides."""


def spacing_mm(size: str) -> tuple[float, float, float]:
    return (600.0 / SHAPES[size][2],) * 3


@cache
def centroids(size: str) -> tuple[np.ndarray, np.ndarray]:
    """Labels (24,) and centroids (24, 3), voxels, of a bent spine."""
    nx, ny, nz = SHAPES[size]
    t = np.linspace(0, 1, 24)
    points = [nx / 2 + 0.05 * nx * np.sin(5 * t), ny / 2 + 0.1 * ny * np.cos(6 * t), nz * (0.95 - 0.9 * t)]
    return np.arange(1, 25), np.stack(points, axis=1)


@cache
def discs(size: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[float, float, float]]:
    """Arguments of rasterize_discs behind `out`."""
    values, points = centroids(size)
    middles = 0.5 * (points[:-1] + points[1:])
    tops = np.vstack([2 * points[:1] - middles[:1], middles])
    bottoms = np.vstack([middles, 2 * points[-1:] - middles[-1:]])
    radii = np.array([DIAMETERS_MM[NAMES[v - 1]] / 2 for v in values])
    return np.stack([tops, bottoms], axis=1), radii, values.astype(np.uint8), spacing_mm(size)


@cache
def labels(size: str) -> np.ndarray:
    """(x, y, z) uint8: the dense labels of that spine."""
    return rasterize_discs(np.empty(SHAPES[size], np.uint8), *discs(size))
