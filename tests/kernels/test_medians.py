# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from spinefinder_fast.kernels import LabelMedians, label_medians, reference

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


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_any_number_of_threads_gives_the_same_answer(dtype):
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 30, (37, 23, 41)).astype(dtype)
    expected = label_medians(labels, threads=1)
    for threads in (2, 3, 7, 100, None):
        assert_same(label_medians(labels, threads=threads), expected)


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
