# SPDX-License-Identifier: Apache-2.0
"""Dense labels to sparse centroids: where each label's voxels lie (paper, section 2.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spinefinder_fast import _kernels
from spinefinder_fast.anatomy import N_LABELS
from spinefinder_fast.kernels import _arrays

if TYPE_CHECKING:
    from spinefinder_fast.kernels._arrays import Array


@dataclass(frozen=True, eq=False)
class LabelMedians:
    """Where the voters of each label lie, as voxel indices along x, y, z. Row ``label - 1`` belongs to a label.

    Attributes:
        votes: (n,) int64, number of voxels that vote for the label.
        median: (n, 3) float64, as ``numpy.median`` of the voters' indices; NaN where there are no votes.
        q25, q75: (n, 3) float64, as ``numpy.percentile`` (linear); NaN where there are no votes.
        lower, upper: (n, 3) int64, first and last index with a vote (inclusive); -1 where there are no votes.
    """

    votes: NDArray[np.int64]
    median: NDArray[np.float64]
    q25: NDArray[np.float64]
    q75: NDArray[np.float64]
    lower: NDArray[np.int64]
    upper: NDArray[np.int64]


class LabelVotes:
    """Counts the voters of every label box by box, so that their volume need never exist (paper, section 2.3).

    The boxes of a volume give the same medians in any order, as one or as many. A voxel that comes twice votes twice.

    Args:
        shape: (3,), voxels of the whole volume along x, y, z.
        n_labels: number of labels, 1..255.

    Raises:
        TypeError: not whole numbers.
        ValueError: a negative side, or `n_labels` out of range.
    """

    def __init__(self, shape: Sequence[int], n_labels: int = N_LABELS) -> None:
        self._shape = _arrays.need_int3("shape", shape, 0)
        if not isinstance(n_labels, int | np.integer):
            raise TypeError(f"n_labels is {n_labels!r}, a whole number is needed")
        if not 1 <= n_labels <= 255:
            raise ValueError(f"n_labels is {n_labels}, 1 to 255 is needed")
        self._n_labels = int(n_labels)
        self._counts: Array | None = None

    def add(
        self,
        labels: Array,
        mask: Array | None = None,
        first: Sequence[int] = (0, 0, 0),
        threads: int | None = None,
    ) -> None:
        """Count the voters in a box of the volume.

        Rounding a regression and multiplying it with the detection mask are fused. A float label is rounded half to
        even; NaN, and what rounds to a number outside 1..n_labels, votes for nothing.

        Args:
            labels: (x, y, z) uint8 or float32, any strides, NumPy or tensor. 0 and labels above `n_labels` vote for
                nothing.
            mask: (x, y, z) uint8, any strides, where the labels are; voxels with 0 do not vote, and what their labels
                are is not looked at. None lets all vote.
            first: (3,), voxel of the volume that is the first one of the box.
            threads: at most so many threads; None takes every processor. CUDA ignores it, and is not waited for.

        Raises:
            TypeError: another type or dtype.
            ValueError: another shape, a box that leaves the volume, or arrays on different devices, those of the boxes
                before included.
            RuntimeError: a CUDA tensor, and no CUDA kernels or no usable device.
        """
        _arrays.need("labels", labels, ("x", "y", "z"), ("uint8", "float32"))
        if mask is not None:
            _arrays.need("mask", mask, tuple(labels.shape), "uint8")
        origin = _arrays.need_int3("first", first, 0)
        if any(a + n > side for a, n, side in zip(origin, labels.shape, self._shape, strict=True)):
            raise ValueError(
                f"a box of {tuple(labels.shape)} voxels from {origin} on leaves the volume of {self._shape} voxels"
            )
        counts = self._counts
        if counts is None:
            counts = _arrays.empty_like(labels, (self._n_labels, sum(self._shape) + 3), "int64")
            counts[...] = 0
        with _arrays.run_on(threads, labels=labels, mask=labels if mask is None else mask, counts=counts) as how:
            _kernels.count_votes(labels, mask, origin, self._shape, counts, *how)
        self._counts = counts

    def statistics(self) -> tuple[Array, Array, Array]:
        """What `medians` says of all boxes so far, as arrays of the boxes' kind; on CUDA they are not waited for.

        Returns:
            votes: (n,) int64.
            quantiles: (3, n, 3) float64, voxel indices: q25, median, q75; label; axis.
            bounds: (2, n, 3) int64, voxel indices: lower, upper; label; axis.
        """
        n, counts = self._n_labels, self._counts
        if counts is None:
            counts = np.zeros((n, sum(self._shape) + 3), np.int64)
        votes, bounds = (_arrays.empty_like(counts, rows, "int64") for rows in ((n,), (2, n, 3)))
        quantiles = _arrays.empty_like(counts, (3, n, 3), "float64")
        with _arrays.run_on(1, counts=counts) as how:
            _kernels.vote_statistics(counts, self._shape, votes, quantiles, bounds, *how)
        return votes, quantiles, bounds

    def medians(self) -> LabelMedians:
        """Statistics of all boxes so far, in NumPy arrays: for CUDA tensors this waits for the current stream."""
        votes, (q25, median, q75), (lower, upper) = map(_to_numpy, self.statistics())
        return LabelMedians(votes, median, q25, q75, lower, upper)


def label_medians(
    labels: Array, mask: Array | None = None, n_labels: int = N_LABELS, threads: int | None = None
) -> LabelMedians:
    """Median, votes and spread of every label in one pass over the volume (paper, section 2.3).

    Args:
        labels: (x, y, z) uint8 or float32, the whole volume; who votes for what is as in `LabelVotes.add`.
        mask: (x, y, z) uint8, or None, as there.
        n_labels: number of labels, 1..255.
        threads: at most so many threads; None takes every processor. CUDA ignores it.

    Returns:
        Statistics of every label, in NumPy arrays: for a CUDA tensor this waits for the current stream.

    Raises:
        TypeError, ValueError, RuntimeError: as `LabelVotes` and its `add`.
    """
    _arrays.need("labels", labels, ("x", "y", "z"), ("uint8", "float32"))
    votes = LabelVotes(tuple(labels.shape), n_labels)
    votes.add(labels, mask, threads=threads)
    return votes.medians()


def _to_numpy(array: Array) -> NDArray[Any]:
    return array if isinstance(array, np.ndarray) else array.cpu().numpy()
