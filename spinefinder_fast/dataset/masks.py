# SPDX-License-Identifier: Apache-2.0
"""From masks of whole vertebrae to the centroids of their bodies.

Annotated centroids are centres of vertebral BODIES. The centre of a mask lies well behind that, for the mask also holds
the arch and its processes: 12 mm behind it in the trunk, 7 mm in the neck. What tells the body from the rest is that
it is thick in every direction, and the rest is thin in at least one:

1. Of the mask the largest connected piece is kept, and with it pieces of a fifth of its size: thin pedicles can be
   missing in a mask. Smaller ones are stray voxels; masks of vertebrae that the border cuts have them elsewhere.
2. Voxels deeper in the mask than 0.6 of the deepest are kept, which is an erosion by a ball that is thicker than the
   pedicles. Of the pieces the largest is the core of the body, as long as it lies in the middle between left and right:
   a fractured body, or one of the neck, can be smaller than a facet joint. The deepest voxel does not say which it is.
3. The core is dilated by the same ball within the mask, which gives the body back its flat ends but not the arch. What
   is eroded and not given back would pull the centre towards the thickest part of the body.
4. A thick pedicle may still have held. A body is convex but for its waist, and a body with an arch is not: while
   the result fills less than 0.72 of its convex hull, the ball grows, but not past the thickness of the body. What
   is most solid of all counts.
5. The centre of mass is the point.

C1 has no body: its point is the centre of its whole ring. C2 is the same as every other: the dens is thick, so the
body is the body with its dens. A vertebra that the border cuts keeps its point, flagged as truncated, as long as what
is left is a body: in front of the rest of the mask or most of it, and not much smaller than a body of that level is.
Of masks of the whole sacrum (TotalSegmentator's ``sacrum``) nothing is taken: S1 is one of five fused bodies there.
VerSe's label 26 is such a mask too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull

from spinefinder_fast import anatomy
from spinefinder_fast.errors import AnnotationError, ScanError
from spinefinder_fast.geometry import Grid
from spinefinder_fast.scan.nifti import read_nifti
from spinefinder_fast.spine import Spine, Vertebra

_PREFIX: Final = "vertebrae_"
_ENDING: Final = ".nii.gz"
_BALLS: Final = (0.6, 0.65, 0.7, 0.75, 0.8)
_SOLID: Final = 0.72
_STRAY: Final = 0.2
_KEPT: Final = 0.4
_CORE: Final = 0.3
_OFF_MIDDLE: Final = 0.4
"""How far to the side of a mask's middle the core may lie, relative to the diameter of a body: less than a facet."""
_FINEST_MM: Final = 0.7
"""Masks finer than this are thinned first: it costs a tenth of a millimetre and saves most of the time."""
_SMALLEST_BODY: Final = 0.25
"""Least volume of a body, relative to a cylinder of the typical size of its level: small people and fractures pass."""
_BODY_OF_GAP: Final = 0.75
"""Height of a vertebral body relative to the distance to the next; the rest is disc."""
_IN_FRONT: Final = 0.1
_SACRUM: Final = anatomy.VERSE_NUMBERS["S1"]


def body_centroid(mask: NDArray[np.bool_], grid: Grid, name: str) -> tuple[float, float, float] | None:
    """LPS mm of the vertebral body in the mask of a whole vertebra.

    Args:
        mask: (X, Y, Z) bool, any axes.
        grid: of `mask`.
        name: of the vertebra: how large its body should be, and whether it has one.

    Returns:
        The point, or None where no body is in the mask: it is empty, or a piece of a vertebra that is cut.
    """
    if (box := _box(mask)) is None:
        return None
    step = [max(1, round(_FINEST_MM / s)) for s in grid.spacing_mm]
    start = [s.start for s in box]
    thinned = mask[box][:: step[0], :: step[1], :: step[2]]
    if not thinned.any():  # specks between the voxels that are looked at
        return None
    part = _without_strays(np.pad(thinned, 1))
    spacing = np.multiply(step, grid.spacing_mm)
    left = grid.affine[0, :3] * step / (_OFF_MIDDLE * _diameter_mm(name))
    body = part if name == "C1" else _body(part, spacing, left, _BALLS[:1] if name == "C2" else _BALLS)

    def centre(of: NDArray[np.bool_]) -> NDArray[np.float64]:
        return grid.to_lps((np.argwhere(of).mean(axis=0) - 1) * step + start)

    x, y, z = (float(value) for value in centre(body))
    share = body.sum() / part.sum()
    behind = float(centre(part)[1]) - y
    if body.sum() * np.prod(spacing) < _SMALLEST_BODY * _body_mm3(name) or (
        # Of a vertebra whose body lies outside there may be left an arch, and of an arch the thickest piece is no body.
        name != "C1" and _cut(box, mask.shape) and share < 0.6 and behind < _IN_FRONT * _diameter_mm(name)
    ):
        return None
    return x, y, z


def centroids_of_masks(path: Path, grid: Grid | None = None) -> Spine:
    """Centroids from masks of whole vertebrae.

    Args:
        path: a NIfTI label map with VerSe's numbers, or a folder with one mask per vertebra as TotalSegmentator writes
            them: ``vertebrae_L1.nii.gz``.
        grid: of the scan file, for the result; that of the masks by default. Positions come from the masks' own.

    Returns:
        the centroids, `truncated` where the mask touches the border; what gave none is in the warnings.

    Raises:
        AnnotationError: ``E_MASKS``, they cannot be read or there are none; ``E_LABELS``, numbers that VerSe does not
            know.
    """
    vertebrae, warnings = [], []
    source = path.parent.name if path.is_dir() else path.name.removesuffix(_ENDING)
    try:
        for name, mask, of in _folder(path) if path.is_dir() else _label_map(path):
            grid = grid or of
            point = body_centroid(mask, of, name)
            if point is None:
                if mask.any():
                    warnings.append(f"W_NO_BODY: the mask of {name} holds no vertebral body; it was left out")
                continue
            box = _box(mask)
            vertebrae.append(Vertebra(name, point, truncated=box is not None and _cut(box, mask.shape)))
    except (OSError, ScanError) as error:
        raise AnnotationError("E_MASKS", f"{path}: cannot be read: {error}") from error
    return Spine(tuple(vertebrae), grid, source, tuple(warnings))


def is_mask_folder(folder: Path) -> bool:
    """Whether a folder holds masks of vertebrae as TotalSegmentator writes them."""
    return any(_mask_files(folder))


def _mask_files(folder: Path) -> list[tuple[str, Path]]:
    order = [*anatomy.NAMES, *sorted(anatomy.UNPREDICTED)]
    files = [(name, folder / f"{_PREFIX}{name}{_ENDING}") for name in order]
    return [(name, file) for name, file in files if file.is_file()]


def _folder(folder: Path) -> Any:
    if not (files := _mask_files(folder)):
        raise AnnotationError("E_MASKS", f"{folder}: holds no {_PREFIX}L1{_ENDING} or the like")
    for name, file in files:
        stored = read_nifti(file)
        yield name, stored.read() > 0, stored.grid


def _label_map(path: Path) -> Any:
    stored = read_nifti(path)
    labels = np.rint(stored.read()).astype(np.int32)
    present = [number for number in np.unique(labels).tolist() if number > 0]
    known = set(anatomy.VERSE_NAMES) | {anatomy.VERSE_NUMBERS["S2"]}
    if strange := [number for number in present if number not in known]:
        raise AnnotationError("E_LABELS", f"{path}: no VerSe label map: it holds {strange[:5]}; known are 1 ... 28")
    for number in present:
        # 27 is VerSe's coccyx.
        if number in anatomy.VERSE_NAMES and number != _SACRUM:
            yield anatomy.VERSE_NAMES[number], labels == number, stored.grid


def _without_strays(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    pieces, n = ndimage.label(mask, np.ones((3, 3, 3)))
    if n <= 1:
        return mask
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return np.asarray((sizes >= _STRAY * sizes.max())[pieces])


def _body(
    mask: NDArray[np.bool_], spacing: NDArray[np.float64], left: NDArray[np.float64], balls: tuple[float, ...]
) -> NDArray[np.bool_]:
    depth = ndimage.distance_transform_edt(mask, sampling=spacing)
    best, solidity, first = mask, 0.0, 0
    for share in balls:
        radius = share * depth.max()
        core = _core(depth > radius, mask, left)
        body = mask & (ndimage.distance_transform_edt(~core, sampling=spacing) <= radius)
        size = int(body.sum())
        first = first or size
        if size < _KEPT * first:
            break  # the ball no longer fits into the body: a fractured one is thinner than a facet joint
        if (solid := _solidity(body)) > solidity:
            best, solidity = body, solid
        if solid >= _SOLID:
            break
    return best


def _core(deep: NDArray[np.bool_], mask: NDArray[np.bool_], left: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The largest piece of `deep` that lies less than 1 beside the middle of `mask`; a voxel is `left` to the left."""
    pieces, n = ndimage.label(deep, np.ones((3, 3, 3)))
    if n <= 1:
        return deep
    sizes = np.bincount(pieces.ravel())[1:]
    centres = np.array(ndimage.center_of_mass(deep, pieces, range(1, n + 1)))
    off = np.abs((centres - np.argwhere(mask).mean(axis=0)) @ left)
    # Where the border cuts the vertebra its middle is not that of the mask.
    central = (off < 1) & (sizes >= _CORE * sizes.max())
    return np.asarray(pieces == 1 + np.argmax(np.where(central, sizes, 0) if central.any() else sizes))


def _solidity(mask: NDArray[np.bool_]) -> float:
    """Volume of a mask relative to that of its convex hull, 0 to 1."""
    surface = np.argwhere(mask & ~ndimage.binary_erosion(mask))
    corners = np.indices((2, 2, 2)).reshape(3, 8).T - 0.5
    return float(mask.sum() / ConvexHull((surface[:, None] + corners).reshape(-1, 3)).volume)


def _box(mask: NDArray[np.bool_]) -> tuple[slice, ...] | None:
    # Not ndimage.find_objects: on a file's own order of voxels it takes a hundred times as long.
    sides = [np.flatnonzero(mask.any(axis=(axis - 1, axis - 2))) for axis in range(3)]
    return tuple(slice(int(side[0]), int(side[-1]) + 1) for side in sides) if len(sides[0]) else None


def _cut(box: tuple[slice, ...], shape: tuple[int, ...]) -> bool:
    return any(s.start == 0 or s.stop == n for s, n in zip(box, shape, strict=True))


def _diameter_mm(name: str) -> float:
    return anatomy.DIAMETERS_MM[anatomy.like(name)]


def _body_mm3(name: str) -> float:
    height = _BODY_OF_GAP * anatomy.height_mm(anatomy.label_of(anatomy.like(name)))
    return float(np.pi / 4 * _diameter_mm(name) ** 2 * height)
