# SPDX-License-Identifier: Apache-2.0
"""Dense labels to sparse centroids: where each label's voxels lie (paper, section 2.3)."""

from __future__ import annotations

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


def label_medians(
    labels: Array, mask: Array | None = None, n_labels: int = N_LABELS, threads: int | None = None
) -> LabelMedians:
    """Median, votes and spread of every label in one pass over the volume (paper, section 2.3).

    Rounding a regression and multiplying it with the detection mask are fused: no second volume is made. A float
    label is rounded half to even; NaN, and what rounds to a number outside 1..n_labels, votes for nothing.

    Args:
        labels: (x, y, z) uint8 or float32, any strides, NumPy or tensor. 0 and labels above `n_labels` vote for
            nothing.
        mask: (x, y, z) uint8, any strides, where the labels are; voxels with 0 do not vote. None lets all vote.
        n_labels: number of labels, 1..255.
        threads: at most so many threads; None takes every processor. CUDA ignores it.

    Returns:
        Statistics of every label, in NumPy arrays: for a CUDA tensor this waits for the current stream.

    Raises:
        TypeError: another type or dtype.
        ValueError: another shape, `n_labels` out of range, or arrays on different devices.
        RuntimeError: a CUDA tensor, and no CUDA kernels or no usable device.
    """
    _arrays.need("labels", labels, ("x", "y", "z"), ("uint8", "float32"))
    if mask is not None:
        _arrays.need("mask", mask, tuple(labels.shape), "uint8")
    if not isinstance(n_labels, int | np.integer):
        raise TypeError(f"n_labels is {n_labels!r}, a whole number is needed")
    if not 1 <= n_labels <= 255:
        raise ValueError(f"n_labels is {n_labels}, 1 to 255 is needed")
    x, y, z = map(int, labels.shape)
    size = (int(n_labels), x + y + z)
    with _arrays.run_on(threads, labels=labels, mask=labels if mask is None else mask) as how:
        counts = np.zeros(size, np.int64) if isinstance(labels, np.ndarray) else labels.new_zeros(size, dtype=_int64())
        _kernels.label_histograms(labels, mask, counts, *how)
    histograms = counts if isinstance(counts, np.ndarray) else counts.cpu().numpy()
    return LabelMedians(*_kernels.label_statistics(histograms, (x, y, z)))


def _int64() -> Any:
    import torch

    return torch.int64
