# SPDX-License-Identifier: Apache-2.0
"""A volume on another grid with the same axes: linear where it refines, a triangle filter where it coarsens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spinefinder_fast import _kernels
from spinefinder_fast.kernels import _arrays

DTYPES: Final = ("int16", "uint8", "int8", "uint16", "int32", "float32", "float64")
"""dtypes of a volume that is resampled."""


def resample_grid(
    volume: NDArray[Any], size: Sequence[int], step: Sequence[float], *, threads: int | None = None
) -> NDArray[np.float32]:
    """New voxels, `step` old ones wide, from the first edge of the volume on; it is read once, front to back.

    New voxel i has its centre at (i + 0.5) * step - 0.5 old voxels. It is a mean of the old ones around, weighted by a
    triangle that falls to nothing `step` old voxels from the centre, or one where `step` is less; at the border by what
    there is of it. So thin slices do not alias, and no voxel is interpolated from beyond the volume.

    Args:
        volume: (x, y, z), a dtype of `DTYPES`, any strides.
        size: (3,) voxels of the result.
        step: (3,) old voxels per new one.
        threads: at most so many threads; None takes every processor.

    Returns:
        (x, y, z) float32, C order. Sums are float32, along the axes from the slowest in memory to the fastest;
        the twin, whose order is fixed, differs by the rounding of some tens of additions.

    Raises:
        TypeError: another type or dtype.
        ValueError: another shape, an empty volume, a step that is no positive number, or a result that reaches too far
            beyond the volume.
    """
    _arrays.need("volume", volume, ("x", "y", "z"), DTYPES, tensor=False)
    shape, taps = _need_taps(volume.shape, size, step)
    out = np.empty(shape, np.float32)
    _run(volume, taps, out, threads)
    return out


class SlabResampler:
    """`resample_grid` of a volume that comes in slabs, of which none is kept: the same numbers, and to the bit where
    each is more than one voxel thick or cut across the slowest axis in memory.
    """

    def __init__(self, shape: Sequence[int], size: Sequence[int], step: Sequence[float], axis: int) -> None:
        """Make room for the result.

        Args:
            shape: (3,) voxels of the whole volume.
            size, step: as for `resample_grid`.
            axis: across which the volume is cut.

        Raises:
            ValueError: as `resample_grid`.
        """
        self._shape = _arrays.need_int3("shape", shape, 1)
        new, self._taps = _need_taps(self._shape, size, step)
        self._out = np.empty(new, np.float32)
        self._axis = axis
        first, weight = self._taps[axis]
        # Of each new voxel the first and the last old one that counts.
        counts = weight != 0
        self._low = first + counts.argmax(axis=1)
        self._high = first + weight.shape[1] - counts[:, ::-1].argmax(axis=1)
        self._reach = int((self._high - self._low).max(initial=0))
        self._open = np.ones(len(first), bool)
        self._seen = (0, 0)
        self._edge: tuple[NDArray[Any], int] | None = None

    @property
    def out(self) -> NDArray[np.float32]:
        """(x, y, z) float32, C order: the result.

        Raises:
            ValueError: not every slab was added.
        """
        if self._open.any():
            raise ValueError(
                f"{self._open.sum()} of {len(self._open)} new slices lack their slabs; add every slab first"
            )
        return self._out

    def add(self, slab: NDArray[Any], first: int, *, threads: int | None = None) -> None:
        """Take the next slab in: one at either end of the volume, and then what adjoins.

        Args:
            slab: (x, y, z), as large as the volume but for the axis; a dtype of `DTYPES`, any strides.
            first: the index of its first voxels in the volume, along the axis.
            threads: at most so many threads; None takes every processor.

        Raises:
            TypeError: another type or dtype.
            ValueError: the slab does not fit the volume, or does not adjoin the one before.
        """
        _arrays.need("slab", slab, ("x", "y", "z"), DTYPES, tensor=False)
        n, reach, edge = slab.shape[self._axis], self._reach, self._edge
        low, high = self._seen if edge else (self._shape[self._axis], 0)
        upwards = first == high
        fits = n and all(axis == self._axis or slab.shape[axis] == self._shape[axis] for axis in range(3))
        if not fits or not (upwards or first + n == low) or first + n > self._shape[self._axis]:
            raise ValueError(
                f"a slab of shape {slab.shape} at {first} does not continue a volume of shape {self._shape} "
                f"cut across axis {self._axis}; whole slabs are needed, one beside the other"
            )
        self._make(slab, first, threads)
        if edge:
            # Across the border new voxels are made of the next few slices on both of its sides.
            near = self._cut(slab, 0, reach) if upwards else self._cut(slab, max(0, n - reach), n)
            joint = _joined([edge[0], near] if upwards else [near, edge[0]], self._axis, slab)
            start = edge[1] if upwards else low - near.shape[self._axis]
            self._make(joint, start, threads)
            if n < reach:
                slab, first, n = joint, start, joint.shape[self._axis]
            self._seen = min(first, low), max(first + n, high)
        else:
            self._seen = first, first + n
        begin = max(0, n - reach) if upwards else 0
        self._edge = self._cut(slab, begin, begin + reach).copy(), first + begin

    def _make(self, part: NDArray[Any], first: int, threads: int | None) -> None:
        """The new voxels that are made of this part alone and are not made yet."""
        rows = np.flatnonzero(self._open & (self._low >= first) & (self._high <= first + part.shape[self._axis]))
        if not len(rows):
            return
        begin, end = int(rows[0]), int(rows[-1]) + 1
        self._open[begin:end] = False
        taps = list(self._taps)
        old, weight = taps[self._axis]
        taps[self._axis] = old[begin:end] - first, weight[begin:end]
        _run(part, taps, self._cut(self._out, begin, end), threads)

    def _cut(self, array: NDArray[Any], start: int, stop: int) -> NDArray[Any]:
        return array[tuple(slice(start, stop) if axis == self._axis else slice(None) for axis in range(3))]


def _joined(parts: Sequence[NDArray[Any]], axis: int, like: NDArray[Any]) -> NDArray[Any]:
    """The parts along an axis as one array, laid out in memory like another, so that sums keep their order."""
    reach = [np.inf if n == 1 else abs(stride) for n, stride in zip(like.shape, like.strides, strict=True)]
    order = sorted(range(3), key=lambda i: -reach[i])
    whole = np.concatenate([part.transpose(order) for part in parts], order.index(axis))
    return np.ascontiguousarray(whole).transpose(np.argsort(order))


Taps = tuple[NDArray[np.int64], NDArray[np.float32]]


def _need_taps(
    volume: Sequence[int], size: Sequence[int], step: Sequence[float]
) -> tuple[tuple[int, int, int], list[Taps]]:
    shape = _arrays.need_int3("size", size, 0)
    steps = [float(s) for s in step]
    if len(steps) != 3 or not all(np.isfinite(s) and s > 0 for s in steps):
        raise ValueError(f"step is {tuple(step)}, three positive numbers are needed")
    if not all(volume):
        raise ValueError(f"volume has shape {tuple(volume)}, without a voxel there is nothing to resample")
    return shape, [taps_of(old, new, s) for old, new, s in zip(volume, shape, steps, strict=True)]


def _run(volume: NDArray[Any], taps: Sequence[Taps], out: NDArray[np.float32], threads: int | None) -> None:
    with _arrays.run_on(threads, volume=volume) as (how_many, _):
        _kernels.resample(volume, tuple(t[0] for t in taps), tuple(t[1] for t in taps), out, how_many)  # type: ignore[arg-type]


def taps_of(old: int, new: int, step: float) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Of which old voxels of an axis each new one is made: (new,) the first of them, and (new, width) their weights.

    Raises:
        ValueError: a new voxel lies so far outside of the old ones that none of them is near.
    """
    reach = max(step, 1.0)
    centre = (np.arange(new) + 0.5) * step
    if new and centre[-1] - reach >= old - 0.5:
        raise ValueError(f"{new} voxels of {step:g} reach beyond {old} old ones; fewer or smaller ones are needed")
    first = np.maximum((centre - reach + 0.5).astype(np.int64), 0)
    end = np.minimum((centre + reach + 0.5).astype(np.int64), old)
    voxels = first[:, None] + np.arange((end - first).max(initial=0))
    weight = np.maximum(0.0, 1 - np.abs((voxels + 0.5 - centre[:, None]) / reach)) * (voxels < end[:, None])
    return first, (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)
