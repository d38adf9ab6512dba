# SPDX-License-Identifier: Apache-2.0
"""Elastic deformation by a coarse grid of control points: the paper's augmentation (section 2.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from spinefinder_fast import _kernels
from spinefinder_fast.kernels import _arrays

Mode = Literal["nearest", "wrap", "reflect", "mirror", "constant"]

Axis = int | tuple[int, ...] | None

MODES: tuple[Mode, ...] = ("nearest", "wrap", "reflect", "mirror", "constant")
"""What may lie beyond the border, in the order in which the compiled kernel numbers them."""

ORDERS = (0, 1, 3)
"""Of the interpolating spline: the nearest voxel, linear, cubic."""

MAX_SIDE = 2**31 - 1
"""Voxels along a deformed axis."""


def deform_grid(
    images: Any,
    displacement: NDArray[np.float64],
    *,
    axis: Axis | list[Axis] = None,
    order: int | Sequence[int] = 3,
    mode: Mode | Sequence[Mode] = "constant",
    cval: float | Sequence[float] = 0.0,
    crop: Sequence[slice] | None = None,
    out: Any = None,
    threads: int | None = None,
) -> Any:
    """Deforms images by displacements that are given at control points; a list of images by the same ones.

    Voxel i of the answer is the image at i + d(i). The control points are spread evenly from the first to the last
    voxel of each deformed axis; d is the cubic B-spline through them, mirrored at the border. Only the crop is made.

    Arguments and answers are those of elasticdeform 0.5 (van Tulder), but for rounding: order 0 may pick the next voxel
    where a coordinate is within 1e-6 of a half, and orders 1 and 3 differ by at most 1e-6 and 5e-6 of the largest
    magnitude in the image.

    A mode says what lies beyond the centres of the outermost voxels. "nearest" repeats them, "mirror" is symmetric
    about them, "constant" is `cval` from there on. "wrap" and "reflect" are those of SciPy before 1.6: "wrap" repeats
    after one voxel less than the side; "reflect" is symmetric about the outer faces, but from the outermost centre to
    the first repeated one it shows what lies between the outermost voxel and its neighbour. Taps of the interpolation
    that fall outside are always mirrored about the outermost centres.

    Args:
        images: one image or a list of them, NumPy or tensors: float32 or, for orders 0 and 1, uint8, with 1 to 4 axes,
            any strides. They agree in the sides of their deformed axes.
        displacement: (axes, points...) float64, NumPy, voxels: for each deformed axis its component at the control
            points, of which there is at least one along each deformed axis.
        axis: the deformed axes, one to three, in rising order; None is all. A list has one entry for each image.
        order: of the interpolation, one of `ORDERS`. A list has one for each image.
        mode: one of `MODES`. A list has one for each image.
        cval: the constant of "constant", rounded as values are. A list has one for each image.
        crop: the part of the answer that is wanted: for each deformed axis a slice within the image. None is all.
        out: where to write, of the images' kind and dtypes, any strides; a list for a list. Allocated if None.
        threads: at most so many threads; None takes every processor. CUDA ignores it.

    Returns:
        `out`. uint8 values of order 1 are rounded, halves up.

    Raises:
        TypeError: another type or dtype.
        ValueError: another shape, axis, order, mode or crop, displacements that are NaN or beyond 2^62, a read-only
            `out`, or arrays on different devices.
        RuntimeError: a CUDA tensor, and no CUDA kernels or no usable device.
    """
    several = isinstance(images, list)
    inputs: list[Any] = list(images) if several else [images]
    n = len(inputs)
    if not n:
        raise ValueError("images is empty, at least one image is needed")
    orders, modes, cvals = for_each(order, n, "order"), for_each(mode, n, "mode"), for_each(cval, n, "cval")
    for i, image in enumerate(inputs):
        if orders[i] not in ORDERS:
            raise ValueError(f"order is {orders[i]!r}, 0, 1 or 3 is needed")
        if modes[i] not in MODES:
            raise ValueError(f"mode is {modes[i]!r}, one of {', '.join(MODES)} is needed")
        _need_image(f"images[{i}]", image, ("float32",) if orders[i] == 3 else ("float32", "uint8"))
    axes = [_need_axes(image, a) for image, a in zip(inputs, for_each(axis, n, "axis", list), strict=True)]
    shape = _sides(inputs[0], axes[0])
    for image, deformed in zip(inputs, axes, strict=True):
        if _sides(image, deformed) != shape:
            raise ValueError(f"deformed axes have {shape} voxels in one image and {_sides(image, deformed)} in another")
    if max(shape) > MAX_SIDE:
        raise ValueError(f"deformed axes have {shape} voxels, each may have {MAX_SIDE}")
    _arrays.need("displacement", displacement, (len(shape), *"pqr"[: len(shape)]), "float64", tensor=False)
    if not displacement.size:
        raise ValueError(f"displacement has shape {displacement.shape}, it needs a point along each axis")
    if not np.abs(displacement).max() <= _arrays.MAX_COORDINATE:
        raise ValueError("displacement holds NaN or what is beyond 2^62 voxels")
    bounds = _need_crop(crop, shape)
    outs: list[Any] = for_each(out, n, "out", list)
    for i, image in enumerate(inputs):
        sides = list(image.shape)
        for a, (low, high) in zip(axes[i], bounds, strict=True):
            sides[a] = high - low
        if outs[i] is None:
            outs[i] = _arrays.empty_like(image, tuple(sides), _arrays.dtype_of(image))
        else:
            _arrays.need(f"out[{i}]", outs[i], sides, _arrays.dtype_of(image))
            _arrays.need_writeable(f"out[{i}]", outs[i])
    still = (1,) * (3 - len(shape))
    named = {f"images[{i}]": image for i, image in enumerate(inputs)} | {f"out[{i}]": to for i, to in enumerate(outs)}
    with _arrays.run_on(threads, **named) as how:
        _kernels.deform_grid(
            [_six_axes(image, deformed) for image, deformed in zip(inputs, axes, strict=True)],
            [_six_axes(to, deformed) for to, deformed in zip(outs, axes, strict=True)],
            orders,
            [MODES.index(m) for m in modes],
            cvals,
            np.ascontiguousarray(displacement).reshape(len(shape), *still, *displacement.shape[1:]),
            (*still, *shape),
            (*(0 for _ in still), *(low for low, _ in bounds)),
            (*still, *(high for _, high in bounds)),
            lambda size: _arrays.empty_like(inputs[0], (size,), "float32"),
            *how,
        )
    return outs if several else outs[0]


def deform_random_grid(
    images: Any,
    sigma: float,
    points: int | Sequence[int] = 3,
    *,
    rng: np.random.Generator,
    axis: Axis | list[Axis] = None,
    order: int | Sequence[int] = 3,
    mode: Mode | Sequence[Mode] = "constant",
    cval: float | Sequence[float] = 0.0,
    crop: Sequence[slice] | None = None,
    out: Any = None,
    threads: int | None = None,
) -> Any:
    """`deform_grid` with displacements drawn from a normal distribution (paper, section 2.2).

    Args:
        images, axis, order, mode, cval, crop, out, threads: as `deform_grid`.
        sigma: standard deviation of each component of the displacements, voxels.
        points: control points along each deformed axis, or along all of them.
        rng: where ``standard_normal((axes, *points))`` is drawn.

    Returns:
        `out`.

    Raises:
        TypeError, ValueError, RuntimeError: as `deform_grid`; or `sigma` is negative or not finite, or `rng` is no
            Generator.
    """
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng is {rng!r}, a numpy.random.Generator is needed")
    if not (sigma >= 0 and math.isfinite(sigma)):
        raise ValueError(f"sigma is {sigma}, a finite number of at least 0 voxels is needed")
    first = images[0] if isinstance(images, list) and images else images
    _need_image("images[0]", first, ("float32", "uint8"))
    n = len(_need_axes(first, axis[0] if isinstance(axis, list) and axis else axis))
    sides = tuple(points) if isinstance(points, Sequence) else (points,) * n
    displacement = rng.standard_normal((n, *sides)) * sigma
    return deform_grid(
        images, displacement, axis=axis, order=order, mode=mode, cval=cval, crop=crop, out=out, threads=threads
    )


def for_each(value: Any, n: int, name: str, kinds: Any = (list, tuple)) -> list[Any]:
    """A value for each of n images, from one for all or from a list with one for each.

    Raises:
        ValueError: a list of another length.
    """
    if not isinstance(value, kinds):
        return [value] * n
    if len(value) != n:
        raise ValueError(f"{name} has {len(value)} entries for {n} images, one for each is needed")
    return list(value)


def _need_image(name: str, image: Any, dtypes: tuple[str, ...]) -> None:
    ndim = len(getattr(image, "shape", ()))
    _arrays.need(name, image, "xyzw"[: min(max(ndim, 1), 4)], dtypes)


def _need_axes(image: _arrays.Array, axis: Any) -> tuple[int, ...]:
    axes = tuple(range(image.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    if not all(isinstance(a, int) for a in axes):
        raise TypeError(f"axis is {axis!r}, whole numbers are needed")
    if not 1 <= len(axes) <= 3 or list(axes) != sorted(set(axes)) or axes[0] < 0 or axes[-1] >= image.ndim:
        raise ValueError(
            f"axis is {axes} for an image of {image.ndim} axes; one to three of them, in rising order, are needed"
        )
    return axes


def _sides(image: _arrays.Array, axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(image.shape[a] for a in axes)


def _need_crop(crop: Sequence[slice] | None, shape: tuple[int, ...]) -> list[tuple[int, int]]:
    slices = [slice(None)] * len(shape) if crop is None else list(crop)
    if not all(isinstance(s, slice) for s in slices):
        raise TypeError(f"crop is {crop!r}, a slice for each deformed axis is needed")
    if len(slices) != len(shape):
        raise ValueError(f"crop has {len(slices)} slices for {len(shape)} deformed axes")
    bounds = []
    for wanted, n in zip(slices, shape, strict=True):
        low, high = 0 if wanted.start is None else wanted.start, n if wanted.stop is None else wanted.stop
        if not 0 <= low <= high <= n or wanted.step not in (None, 1):
            raise ValueError(f"crop has {wanted} along an axis of {n} voxels; 0 <= start <= stop <= {n} is needed")
        bounds.append((int(low), int(high)))
    return bounds


def _six_axes(array: Any, deformed: tuple[int, ...]) -> Any:
    """A view: three carried axes, then three deformed ones; what is missing of either kind has one voxel in front."""
    carried = tuple(a for a in range(array.ndim) if a not in deformed)
    order = (*carried, *deformed)
    array = array.transpose(order) if isinstance(array, np.ndarray) else array.permute(order)
    every, new = slice(None), None
    at = (*(new,) * (3 - len(carried)), *(every,) * len(carried), *(new,) * (3 - len(deformed)))
    return array[at]
