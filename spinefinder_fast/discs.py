# SPDX-License-Identifier: Apache-2.0
"""Sparse centroids to dense labels (paper, section 2.1): which part of the spine each vertebra owns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from spinefinder_fast import anatomy
from spinefinder_fast.kernels import rasterize_disc_crops, rasterize_sphere_crops

MAX_GAP_RATIO = 1.7
"""Centroids further apart than this many typical gaps have something between them."""

TWINS = (anatomy.LABELS["T12"], anatomy.LABELS["L5"])
"""Labels that a supernumerary vertebra shares with the one above it."""

SPHERE_RADIUS_MM = 14.0
"""Radius of every sphere of the baseline, as in the published code of the paper."""


def vertebra_parts(
    labels: NDArray[np.integer], points_mm: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The part of the spine that each vertebra owns: from the midpoint to its neighbour above to the one below.

    The spine is the line from centroid to centroid. A vertebra's part bends at its centroid: a straight line from
    midpoint to midpoint would cut that corner, and the middle of the discs would miss the centroid by as much as
    4 mm at L5.

    T12 and L5 may stand twice, from head to foot: the second is T13 or L6, which has no label of its own and looks like
    it. Labels that differ by 1, and such twins, are neighbours unless they lie too far apart (`MAX_GAP_RATIO`); a gap
    is never bridged. An end of the spine, or of a part of it next to a gap, is the other midpoint mirrored about the
    centroid. A vertebra without any neighbour owns a straight part of its typical height (`anatomy.height_mm`),
    centred, towards the nearest centroid, or along z if it is alone or that centroid is at the same place.

    Args:
        labels: (n,) integers 1..26, each once but for T12 and L5, in any order.
        points_mm: (n, 3) float64 centroids, mm, in any right-angled frame whose third axis is the body's.

    Returns:
        order: (n,) indices that sort `labels`.
        parts_mm: (n, 3, 3) float64: one end, the centroid and the other end of each part; with neighbours the upper end
            comes first.

    Raises:
        ValueError: lengths differ, a label occurs too often or is outside 1..26, or a point is not finite.
    """
    labels = np.asarray(labels)
    points_mm = np.asarray(points_mm, np.float64)
    n = len(labels)
    if labels.shape != (n,) or points_mm.shape != (n, 3):
        raise ValueError(f"labels {labels.shape} and points {points_mm.shape} do not fit; (n,) and (n, 3) are needed")
    if n and not (np.issubdtype(labels.dtype, np.integer) and labels.min() >= 1 and labels.max() <= anatomy.N_LABELS):
        raise ValueError(f"labels {labels.tolist()} are not whole numbers in 1..{anatomy.N_LABELS}")
    if not np.isfinite(points_mm).all():
        raise ValueError("a centroid is NaN or infinite; leave out what has no position")
    order = np.argsort(labels, kind="stable")
    labels, points = labels[order].astype(np.int64), points_mm[order]
    same = np.diff(labels) == 0
    if (same & ~np.isin(labels[1:], TWINS)).any() or (same[1:] & same[:-1]).any():
        raise ValueError(f"labels {labels.tolist()} hold one too often; a vertebra has one centroid")
    # L5 and S1 on both sides of an L6 that is not annotated are no neighbours: nor is any pair so far apart.
    gaps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    typical = [anatomy.GAPS_MM[anatomy.name_of(int(label))] for label in labels[:-1]]
    adjacent = (np.diff(labels) <= 1) & (gaps < MAX_GAP_RATIO * np.array(typical))

    middles = 0.5 * (points[:-1] + points[1:])
    parts = np.empty((n, 3, 3))
    for i in range(n):
        above = middles[i - 1] if i > 0 and adjacent[i - 1] else None
        below = middles[i] if i < n - 1 and adjacent[i] else None
        if above is None and below is None:
            half = 0.5 * anatomy.height_mm(int(labels[i])) * _direction(points, i)
            above, below = points[i] - half, points[i] + half
        elif above is None:
            above = 2 * points[i] - below
        elif below is None:
            below = 2 * points[i] - above
        parts[i] = above, points[i], below
    return order, parts


@dataclass(frozen=True)
class DenseAnnotation:
    """What `dense_labels` paints, ready to be painted into any window of its grid.

    Attributes:
        shapes_vox: discs, (m, 2, 3) float64: the segments of the spine along which they stand; spheres, (m, 3) float64:
            their centres. Voxels of the grid.
        radii_mm: (m,) float64.
        values: (m,) uint8, labels 1..26.
        spacing_mm: (3,) float64, of the grid.
        dense: which of the two.
    """

    shapes_vox: NDArray[np.float64]
    radii_mm: NDArray[np.float64]
    values: NDArray[np.uint8]
    spacing_mm: NDArray[np.float64]
    dense: Literal["discs", "spheres"] = "discs"

    @classmethod
    def of(
        cls,
        labels: NDArray[np.integer],
        centroids_vox: NDArray[np.float64],
        spacing_mm: Sequence[float],
        dense: Literal["discs", "spheres"] = "discs",
    ) -> DenseAnnotation:
        """Of centroids; arguments and errors are those of `dense_labels`."""
        spacing = np.asarray(spacing_mm, np.float64)
        centroids_mm = np.asarray(centroids_vox, np.float64) * spacing
        order, parts_mm = vertebra_parts(labels, centroids_mm)
        values = np.asarray(labels)[order].astype(np.uint8)
        if dense == "discs":
            radii = np.array([0.5 * anatomy.DIAMETERS_MM[anatomy.name_of(int(v))] for v in values], np.float64)
            # Each part is two straight segments, above and below its centroid.
            segments = np.stack([parts_mm[:, :2], parts_mm[:, 1:]], axis=1).reshape(-1, 2, 3) / spacing
            return cls(segments, radii.repeat(2), values.repeat(2), spacing, dense)
        if dense == "spheres":
            centres = np.asarray(centroids_vox, np.float64)[order]
            return cls(centres, np.full(len(values), SPHERE_RADIUS_MM), values, spacing, dense)
        raise ValueError(f'dense is {dense!r}, "discs" or "spheres" is needed')

    def window(self, origin: Sequence[int], shape: Sequence[int]) -> NDArray[np.uint8]:
        """(x, y, z) uint8: the labels of the voxels from `origin` on, which may lie outside of any scan."""
        out = np.empty((1, *shape), np.uint8)
        paint = rasterize_disc_crops if self.dense == "discs" else rasterize_sphere_crops
        paint(out, np.array([origin]), self.shapes_vox, self.radii_mm, self.values, self.spacing_mm)
        return out.reshape(tuple(shape))

    def bounds_vox(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(3,) and (3,) int64: the first voxel, and the one behind the last, of a box outside of which nothing is
        painted."""
        if not len(self.values):
            return np.zeros(3, np.int64), np.zeros(3, np.int64)
        ends = self.shapes_vox.reshape(len(self.values), -1, 3)
        # A disc lies in an axial plane.
        reach = self.radii_mm[:, None] / self.spacing_mm * (1, 1, self.dense == "spheres")
        low, high = (ends.min(axis=1) - reach).min(axis=0), (ends.max(axis=1) + reach).max(axis=0)
        return np.floor(low).astype(np.int64), np.ceil(high).astype(np.int64) + 1


def dense_labels(
    labels: NDArray[np.integer],
    centroids_vox: NDArray[np.float64],
    shape: Sequence[int],
    spacing_mm: Sequence[float],
    dense: Literal["discs", "spheres"] = "discs",
) -> NDArray[np.uint8]:
    """The dense annotation that both networks are trained on (paper, section 2.1).

    Args:
        labels: (n,) integers 1..26, in any order, each once; T12 and L5 twice where there is a T13 or L6.
        centroids_vox: (n, 3) float64, continuous voxel indices on a canonical grid; may lie outside.
        shape: (3,) voxels along x, y, z.
        spacing_mm: (3,) mm between neighbouring voxel centres.
        dense: ``"discs"`` of half of `anatomy.DIAMETERS_MM` along the spine, or ``"spheres"`` of 14 mm, the baseline
            (Glocker et al. 2013).

    Returns:
        (x, y, z) uint8: 0 background, 1..26 labels. Where vertebrae meet, the one further down the body wins.

    Raises:
        ValueError: as `vertebra_parts`; or another `dense`.
    """
    return DenseAnnotation.of(labels, centroids_vox, spacing_mm, dense).window((0, 0, 0), shape)


def _direction(points: NDArray[np.float64], i: int) -> NDArray[np.float64]:
    """Unit vector from point i to the nearest other one; z where there is none."""
    away = np.delete(points, i, axis=0) - points[i]
    lengths = np.linalg.norm(away, axis=1)
    if lengths.size == 0 or lengths.min() == 0:
        return np.array([0.0, 0.0, 1.0])
    nearest = lengths.argmin()
    return np.asarray(away[nearest] / lengths[nearest])
