# SPDX-License-Identifier: Apache-2.0
"""A tissue map one paints simple solids on, each only within its own bounding box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Box: TypeAlias = tuple[slice, slice, slice]
Solid: TypeAlias = tuple[Box, NDArray[np.float32]]
"""A box of voxels and how far, in mm, each lies outside (positive) or inside (negative) of a solid."""

_IDENTITY = np.eye(3)


class Canvas:
    """A tissue map, and the slightly bent space in which solids are painted on it.

    Space is bent by smooth displacements of a few mm, so that no body, rib or organ is a perfect solid. Each axis is
    displaced as a sum of functions of one other axis: the bent coordinates stay sums of three one-dimensional
    functions, and an affine map of them costs two additions per voxel.

    Args:
        shape: voxels along x, y, z.
        spacing_mm: distance of voxel centres along x, y, z.
        origin: (3,) LPS mm of the first voxel's centre.
        rng: draws the displacement; it depends on the place, not on the field of view.
        bend_mm: amplitude of the displacement.

    Attributes:
        tissue: uint8, shape (x, y, z), all 0 at first.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        spacing_mm: tuple[float, float, float],
        origin: ArrayLike,
        rng: np.random.Generator,
        bend_mm: float = 1.0,
    ) -> None:
        self.tissue = np.zeros(shape, np.uint8)
        self.spacing_mm = spacing_mm
        self.origin = np.asarray(origin, np.float64)
        wavelengths = np.array([170.0, 70.0, 33.0])
        self._waves = 2 * np.pi / wavelengths
        # Long waves may be tall and short ones may not, or neighbours would tear apart.
        self._heights = bend_mm * rng.normal(size=(3, 3, 3)) * np.array([1.0, 0.5, 0.2])
        self._heights[np.arange(3), np.arange(3)] = 0
        self._phases = rng.uniform(0, 2 * np.pi, size=(3, 3, 3))
        self._margin = float(np.abs(self._heights).sum(axis=(0, 2)).max())
        self._parts = []
        for axis, (n, step) in enumerate(zip(shape, spacing_mm, strict=True)):
            place = self.origin[axis] + step * np.arange(n)
            part = self._bend(axis, place)
            part[:, axis] += place
            self._parts.append(part)

    def _bend(self, axis: int, place: Array) -> Array:
        # (n, 3): how far coordinates 0, 1, 2 are displaced by where we are along `axis`.
        angle = place[:, None, None] * self._waves + self._phases[axis]
        return np.asarray((self._heights[axis] * np.sin(angle)).sum(axis=2))

    def image_of(self, points: ArrayLike) -> Array:
        """Where points of bent space, shape (n, 3), are found in the scan, LPS mm: the inverse of the bending."""
        points = np.atleast_2d(np.asarray(points, np.float64))
        found = points.copy()
        for _ in range(12):
            found = points - sum(self._bend(axis, found[:, axis]) for axis in range(3))
        return found

    def part(self, axis: int, coordinate: int) -> Array:
        """(n,) mm: what an axis of voxels contributes to a coordinate of bent space."""
        return self._parts[axis][:, coordinate]

    def box(self, low: ArrayLike, high: ArrayLike) -> Box | None:
        """The voxels that may lie between two corners (bent space, mm), or None when there are none."""
        first = np.ceil((np.asarray(low) - self._margin - self.origin) / self.spacing_mm).astype(int).clip(0)
        last = np.floor((np.asarray(high) + self._margin - self.origin) / self.spacing_mm).astype(int) + 1
        last = np.minimum(last, self.tissue.shape)
        if (last <= first).any():
            return None
        return slice(first[0], last[0]), slice(first[1], last[1]), slice(first[2], last[2])

    def project(self, box: Box, matrix: Array, centre: Array) -> list[NDArray[np.float32]]:
        """Bent coordinates minus `centre`, times each column of `matrix`, shape (3, k): k arrays of the box's shape."""
        shifted = (self._parts[axis][box[axis]] - (centre if axis == 0 else 0) for axis in range(3))
        x, y, z = ((part @ matrix).astype(np.float32) for part in shifted)
        return [(x[:, k, None] + y[None, :, k])[:, :, None] + z[None, None, :, k] for k in range(matrix.shape[1])]

    def capsule(
        self,
        start: ArrayLike,
        end: ArrayLike,
        radius: float,
        end_radius: float | None = None,
        frame: Array = _IDENTITY,
        stretch: Sequence[float] = (1.0, 1.0, 1.0),
    ) -> Solid | None:
        """A rod with round ends from `start` to `end` (mm), its cross-section stretched along the axes of `frame`."""
        start, end = np.asarray(start, np.float64), np.asarray(end, np.float64)
        end_radius = radius if end_radius is None else end_radius
        reach = np.abs(frame) @ (max(radius, end_radius) * np.asarray(stretch))
        box = self.box(np.minimum(start, end) - reach, np.maximum(start, end) + reach)
        if box is None:
            return None
        matrix = frame / np.asarray(stretch)
        axis = (end - start) @ matrix
        length2 = max(float(axis @ axis), 1e-6)
        u, v, w, along = self.project(box, np.column_stack([matrix, matrix @ axis / length2]), start)
        t = np.clip(along, 0, 1)
        distance = u * u + v * v + w * w + t * (t - 2 * along) * np.float32(length2)
        distance = np.sqrt(np.maximum(distance, 0, out=distance), out=distance)
        distance -= np.float32(radius) + np.float32(end_radius - radius) * t
        return box, distance

    def ellipsoid(self, centre: ArrayLike, radii: Sequence[float], frame: Array = _IDENTITY) -> Solid | None:
        """An ellipsoid with half axes `radii` (mm) along the columns of `frame`; distances are rough far from it."""
        small = min(radii)
        return self.capsule(centre, centre, small, frame=frame, stretch=[r / small for r in radii])

    def tube(self, points: ArrayLike, radii: ArrayLike, stretch: Sequence[float] = (1.0, 1.0, 1.0)) -> list[Solid]:
        """Capsules along a line of points, shape (n, 3) mm, with one radius or one per point."""
        points = np.asarray(points, np.float64)
        radii = np.broadcast_to(np.asarray(radii, np.float64), len(points))
        solids = (
            self.capsule(points[i], points[i + 1], float(radii[i]), float(radii[i + 1]), stretch=stretch)
            for i in range(len(points) - 1)
        )
        return [solid for solid in solids if solid is not None]

    def paint(
        self,
        solids: Sequence[Solid | None] | Solid | None,
        tissue: int,
        *,
        depth_mm: float = 0,
        only: int | None = None,
    ) -> None:
        """Paints what lies deeper than `depth_mm` in any of the solids, over tissue `only` where that is given."""
        if solids is None:
            return
        for solid in [solids] if isinstance(solids, tuple) else solids:
            if solid is not None:
                box, distance = solid
                mask = distance < -depth_mm
                if only is not None:
                    mask &= self.tissue[box] == only
                self.tissue[box][mask] = tissue
