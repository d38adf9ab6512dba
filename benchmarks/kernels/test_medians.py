# SPDX-License-Identifier: Apache-2.0
"""Median, votes and spread of every label, against what people do today."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from spinefinder_fast.anatomy import N_LABELS
from spinefinder_fast.kernels import label_medians, reference

from . import scene

Answer = tuple[np.ndarray, np.ndarray]  # votes (n,), medians (n, 3)


def ours(labels: np.ndarray) -> Answer:
    result = label_medians(labels)
    return result.votes, result.median


def ours_one_thread(labels: np.ndarray) -> Answer:
    result = label_medians(labels, threads=1)
    return result.votes, result.median


def argwhere_per_label(labels: np.ndarray) -> Answer:
    votes, median = np.zeros(N_LABELS, np.int64), np.full((N_LABELS, 3), np.nan)
    for row in range(N_LABELS):
        voters = np.argwhere(labels == row + 1)
        votes[row] = len(voters)
        if len(voters):
            median[row] = np.median(voters, axis=0)
    return votes, median


def one_nonzero(labels: np.ndarray) -> Answer:
    median = np.full((N_LABELS, 3), np.nan)
    where = np.nonzero(labels)
    found = labels[where]
    order = np.argsort(found, kind="stable")
    votes = np.bincount(found, minlength=N_LABELS + 1)[1:]
    ends = np.cumsum(votes)
    for axis in range(3):
        index = where[axis][order]
        for row in np.flatnonzero(votes):
            median[row, axis] = np.median(index[ends[row] - votes[row] : ends[row]])
    return votes, median


def three_bincounts(labels: np.ndarray) -> Answer:
    median = np.full((N_LABELS, 3), np.nan)
    for axis, n in enumerate(labels.shape):
        side = [1, 1, 1]
        side[axis] = n
        key = labels * np.int32(n) + np.arange(n, dtype=np.int32).reshape(side)
        counts = np.bincount(key.ravel(), minlength=(N_LABELS + 1) * n).reshape(-1, n)[1 : N_LABELS + 1]
        votes = counts.sum(axis=1)
        below = np.cumsum(counts, axis=1)
        for row in np.flatnonzero(votes):
            middle = np.searchsorted(below[row], [(votes[row] - 1) // 2, votes[row] // 2], side="right")
            median[row, axis] = middle.mean()
    return votes, median


def scipy_median(labels: np.ndarray) -> Answer:
    votes = np.bincount(labels.ravel(), minlength=N_LABELS + 1)[1:]
    present = np.flatnonzero(votes)
    median = np.full((N_LABELS, 3), np.nan)
    for axis, index in enumerate(np.indices(labels.shape, sparse=True)):
        median[present, axis] = ndimage.median(np.broadcast_to(index, labels.shape), labels, present + 1)
    return votes, median


def cc3d_statistics(labels: np.ndarray) -> Answer:
    """Counts the voxels and gives means: it knows no medians."""
    cc3d = pytest.importorskip("cc3d")
    votes = np.zeros(N_LABELS, np.int64)
    counts = cc3d.statistics(labels)["voxel_counts"][1:]
    votes[: len(counts)] = counts
    return votes, np.full((N_LABELS, 3), np.nan)


WAYS: scene.Ways = {
    way.__name__: way
    for way in (
        ours,
        ours_one_thread,
        argwhere_per_label,
        one_nonzero,
        three_bincounts,
        scipy_median,
        cc3d_statistics,
    )
}


@cache
def expected(size: str) -> Answer:
    result = reference.label_medians(scene.labels(size))
    return result.votes, result.median


@pytest.mark.benchmark(min_rounds=3, max_time=0.5)
@scene.by_size_and_way(WAYS, too_slow=["scipy_median"])
def test_label_medians(benchmark, size, way):
    benchmark.group = f"label_medians {size}"
    votes, median = benchmark(WAYS[way], scene.labels(size))
    np.testing.assert_array_equal(votes, expected(size)[0])
    if way != "cc3d_statistics":
        np.testing.assert_array_equal(median, expected(size)[1])


def masked_ours(regression: np.ndarray, mask: np.ndarray) -> Answer:
    result = label_medians(regression, mask)
    return result.votes, result.median


def masked_numpy(regression: np.ndarray, mask: np.ndarray) -> Answer:
    return one_nonzero((np.rint(regression) * mask).astype(np.uint8))


MASKED_WAYS: scene.Ways = {"ours": masked_ours, "round_multiply_one_nonzero": masked_numpy}


@pytest.mark.benchmark(min_rounds=3, max_time=0.5)
@scene.by_size_and_way(MASKED_WAYS)
def test_masked_regression(benchmark, size, way):
    labels = scene.labels(size)
    regression = labels + np.float32(0.25)  # rounds back to the labels, and the background to 0
    benchmark.group = f"label_medians of a masked regression {size}"
    votes, median = benchmark(MASKED_WAYS[way], regression, (labels > 0).astype(np.uint8))
    np.testing.assert_array_equal(votes, expected(size)[0])
    np.testing.assert_array_equal(median, expected(size)[1])
