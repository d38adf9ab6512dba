# SPDX-License-Identifier: Apache-2.0
"""Sparse centroids to dense labels: stacks of discs (paper, section 2.1) and the older spheres."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from spinefinder_fast import _kernels
from spinefinder_fast.kernels import _arrays

if TYPE_CHECKING:
    Volume = TypeVar("Volume", bound=_arrays.Array)

MAX_RADIUS_MM = 1e100
"""The square of a larger radius, mm, could overflow."""

_WHOLE_VOLUME = np.zeros((1, 3), np.int64)
"""Origin of a volume that is the only crop of itself."""


def rasterize_discs(
    out: Volume,
    segments_vox: NDArray[np.float64],
    radii_mm: NDArray[np.float64],
    values: NDArray[np.uint8],
    spacing_mm: Sequence[float] | NDArray[np.float64],
    threads: int | None = None,
) -> Volume:
    """Paints a stack of axial discs along each segment: the paper's dense annotation (section 2.1).

    Axial plane k owns the slab [k - 0.5, k + 0.5) of continuous voxel index z. The segment is clipped to the slab;
    where something is left, voxel (i, j, k) is painted if its distance in the plane, in mm, from what is left is at
    most the radius. Segments are painted in the order given: a later one overwrites an earlier one. What lies outside
    the volume is dropped. A segment of length 0 is one disc.

    Args:
        out: (x, y, z) uint8, any strides, NumPy or tensor; cleared to 0, then painted in place.
        segments_vox: (m, 2, 3) float64, NumPy, continuous voxel indices of both ends of each segment.
        radii_mm: (m,) float64, mm, 0 to 1e100.
        values: (m,) uint8, what to paint.
        spacing_mm: (3,), mm between neighbouring voxel centres along x, y, z.
        threads: at most so many threads; None takes every processor. CUDA ignores it.

    Returns:
        `out`.

    Raises:
        TypeError: another type or dtype.
        ValueError: another shape, a read-only `out`, or values that are not finite or out of range.
        RuntimeError: a CUDA tensor, and no CUDA kernels or no usable device.
    """
    _arrays.need("out", out, ("x", "y", "z"), "uint8")
    rasterize_disc_crops(out[None], _WHOLE_VOLUME, segments_vox, radii_mm, values, spacing_mm, threads=threads)
    return out


def rasterize_disc_crops(
    out: Volume,
    origins: NDArray[np.int64],
    segments_vox: NDArray[np.float64],
    radii_mm: NDArray[np.float64],
    values: NDArray[np.uint8],
    spacing_mm: Sequence[float] | NDArray[np.float64],
    crop_of: NDArray[np.int64] | None = None,
    threads: int | None = None,
) -> Volume:
    """Crops of what `rasterize_discs` paints, each the same bits as if cut out of the whole volume, which is not made.

    Args:
        out: (n, x, y, z) uint8, any strides, NumPy or tensor; cleared to 0, then painted in place.
        origins: (n, 3) int64, NumPy, voxel indices of the first voxel of each crop, at most 2^62 from 0. A crop may lie
            anywhere, on negative indices too.
        segments_vox: (m, 2, 3) float64, NumPy, continuous voxel indices of both ends of each segment.
        radii_mm: (m,) float64, mm, 0 to 1e100.
        values: (m,) uint8, what to paint.
        spacing_mm: (3,), mm between neighbouring voxel centres along x, y, z.
        crop_of: (m,) int64, NumPy, the crop that each segment belongs to, for crops of several scans; None paints every
            segment into every crop.
        threads: at most so many threads; None takes every processor. CUDA ignores it.

    Returns:
        `out`.

    Raises:
        TypeError, ValueError, RuntimeError: as `rasterize_discs`; ValueError for the number of a crop that is not
            there, or an origin too far away.
    """
    _arrays.need("out", out, ("n", "x", "y", "z"), "uint8")
    origins = _arrays.need_origins(origins, len(out))
    _arrays.need("segments_vox", segments_vox, ("m", 2, 3), "float64", tensor=False)
    shapes = _checked(out, "segments_vox", segments_vox, radii_mm, values, spacing_mm, crop_of)
    with _arrays.run_on(threads, out=out) as how:
        _kernels.rasterize_disc_crops(out, origins, *shapes, *how)
    return out


def rasterize_spheres(
    out: Volume,
    centres_vox: NDArray[np.float64],
    radii_mm: NDArray[np.float64],
    values: NDArray[np.uint8],
    spacing_mm: Sequence[float] | NDArray[np.float64],
    threads: int | None = None,
) -> Volume:
    """Paints a sphere around each centre: the dense annotation of Glocker et al. 2013, the paper's baseline.

    A voxel is painted if its distance in mm from the centre is at most the radius; a later sphere overwrites an
    earlier one, and what lies outside the volume is dropped.

    Args:
        out: (x, y, z) uint8, any strides, NumPy or tensor; cleared to 0, then painted in place.
        centres_vox: (m, 3) float64, NumPy, continuous voxel indices.
        radii_mm: (m,) float64, mm, 0 to 1e100.
        values: (m,) uint8, what to paint.
        spacing_mm: (3,), mm between neighbouring voxel centres along x, y, z.
        threads: at most so many threads; None takes every processor. CUDA ignores it.

    Returns:
        `out`.

    Raises:
        TypeError, ValueError, RuntimeError: as `rasterize_discs`.
    """
    _arrays.need("out", out, ("x", "y", "z"), "uint8")
    rasterize_sphere_crops(out[None], _WHOLE_VOLUME, centres_vox, radii_mm, values, spacing_mm, threads=threads)
    return out


def rasterize_sphere_crops(
    out: Volume,
    origins: NDArray[np.int64],
    centres_vox: NDArray[np.float64],
    radii_mm: NDArray[np.float64],
    values: NDArray[np.uint8],
    spacing_mm: Sequence[float] | NDArray[np.float64],
    crop_of: NDArray[np.int64] | None = None,
    threads: int | None = None,
) -> Volume:
    """Crops of what `rasterize_spheres` paints, each the same bits as if cut out of the whole volume.

    Args:
        out, origins, radii_mm, values, spacing_mm, crop_of, threads: as `rasterize_disc_crops`.
        centres_vox: (m, 3) float64, NumPy, continuous voxel indices.

    Returns:
        `out`.

    Raises:
        TypeError, ValueError, RuntimeError: as `rasterize_disc_crops`.
    """
    _arrays.need("out", out, ("n", "x", "y", "z"), "uint8")
    origins = _arrays.need_origins(origins, len(out))
    _arrays.need("centres_vox", centres_vox, ("m", 3), "float64", tensor=False)
    shapes = _checked(out, "centres_vox", centres_vox, radii_mm, values, spacing_mm, crop_of)
    with _arrays.run_on(threads, out=out) as how:
        _kernels.rasterize_sphere_crops(out, origins, *shapes, *how)
    return out


def _checked(
    out: _arrays.Array,
    name: str,
    points_vox: NDArray[np.float64],
    radii_mm: NDArray[np.float64],
    values: NDArray[np.uint8],
    spacing_mm: Sequence[float] | NDArray[np.float64],
    crop_of: NDArray[np.int64] | None,
) -> tuple[
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.uint8],
    tuple[float, float, float],
    NDArray[np.int64] | None,
]:
    """Everything from the points on, C-contiguous."""
    m = len(points_vox)
    _arrays.need("radii_mm", radii_mm, (m,), "float64", tensor=False)
    _arrays.need("values", values, (m,), "uint8", tensor=False)
    spacing = np.asarray(spacing_mm, np.float64)
    if spacing.shape != (3,):
        raise ValueError(f"spacing_mm has shape {spacing.shape}, (3,) is needed: mm along x, y, z")
    if crop_of is not None:
        _arrays.need("crop_of", crop_of, (m,), "int64", tensor=False)
    _arrays.need_writeable("out", out)
    if not np.isfinite(points_vox).all():
        raise ValueError(f"{name} holds NaN or infinity; leave out what has no position")
    if not ((radii_mm >= 0) & (radii_mm <= MAX_RADIUS_MM)).all():
        raise ValueError(f"radii_mm holds a radius that is not in 0..{MAX_RADIUS_MM} mm")
    if not (np.isfinite(spacing).all() and (spacing > 0).all()):
        raise ValueError(f"spacing_mm is {tuple(spacing.tolist())}, three finite numbers above 0 mm are needed")
    if crop_of is not None:
        if m and (crop_of.min() < 0 or crop_of.max() >= len(out)):
            raise ValueError(f"crop_of holds the number of no crop; there are {len(out)}, counted from 0")
        crop_of = np.ascontiguousarray(crop_of)
    x, y, z = spacing.tolist()
    contiguous = np.ascontiguousarray(points_vox), np.ascontiguousarray(radii_mm), np.ascontiguousarray(values)
    return *contiguous, (x, y, z), crop_of
