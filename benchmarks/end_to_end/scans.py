# SPDX-License-Identifier: Apache-2.0
"""The scans: a phantom of 2 mm, interpolated to the voxels of a clinical CT, with fresh noise on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spinefinder_fast import Grid, make_phantom
from spinefinder_fast.phantom import Phantom
from spinefinder_fast.scan.nifti import write_nifti

from .sizes import Extent

PHANTOM_MM = 2.0
SEED = 11
NOISE_HU = 12.0
"""Interpolation smooths the phantom's own noise away, and files without noise compress better than any scan does."""

SLAB = 50
"""Slices that get their noise together: the noise of all of them would be the largest array here."""


def make_scan(extent: Extent, seed: int = SEED) -> tuple[NDArray[np.int16], Grid, Phantom]:
    """The scan, where it lies, and the phantom that it shows: the middle of it, should it be longer than the scan."""
    phantom = make_phantom(extent.first, extent.last, spacing_mm=PHANTOM_MM, fov_mm=extent.fov_mm, seed=seed)
    step = np.array(extent.spacing_mm) / PHANTOM_MM
    # Voxels of the phantom, centres at whole numbers: both fields have the same middle.
    first = (np.array(phantom.array.shape) - 1) / 2 - (np.array(extent.shape) - 1) / 2 * step
    grid = Grid.from_spacing(extent.shape, extent.spacing_mm, tuple(phantom.grid.to_lps(first).tolist()))
    array = np.empty(extent.shape, np.int16)
    for start in range(0, extent.shape[2], SLAB):
        slab = array[:, :, start : start + SLAB]
        offset = first + step * (0, 0, start)
        smooth = ndimage.affine_transform(
            phantom.array.astype(np.float32), step, offset, slab.shape, order=1, mode="nearest"
        )
        slab[:] = np.rint(smooth)
    return with_noise(array, seed), grid, phantom


def with_noise(array: NDArray[np.int16], seed: int) -> NDArray[np.int16]:
    """The same scan, taken again."""
    rng = np.random.default_rng(seed)
    noisy = np.empty_like(array)
    for start in range(0, array.shape[2], SLAB):
        slab = array[:, :, start : start + SLAB]
        noise = rng.standard_normal(slab.shape, np.float32) * np.float32(NOISE_HU)
        noisy[:, :, start : start + SLAB] = np.rint(slab + noise).clip(-1024, 3071)
    return noisy


def lengthened(array: NDArray[np.int16], slices: int) -> NDArray[np.int16]:
    """The same patient again and again: an endless spine."""
    times = -(-slices // array.shape[2])
    return np.tile(array, (1, 1, times))[:, :, :slices]


def write_scans(extent: Extent, lengths: list[int], folder: Path) -> dict[str, Any]:
    """Writes the scan in each length (slices), and says which vertebrae it shows.

    Returns:
        The files by their length, and the names and centroids (LPS mm) of the whole vertebrae that the first one shows.
    """
    array, grid, phantom = make_scan(extent)
    files = {}
    for slices in lengths:
        long = lengthened(array, slices)
        path = folder / f"length{slices}.nii.gz"
        write_nifti(path, long, Grid(long.shape, grid.affine))
        files[str(slices)] = str(path)
    # An end of a vertebra lies some 15 mm from its centroid: nearer to the edge it may be cut.
    reach = np.array([0.0, 0.0, 15.0])
    whole = [
        v for v in phantom.spine if not v.truncated and grid.contains(np.array([v.lps - reach, v.lps + reach])).all()
    ]
    return {"files": files, "names": [v.name for v in whole], "lps": [list(v.lps) for v in whole]}


def write_batch(extent: Extent, count: int, folder: Path) -> list[str]:
    """As many takes of one patient."""
    array, grid, _ = make_scan(extent)
    paths = []
    for i in range(count):
        path = folder / f"take{i:02d}.nii.gz"
        write_nifti(path, with_noise(array, SEED + 1 + i), grid)
        paths.append(str(path))
    return paths
