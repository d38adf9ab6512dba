# SPDX-License-Identifier: Apache-2.0
"""One verb for every format: `read_scan`, or `open_scan` where the voxels are wanted part by part; and what a scan must
be to be used safely."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from spinefinder_fast.errors import ScanError
from spinefinder_fast.geometry import Grid
from spinefinder_fast.scan.dicom import is_dicom, read_dicom
from spinefinder_fast.scan.itk_image import read_itk
from spinefinder_fast.scan.nifti import read_nifti
from spinefinder_fast.scan.stored import Stored

NIFTI_ENDINGS: Final = (".nii.gz", ".nii")
ITK_ENDINGS: Final = (".nrrd", ".nhdr", ".mha", ".mhd")
_NAMED_ENDINGS: Final = (*NIFTI_ENDINGS, *ITK_ENDINGS, ".dcm")
_AIR_HU: Final = -1024
_LEAN_DEG: Final = 2.0
_SPACING_MM: Final = (0.05, 25.0)
_SLAB_VOXELS: Final = 8_000_000
"""About thirty slices of 512 x 512: 16 MB, and as many again are read ahead."""

LARGE_VOXELS: Final = 250_000_000
"""A scan with more, 512 x 512 x 950, is better left in its file."""

T = TypeVar("T")


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


@dataclass(frozen=True)
class Slab:
    """A part of a scan that was cut across one axis.

    Attributes:
        array: (x, y, z) int16 or float32, HU, canonical axes.
        axis: the canonical axis across which the scan was cut.
        first: the index along it of the slab's first voxels in the scan.
    """

    array: NDArray[Any]
    axis: int
    first: int


class ScanFile:
    """A CT scan that stays in its file: its header is read and checked, its voxels come part by part.

    A NIfTI file or a DICOM series of any length so takes the memory of a few slices; NRRD and MetaImage are held whole.

    Attributes:
        grid, file_grid, name, path: as of a `Scan`.
        warnings: as of a `Scan`; all of them when the voxels have been read.
    """

    def __init__(self, path: Path, stored: Stored) -> None:
        self._stored = stored
        self._of_grid = _check_grid(stored.grid)
        self.grid = stored.grid.canonical()
        self.file_grid = stored.grid
        self.name = scan_name(path)
        self.path = path
        self.warnings: tuple[str, ...] = (*stored.warnings, *self._of_grid)

    @property
    def voxels(self) -> int:
        """How many it has."""
        return prod(self.grid.shape)

    def slabs(self) -> Iterator[Slab]:
        """The voxels, in slabs that adjoin each other and come one after the other from one end of the scan or from
        the other; while one is worked on, the next is read.

        Raises:
            ScanError: the voxels are damaged or cannot be used safely; what only all of them tell, after the last slab.
        """
        rows, columns, slices = self.file_grid.shape
        return self._read(max(1, min(_SLAB_VOXELS // (rows * columns), slices)))

    def read(self) -> Scan:
        """All of it.

        Raises:
            ScanError: as `slabs`.
        """
        (slab,) = self._read(self.file_grid.shape[2])
        return Scan(slab.array, self.grid, self.file_grid, self.name, self.path, self.warnings)

    def _read(self, thickness: int) -> Iterator[Slab]:
        turn, seen = self.file_grid.reorientation(), _Values()
        axis, taken = turn.axes.index(2), 0
        with _os_errors():
            for stored in _ahead(self._stored.slabs(thickness)):
                array = turn.apply(seen.add(stored))
                taken += array.shape[axis]
                first = self.grid.shape[axis] - taken if turn.flips[axis] else taken - array.shape[axis]
                yield Slab(array, axis, first)
        self.warnings = (*self._stored.warnings, *self._of_grid, *seen.verdict())


def open_scan(path: str | Path) -> ScanFile:
    """Open a CT scan: NIfTI, NRRD, MetaImage, a folder with one DICOM series, or one file of a series.

    Raises:
        ScanError: there is no such file, it is no scan, or its header is damaged; `code` says which.
        GeometryError: ``E_AFFINE``, its voxels have no usable relation to millimetres.
    """
    path = Path(path)
    with _os_errors():
        return ScanFile(path, _open(path))


def read_scan(path: str | Path) -> Scan:
    """Read a CT scan: NIfTI, NRRD, MetaImage, a folder with one DICOM series, or one file of a series.

    Raises:
        ScanError: there is no such file, it is no scan, damaged, or cannot be used safely; `code` says which.
        GeometryError: ``E_AFFINE``, its voxels have no usable relation to millimetres.
    """
    return open_scan(path).read()


def read_grid(path: str | Path) -> Grid:
    """The grid of the scan at `path` (`Scan.file_grid`), without its voxels.

    Raises:
        ScanError, GeometryError: as `open_scan`.
    """
    return open_scan(path).file_grid


def scan_name(path: Path) -> str:
    """The name of the scan at `path`: the file's without its ending, e.g. ``verse005_ct`` of ``verse005_ct.nii.gz``."""
    if not path.is_dir():
        for ending in _NAMED_ENDINGS:
            if path.name.lower().endswith(ending):
                return path.name[: -len(ending)]
    return path.resolve().name


def _open(path: Path) -> Stored:
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


class _Values:
    """What the voxels of a scan are, seen slab by slab: can they be HU?"""

    def __init__(self) -> None:
        self._low, self._high, self._count, self._broken = np.inf, -np.inf, 0, 0

    def add(self, array: NDArray[Any]) -> NDArray[Any]:
        """Look at some voxels; the same ones, air where they are no number. The array itself is left as it is: a scan
        that is held may be read twice."""
        low, high = float(array.min()), float(array.max())
        self._count += array.size
        if not (np.isfinite(low) and np.isfinite(high)):
            broken = ~np.isfinite(array)
            self._broken += int(broken.sum())
            # What is filled in says nothing about the others: one hole does not make HU of them.
            low, high = array.min(where=~broken, initial=np.inf), array.max(where=~broken, initial=-np.inf)
            array = np.where(broken, np.array(_AIR_HU, array.dtype), array)
        self._low, self._high = min(self._low, float(low)), max(self._high, float(high))
        return array

    def verdict(self) -> list[str]:
        """Warnings about all voxels that were added.

        Raises:
            ScanError: they cannot be HU.
        """
        warnings = []
        if self._broken > 0.01 * self._count:
            share = self._broken / self._count
            raise ScanError("E_NONFINITE", f"{100 * share:.1f} % of the voxels are no number, at most 1 % may be")
        if self._broken:
            warnings.append(f"W_NONFINITE: {self._broken:,} voxels were no number and became {_AIR_HU} HU")
        low, high = self._low, self._high
        if low == high:
            raise ScanError("E_CONSTANT", f"every voxel is {low:g}: there is no image; export the scan again")
        # A tight crop may hold no air at all, so only a scale that leaves no room for bone is refused.
        if low > -200 and high <= 255:
            raise ScanError(
                "E_NOT_HU",
                f"voxels range from {low:g} to {high:g}, Hounsfield units are needed; export the CT itself, "
                "not a windowed picture of it, a mask or an MRI",
            )
        if low >= 0:
            warnings.append(f"W_NOT_HU: no voxel is below 0 HU (range {low:g} to {high:g}); is an offset missing?")
        return warnings


def _ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items; while one is worked on, a thread makes the next."""
    with ThreadPoolExecutor(1, "spinefinder-read") as pool:
        coming = pool.submit(next, items, None)
        try:
            while (item := coming.result()) is not None:
                coming = pool.submit(next, items, None)
                yield item
        finally:
            # What failed holds this frame and with it the scan, until the next collection of garbage.
            del coming


@contextmanager
def _os_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ScanError("E_UNREADABLE", f"cannot be opened: {error.strerror or error}") from error
