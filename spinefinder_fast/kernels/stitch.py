# SPDX-License-Identifier: Apache-2.0
"""Overlapping patches of a volume: taking them out, and putting what a network made of them back together.

The paper (section 2.1) keeps the centre of each patch: `stitch_mask`, `stitch_probability`, `stitch_patches`. Blending,
where every patch counts everywhere with a weight, is `blend_patches`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from spinefinder_fast import _kernels
from spinefinder_fast.kernels import _arrays

if TYPE_CHECKING:
    Volume = TypeVar("Volume", bound=_arrays.Array)


INTENSITIES = ("float32", "int16", "uint8", "int8", "uint16", "int32", "float64", "float16", "bfloat16")
"""dtypes of a volume that patches are taken from; bfloat16 in tensors only, which NumPy lacks."""

NETWORK_DTYPES = ("float32", "float16", "bfloat16")
"""dtypes that networks work in."""


class Normalisation(NamedTuple):
    """What a network sees of an intensity: ``clip((intensity - subtract) * multiply, low, high)`` in float32.

    The intensity is rounded to float32 first; NaN stays NaN. The default changes nothing.
    """

    subtract: float = 0.0
    multiply: float = 1.0
    low: float = -np.inf
    high: float = np.inf


AS_IT_IS = Normalisation()


def patch_origins(
    shape: Sequence[int], patch: Sequence[int], margin: Sequence[int], step: Sequence[int] | None = None
) -> NDArray[np.int64]:
    """First voxels of the patches whose centres cover a volume, from voxel 0 on.

    With patches of 64x64x80 and margins of 16x16x20 this is the paper's test procedure: centres of 32x32x40, the
    volume padded by the margin. The last centres may reach beyond the volume.

    Args:
        shape: (3,) voxels of the volume along x, y, z.
        patch: (3,) voxels of a patch.
        margin: (3,) voxels between a patch's border and its centre, on both sides.
        step: (3,) voxels from one patch to the next, at most those of a centre; None is a centre's: no overlap.

    Returns:
        (n, 3) int64 voxel indices, z fastest; the first is ``-margin``.

    Raises:
        TypeError: not whole numbers.
        ValueError: a negative number, a margin that leaves no centre, or a step that leaves gaps.
    """
    shape = _arrays.need_int3("shape", shape, 0)
    patch = _arrays.need_int3("patch", patch, 1)
    margin = _arrays.need_int3("margin", margin, 0)
    centre = tuple(p - 2 * m for p, m in zip(patch, margin, strict=True))
    if min(centre) < 1:
        raise ValueError(f"patch {patch} with margin {margin} leaves no centre; the margin must be under half a patch")
    step = centre if step is None else _arrays.need_int3("step", step, 1)
    if any(s > c for s, c in zip(step, centre, strict=True)):
        raise ValueError(f"step is {step}, which leaves gaps between centres of {centre}; it must not exceed them")
    starts = [
        # As many as it takes for the last centre to reach the volume's end.
        np.arange(0, n - c + s if n > c else min(n, 1), s, dtype=np.int64) - m
        for n, c, s, m in zip(shape, centre, step, margin, strict=True)
    ]
    return np.stack(np.meshgrid(*starts, indexing="ij"), axis=-1).reshape(-1, 3)


def extract_patches(
    volume: _arrays.Array,
    origins: NDArray[np.int64],
    patch_shape: Sequence[int],
    pad_value: float,
    *,
    normalisation: Normalisation = AS_IT_IS,
    dtype: Literal["float32", "float16", "bfloat16"] = "float32",
    out: Any = None,
    threads: int | None = None,
) -> Any:
    """Copies patches out of a volume as a network takes them; the volume is read once for each patch.

    Args:
        volume: (x, y, z), any dtype of `INTENSITIES`, any strides, NumPy or tensor.
        origins: (n, 3) int64, NumPy, voxel index of each patch's first voxel; may lie outside.
        patch_shape: (3,) voxels of a patch.
        pad_value: what stands outside the volume; it is not normalised.
        normalisation: of the intensities, on the way.
        dtype: of the patches, where `out` is None.
        out: (n, px, py, pz), a dtype of `NETWORK_DTYPES`, C-contiguous, where the volume is; allocated if None, of
            the volume's kind.
        threads: at most so many threads; None takes every processor. CUDA ignores it.

    Returns:
        `out`. 16-bit floats are rounded half to even.

    Raises:
        TypeError: another type or dtype.
        ValueError: another shape, a read-only or non-contiguous `out`, or arrays on different devices.
        RuntimeError: a CUDA tensor, and no CUDA kernels or no usable device.
    """
    _arrays.need("volume", volume, ("x", "y", "z"), INTENSITIES)
    origins = _arrays.need_origins(origins)
    shape = (len(origins), *_arrays.need_int3("patch_shape", patch_shape, 0))
    if out is None:
        out = _empty_like(volume, shape, dtype)
    _arrays.need("out", out, shape, NETWORK_DTYPES)
    _arrays.need_writeable("out", out)
    _arrays.need_contiguous("out", out)
    with _arrays.run_on(threads, volume=volume, out=out) as how:
        _kernels.extract_patches(volume, origins, tuple(map(float, normalisation)), pad_value, out, *how)  # type: ignore[arg-type]
    return out


def stitch_patches(
    patches: _arrays.Array,
    origins: NDArray[np.int64],
    margin: Sequence[int],
    out: Volume,
    threads: int | None = None,
) -> Volume:
    """Writes the centre of each patch into a volume; voxels under no centre keep their value.

    The centre is ``[margin, size - margin)`` along each axis. What lies outside the volume is dropped. Where centres
    overlap the last patch in order wins. So the answer does not depend on how patches are split into batches.

    Args:
        patches: (n, c, px, py, pz), a dtype of `NETWORK_DTYPES`, C-contiguous, NumPy or tensor.
        origins: (n, 3) int64, NumPy, voxel index of each patch's first voxel, before its margin.
        margin: (3,) voxels to leave out on both sides.
        out: (c, x, y, z) float32, any strides, where the patches are; written in place.
        threads: at most so many threads; None takes every processor. CUDA ignores it.

    Returns:
        `out`.

    Raises:
        TypeError: another type or dtype.
        ValueError: another shape, a read-only `out`, a negative margin, or arrays on different devices.
        RuntimeError: a CUDA tensor, and no CUDA kernels or no usable device.
    """
    _arrays.need("patches", patches, ("n", "c", "px", "py", "pz"), NETWORK_DTYPES)
    _arrays.need("out", out, (patches.shape[1], "x", "y", "z"), "float32")
    origins, margin = _check_stitch(patches, origins, margin, out)
    with _arrays.run_on(threads, patches=patches, out=out) as how:
        _kernels.stitch_patches(patches, origins, margin, out, *how)
    return out


def stitch_mask(
    patches: _arrays.Array,
    origins: NDArray[np.int64],
    margin: Sequence[int],
    out: Volume,
    threads: int | None = None,
) -> Volume:
    """`stitch_patches` of two-channel logits, fused with the argmax: 1 where channel 1 exceeds channel 0, else 0.

    A tie, or NaN in either channel, is background.

    Args:
        patches: (n, 2, px, py, pz) logits, a dtype of `NETWORK_DTYPES`, C-contiguous, NumPy or tensor.
        origins: (n, 3) int64, NumPy, voxel index of each patch's first voxel, before its margin.
        margin: (3,) voxels to leave out on both sides.
        out: (x, y, z) uint8, any strides, where the patches are; written in place.
        threads: at most so many threads; None takes every processor. CUDA ignores it.

    Returns:
        `out`.

    Raises:
        TypeError, ValueError, RuntimeError: as `stitch_patches`.
    """
    _arrays.need("patches", patches, ("n", 2, "px", "py", "pz"), NETWORK_DTYPES)
    _arrays.need("out", out, ("x", "y", "z"), "uint8")
    origins, margin = _check_stitch(patches, origins, margin, out)
    with _arrays.run_on(threads, patches=patches, out=out) as how:
        _kernels.stitch_mask(patches, origins, margin, out, *how)
    return out


def stitch_probability(
    patches: _arrays.Array,
    origins: NDArray[np.int64],
    margin: Sequence[int],
    out: Volume,
    threads: int | None = None,
) -> Volume:
    """`stitch_patches` of two-channel logits, fused with the softmax: the probability of channel 1.

    Within 4 units in the last place of the exact value, or 1.2e-38; the same bits on every machine. NaN stays NaN.

    Args:
        patches: (n, 2, px, py, pz) logits, a dtype of `NETWORK_DTYPES`, C-contiguous, NumPy or tensor.
        origins: (n, 3) int64, NumPy, voxel index of each patch's first voxel, before its margin.
        margin: (3,) voxels to leave out on both sides.
        out: (x, y, z) float32, any strides, where the patches are; written in place.
        threads: at most so many threads; None takes every processor. CUDA ignores it.

    Returns:
        `out`.

    Raises:
        TypeError, ValueError, RuntimeError: as `stitch_patches`.
    """
    _arrays.need("patches", patches, ("n", 2, "px", "py", "pz"), NETWORK_DTYPES)
    _arrays.need("out", out, ("x", "y", "z"), "float32")
    origins, margin = _check_stitch(patches, origins, margin, out)
    with _arrays.run_on(threads, patches=patches, out=out) as how:
        _kernels.stitch_probability(patches, origins, margin, out, *how)
    return out


def gaussian_window(patch: Sequence[int], sigma: float = 0.125) -> NDArray[np.float32]:
    """How much each voxel of a patch counts when patches are blended: a Gaussian around the patch's middle.

    The importance map of MONAI's sliding window inference in its Gaussian mode: nothing counts less than 0.001, so
    that every voxel under some patch has an answer.

    Args:
        patch: (3,) voxels of a patch.
        sigma: standard deviation, in sides of the patch.

    Returns:
        (px, py, pz) float32, at most 1.

    Raises:
        TypeError, ValueError: `patch` is not three whole numbers above 0, or `sigma` is not above 0.
    """
    patch = _arrays.need_int3("patch", patch, 1)
    if not sigma > 0:
        raise ValueError(f"sigma is {sigma}, a number above 0 is needed, in sides of the patch")
    sides = [np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / (sigma * n)) ** 2) for n in patch]
    product: NDArray[np.float64] = sides[0][:, None, None] * sides[1][:, None] * sides[2]
    return product.clip(min=1e-3).astype(np.float32)


def blend_patches(
    patches: _arrays.Array,
    origins: NDArray[np.int64],
    window: _arrays.Array,
    total: Volume,
    weight: Volume,
    threads: int | None = None,
) -> None:
    """Adds each patch times its window to `total`, and the window to `weight`; ``total / weight`` is the answer.

    What lies outside the volume is dropped. Both sums are taken in float32 in the order of the patches: so they do not
    depend on how patches are split into batches. Where only the larger of two channels counts, no division is needed.

    Args:
        patches: (n, c, px, py, pz), a dtype of `NETWORK_DTYPES`, C-contiguous, NumPy or tensor.
        origins: (n, 3) int64, NumPy, voxel index of each patch's first voxel.
        window: (px, py, pz) float32, C-contiguous, e.g. of `gaussian_window`, where the patches are.
        total: (c, x, y, z) float32, any strides, where the patches are; added to.
        weight: (x, y, z) float32, any strides, where the patches are; added to.
        threads: at most so many threads; None takes every processor. CUDA ignores it.

    Raises:
        TypeError: another type or dtype.
        ValueError: another shape, a read-only `total` or `weight`, or arrays on different devices.
        RuntimeError: a CUDA tensor, and no CUDA kernels or no usable device.
    """
    _arrays.need("patches", patches, ("n", "c", "px", "py", "pz"), NETWORK_DTYPES)
    _arrays.need("window", window, tuple(patches.shape[2:]), "float32")
    _arrays.need("total", total, (patches.shape[1], "x", "y", "z"), "float32")
    _arrays.need("weight", weight, tuple(total.shape[1:]), "float32")
    origins, _ = _check_stitch(patches, origins, (0, 0, 0), total, "total")
    _arrays.need_contiguous("window", window)
    _arrays.need_writeable("weight", weight)
    with _arrays.run_on(threads, patches=patches, window=window, total=total, weight=weight) as how:
        _kernels.blend_patches(patches, origins, window, total, weight, *how)


def _check_stitch(
    patches: _arrays.Array, origins: NDArray[np.int64], margin: Sequence[int], out: _arrays.Array, name: str = "out"
) -> tuple[NDArray[np.int64], tuple[int, int, int]]:
    origins = _arrays.need_origins(origins, patches.shape[0])
    _arrays.need_contiguous("patches", patches)
    _arrays.need_writeable(name, out)
    return origins, _arrays.need_int3("margin", margin, 0)


def _empty_like(volume: _arrays.Array, shape: tuple[int, ...], dtype: str) -> Any:
    if dtype not in NETWORK_DTYPES:
        raise TypeError(f"dtype is {dtype!r}, {' or '.join(NETWORK_DTYPES)} is needed")
    if dtype == "bfloat16" and isinstance(volume, np.ndarray):
        raise TypeError("NumPy has no bfloat16; pass a tensor as out, or as the volume (torch.from_numpy)")
    return _arrays.empty_like(volume, shape, dtype)
