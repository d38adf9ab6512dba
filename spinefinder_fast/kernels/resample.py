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
    shape = _arrays.need_int3("size", size, 0)
    steps = [float(s) for s in step]
    if len(steps) != 3 or not all(np.isfinite(s) and s > 0 for s in steps):
        raise ValueError(f"step is {tuple(step)}, three positive numbers are needed")
    if not volume.size:
        raise ValueError(f"volume has shape {volume.shape}, without a voxel there is nothing to resample")
    taps = [taps_of(old, new, s) for old, new, s in zip(volume.shape, shape, steps, strict=True)]
    out = np.empty(shape, np.float32)
    with _arrays.run_on(threads, volume=volume) as (how_many, _):
        _kernels.resample(volume, tuple(t[0] for t in taps), tuple(t[1] for t in taps), out, how_many)  # type: ignore[arg-type]
    return out


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
