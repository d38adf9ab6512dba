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
        segments_vox: (n, 2, 3) float64, NumPy, continuous voxel indices of both ends of each segment.
        radii_mm: (n,) float64, mm, at least 0.
        values: (n,) uint8, what to paint.
        spacing_mm: (3,), mm between neighbouring voxel centres along x, y, z.
        threads: at most so many threads; None takes every processor. CUDA ignores it.

    Returns:
        `out`.

    Raises:
        TypeError: another type or dtype.
        ValueError: another shape, a read-only `out`, or values that are not finite or too small.
        RuntimeError: a CUDA tensor, and no CUDA kernels or no usable device.
    """
    _arrays.need("out", out, ("x", "y", "z"), "uint8")
    _arrays.need("segments_vox", segments_vox, ("n", 2, 3), "float64", tensor=False)
    spacing = _check_shapes(out, "segments_vox", segments_vox, radii_mm, values, spacing_mm)
    arguments = np.ascontiguousarray(segments_vox), np.ascontiguousarray(radii_mm), np.ascontiguousarray(values)
    with _arrays.run_on(threads, out=out) as how:
        _kernels.rasterize_discs(out, *arguments, spacing, *how)
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
        centres_vox: (n, 3) float64, NumPy, continuous voxel indices.
        radii_mm: (n,) float64, mm, at least 0.
        values: (n,) uint8, what to paint.
        spacing_mm: (3,), mm between neighbouring voxel centres along x, y, z.
        threads: at most so many threads; None takes every processor. CUDA ignores it.

    Returns:
        `out`.

    Raises:
        TypeError, ValueError, RuntimeError: as `rasterize_discs`.
    """
    _arrays.need("out", out, ("x", "y", "z"), "uint8")
    _arrays.need("centres_vox", centres_vox, ("n", 3), "float64", tensor=False)
    spacing = _check_shapes(out, "centres_vox", centres_vox, radii_mm, values, spacing_mm)
    arguments = np.ascontiguousarray(centres_vox), np.ascontiguousarray(radii_mm), np.ascontiguousarray(values)
    with _arrays.run_on(threads, out=out) as how:
        _kernels.rasterize_spheres(out, *arguments, spacing, *how)
    return out


def _check_shapes(
    out: _arrays.Array,
    name: str,
    points_vox: NDArray[np.float64],
    radii_mm: NDArray[np.float64],
    values: NDArray[np.uint8],
    spacing_mm: Sequence[float] | NDArray[np.float64],
) -> tuple[float, float, float]:
    n = len(points_vox)
    _arrays.need("radii_mm", radii_mm, (n,), "float64", tensor=False)
    _arrays.need("values", values, (n,), "uint8", tensor=False)
    spacing = np.asarray(spacing_mm, np.float64)
    if spacing.shape != (3,):
        raise ValueError(f"spacing_mm has shape {spacing.shape}, (3,) is needed: mm along x, y, z")
    _arrays.need_writeable("out", out)
    if not np.isfinite(points_vox).all():
        raise ValueError(f"{name} holds NaN or infinity; leave out what has no position")
    if not (np.isfinite(radii_mm).all() and (radii_mm >= 0).all()):
        raise ValueError("radii_mm holds a radius that is not finite or is below 0 mm")
    if not (np.isfinite(spacing).all() and (spacing > 0).all()):
        raise ValueError(f"spacing_mm is {tuple(spacing.tolist())}, three finite numbers above 0 mm are needed")
    x, y, z = spacing.tolist()
    return x, y, z
