# SPDX-License-Identifier: Apache-2.0
"""One verb for every format: `read_scan`, and what a scan must be to be used safely."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spinefinder_fast.errors import ScanError
from spinefinder_fast.geometry import Grid
from spinefinder_fast.scan.dicom import is_dicom, read_dicom
from spinefinder_fast.scan.itk_image import read_itk
from spinefinder_fast.scan.nifti import read_nifti, read_nifti_grid
from spinefinder_fast.scan.stored import Stored

NIFTI_ENDINGS: Final = (".nii.gz", ".nii")
ITK_ENDINGS: Final = (".nrrd", ".nhdr", ".mha", ".mhd")
_NAMED_ENDINGS: Final = (*NIFTI_ENDINGS, *ITK_ENDINGS, ".dcm")
_AIR_HU: Final = -1024
_LEAN_DEG: Final = 2.0
_SPACING_MM: Final = (0.05, 25.0)


@dataclass(frozen=True, eq=False)
class Scan:
    """A CT scan.

    Attributes:
        array: (x, y, z) int16 or float32, HU, canonical axes (to the left, to the back, up the body): a view of the
            file's voxels, not a copy.
        grid: grid of `array`, LPS mm.
        file_grid: grid of the file's own axes (i, j, k), as nibabel and VerSe understand them; of a DICOM series
            columns, rows, slices along the normal.
        name: the file's name without ``.nii.gz`` and the like; a folder's name as it is.
        path: where it was read from.
        warnings: one line each, what a reader of the result should know.
    """

    array: NDArray[Any]
    grid: Grid
    file_grid: Grid
    name: str
    path: Path
    warnings: tuple[str, ...] = ()


def read_scan(path: str | Path) -> Scan:
    """Read a CT scan: NIfTI, NRRD, MetaImage, a folder with one DICOM series, or one file of a series.

    Raises:
        ScanError: there is no such file, it is no scan, damaged, or cannot be used safely; `code` says which.
        GeometryError: ``E_AFFINE``, its voxels have no usable relation to millimetres.
    """
    path = Path(path)
    try:
        stored = _read(path)
    except OSError as error:
        raise ScanError("E_UNREADABLE", f"cannot be opened: {error.strerror or error}") from error
    warnings = [*stored.warnings, *_check_grid(stored.grid), *_check_values(stored.array)]
    return Scan(
        array=stored.grid.reorientation().apply(stored.array),
        grid=stored.grid.canonical(),
        file_grid=stored.grid,
        name=scan_name(path),
        path=path,
        warnings=tuple(warnings),
    )


def read_grid(path: str | Path) -> Grid:
    """The grid of the scan FILE at `path` (`Scan.file_grid`); of a NIfTI file without reading its voxels.

    Raises:
        ScanError, GeometryError: as `read_scan`.
    """
    path = Path(path)
    if path.name.lower().endswith(NIFTI_ENDINGS) and path.is_file():
        return read_nifti_grid(path)
    return read_scan(path).file_grid


def scan_name(path: Path) -> str:
    """The name of the scan at `path`: the file's without its ending, e.g. ``verse005_ct`` of ``verse005_ct.nii.gz``."""
    if not path.is_dir():
        for ending in _NAMED_ENDINGS:
            if path.name.lower().endswith(ending):
                return path.name[: -len(ending)]
    return path.resolve().name


def _read(path: Path) -> Stored:
    if not path.exists():
        raise ScanError("E_NO_SCAN", "there is no such file or folder")
    if path.is_dir():
        return read_dicom(path)
    if not path.is_file():
        raise ScanError("E_NOT_A_FILE", "not a regular file")
    if path.name.lower().endswith(ITK_ENDINGS):
        return read_itk(path)
    if not path.name.lower().endswith(NIFTI_ENDINGS):
        if is_dicom(path):
            return read_dicom(path)
        raise ScanError("E_NO_SCAN", f"not a scan; DICOM or {', '.join(_NAMED_ENDINGS[:-1])} is needed")
    return read_nifti(path)


def _check_grid(grid: Grid) -> list[str]:
    if min(grid.shape) < 3:
        raise ScanError(
            "E_TOO_FEW_SLICES", f"{'x'.join(map(str, grid.shape))} voxels; at least 3 along each axis are needed"
        )
    spacing = " x ".join(f"{s:g}" for s in grid.spacing_mm)
    if not _SPACING_MM[0] <= min(grid.spacing_mm) <= max(grid.spacing_mm) <= _SPACING_MM[1]:
        raise ScanError("E_SPACING", f"a spacing of {spacing} mm is not a CT's; is its unit right?")
    axes = grid.affine[:3, :3] / grid.spacing_mm
    lean = float(np.degrees(np.arcsin(min(1.0, np.abs(axes.T @ axes - np.eye(3)).max()))))
    if lean > _LEAN_DEG:
        return [f"W_SHEARED: the axes lean {lean:.0f} degrees from a right angle (gantry tilt?); positions are right"]
    return []


def _check_values(array: NDArray[Any]) -> list[str]:
    """Refuse what cannot be HU; replace what is no number, in place."""
    warnings = []
    low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        broken = ~np.isfinite(array)
        share = float(broken.mean())
        if share > 0.01:
            raise ScanError("E_NONFINITE", f"{100 * share:.1f} % of the voxels are no number, at most 1 % may be")
        array[broken] = _AIR_HU
        warnings.append(f"W_NONFINITE: {int(broken.sum()):,} voxels were no number and became {_AIR_HU} HU")
        low, high = float(array.min()), float(array.max())
    if low == high:
        raise ScanError("E_CONSTANT", f"every voxel is {low:g}")
    # A tight crop may hold no air at all, so only a scale that leaves no room for bone is refused.
    if low > -200 and high <= 255:
        raise ScanError("E_NOT_HU", f"voxels range from {low:g} to {high:g}: not Hounsfield units")
    if low >= 0:
        warnings.append(f"W_NOT_HU: no voxel is below 0 HU (range {low:g} to {high:g}); is an offset missing?")
    return warnings
