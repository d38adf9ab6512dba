# SPDX-License-Identifier: Apache-2.0
"""Median, votes and spread of every label, against what people do today."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from spinefinder_fast.anatomy import N_LABELS
from spinefinder_fast.kernels import LabelVotes, label_medians, reference

from . import scene
from .ways import Way, compare

Answer = tuple[np.ndarray, np.ndarray]  # votes (n,), medians (n, 3)


def ours(labels: np.ndarray) -> Answer:
    result = label_medians(labels)
    return result.votes, result.median


def ours_one_thread(labels: np.ndarray) -> Answer:
    result = label_medians(labels, threads=1)
    return result.votes, result.median


def slice_by_slice(labels: np.ndarray, mask: np.ndarray | None = None) -> Answer:
    votes = LabelVotes(labels.shape)
    for i, of_slice in enumerate(labels):
        votes.add(of_slice[None], None if mask is None else mask[i : i + 1], first=(i, 0, 0))
    result = votes.medians()
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
    from scipy import ndimage

    votes = np.bincount(labels.ravel(), minlength=N_LABELS + 1)[1:]
    present = np.flatnonzero(votes)
    median = np.full((N_LABELS, 3), np.nan)
    for axis, index in enumerate(np.indices(labels.shape, sparse=True)):
        median[present, axis] = ndimage.median(np.broadcast_to(index, labels.shape), labels, present + 1)
    return votes, median


def cc3d_statistics(labels: np.ndarray) -> Answer:
    """Counts the voxels and gives means: it knows no medians."""
    import cc3d

    votes = np.zeros(N_LABELS, np.int64)
    counts = cc3d.statistics(labels)["voxel_counts"][1:]
    votes[: len(counts)] = counts
    return votes, np.full((N_LABELS, 3), np.nan)


def reading_once(labels: np.ndarray) -> None:
    words = labels.reshape(-1)[: labels.size // 8 * 8].view(np.int64)
    torch.from_numpy(words).sum()


WAYS = [
    Way(ours),
    Way(ours_one_thread, "one thread"),
    Way(slice_by_slice, "slice by slice, as the pipeline does"),
    Way(reading_once, "reading the volume once", 2, better="lower", answers=False),
    Way(argwhere_per_label, "argwhere and median per label", 1000),
    Way(one_nonzero, "one nonzero", 50),
    Way(three_bincounts, "three bincounts"),
    Way(cc3d_statistics, "cc3d.statistics", 60, needs="cc3d"),
    Way(scipy_median, "scipy.ndimage.median", sizes=("small",), needs="scipy.ndimage"),
]


@cache
def expected(size: str) -> Answer:
    result = reference.label_medians(scene.labels(size))
    return result.votes, result.median


@compare(WAYS)
def test_label_medians(measure, size, way):
    answer = measure(scene.labels(size))
    if way.answers:
        votes, median = answer
        np.testing.assert_array_equal(votes, expected(size)[0])
        if way.run is not cc3d_statistics:
            np.testing.assert_array_equal(median, expected(size)[1])


def masked_ours(regression: np.ndarray, mask: np.ndarray) -> Answer:
    result = label_medians(regression, mask)
    return result.votes, result.median


def masked_numpy(regression: np.ndarray, mask: np.ndarray) -> Answer:
    return one_nonzero((np.rint(regression) * mask).astype(np.uint8))


def reading_mask_once(regression: np.ndarray, mask: np.ndarray) -> None:
    reading_once(mask)


MASKED_WAYS = [
    Way(masked_ours),
    Way(slice_by_slice, "slice by slice, as the pipeline does"),
    Way(reading_mask_once, "reading the mask once", 2, better="lower", answers=False),
    Way(masked_numpy, "round, multiply, one nonzero", 50),
]


@compare(MASKED_WAYS)
def test_label_medians_masked(measure, size, way):
    labels = scene.labels(size)
    regression = labels + np.float32(0.25)  # rounds back to the labels, and the background to 0
    answer = measure(regression, (labels > 0).astype(np.uint8))
    if way.answers:
        votes, median = answer
        np.testing.assert_array_equal(votes, expected(size)[0])
        np.testing.assert_array_equal(median, expected(size)[1])
