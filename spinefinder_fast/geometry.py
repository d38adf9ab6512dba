# SPDX-License-Identifier: Apache-2.0
"""Frames: where a voxel grid sits in the patient, and how to move between grids without moving a voxel.

World coordinates are **LPS millimetres** everywhere in the package (x to the patient's left, y to the back,
z to the head), the frame of DICOM and ITK. Voxel coordinates are continuous indices whose integers are voxel
*centres*. NIfTI's RAS appears only at the door (`ras_from_lps`).

The *canonical* grid of a scan has its array axes closest to L, P and S, in that order: axis 0 runs to the
left, axis 1 to the back, axis 2 up the body, so ``array[i]`` is a sagittal slice with rows front-back and columns
along the body, the input of the identification network (paper, section 2.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinefinder_fast.errors import GeometryError

Points = NDArray[np.float64]
"""An (n, 3) or (3,) array of coordinates."""

_AXCODES = (("L", "R"), ("P", "A"), ("S", "I"))
_RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def ras_from_lps(points_lps: ArrayLike) -> Points:
    """Points in LPS mm, shape (..., 3) -> RAS mm. It is its own inverse."""
    return np.asarray(points_lps, np.float64) * (-1.0, -1.0, 1.0)


@dataclass(frozen=True)
class Reorientation:
    """How canonical array axes are taken from stored ones: a permutation and flips, so always a view.

    Attributes:
        axes: stored axis that becomes canonical axis 0, 1, 2.
        flips: whether canonical axis 0, 1, 2 runs against its stored axis.
    """

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    def apply(self, array: NDArray[Any]) -> NDArray[Any]:
        """View of a stored array, shape (a, b, c), with canonical axes. No voxel is copied."""
        step = tuple(slice(None, None, -1) if flip else slice(None) for flip in self.flips)
        return array.transpose(self.axes)[step]

    def undo(self, array: NDArray[Any]) -> NDArray[Any]:
        """View of a canonical array, shape (x, y, z), with the stored axes: the inverse of `apply`."""
        step = tuple(slice(None, None, -1) if flip else slice(None) for flip in self.flips)
        return array[step].transpose(np.argsort(self.axes))


@dataclass(frozen=True, eq=False)
class Grid:
    """A voxel grid in the patient.

    Attributes:
        shape: number of voxels along each array axis.
        affine: (4, 4) float64, continuous voxel index (i, j, k, 1) -> LPS mm.

    Raises:
        GeometryError: the affine is not a finite invertible (4, 4) matrix.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    def __post_init__(self) -> None:
        affine = np.array(self.affine, np.float64)
        if affine.shape != (4, 4):
            raise GeometryError("E_AFFINE", f"affine has shape {affine.shape}, (4, 4) is needed")
        if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise GeometryError("E_AFFINE", "affine is not finite and invertible; the header's orientation is damaged")
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))

    @classmethod
    def from_spacing(
        cls,
        shape: tuple[int, int, int],
        spacing_mm: float | tuple[float, float, float] = 1.0,
        origin_lps: tuple[float, float, float] = (0.0, 0.0, 0.0),
    ) -> Grid:
        """Axis-aligned canonical grid whose first voxel's centre is at `origin_lps` (mm)."""
        affine = np.eye(4)
        affine[:3, :3] = np.diag(np.broadcast_to(np.asarray(spacing_mm, np.float64), 3))
        affine[:3, 3] = origin_lps
        return cls(shape, affine)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxel centres along each array axis, mm."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel, mm^3."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def affine_ras(self) -> NDArray[np.float64]:
        """(4, 4) float64, continuous voxel index -> RAS mm, as NIfTI wants it."""
        return _RAS_FROM_LPS @ self.affine

    @property
    def axcodes(self) -> str:
        """Three letters, the patient direction TOWARDS which each array axis runs, e.g. ``"LPS"`` or ``"PIR"``."""
        reorientation = self.reorientation()
        codes = [""] * 3
        for world, (axis, flip) in enumerate(zip(reorientation.axes, reorientation.flips, strict=True)):
            codes[axis] = _AXCODES[world][flip]
        return "".join(codes)

    def to_lps(self, points_vox: ArrayLike) -> Points:
        """Continuous voxel indices, shape (..., 3) -> LPS mm."""
        return np.asarray(points_vox, np.float64) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def to_voxel(self, points_lps: ArrayLike) -> Points:
        """LPS mm, shape (..., 3) -> continuous voxel indices."""
        shifted = np.asarray(points_lps, np.float64) - self.affine[:3, 3]
        return shifted @ np.linalg.inv(self.affine[:3, :3]).T

    def contains(self, points_lps: ArrayLike) -> NDArray[np.bool_]:
        """Whether points in LPS mm, shape (n, 3), lie inside the grid's voxels, outer edges included."""
        vox = self.to_voxel(points_lps)
        return np.asarray(((vox >= -0.5) & (vox <= np.array(self.shape) - 0.5)).all(axis=-1))

    def reorientation(self) -> Reorientation:
        """The permutation and flips that bring the array axes closest to L, P and S.

        An oblique grid gets the permutation whose axes deviate least in sum, so no two axes claim one direction.
        """
        cosines = self.affine[:3, :3] / np.linalg.norm(self.affine[:3, :3], axis=0)
        best = max(permutations(range(3)), key=lambda axes: sum(abs(cosines[w, a]) for w, a in enumerate(axes)))
        flips = tuple(bool(cosines[w, a] < 0) for w, a in enumerate(best))
        return Reorientation((best[0], best[1], best[2]), (flips[0], flips[1], flips[2]))

    def canonical(self) -> Grid:
        """The same voxels with canonical axes: the grid of ``self.reorientation().apply(array)``."""
        reorientation = self.reorientation()
        affine = self.affine.copy()
        shape = [self.shape[a] for a in reorientation.axes]
        affine[:3, :3] = self.affine[:3, list(reorientation.axes)]
        for axis, flip in enumerate(reorientation.flips):
            if flip:
                affine[:3, 3] += affine[:3, axis] * (shape[axis] - 1)
                affine[:3, axis] *= -1
        return Grid((shape[0], shape[1], shape[2]), affine)
