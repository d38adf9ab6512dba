# SPDX-License-Identifier: Apache-2.0
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spinefinder_fast.kernels import SlabResampler, reference, resample_grid
from spinefinder_fast.kernels.resample import DTYPES, taps_of

SIDES = st.tuples(*[st.integers(1, 17)] * 3)


@st.composite
def cases(draw):
    shape = draw(SIDES)
    steps = draw(st.tuples(*[st.floats(0.3, 6.0)] * 3))
    size = [max(1, int(n / s)) for n, s in zip(shape, steps, strict=True)]
    dtype = draw(st.sampled_from(DTYPES))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    volume = rng.integers(0, 100, shape).astype(dtype)
    order = draw(st.permutations(range(3)))
    # The same voxels in any layout, forwards and backwards.
    volume = np.ascontiguousarray(volume.transpose(order)).transpose(np.argsort(order))
    flips = draw(st.tuples(*[st.sampled_from([1, -1])] * 3))
    return volume[:: flips[0], :: flips[1], :: flips[2]], size, steps, draw(st.sampled_from([1, 2, 3, 7]))


@settings(deadline=None)
@given(cases())
def test_it_is_its_twin(case):
    volume, size, step, threads = case
    found = resample_grid(volume, size, step, threads=threads)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    assert found == pytest.approx(reference.resample_grid(volume, size, step), abs=1e-3)
    assert np.array_equal(found, resample_grid(volume, size, step, threads=1))


@settings(deadline=None, max_examples=200)
@given(cases(), st.data())
def test_slab_by_slab_it_is_the_same_to_the_bit(case, data):
    volume, size, step, threads = case
    axis = data.draw(st.integers(0, 2))
    n = volume.shape[axis]
    edges = [0, *sorted(data.draw(st.sets(st.integers(1, n - 1), max_size=6))), n] if n > 1 else [0, n]
    slabs = [(a, volume.take(range(a, b), axis)) for a, b in pairwise(edges)]
    if data.draw(st.booleans()):
        # As a file that is stored the other way round gives them, and as views.
        slabs = [(a, volume[tuple(slice(a, a + s.shape[i]) if i == axis else slice(None) for i in range(3))])
                 for a, s in slabs[::-1]]  # fmt: skip
    resampler = SlabResampler(volume.shape, size, step, axis)
    for first, slab in slabs:
        resampler.add(slab, first, threads=threads)
    assert resampler.out == pytest.approx(resample_grid(volume, size, step), rel=1e-6, abs=1e-5)
    # Sums run along the axes as they lie in memory, and where an axis of one voxel lies nobody can tell.
    slowest = abs(volume.strides[axis]) == max(map(abs, volume.strides))
    if min(volume.shape) > 1 and all(
        slab.strides == volume.strides and (slowest or slab.shape[axis] > 1) for _, slab in slabs
    ):
        assert np.array_equal(resampler.out, resample_grid(volume, size, step))


def test_a_slab_that_does_not_continue_the_volume_is_refused():
    volume = np.zeros((4, 5, 9), np.int16)

    def refused(*slabs: tuple[int, int]) -> None:
        resampler = SlabResampler(volume.shape, (4, 5, 4), (1, 1, 2), 2)
        for a, b in slabs[:-1]:
            resampler.add(volume[..., a:b], a)
        a, b = slabs[-1]
        with pytest.raises(ValueError, match="does not continue a volume of shape"):
            resampler.add(volume[..., a:b], a)

    refused((2, 5))
    refused((0, 3), (4, 6))
    refused((0, 3), (2, 6))
    refused((0, 3), (0, 3))
    refused((6, 9), (2, 5))
    refused((0, 9), (9, 9))
    with pytest.raises(ValueError, match="does not continue"):
        SlabResampler(volume.shape, (4, 5, 4), (1, 1, 2), 2).add(volume[:3], 0)
    with pytest.raises(ValueError, match="does not continue"):
        SlabResampler((4, 5, 7), (4, 5, 3), (1, 1, 2), 2).add(volume, 0)


def test_a_result_of_which_slabs_are_missing_is_not_given():
    resampler = SlabResampler((4, 5, 9), (4, 5, 4), (1, 1, 2), 2)
    resampler.add(np.zeros((4, 5, 5), np.int16), 0)
    with pytest.raises(ValueError, match="of 4 new slices lack their slabs"):
        _ = resampler.out
    resampler.add(np.zeros((4, 5, 4), np.int16), 5)
    assert not resampler.out.any()


@settings(deadline=None, max_examples=30)
@given(cases())
def test_it_is_torch_s_antialiased_interpolation(case):
    volume, size, step, _ = case
    # An axis that keeps its number of voxels torch leaves as it is, whatever the step.
    step = [1.0 if old == new else s for old, new, s in zip(volume.shape, size, step, strict=True)]
    found = resample_grid(volume, size, step)
    tensor = torch.from_numpy(volume.astype(np.float32))
    for axis in range(3):
        lines = tensor.movedim(axis, 0)
        rest = lines.shape[1:]
        # Twice side by side: of an image of a single column torch repeats the first row.
        lines = torch.cat([lines.reshape(1, 1, lines.shape[0], -1)] * 2, dim=3)
        lines = torch.ops.aten._upsample_bilinear2d_aa(
            lines, [size[axis], 2 * rest.numel()], False, 1 / step[axis], 1.0
        )[..., : rest.numel()]
        tensor = lines.reshape(size[axis], *rest).movedim(0, axis)
    assert found == pytest.approx(tensor.numpy(), abs=1e-2)


def test_a_constant_stays_constant_and_a_ramp_a_ramp():
    ramp = np.arange(60, dtype=np.int16)[None, None] * np.ones((4, 5, 1), np.int16)
    found = resample_grid(ramp, (4, 5, 24), (1, 1, 2.5))
    assert found[1, 2, 2:-2] == pytest.approx((np.arange(24)[2:-2] + 0.5) * 2.5 - 0.5, abs=0.02)
    assert resample_grid(np.full((7, 8, 9), 3, np.uint8), (3, 2, 5), (2.2, 3.3, 1.7)) == pytest.approx(3)


def test_weights_are_a_triangle_of_what_is_there():
    first, weight = taps_of(4, 2, 2.0)
    assert first.tolist() == [0, 0] or first.tolist() == [0, 1]
    for row in weight:
        assert row.sum() == pytest.approx(1)
    dense = np.zeros((2, 4))
    for i in range(2):
        for k, w in enumerate(weight[i]):
            if w:
                dense[i, first[i] + k] = w
    # Centres at 1 and 3 edges; weights 0.75, 0.75, 0.25 and the other way round, of 1.75.
    assert dense == pytest.approx(np.array([[3, 3, 1, 0], [0, 1, 3, 3]]) / 7)


@pytest.mark.parametrize(
    ("volume", "size", "step", "error", "says"),
    [
        ([[[1]]], (1, 1, 1), (1, 1, 1), TypeError, "volume is a builtins.list"),
        (np.zeros((2, 2, 2), np.complex64), (1, 1, 1), (1, 1, 1), TypeError, "complex64"),
        (np.zeros((2, 2, 2), ">i2"), (1, 1, 1), (1, 1, 1), TypeError, ">i2"),
        (np.zeros((2, 2), np.int16), (1, 1, 1), (1, 1, 1), ValueError, "shape"),
        (np.zeros((2, 2, 0), np.int16), (1, 1, 0), (1, 1, 1), ValueError, "without a voxel"),
        (np.zeros((2, 2, 2), np.int16), (1, 1, 1), (1, 1, 0), ValueError, "positive"),
        (np.zeros((2, 2, 2), np.int16), (1, 1, 9), (1, 1, 1), ValueError, "beyond"),
        (np.zeros((2, 2, 2), np.int16), (1, -1, 1), (1, 1, 1), ValueError, "size"),
    ],
)
def test_misuse_is_named(volume, size, step, error, says):
    with pytest.raises(error, match=says):
        resample_grid(volume, size, step)


def test_a_result_without_voxels():
    assert resample_grid(np.ones((2, 3, 4), np.int16), (0, 3, 4), (1, 1, 1)).shape == (0, 3, 4)
