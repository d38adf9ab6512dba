# SPDX-License-Identifier: Apache-2.0
"""Classic DICOM CT series: pydicom reads the headers, which are checked and sorted here; ITK decodes the pixels.

The affine comes from the positions and orientations themselves, so a tilted gantry gives the sheared grid it is.
Messages name files and numbers, never the content of a tag that could tell who the patient is.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spinefinder_fast.errors import GeometryError, ScanError
from spinefinder_fast.geometry import Grid
from spinefinder_fast.scan.itk_image import itk_modules, pixels
from spinefinder_fast.scan.stored import Stored

_TAGS: Final = (
    "SeriesInstanceUID", "Modality", "ImageType", "Rows", "Columns", "SamplesPerPixel", "NumberOfFrames", "BitsStored",
    "BitsAllocated", "PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient",
    "RescaleSlope", "RescaleIntercept",
)  # fmt: skip
_WARN_GAP: Final = 0.01
_REFUSE_GAP: Final = 0.05
"""Share of the median gap by which one gap may differ."""


@dataclass(frozen=True)
class _Slice:
    path: Path
    header: Any

    def numbers(self, keyword: str, n: int, code: str) -> NDArray[np.float64]:
        """The `n` finite numbers of a tag.

        Raises:
            ScanError: `code`, the tag is missing or is not `n` numbers.
        """
        try:
            values = np.array(self.header[keyword].value, np.float64).reshape(-1)
        except (KeyError, TypeError, ValueError):
            values = np.empty(0)
        if values.size != n or not np.isfinite(values).all():
            raise ScanError(code, f"{self.path.name}: {keyword} is missing or not {n} numbers")
        return values


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM part 10 does, 128 bytes of anything, then ``DICM``, and is no index of a disc."""
    if path.name == "DICOMDIR":
        return False
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def series_in(folder: Path) -> list[list[Path]]:
    """The files of each CT series in a folder, not in its sub-folders; localizers are left out.

    Where there is no CT series at all, the files of each other series.
    """
    return [[s.path for s in series] for series in _series_in(folder)]


def read_dicom(path: Path) -> Stored:
    """Open the series in a folder, or the series to which a file belongs; every header is read and checked.

    Raises:
        ScanError: ``E_NO_SCAN``, ``E_MANY_SERIES``, ``E_HEADER``, ``E_MODALITY``, ``E_MULTIFRAME``, ``E_COLOUR``,
            ``E_TRUNCATED``, ``E_MIXED_GRID``, ``E_SPACING``, ``E_ORIENTATION``, ``E_NO_POSITION``, ``E_NO_RESCALE``,
            ``E_TOO_FEW_SLICES``, ``E_DUPLICATE_POSITION`` or ``E_GAP``; ``E_DECODE`` while the slabs are taken.
    """
    folder = path if path.is_dir() else path.parent
    series = _series_in(folder)
    if path.is_file():
        series = [s for s in series if any(one.path == path for one in s)]
    if not series:
        raise ScanError("E_NO_SCAN", "no DICOM series of CT images here")
    if len(series) > 1:
        examples = ", ".join(s[0].path.name for s in series[:5])
        raise ScanError("E_MANY_SERIES", f"the folder holds {len(series)} series; name one file of one: {examples}")
    slices = series[0]
    for one in slices:
        with _damage_told(one.path):
            _check(one, slices[0])
    slices, affine, warnings = _stack(slices)
    whole = all(_fits_int16(s) for s in slices)
    return Stored(
        _grid(slices, affine),
        lambda thickness: (_decode(slices[k : k + thickness], whole) for k in range(0, len(slices), thickness)),
        list(warnings),
    )


def _series_in(folder: Path) -> list[list[_Slice]]:
    import pydicom

    groups: dict[str, list[_Slice]] = defaultdict(list)
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        if is_dicom(path):
            with _damage_told(path):
                header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS))
                # pydicom makes sense of a value when it is asked for, and fails then.
                list(header)
            if "LOCALIZER" not in (header.get("ImageType") or ()):
                groups[str(header.get("SeriesInstanceUID", ""))].append(_Slice(path, header))
    series = sorted(groups.values(), key=lambda s: s[0].path)
    return [s for s in series if s[0].header.get("Modality") == "CT"] or series


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    """What pydicom and tags that make no sense raise, by whatever name, as one error that names the file."""
    try:
        yield
    except (ScanError, GeometryError, OSError):
        raise
    except Exception as error:
        raise ScanError(
            "E_HEADER", f"{path.name}: the header is damaged ({type(error).__name__}); export the series again"
        ) from error


def _check(one: _Slice, first: _Slice) -> None:
    """One slice by itself, and against the first."""
    header, name = one.header, one.path.name
    if header.get("Modality") != "CT":
        raise ScanError("E_MODALITY", f"{name}: modality is {header.get('Modality', 'not stated')!s:.16}, CT is needed")
    missing = [keyword for keyword in ("Rows", "Columns") if not header.get(keyword)]
    missing += [] if header.file_meta.get("TransferSyntaxUID") else ["TransferSyntaxUID"]
    if missing:
        raise ScanError("E_HEADER", f"{name}: the header has no {', '.join(missing)}; export the series again")
    if int(header.get("NumberOfFrames") or 1) > 1:
        raise ScanError("E_MULTIFRAME", f"{name}: multi-frame DICOM is not supported; convert it to NIfTI")
    if int(header.get("SamplesPerPixel") or 1) != 1:
        raise ScanError("E_COLOUR", f"{name}: a colour picture is not CT")
    if not header.file_meta.TransferSyntaxUID.is_compressed:
        # GDCM fills what is missing with zeros.
        needed = int(header.Rows) * int(header.Columns) * int(header.get("BitsAllocated") or 16) // 8
        if (size := one.path.stat().st_size) < needed:
            raise ScanError("E_TRUNCATED", f"{name} has {size:,} bytes, its pixels need {needed:,}; copy it again")
    spacing = one.numbers("PixelSpacing", 2, "E_SPACING")
    orientation = one.numbers("ImageOrientationPatient", 6, "E_ORIENTATION").reshape(2, 3)
    one.numbers("ImagePositionPatient", 3, "E_NO_POSITION")
    for keyword in ("RescaleSlope", "RescaleIntercept"):
        one.numbers(keyword, 1, "E_NO_RESCALE")
    if spacing.min() <= 0:
        raise ScanError("E_SPACING", f"{name}: PixelSpacing is {spacing.min():g} mm")
    if not np.allclose(orientation @ orientation.T, np.eye(2), atol=1e-2):
        raise ScanError("E_ORIENTATION", f"{name}: ImageOrientationPatient is not two perpendicular unit vectors")
    same = (
        (header.get("Rows"), header.get("Columns")) == (first.header.get("Rows"), first.header.get("Columns"))
        and np.allclose(spacing, first.numbers("PixelSpacing", 2, "E_SPACING"), rtol=1e-3)
        and np.allclose(orientation.ravel(), first.numbers("ImageOrientationPatient", 6, "E_ORIENTATION"), atol=1e-3)
    )
    if not same:
        raise ScanError("E_MIXED_GRID", f"{name} differs from {first.path.name} in size, pixel spacing or orientation")


def _stack(slices: list[_Slice]) -> tuple[list[_Slice], NDArray[np.float64], tuple[str, ...]]:
    """The slices in order along their normal, the affine of the stack, and warnings."""
    if len(slices) < 3:
        raise ScanError("E_TOO_FEW_SLICES", f"the series has {len(slices)} slices, at least 3 are needed")
    rows, columns = slices[0].numbers("ImageOrientationPatient", 6, "E_ORIENTATION").reshape(2, 3)
    rows, columns = rows / np.linalg.norm(rows), columns / np.linalg.norm(columns)
    positions = np.array([s.numbers("ImagePositionPatient", 3, "E_NO_POSITION") for s in slices])
    heights = positions @ np.cross(rows, columns)
    order = np.argsort(heights, kind="stable")
    slices, positions, gaps = [slices[i] for i in order], positions[order], np.diff(heights[order])

    def pair(i: int) -> str:
        return f"{slices[i].path.name} and {slices[i + 1].path.name}"

    least = int(gaps.argmin())
    if gaps[least] < 0.01:
        twins = int((gaps < 0.01).sum())
        raise ScanError(
            "E_DUPLICATE_POSITION", f"{pair(least)} lie at the same position ({twins} such pairs); keep one of each"
        )
    typical = float(np.median(gaps))
    deviation = np.abs(gaps / typical - 1)
    worst = int(deviation.argmax())
    found = f"{gaps[worst]:.3f} mm between {pair(worst)}, {typical:.3f} mm elsewhere"
    if deviation[worst] > _REFUSE_GAP:
        raise ScanError("E_GAP", f"{found}: slices are missing or do not belong together")
    row_spacing, column_spacing = slices[0].numbers("PixelSpacing", 2, "E_SPACING")
    affine = np.eye(4)
    # PixelSpacing: first the distance between rows (down a column), then between columns.
    affine[:3, 0] = rows * column_spacing
    affine[:3, 1] = columns * row_spacing
    affine[:3, 2] = (positions[-1] - positions[0]) / (len(slices) - 1)
    affine[:3, 3] = positions[0]
    return slices, affine, (f"W_GAP: {found}",) if deviation[worst] > _WARN_GAP else ()


def _grid(slices: list[_Slice], affine: NDArray[np.float64]) -> Grid:
    header = slices[0].header
    return Grid((int(header.Columns), int(header.Rows), len(slices)), affine)


def _decode(slices: list[_Slice], whole: bool) -> NDArray[Any]:
    """HU of the slices in their order, (columns, rows, slices): int16 if they are whole numbers, else float32."""
    with itk_modules() as itk:
        reader = itk.ImageSeriesReader[itk.Image[itk.SS if whole else itk.F, 3]].New()
        reader.SetImageIO(itk.GDCMImageIO.New())
        reader.SetFileNames([str(s.path) for s in slices])
        reader.ForceOrthogonalDirectionOff()
        try:
            reader.Update()
        except RuntimeError as error:
            if len(slices) > 1:  # one by one, so that the damaged file is named
                for one in slices:
                    _decode([one], whole)
            name = slices[0].path.name if len(slices) == 1 else slices[0].path.parent.name
            raise ScanError("E_DECODE", f"{name}: ITK cannot decode its pixels; copy it again") from error
        return pixels(itk, reader.GetOutput())


def _fits_int16(one: _Slice) -> bool:
    slope = float(one.numbers("RescaleSlope", 1, "E_NO_RESCALE")[0])
    intercept = float(one.numbers("RescaleIntercept", 1, "E_NO_RESCALE")[0])
    bits = int(one.header.get("BitsStored") or 16)
    whole = math.isclose(slope, round(slope)) and math.isclose(intercept, round(intercept))
    return whole and abs(slope) * (2**bits) + abs(intercept) < 2**15
