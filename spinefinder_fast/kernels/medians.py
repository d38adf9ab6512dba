# SPDX-License-Identifier: Apache-2.0
"""Dense labels to sparse centroids: where each label's voxels lie (paper, section 2.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

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
        labels: (x, y, z) uint8 or float32, any strides, NumPy or CUDA tensor. 0 and labels above `n_labels` vote for
            nothing.
        mask: (x, y, z) uint8, any strides, where the labels are; voxels with 0 do not vote. None lets all vote.
        n_labels: number of labels, 1..255.
        threads: at most so many threads; None takes every processor. CUDA tensors ignore it.

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
    cuda = _arrays.need_one_place(labels=labels, mask=labels if mask is None else mask)
    if not isinstance(n_labels, int | np.integer):
        raise TypeError(f"n_labels is {n_labels!r}, a whole number is needed")
    if not 1 <= n_labels <= 255:
        raise ValueError(f"n_labels is {n_labels}, 1 to 255 is needed")
    is_float = str(labels.dtype).endswith("float32")
    x, y, z = map(int, labels.shape)
    size = (int(n_labels), x + y + z)
    if cuda:
        import torch

        counts = torch.zeros(size, dtype=torch.int64, device=labels.device)
        count_cuda = _kernels.label_histograms_float32_cuda if is_float else _kernels.label_histograms_uint8_cuda
        count_cuda(labels, mask, counts, _arrays.stream_of(labels))
        histograms = counts.cpu().numpy()
    else:
        histograms = np.zeros(size, np.int64)
        count = _kernels.label_histograms_float32 if is_float else _kernels.label_histograms_uint8
        count(labels, mask, histograms, _arrays.threads_or_all(threads))
    return LabelMedians(*_kernels.label_statistics(histograms, (x, y, z)))
