# SPDX-License-Identifier: Apache-2.0
"""The volumes that the benchmarks work on. `-k small` runs the quick ones only."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import numpy as np
import pytest

from spinefinder_fast.anatomy import DIAMETERS_MM, NAMES
from spinefinder_fast.kernels import rasterize_discs

Ways = dict[str, Callable[..., Any]]

SIZES = {"small": (100, 100, 200), "full": (300, 300, 600)}
"""Voxels of 1 mm. The full one is a scan of the whole body's length."""


def by_size_and_way(ways: Ways, too_slow: Iterable[str] = ()) -> pytest.MarkDecorator:
    """One benchmark per size and way; those that are too slow have the small size only."""
    cases = [(size, way) for size in SIZES for way in ways if size == "small" or way not in too_slow]
    return pytest.mark.parametrize(("size", "way"), cases)


@cache
def centroids(size: str) -> tuple[np.ndarray, np.ndarray]:
    """Labels (n,) and centroids (n, 3), voxels of 1 mm, of a bent spine: 24 vertebrae in the full volume, else 8."""
    nx, ny, nz = SIZES[size]
    labels = np.arange(1, 25) if size == "full" else np.arange(17, 25)
    t = np.linspace(0, 1, len(labels))
    points = [nx / 2 + 0.05 * nx * np.sin(5 * t), ny / 2 + 0.1 * ny * np.cos(6 * t), nz * (0.95 - 0.9 * t)]
    return labels, np.stack(points, axis=1)


@cache
def discs(size: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[float, float, float]]:
    """Arguments of rasterize_discs behind `out`."""
    values, points = centroids(size)
    middles = 0.5 * (points[:-1] + points[1:])
    tops = np.vstack([2 * points[:1] - middles[:1], middles])
    bottoms = np.vstack([middles, 2 * points[-1:] - middles[-1:]])
    radii = np.array([DIAMETERS_MM[NAMES[v - 1]] / 2 for v in values])
    return np.stack([tops, bottoms], axis=1), radii, values.astype(np.uint8), (1.0, 1.0, 1.0)


@cache
def labels(size: str) -> np.ndarray:
    """(x, y, z) uint8: the dense labels of that spine."""
    return rasterize_discs(np.empty(SIZES[size], np.uint8), *discs(size))
