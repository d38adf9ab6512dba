# SPDX-License-Identifier: Apache-2.0
"""NIfTI-1 and NIfTI-2, single files, plain or gzipped.

The pixels are taken from the very bytes that were checked. ITK's own reader fills the missing end of a truncated
file with zeros, takes the voxels of ``a.nii`` when asked for an ``a.nii.gz`` beside it, and refuses axes that are not
exactly orthogonal, which one real scan in ten has. Here a truncated file is refused, and the affine is taken from the
header as it stands.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from spinefinder_fast.errors import GeometryError, ScanError
from spinefinder_fast.files import write_bytes
from spinefinder_fast.geometry import Grid
from spinefinder_fast.scan.stored import Stored, rescale

_FIELDS: Final = ("sizeof_hdr", "dim", "datatype", "bitpix", "pixdim", "vox_offset", "scl_slope", "scl_inter",
                  "xyzt_units", "qform_code", "sform_code", "quatern", "qoffset", "srow", "magic")  # fmt: skip
_NIFTI1: Final = np.dtype(
    {
        "names": _FIELDS,
        "formats": ["<i4", "(8,)<i2", "<i2", "<i2", "(8,)<f4", "<f4", "<f4", "<f4",
                    "u1", "<i2", "<i2", "(3,)<f4", "(3,)<f4", "(3,4)<f4", "S4"],
        "offsets": [0, 40, 70, 72, 76, 108, 112, 116, 123, 252, 254, 256, 268, 280, 344],
        "itemsize": 348,
    }
)  # fmt: skip
_NIFTI2: Final = np.dtype(
    {
        "names": _FIELDS,
        "formats": ["<i4", "(8,)<i8", "<i2", "<i2", "(8,)<f8", "<i8", "<f8", "<f8",
                    "<i4", "<i4", "<i4", "(3,)<f8", "(3,)<f8", "(3,4)<f8", "S8"],
        "offsets": [0, 16, 12, 14, 80, 168, 176, 184, 500, 344, 348, 352, 376, 400, 4],
        "itemsize": 540,
    }
)  # fmt: skip
_DTYPES: Final = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
_CODES: Final = {np.dtype(name): code for code, name in _DTYPES.items()}
_PIECE: Final = 1 << 20
_DEFLATE_LIMIT: Final = 1032
"""No deflate stream grows by more than this factor, so a small file cannot hold what a large header promises."""
_LPS_FROM_RAS: Final = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_nifti(path: Path) -> Stored:
    """Open a NIfTI file whose content, not whose name, says whether it is gzipped.

    Raises:
        ScanError: ``E_EMPTY``, ``E_NOT_NIFTI``, ``E_TRUNCATED``, ``E_DIMS``, ``E_4D``, ``E_DTYPE``, ``E_OFFSET``,
            ``E_NO_ORIENTATION``; and while the slabs are taken ``E_TRUNCATED``, ``E_GZIP_CRC``, ``E_GZIP_DATA``,
            ``E_TOO_MUCH_DATA``.
        GeometryError: ``E_AFFINE``, the orientation is damaged.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start, _, zipped = _begin(file)
    header, order = _header(start)
    shape, dtype, offset = _layout(header, order)
    grid, warnings = _grid(header, shape)
    of_slice = shape[0] * shape[1] * dtype.itemsize
    needed = offset + of_slice * shape[2]
    if needed > size * (_DEFLATE_LIMIT if zipped else 1):
        raise ScanError("E_TRUNCATED", f"the file has {size:,} bytes, its header needs {needed:,}; copy it again")
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if not math.isfinite(slope) or slope == 0 or not math.isfinite(intercept):
        # The standard: no scaling where the slope is 0. Writers also put NaN there.
        slope, intercept = 1.0, 0.0

    def slabs(thickness: int) -> Iterator[NDArray[Any]]:
        slices = [min(thickness, shape[2] - k) for k in range(0, shape[2], thickness)]
        with path.open("rb") as file:
            start, pieces, _ = _begin(file)
            parts = _parts(chain([start], pieces), [offset, *(n * of_slice for n in slices)], warnings)
            next(parts)
            for n, part in zip(slices, parts, strict=True):
                yield rescale(part.view(dtype).reshape((*shape[:2], n), order="F"), slope, intercept)

    return Stored(grid, slabs, warnings)


def write_nifti(path: Path, array: NDArray[Any], grid: Grid) -> None:
    """Write a NIfTI-1 file, gzipped if `path` ends in ``.gz``, with sform and qform set.

    Args:
        path: file to write, whole or not at all.
        array: (i, j, k), one of NIfTI's number types or bool, in the axes of `grid`.
        grid: where `array` sits in the patient. The qform of a sheared grid is its nearest rotation.

    Raises:
        ValueError: `array` does not have the shape of `grid`.
        TypeError: `array` has a type NIfTI does not know.
        OutputError: the file cannot be written.
    """
    if array.shape != grid.shape:
        raise ValueError(f"array has shape {array.shape}, its grid {grid.shape}")
    if array.dtype == np.bool_:
        array = array.view(np.uint8)
    dtype = array.dtype.newbyteorder("<")
    if array.dtype.newbyteorder("=") not in _CODES:
        raise TypeError(f"array has dtype {array.dtype}; NIfTI holds integers and 32 or 64 bit floats")
    from scipy.spatial.transform import Rotation

    affine = grid.affine_ras
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    cosines = affine[:3, :3] / spacing
    handedness = 1.0 if np.linalg.det(cosines) > 0 else -1.0
    left, _, right = np.linalg.svd(cosines * (1.0, 1.0, handedness))
    x, y, z, w = Rotation.from_matrix(left @ right).as_quat()

    header = np.zeros((), _NIFTI1)
    header["sizeof_hdr"] = _NIFTI1.itemsize
    header["dim"] = (3, *grid.shape, 1, 1, 1, 1)
    header["datatype"] = _CODES[array.dtype.newbyteorder("=")]
    header["bitpix"] = dtype.itemsize * 8
    header["pixdim"] = (handedness, *spacing, 0, 0, 0, 0)
    header["vox_offset"] = 352
    header["scl_slope"] = 1
    header["xyzt_units"] = 2
    header["qform_code"] = header["sform_code"] = 1
    # NIfTI stores b, c, d and takes a >= 0; q and -q are the same rotation.
    header["quatern"] = np.array((x, y, z)) * (1.0 if w >= 0 else -1.0)
    header["qoffset"] = affine[:3, 3]
    header["srow"] = affine[:3]
    header["magic"] = b"n+1"
    content = header.tobytes() + bytes(4) + array.astype(dtype, copy=False).tobytes(order="F")
    # mtime=0: the same volume gives the same bytes.
    write_bytes(path, gzip.compress(content, 4, mtime=0) if path.suffix == ".gz" else content)


def _begin(file: BinaryIO) -> tuple[bytes, Iterator[bytes], bool]:
    """At least a header's worth of decompressed bytes, the pieces that follow, and whether the file is gzipped."""
    magic = file.read(2)
    if not magic:
        raise ScanError("E_EMPTY", "the file has 0 bytes; copy it again")
    file.seek(0)
    zipped = magic == b"\x1f\x8b"
    pieces = _inflate(file) if zipped else iter(lambda: file.read(_PIECE), b"")
    start = b""
    try:
        while len(start) < _NIFTI2.itemsize and (piece := next(pieces, b"")):
            start += piece
    except EOFError:
        pieces = iter(())
    return start, pieces, zipped


def _inflate(file: BinaryIO) -> Iterator[bytes]:
    """The decompressed pieces of a gzip file, member after member; each CRC and length is checked.

    Raises:
        EOFError: the last member is cut.
        ScanError: ``E_GZIP_CRC`` or ``E_GZIP_DATA``.
    """
    decoder, fresh = isal_zlib.decompressobj(wbits=31), False
    while piece := file.read(_PIECE):
        while piece:
            try:
                out = decoder.decompress(piece, 4 * _PIECE)
            except isal_zlib.error as error:  # type: ignore[misc]  # its stub calls the class an instance
                if fresh:
                    return  # Not a further member but padding, which carries no pixels.
                if "check" in str(error) and "header" not in str(error):
                    raise ScanError("E_GZIP_CRC", "the gzip checksum does not fit the data; copy it again") from error
                raise ScanError("E_GZIP_DATA", "the compressed data are damaged; copy the file again") from error
            fresh = fresh and not out
            yield out
            piece = decoder.unconsumed_tail
            if decoder.eof:
                piece = decoder.unused_data
                decoder, fresh = isal_zlib.decompressobj(wbits=31), True
    if not fresh:
        raise EOFError


def _parts(pieces: Iterator[bytes], sizes: Sequence[int], warnings: list[str]) -> Iterator[NDArray[np.uint8]]:
    """Consecutive bytes as arrays of these sizes, and then the rest of the pieces, to have the end checked."""
    needed, found = sum(sizes), 0
    whole, piece = True, memoryview(b"")

    def more() -> bool:
        nonlocal piece, found, whole
        try:
            piece = memoryview(next(pieces, b""))
        except EOFError:
            whole, piece = False, memoryview(b"")
        found += len(piece)
        return len(piece) > 0

    for size in sizes:
        part, filled = np.empty(size, np.uint8), 0
        while filled < size:
            if not len(piece) and not more():
                raise ScanError("E_TRUNCATED", f"the data end at {found:,} of {needed:,} bytes; copy the file again")
            taken = min(len(piece), size - filled)
            part[filled : filled + taken] = np.frombuffer(piece, np.uint8, taken)
            filled, piece = filled + taken, piece[taken:]
        yield part
    while more():
        if found > needed + _PIECE:
            raise ScanError(
                "E_TOO_MUCH_DATA",
                f"more data than the {needed:,} bytes the header states: one of them is another scan's; "
                "convert or copy the file again",
            )
    if not whole:
        raise ScanError("E_TRUNCATED", f"the gzip stream ends early, after {found:,} bytes; copy the file again")
    line = f"W_TRAILING: {found - needed:,} bytes follow the pixels and were ignored"
    if found > needed and line not in warnings:
        warnings.append(line)


def _header(start: bytes) -> tuple[Any, str]:
    """The header, and the byte order of the file."""
    if len(start) < _NIFTI1.itemsize:
        raise ScanError("E_NOT_NIFTI", f"a NIfTI header needs {_NIFTI1.itemsize} bytes, found {len(start)}")
    for layout in (_NIFTI1, _NIFTI2):
        for order in "<>":
            if int(np.frombuffer(start, f"{order}i4", 1)[0]) == layout.itemsize and len(start) >= layout.itemsize:
                header = np.frombuffer(start, layout.newbyteorder(order), 1)[0]  # type: ignore[arg-type]
                if bytes(header["magic"])[:3] in (b"n+1", b"n+2"):
                    return header, order
                raise ScanError(
                    "E_NOT_NIFTI", "the header belongs to Analyze or to a .hdr/.img pair; convert it to one .nii file"
                )
    raise ScanError("E_NOT_NIFTI", "the file does not begin with a NIfTI header")


def _layout(header: Any, order: str) -> tuple[tuple[int, int, int], np.dtype[Any], int]:
    """Shape, number type and offset of the pixels."""
    n_axes = int(header["dim"][0])
    if not 1 <= n_axes <= 7:
        raise ScanError("E_DIMS", f"the header states {n_axes} axes, 3 are needed")
    dims = [int(n) for n in header["dim"][1 : n_axes + 1]]
    if min(dims) < 1:
        raise ScanError("E_DIMS", f"the header states a size of {'x'.join(map(str, dims))} voxels")
    if (volumes := math.prod(dims[3:])) > 1:
        raise ScanError("E_4D", f"the file holds {volumes} volumes, one is needed")
    x, y, z = (*dims, 1, 1)[:3]
    code = int(header["datatype"])
    if code not in _DTYPES:
        kind = "colour or complex numbers are not CT" if code in (32, 128, 1792, 2048, 2304) else "not a CT's"
        raise ScanError("E_DTYPE", f"NIfTI data type {code}: {kind}")
    offset = float(header["vox_offset"])
    least = int(header["sizeof_hdr"])
    if not math.isfinite(offset) or not least <= offset < 2**40:
        raise ScanError("E_OFFSET", f"the header puts the pixels at byte {offset:g}, after {least} is needed")
    return (x, y, z), np.dtype(order + _DTYPES[code]), int(offset)


def _grid(header: Any, shape: tuple[int, int, int]) -> tuple[Grid, list[str]]:
    """The grid of the sform if there is one, else of the qform, and warnings."""
    forms = [(name, form) for name, form in (("sform", _sform), ("qform", _qform)) if header[f"{name}_code"] > 0]
    if not forms:
        raise ScanError(
            "E_NO_ORIENTATION", "the header has neither sform nor qform: left and right are unknown; convert it again"
        )
    warnings: list[str] = []
    for name, form in forms[:-1]:
        try:
            return Grid(shape, _LPS_FROM_RAS @ form(header)), warnings
        except GeometryError:
            warnings.append(f"W_{name.upper()}: the {name} is damaged, the qform was used")
    return Grid(shape, _LPS_FROM_RAS @ forms[-1][1](header)), warnings


def _sform(header: Any) -> NDArray[np.float64]:
    return np.vstack([header["srow"].astype(np.float64), (0, 0, 0, 1)])


def _qform(header: Any) -> NDArray[np.float64]:
    from scipy.spatial.transform import Rotation

    quaternion = header["quatern"].astype(np.float64)
    scalar = math.sqrt(max(0.0, 1.0 - float(quaternion @ quaternion)))
    spacing = np.abs(header["pixdim"][1:4].astype(np.float64))
    affine = np.full((4, 4), np.nan)
    if np.isfinite(quaternion).all() and quaternion @ quaternion < 1 + 1e-5:
        affine = np.eye(4)
        rotation = Rotation.from_quat([*quaternion, scalar]).as_matrix()
        affine[:3, :3] = rotation * spacing * (1, 1, -1 if header["pixdim"][0] < 0 else 1)
        affine[:3, 3] = header["qoffset"]
    return affine
