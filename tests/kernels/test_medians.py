# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
import mmap
import sys
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from spinefinder_fast.kernels import LabelMedians, LabelVotes, label_medians, reference

from .forms import THREADS, compiled_form, every_form, form, layouts, shapes

REGRESSIONS = st.one_of(
    st.sampled_from([0.0, 0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 25.5, 26.5, 255.5, 1e30, -3.0, np.nan, np.inf, -np.inf]),
    st.floats(-1, 30, width=32),
)


def assert_same(result: LabelMedians, expected: LabelMedians) -> None:
    for field in fields(LabelMedians):
        got, want = getattr(result, field.name), getattr(expected, field.name)
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want, err_msg=field.name)


@st.composite
def label_volumes(draw: st.DrawFn) -> np.ndarray:
    shape = draw(shapes(9, 8, 21))
    if draw(st.booleans()):
        return draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 255) | st.integers(0, 5)))
    return draw(hnp.arrays(np.float32, shape, elements=REGRESSIONS))


@compiled_form
@given(
    labels=label_volumes(),
    masked=st.booleans(),
    n_labels=st.sampled_from([1, 4, 25, 26, 255]),
    lay_out=layouts(),
    lay_out_mask=layouts(),
    threads=THREADS,
    seed=st.integers(0, 9),
)
def test_medians_equal_the_reference(name, labels, masked, n_labels, lay_out, lay_out_mask, threads, seed):
    chosen = np.random.default_rng(seed).choice(np.array([0, 1, 1, 255], np.uint8), labels.shape)
    mask = lay_out_mask(chosen) if masked else None
    result = form(name).label_medians(lay_out(labels), mask, n_labels, threads=threads)
    assert_same(result, reference.label_medians(labels, chosen if masked else None, n_labels))


@compiled_form
@given(
    shape=shapes(6, 30, 70),
    runs=st.integers(1, 9),
    masked=st.booleans(),
    dtype=st.sampled_from([np.uint8, np.float32]),
    lay_out=layouts(),
    lay_out_mask=layouts(),
    threads=THREADS,
    seed=st.integers(0, 999),
)
def test_long_runs_equal_the_reference(name, shape, runs, masked, dtype, lay_out, lay_out_mask, threads, seed):
    # Blocks of one label with background between them, as a spine has: the ways past background and along runs.
    rng = np.random.default_rng(seed)
    labels, mask = np.zeros(shape, dtype), np.zeros(shape, np.uint8)
    for volume in [labels] * runs + [mask] * 3:
        low = [rng.integers(0, n + 1) for n in shape]
        volume[tuple(slice(a, a + rng.integers(0, n + 1)) for a, n in zip(low, shape, strict=True))] = rng.integers(27)
    voters = mask if masked else None
    result = form(name).label_medians(lay_out(labels), lay_out_mask(mask) if masked else None, threads=threads)
    assert_same(result, reference.label_medians(labels, voters))


@every_form
def test_the_end_of_a_row_is_not_the_start_of_the_next(name):
    # Background is skipped in words of eight voxels: every length of a row, every place of the first label behind it.
    for n in range(1, 20):
        for start in range(n):
            labels = np.zeros((1, 2, n), np.uint8)
            labels[0, 1, start:] = 2
            result = form(name).label_medians(labels)
            assert result.votes.tolist() == [0, n - start] + [0] * 24
            assert result.lower[1].tolist() == [0, 1, start]


@every_form
def test_known_answers(name):
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[1, 2, 3] = 1
    labels[0:2, 0:4, 5] = 3
    result = form(name).label_medians(labels, None, 3)
    assert result.votes.tolist() == [1, 0, 8]
    assert result.median.tolist()[0] == result.q25.tolist()[0] == result.q75.tolist()[0] == [1, 2, 3]
    assert result.median.tolist()[2] == [0.5, 1.5, 5]
    assert result.q25.tolist()[2] == [0, 0.75, 5]
    assert result.q75.tolist()[2] == [1, 2.25, 5]
    assert result.lower.tolist() == [[1, 2, 3], [-1, -1, -1], [0, 0, 5]]
    assert result.upper.tolist() == [[1, 2, 3], [-1, -1, -1], [1, 3, 5]]
    assert np.isnan([result.median[1], result.q25[1], result.q75[1]]).all()


@every_form
def test_a_regression_is_rounded_half_to_even(name):
    values = [0.4999, 0.5, 0.5001, 1.4999, 1.5, 2.5, 3.5, 25.5, 26.4999, 26.5, 26.5001, np.nan, np.inf, -1.0]
    labels = np.array(values, np.float32).reshape(1, 1, -1)
    votes = form(name).label_medians(labels).votes
    expected = dict.fromkeys(range(1, 27), 0) | {1: 2, 2: 2, 4: 1, 26: 3}
    assert votes.tolist() == list(expected.values())


@every_form
def test_only_the_mask_votes(name):
    labels = np.full((3, 4, 5), 2.2, np.float32)
    mask = np.zeros((3, 4, 5), np.uint8)
    mask[2, 1:4, 0] = (1, 2, 255)
    result = form(name).label_medians(labels, mask)
    assert result.votes[1] == 3
    assert result.votes.sum() == 3
    assert result.median[1].tolist() == [2, 2, 0]


@compiled_form
@given(
    labels=label_volumes(),
    masked=st.booleans(),
    cuts=st.lists(st.integers(0, 20), min_size=3, max_size=9),
    lay_out=layouts(),
    lay_out_mask=layouts(),
    threads=THREADS,
    order=st.randoms(use_true_random=False),
)
def test_boxes_in_any_order_give_the_answer_of_the_whole(
    name, labels, masked, cuts, lay_out, lay_out_mask, threads, order
):
    mask = np.random.default_rng(0).choice(np.array([0, 1, 255], np.uint8), labels.shape) if masked else None
    votes = form(name).LabelVotes(labels.shape, 26)
    sides = [sorted({0, n, *(cut % (n + 1) for cut in cuts[axis::3])}) for axis, n in enumerate(labels.shape)]
    boxes = list(itertools.product(*(itertools.pairwise(side) for side in sides)))
    order.shuffle(boxes)
    for box in boxes:
        part = tuple(slice(*ends) for ends in box)
        of_mask = None if mask is None else lay_out_mask(mask[part])
        votes.add(lay_out(labels[part]), of_mask, [low for low, _ in box], threads=threads)
    assert_same(votes.medians(), reference.label_medians(labels, mask))


@every_form
def test_slices_along_any_axis_are_boxes(name):
    labels = np.zeros((6, 7, 8), np.float32)
    labels[1:4, 2:6, 3:8] = 4.6
    expected = reference.label_medians(labels)
    for axis in range(3):
        votes = form(name).LabelVotes(labels.shape)
        for i, of_slice in enumerate(np.moveaxis(labels, axis, 0)):
            votes.add(np.expand_dims(of_slice, axis), None, [i if a == axis else 0 for a in range(3)])
        assert_same(votes.medians(), expected)


@every_form
def test_without_a_box_nobody_votes(name):
    votes = form(name).LabelVotes((3, 4, 5), 2)
    nobody = votes.medians()
    assert nobody.votes.tolist() == [0, 0]
    assert np.isnan(nobody.median).all()
    votes.add(np.ones((0, 4, 0), np.uint8), None, (3, 0, 5))
    assert_same(votes.medians(), nobody)


@every_form
def test_a_box_that_comes_twice_votes_twice(name):
    votes = form(name).LabelVotes((3, 4, 5), 2)
    for _ in range(2):
        votes.add(np.full((1, 1, 2), 2, np.uint8), None, (2, 3, 3))
    assert votes.medians().votes.tolist() == [0, 4]
    assert votes.medians().median[1].tolist() == [2, 3, 3.5]


def test_labels_without_a_volume_behind_them():
    # One value for all voxels, and one row for all rows: strides of 0.
    for labels in (np.broadcast_to(np.uint8(3), (3, 4, 5)), np.broadcast_to(np.arange(5, dtype=np.float32), (3, 4, 5))):
        assert_same(label_medians(labels), reference.label_medians(labels))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("masked", [False, True])
def test_any_number_of_threads_gives_the_same_answer(dtype, masked):
    rng = np.random.default_rng(3)
    labels = np.zeros((41, 50, 130), dtype)
    for _ in range(60):
        low = [rng.integers(0, n) for n in labels.shape]
        labels[tuple(slice(a, a + 30) for a in low)] = rng.integers(0, 30)
    mask = (labels.astype(np.uint8) % 3 > 0).astype(np.uint8) if masked else None
    expected = label_medians(labels, mask, threads=1)
    assert (expected.votes > 0).sum() > 9
    for threads in (2, 3, 7, 100, None):
        assert_same(label_medians(labels, mask, threads=threads), expected)


def zeros_without_memory(shape: tuple[int, int, int], dtype: type) -> np.ndarray:
    """A volume of which only what is written takes memory."""
    # MAP_NORESERVE, which Python names from 3.12 on: the system need not have that much memory.
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000
    size = np.prod(shape, dtype=np.int64) * np.dtype(dtype).itemsize
    return np.frombuffer(mmap.mmap(-1, int(size), flags=flags), dtype).reshape(shape)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's memory that is not reserved")
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_volumes_beyond_31_bits(dtype):
    shape = (1300, 1290, 1290)
    mask = zeros_without_memory(shape, np.uint8)
    assert mask.size > 2**31
    mask[-1, -2:, -3:] = 1
    mask[0, 0, 0] = 1
    labels = mask if dtype is np.uint8 else zeros_without_memory(shape, dtype)
    labels[-1, -2:, -3:] = 5
    result = label_medians(labels, None if dtype is np.uint8 else mask)
    assert result.votes[4] == 6
    assert result.median[4].tolist() == [1299, 1288.5, 1288]
    assert result.votes.sum() == (7 if dtype is np.uint8 else 6)


LABELS = np.zeros((3, 4, 5), np.uint8)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"labels": "labels"}, TypeError, "labels is a builtins.str"),
        ({"labels": LABELS[0]}, ValueError, "labels has shape"),
        ({"labels": LABELS.astype(np.int64)}, TypeError, "labels is int64, uint8 or float32 is needed"),
        ({"mask": LABELS.T}, ValueError, r"mask has shape \(5, 4, 3\), \(3, 4, 5\) is needed"),
        ({"mask": LABELS.astype(bool)}, TypeError, "mask is bool, uint8 is needed"),
        ({"n_labels": 0}, ValueError, "n_labels is 0"),
        ({"n_labels": 256}, ValueError, "n_labels is 256"),
        ({"n_labels": 2.0}, TypeError, "n_labels is 2.0"),
        ({"threads": 0}, ValueError, "threads is 0"),
    ],
)
def test_misuse_is_named(wrong, error, message):
    with pytest.raises(error, match=message):
        label_medians(**({"labels": LABELS} | wrong))


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"labels": LABELS[0]}, ValueError, "labels has shape"),
        ({"mask": LABELS[:1]}, ValueError, r"mask has shape \(1, 4, 5\), \(3, 4, 5\) is needed"),
        ({"first": (0, -1, 0)}, ValueError, "first is"),
        ({"first": (0, 0)}, ValueError, "first is"),
        ({"first": (0.0, 0, 0)}, TypeError, "first is"),
        ({"first": (0, 0, 2)}, ValueError, r"a box of \(3, 4, 5\) voxels from \(0, 0, 2\) on leaves the volume of"),
    ],
)
def test_wrong_boxes_are_named_and_not_counted(wrong, error, message):
    votes = LabelVotes((3, 5, 6))
    with pytest.raises(error, match=message):
        votes.add(**({"labels": LABELS + 1} | wrong))
    assert votes.medians().votes.sum() == 0


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (((3, 4),), ValueError, "shape is"),
        (((3, 4, -5),), ValueError, "shape is"),
        (((3, 4, 5.0),), TypeError, "shape is"),
        (((3, 4, 5), 0), ValueError, "n_labels is 0"),
        (((3, 4, 5), 2.0), TypeError, "n_labels is 2.0"),
    ],
)
def test_votes_of_no_volume_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        LabelVotes(*arguments)
