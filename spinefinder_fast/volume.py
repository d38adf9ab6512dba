# SPDX-License-Identifier: Apache-2.0
"""From a scan to what the networks see: an isotropic canonical volume with normalised intensities."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from spinefinder_fast.geometry import Grid
from spinefinder_fast.kernels import Normalisation, SlabResampler, resample_grid
from spinefinder_fast.kernels.resample import DTYPES

if TYPE_CHECKING:
    from spinefinder_fast.scan import Scan, Slab

AIR_HU = -1000.0

WINDOW_HU = (-1000.0, 1500.0)
"""What the default normalisation keeps apart: air and lung to cortical bone; metal is as bright as bone."""

WINDOW_SCALE_HU = 500.0


@dataclass(frozen=True)
class Volume:
    """A scan on the grid of the networks.

    Attributes:
        array: (X, Y, Z) float32, C order, HU.
        grid: canonical grid with isotropic spacing.
    """

    array: NDArray[np.float32]
    grid: Grid


def resample(scan: Scan, spacing_mm: float = 1.0) -> Volume:
    """Resample a scan to isotropic voxels along its own canonical axes: linear where it refines, and a triangle
    filter as wide as the new voxel where it coarsens, so that thin slices do not alias.

    The result's voxels all lie within the scan's field of view; where the field is not a whole number of new voxels
    long, less than one new voxel at its far end is left out (a scan thinner than one keeps one).

    Args:
        scan: canonical array of any real dtype, HU.
        spacing_mm: of the result, mm.
    """
    array, affine = resample_array(scan.array, scan.grid, spacing_mm)
    return Volume(array, Grid(array.shape, affine))


def resample_slabs(slabs: Iterable[Slab], grid: Grid, spacings_mm: Sequence[float]) -> list[Volume]:
    """`resample` of a scan that comes slab by slab, for each of some spacings in one pass: the same numbers.

    Args:
        slabs: all of them, from `ScanFile.slabs`.
        grid: of the whole scan, canonical.
        spacings_mm: of the results, mm.

    Raises:
        ValueError: slabs are missing.
    """
    sizes = [_size(grid, spacing) for spacing in spacings_mm]
    made: list[SlabResampler] = []
    for slab in slabs:
        made = made or [SlabResampler(grid.shape, size, step, slab.axis) for size, step, _ in sizes]
        for one in made:
            one.add(slab.array, slab.first)
    if not made:
        raise ValueError("no slab came; all those of ScanFile.slabs are needed")
    return [Volume(one.out, Grid(size, affine)) for one, (size, _, affine) in zip(made, sizes, strict=True)]


def resample_array(
    array: NDArray[Any], grid: Grid, spacing_mm: float
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """The work of `resample`: a (X, Y, Z) array and its grid -> (x, y, z) float32 and the (4, 4) affine to LPS mm."""
    size, step, affine = _size(grid, spacing_mm)
    if str(array.dtype) not in DTYPES:
        array = array.astype(np.float32)  # which holds every integer that a CT can
    return resample_grid(array, size, step), affine


def _size(grid: Grid, spacing_mm: float) -> tuple[tuple[int, int, int], list[float], NDArray[np.float64]]:
    """Of a resampled volume the shape, its voxels in old ones, and the affine to LPS mm."""
    scale = np.array(grid.spacing_mm) / spacing_mm
    # A millionth forgives what float32 headers round, and no more.
    x, y, z = (max(1, int(np.floor(n * s * (1 + 1e-6)))) for n, s in zip(grid.shape, scale, strict=True))
    step = 1 / scale
    affine = grid.affine.copy()
    affine[:3, :3] = grid.affine[:3, :3] * step
    # Voxel edges coincide, so the first new centre lies half a new voxel, not half an old one, inside the field.
    affine[:3, 3] = grid.to_lps(0.5 * step - 0.5)
    return (x, y, z), step.tolist(), affine


def mask_onto(mask: NDArray[np.uint8], grid: Grid, other: Grid) -> NDArray[np.uint8]:
    """A mask on another isotropic grid of the same scan: 1 where, interpolated linearly, it is at least a half.

    Args:
        mask: (X, Y, Z) uint8.
        grid, other: of the mask, and the wanted one; both made by `resample` of one scan.
    """
    if grid.shape == other.shape and grid.spacing_mm == other.spacing_mm:
        return mask
    step = np.array(other.spacing_mm) / grid.spacing_mm
    return (resample_grid(mask, other.shape, step.tolist()) >= 0.5).view(np.uint8)


def normalisation(hu: NDArray[np.float32], intensity: Literal["window", "zscore"] = "window") -> Normalisation:
    """How HU become network input.

    ``"window"`` maps HU by a fixed ramp, so a voxel's value does not depend on what else the field of view holds.
    ``"zscore"`` is the published code's zero mean and unit variance over the whole scan, for reproduction.

    Args:
        hu: (X, Y, Z) float32, HU.
        intensity: which of the two.
    """
    if intensity == "window":
        low, high = WINDOW_HU
        return Normalisation(0.0, 1 / WINDOW_SCALE_HU, low / WINDOW_SCALE_HU, high / WINDOW_SCALE_HU)
    mean, std = hu.mean(dtype=np.float64), hu.std(dtype=np.float64)
    return Normalisation(float(mean), 1 / max(float(std), 1e-6))


def normalise(hu: NDArray[np.float32], ramp: Normalisation) -> NDArray[np.float32]:
    """HU -> network input, same shape, float32: what `normalisation` says, applied."""
    subtract, multiply, low, high = map(np.float32, ramp)
    return ((hu - subtract) * multiply).clip(low, high)


def padding_value(intensity: Literal["window", "zscore"]) -> float:
    """What stands outside the field of view: air with ``"window"``, the published code's 0 with ``"zscore"``."""
    return AIR_HU / WINDOW_SCALE_HU if intensity == "window" else 0.0
