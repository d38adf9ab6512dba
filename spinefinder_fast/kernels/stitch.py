# SPDX-License-Identifier: Apache-2.0
"""Overlapping patches of a volume: taking them out, and writing back their centres (paper, section 2.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from spinefinder_fast import _kernels
from spinefinder_fast.kernels import _arrays

if TYPE_CHECKING:
    Volume = TypeVar("Volume", bound=_arrays.Array)


def patch_origins(shape: Sequence[int], patch: Sequence[int], margin: Sequence[int]) -> NDArray[np.int64]:
    """First voxels of the patches whose centres tile a volume, from voxel 0 on and without overlap.

    With patches of 64x64x80 and margins of 16x16x20 this is the paper's test procedure: centres of 32x32x40, the
    volume padded by the margin. The last centres may reach beyond the volume.

    Args:
        shape: (3,) voxels of the volume along x, y, z.
        patch: (3,) voxels of a patch.
        margin: (3,) voxels between a patch's border and its centre, on both sides.

    Returns:
        (n, 3) int64 voxel indices, z fastest; the first is ``-margin``.

    Raises:
        TypeError: not whole numbers.
        ValueError: a negative number, or a margin that leaves no centre.
    """
    shape = _arrays.need_int3("shape", shape, 0)
    patch = _arrays.need_int3("patch", patch, 1)
    margin = _arrays.need_int3("margin", margin, 0)
    centre = [p - 2 * m for p, m in zip(patch, margin, strict=True)]
    if min(centre) < 1:
        raise ValueError(f"patch {patch} with margin {margin} leaves no centre; the margin must be under half a patch")
    starts = [np.arange(0, n, c, dtype=np.int64) - m for n, c, m in zip(shape, centre, margin, strict=True)]
    return np.stack(np.meshgrid(*starts, indexing="ij"), axis=-1).reshape(-1, 3)


def extract_patches(
    volume: Volume,
    origins: NDArray[np.int64],
    patch_shape: Sequence[int],
    pad_value: float,
    out: Volume | None = None,
    threads: int | None = None,
) -> Volume:
    """Copies patches out of a volume; what lies outside the volume is `pad_value`.

    Args:
        volume: (x, y, z) float32, any strides, NumPy or CUDA tensor.
        origins: (n, 3) int64, NumPy, voxel index of each patch's first voxel; may lie outside.
        patch_shape: (3,) voxels of a patch.
        pad_value: value outside the volume, in the volume's unit.
        out: (n, px, py, pz) float32, C-contiguous, where the volume is; allocated if None.
        threads: at most so many threads; None takes every processor. CUDA tensors ignore it.

    Returns:
        `out`.

    Raises:
        TypeError: another type or dtype.
        ValueError: another shape, a read-only or non-contiguous `out`, or arrays on different devices.
        RuntimeError: a CUDA tensor, and no CUDA kernels or no usable device.
    """
    _arrays.need("volume", volume, ("x", "y", "z"), "float32")
    origins = _arrays.need_origins(origins)
    shape = (len(origins), *_arrays.need_int3("patch_shape", patch_shape, 0))
    if out is None:
        out = _empty_like(volume, shape)
    _arrays.need("out", out, shape, "float32")
    cuda = _arrays.need_one_place(volume=volume, out=out)
    _arrays.need_writeable("out", out)
    _arrays.need_contiguous("out", out)
    if cuda:
        _kernels.extract_patches_cuda(volume, origins, pad_value, out, _arrays.stream_of(out))
    else:
        _kernels.extract_patches(volume, origins, pad_value, out, _arrays.threads_or_all(threads))
    return out


def stitch_patches(
    patches: Volume,
    origins: NDArray[np.int64],
    margin: Sequence[int],
    out: Volume,
    threads: int | None = None,
) -> Volume:
    """Writes the centre of each patch into a volume; voxels under no centre keep their value.

    The centre is ``[margin, size - margin)`` along each axis. What lies outside the volume is dropped. Where centres
    overlap the last patch in order wins.

    Args:
        patches: (n, c, px, py, pz) float32, C-contiguous, NumPy or CUDA tensor.
        origins: (n, 3) int64, NumPy, voxel index of each patch's first voxel, before its margin.
        margin: (3,) voxels to leave out on both sides.
        out: (c, x, y, z) float32, any strides, where the patches are; written in place.
        threads: at most so many threads; None takes every processor. CUDA tensors ignore it.

    Returns:
        `out`.

    Raises:
        TypeError: another type or dtype.
        ValueError: another shape, a read-only `out`, a negative margin, or arrays on different devices.
        RuntimeError: a CUDA tensor, and no CUDA kernels or no usable device.
    """
    _arrays.need("patches", patches, ("n", "c", "px", "py", "pz"), "float32")
    _arrays.need("out", out, (patches.shape[1], "x", "y", "z"), "float32")
    origins, margin, cuda = _check_stitch(patches, origins, margin, out)
    if cuda:
        _kernels.stitch_patches_cuda(patches, origins, margin, out, _arrays.stream_of(out))
    else:
        _kernels.stitch_patches(patches, origins, margin, out, _arrays.threads_or_all(threads))
    return out


def stitch_mask(
    patches: Volume,
    origins: NDArray[np.int64],
    margin: Sequence[int],
    out: Volume,
    threads: int | None = None,
) -> Volume:
    """`stitch_patches` of two-channel logits, fused with the argmax: 1 where channel 1 exceeds channel 0, else 0.

    A tie, or NaN in either channel, is background.

    Args:
        patches: (n, 2, px, py, pz) float32 logits, C-contiguous, NumPy or CUDA tensor.
        origins: (n, 3) int64, NumPy, voxel index of each patch's first voxel, before its margin.
        margin: (3,) voxels to leave out on both sides.
        out: (x, y, z) uint8, any strides, where the patches are; written in place.
        threads: at most so many threads; None takes every processor. CUDA tensors ignore it.

    Returns:
        `out`.

    Raises:
        TypeError, ValueError, RuntimeError: as `stitch_patches`.
    """
    _arrays.need("patches", patches, ("n", 2, "px", "py", "pz"), "float32")
    _arrays.need("out", out, ("x", "y", "z"), "uint8")
    origins, margin, cuda = _check_stitch(patches, origins, margin, out)
    if cuda:
        _kernels.stitch_mask_cuda(patches, origins, margin, out, _arrays.stream_of(out))
    else:
        _kernels.stitch_mask(patches, origins, margin, out, _arrays.threads_or_all(threads))
    return out


def _check_stitch(
    patches: _arrays.Array, origins: NDArray[np.int64], margin: Sequence[int], out: _arrays.Array
) -> tuple[NDArray[np.int64], tuple[int, int, int], bool]:
    origins = _arrays.need_origins(origins, patches.shape[0])
    cuda = _arrays.need_one_place(patches=patches, out=out)
    _arrays.need_contiguous("patches", patches)
    _arrays.need_writeable("out", out)
    return origins, _arrays.need_int3("margin", margin, 0), cuda


def _empty_like(volume: Volume, shape: tuple[int, ...]) -> Any:
    if isinstance(volume, np.ndarray):
        return np.empty(shape, np.float32)
    return volume.new_empty(shape)
