# SPDX-License-Identifier: Apache-2.0
"""What every reader hands over: a volume in its file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinefinder_fast.geometry import Grid


@dataclass(frozen=True)
class Stored:
    """A volume in its file, of which the header is read.

    Attributes:
        grid: of the volume, in the axes of the file.
        slabs: given a thickness, reads consecutive parts of the volume along its last axis, (i, j, n) with n at most
            that: numbers after the file's own rescaling, HU if the file keeps its promise. Whether the file was whole
            is known when all are taken.
        warnings: what the reader had to put right, one line each; all of it when all slabs are taken.
    """

    grid: Grid
    slabs: Callable[[int], Iterator[NDArray[Any]]]
    warnings: list[str] = field(default_factory=list)

    def read(self) -> NDArray[Any]:
        """All of it, (i, j, k)."""
        (array,) = self.slabs(self.grid.shape[2])
        return array


def rescale(array: NDArray[Any], slope: float, intercept: float) -> NDArray[Any]:
    """``slope * array + intercept`` as the smallest type that holds it: int16, else float32.

    An int16 or float32 array that needs no change is returned as it is, so the pixels of most CT files are never
    copied.
    """
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    # Whole numbers that a header can hold and no scanner writes are not for integer arithmetic.
    whole = float(slope).is_integer() and float(intercept).is_integer()
    whole = whole and abs(slope) < 2**15 and abs(intercept) < 2**30
    if native.dtype.kind == "f" or not whole:
        if (slope, intercept) == (1.0, 0.0):
            return native.astype(np.float32, copy=False)
        return (native * np.float64(slope) + np.float64(intercept)).astype(np.float32)
    if native.size == 0 or ((slope, intercept) == (1.0, 0.0) and np.can_cast(native.dtype, np.int16)):
        return native.astype(np.int16, copy=False)
    ends = [int(end) * int(slope) + int(intercept) for end in (native.min(), native.max())]
    if min(ends) < -(2**15) or max(ends) >= 2**15:
        return (native.astype(np.float32) * np.float32(slope)) + np.float32(intercept)
    if (slope, intercept) == (1.0, 0.0):
        return native.astype(np.int16, copy=False)
    return (native.astype(np.int32) * int(slope) + int(intercept)).astype(np.int16)
