# SPDX-License-Identifier: Apache-2.0
"""HU at points of the patient, whether the scan was read or is still in its file."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from spinefinder_fast.scan.read import Scan, ScanFile, Slab

_OUTSIDE_HU = -1024.0


def sample(scan: Scan | ScanFile, points_lps: NDArray[np.float64]) -> NDArray[np.float32]:
    """Interpolated linearly between the centres of voxels; air beyond the outermost.

    Args:
        scan: one in its file is read once, and a few slices of it held.
        points_lps: (..., 3), LPS mm.

    Returns:
        (...) float32, HU.

    Raises:
        ScanError: the file cannot be read any more.
    """
    voxels = scan.grid.to_voxel(points_lps).reshape(-1, 3)
    values = np.full(len(voxels), _OUTSIDE_HU, np.float32)
    last: Slab | None = None
    for slab in [Slab(scan.array, 0, 0)] if isinstance(scan, Scan) else scan.slabs():
        part = slab if last is None else _with_edge(slab, last)
        own = voxels - part.first * (np.arange(3) == part.axis)
        held = (own[:, part.axis] >= 0) & (own[:, part.axis] <= part.array.shape[part.axis] - 1)
        values[held] = map_coordinates(part.array, own[held].T, np.float32, order=1, mode="constant", cval=_OUTSIDE_HU)
        last = slab
    return values.reshape(np.shape(points_lps)[:-1])


def _with_edge(slab: Slab, last: Slab) -> Slab:
    """A slab with the nearest slice of its neighbour: what lies between the two is interpolated from both."""
    if slab.first > last.first:
        edge = np.take(last.array, [-1], slab.axis)
        return Slab(np.concatenate([edge, slab.array], slab.axis), slab.axis, slab.first - 1)
    edge = np.take(last.array, [0], slab.axis)
    return Slab(np.concatenate([slab.array, edge], slab.axis), slab.axis, slab.first)
