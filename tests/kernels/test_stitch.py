# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import mmap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from spinefinder_fast.kernels import (
    Normalisation,
    blend_patches,
    extract_patches,
    gaussian_window,
    patch_origins,
    reference,
    stitch_mask,
    stitch_patches,
)
from spinefinder_fast.kernels.stitch import INTENSITIES

from .forms import THREADS, compiled_form, every_form, form, layouts, shapes, without_cuda

MARGINS = st.tuples(*[st.integers(0, 3)] * 3)


def origins(least: int = 0) -> st.SearchStrategy[np.ndarray]:
    return st.integers(least, 5).flatmap(
        lambda n: hnp.arrays(
            np.int64, (n, 3), elements=st.one_of(st.integers(-12, 14), st.sampled_from([-(2**62), 2**62]))
        )
    )


def numbered(shape: tuple[int, ...]) -> np.ndarray:
    """Every element another number, none of them 0."""
    return np.arange(1, np.prod(shape, dtype=int) + 1, dtype=np.float32).reshape(shape)


@compiled_form
@given(shape=shapes(9, 8, 11), first=origins(), patch=shapes(7, 6, 9), lay_out=layouts(), threads=THREADS)
def test_extract_equals_the_reference(name, shape, first, patch, lay_out, threads):
    volume = lay_out(numbered(shape))
    patches = form(name).extract_patches(volume, first, patch, -5.0, threads=threads)
    assert patches.dtype == np.float32
    assert patches.flags.c_contiguous
    np.testing.assert_array_equal(patches, reference.extract_patches(volume, first, patch, -5.0))


@compiled_form
@given(
    dtype=st.sampled_from([d for d in INTENSITIES if d != "bfloat16"]),
    to=st.sampled_from(["float32", "float16"]),
    normalisation=st.sampled_from(
        [Normalisation(), Normalisation(250.5, 0.002, -2.0, 3.0), Normalisation(-3.0, -1.5, -np.inf, 40.0)]
    ),
    shape=shapes(9, 8, 11),
    first=origins(),
    patch=shapes(7, 6, 9),
    lay_out=layouts(),
    threads=THREADS,
    data=st.data(),
)
def test_extract_takes_every_dtype_and_normalises(
    name, dtype, to, normalisation, shape, first, patch, lay_out, threads, data
):
    volume = data.draw(hnp.arrays(dtype, shape))
    options = {"normalisation": normalisation, "dtype": to}
    with np.errstate(all="ignore"):
        expected = reference.extract_patches(volume, first, patch, -5.0, **options)
    patches = form(name).extract_patches(lay_out(volume), first, patch, -5.0, threads=threads, **options)
    assert patches.dtype == expected.dtype
    np.testing.assert_array_equal(patches, expected)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_every_sixteen_bit_float_is_converted_as_torch_does(device, dtype):
    torch = pytest.importorskip("torch")
    if device == "cuda" and without_cuda():
        pytest.skip(without_cuda())
    first = np.zeros((1, 3), np.int64)
    short = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(getattr(torch, dtype)).reshape(1, 1, -1).to(device)
    wide = extract_patches(short, first, short.shape, 0.0)
    torch.testing.assert_close(wide[0], short.float(), rtol=0, atol=0, equal_nan=True)
    # Every exponent and sign, with random digits, and digits that lie halfway.
    generator = np.random.default_rng(0)
    bits = np.concatenate(
        [generator.integers(0, 2**32, 200_000), np.arange(2**16) << 16, (np.arange(2**16) << 16) + 2**15]
    )
    values = torch.from_numpy(bits.astype(np.uint32).view(np.float32)).reshape(1, 1, -1).to(device)
    narrow = extract_patches(values, first, values.shape, 0.0, dtype=dtype)
    torch.testing.assert_close(narrow[0], values.to(short.dtype), rtol=0, atol=0, equal_nan=True)


@compiled_form
@given(
    shape=shapes(9, 8, 11),
    channels=st.integers(0, 3),
    first=origins(),
    patch=shapes(7, 6, 9),
    margin=MARGINS,
    lay_out=layouts(4),
    threads=THREADS,
)
def test_stitch_equals_the_reference(name, shape, channels, first, patch, margin, lay_out, threads):
    patches = numbered((len(first), channels, *patch))
    before = -numbered((channels, *shape))
    out = lay_out(before)
    assert form(name).stitch_patches(patches, first, margin, out, threads=threads) is out
    np.testing.assert_array_equal(out, reference.stitch_patches(patches, first, margin, before.copy()))


@compiled_form
@given(
    shape=shapes(9, 8, 11),
    first=origins(),
    patch=shapes(7, 6, 9),
    margin=MARGINS,
    lay_out=layouts(),
    threads=THREADS,
    seed=st.integers(0, 99),
)
def test_mask_equals_the_reference(name, shape, first, patch, margin, lay_out, threads, seed):
    choices = np.array([-np.inf, -1, 0, 0.5, 1, np.inf, np.nan], np.float32)  # ties and NaN among them
    patches = np.random.default_rng(seed).choice(choices, (len(first), 2, *patch))
    before = np.full(shape, 7, np.uint8)
    out = lay_out(before)
    assert form(name).stitch_mask(patches, first, margin, out, threads=threads) is out
    np.testing.assert_array_equal(out, reference.stitch_mask(patches, first, margin, before.copy()))


@compiled_form
@given(
    shape=shapes(9, 8, 11),
    first=origins(),
    patch=shapes(7, 6, 9),
    margin=MARGINS,
    lay_out=layouts(),
    threads=THREADS,
    data=st.data(),
)
def test_probability_is_near_the_reference(name, shape, first, patch, margin, lay_out, threads, data):
    logits = st.one_of(st.floats(-60, 60, width=32), st.sampled_from([-np.inf, -300.0, 0.0, 300.0, np.inf, np.nan]))
    patches = data.draw(hnp.arrays(np.float32, (len(first), 2, *patch), elements=logits, fill=st.just(0.0)))
    before = np.full(shape, 7, np.float32)
    out = lay_out(before)
    assert form(name).stitch_probability(patches, first, margin, out, threads=threads) is out
    with np.errstate(invalid="ignore"):
        expected = reference.stitch_probability(patches, first, margin, before.copy())
    # 4 units in the last place; what is smaller than any normal float is not resolved.
    np.testing.assert_allclose(out, expected, rtol=4 * 2**-23, atol=1.2e-38)


@compiled_form
@given(
    shape=shapes(9, 8, 11),
    channels=st.integers(0, 3),
    first=origins(),
    patch=shapes(7, 6, 9),
    lay_out=layouts(4),
    lay_out_weight=layouts(),
    threads=THREADS,
    split=st.integers(0, 5),
    seed=st.integers(0, 99),
)
def test_blending_equals_the_reference(
    name, shape, channels, first, patch, lay_out, lay_out_weight, threads, split, seed
):
    rng = np.random.default_rng(seed)
    patches = rng.normal(size=(len(first), channels, *patch)).astype(np.float32)
    window = rng.random(patch, np.float32)
    expected = rng.normal(size=(channels, *shape)).astype(np.float32), rng.random(shape, np.float32)
    total, weight = lay_out(expected[0]), lay_out_weight(expected[1])
    reference.blend_patches(patches, first, window, *expected)
    for part in (slice(split), slice(split, None)):  # batches of any size give the same bits
        blend = form(name).blend_patches
        blend(np.ascontiguousarray(patches[part]), first[part], window, total, weight, threads=threads)
    np.testing.assert_array_equal(total, expected[0])
    np.testing.assert_array_equal(weight, expected[1])


@every_form
@pytest.mark.parametrize("kernel", ["stitch_patches", "stitch_mask", "stitch_probability", "blend_patches"])
def test_patches_of_half_precision_count_as_their_values(name, kernel):
    rng = np.random.default_rng(5)
    halves = rng.normal(size=(3, 2, 5, 4, 6)).astype(np.float16)
    first = np.array([[0, 0, 0], [2, 1, 0], [-2, 3, 1]])
    answers = []
    for patches in (halves, halves.astype(np.float32)):
        if kernel == "blend_patches":
            total, weight = np.zeros((2, 7, 6, 6), np.float32), np.zeros((7, 6, 6), np.float32)
            form(name).blend_patches(patches, first, gaussian_window((5, 4, 6)), total, weight)
            answers.append(total)
        else:
            shape = (2, 7, 6, 6) if kernel == "stitch_patches" else (7, 6, 6)
            out = np.zeros(shape, np.uint8 if kernel == "stitch_mask" else np.float32)
            answers.append(getattr(form(name), kernel)(patches, first, (1, 0, 1), out))
    assert answers[0].any()
    np.testing.assert_array_equal(*answers)


def test_blended_patches_of_a_volume_give_the_volume():
    volume = numbered((30, 21, 40))
    patch = (8, 6, 10)
    first = patch_origins(volume.shape, patch, (0, 0, 0), (4, 3, 5))
    total, weight = np.zeros((1, *volume.shape), np.float32), np.zeros(volume.shape, np.float32)
    patches = extract_patches(volume, first, patch, 0.0)
    blend_patches(patches[:, None], first, gaussian_window(patch), total, weight)
    assert weight.min() >= 0.999e-3
    np.testing.assert_allclose(total[0] / weight, volume, rtol=1e-5)


def test_the_gaussian_window_is_that_of_its_formula():
    window = gaussian_window((8, 5, 6), sigma=0.25)
    assert window.dtype == np.float32
    assert window.shape == (8, 5, 6)
    # One voxel along each axis away from the middle's neighbours: exp(-(d / sigma n)^2 / 2), and never below 0.001.
    assert window[3, 2, 2] == pytest.approx(np.exp(-0.5 * (0.5 / 2) ** 2) * np.exp(-0.5 * (0.5 / 1.5) ** 2))
    assert gaussian_window((64, 64, 80)).min() == np.float32(1e-3)
    np.testing.assert_array_equal(window, window[::-1, ::-1, ::-1])
    with pytest.raises(ValueError, match="sigma is 0"):
        gaussian_window((4, 4, 4), 0)


@every_form
def test_a_tie_and_nan_are_background(name):
    logits = np.array([[0, 1], [1, 0], [2, 2], [np.nan, 9], [0, np.nan], [-np.inf, -3]], np.float32).T
    out = np.full((1, 1, 6), 7, np.uint8)
    form(name).stitch_mask(logits.reshape(1, 2, 1, 1, 6).copy(), np.zeros((1, 3), np.int64), (0, 0, 0), out)
    assert out.ravel().tolist() == [1, 0, 0, 0, 0, 1]


@every_form
def test_the_last_of_overlapping_patches_wins(name):
    patches = np.stack([np.full((1, 4, 4, 4), v, np.float32) for v in (1, 2, 3)])
    first = np.array([[0, 0, 0], [2, 0, 0], [1, 0, 0]])
    for threads in (1, 2, 3, 7):
        out = np.zeros((1, 6, 4, 4), np.float32)
        form(name).stitch_patches(patches, first, (0, 0, 0), out, threads=threads)
        assert out[0, :, 0, 0].tolist() == [1, 3, 3, 3, 3, 2]


@every_form
@given(
    shape=shapes(9, 8, 11),
    centre=st.tuples(*[st.integers(1, 5)] * 3),
    margin=MARGINS,
    threads=THREADS,
)
def test_patches_of_a_volume_stitch_back_to_it(name, shape, centre, margin, threads):
    volume = numbered(shape)
    patch = tuple(c + 2 * m for c, m in zip(centre, margin, strict=True))
    first = patch_origins(shape, patch, margin)
    patches = form(name).extract_patches(volume, first, patch, 0.0, threads=threads)
    out = np.zeros((1, *shape), np.float32)
    form(name).stitch_patches(patches[:, None], first, margin, out, threads=threads)
    np.testing.assert_array_equal(out[0], volume)


@given(
    shape=shapes(20, 20, 20),
    centre=st.tuples(*[st.integers(1, 6)] * 3),
    margin=MARGINS,
)
def test_centres_tile_the_volume_once(shape, centre, margin):
    patch = tuple(c + 2 * m for c, m in zip(centre, margin, strict=True))
    covered = np.zeros([n + c for n, c in zip(shape, centre, strict=True)], int)
    for start in patch_origins(shape, patch, margin) + margin:
        assert (start < shape).all()  # none lies wholly outside
        covered[tuple(slice(s, s + c) for s, c in zip(start, centre, strict=True))] += 1
    inside = tuple(slice(n) for n in shape)
    assert (covered[inside] == 1).all()
    assert covered.max(initial=0) <= 1


@given(shape=shapes(20, 20, 20), centre=st.tuples(*[st.integers(1, 6)] * 3), margin=MARGINS, data=st.data())
def test_overlapping_centres_cover_the_volume_and_no_more(shape, centre, margin, data):
    step = tuple(data.draw(st.integers(1, c)) for c in centre)
    patch = tuple(c + 2 * m for c, m in zip(centre, margin, strict=True))
    first = patch_origins(shape, patch, margin, step) + margin
    for axis, n in enumerate(shape):
        starts = np.unique(first[:, axis])
        if len(first):
            assert starts[0] == 0
            assert (np.diff(starts) == step[axis]).all()
            assert starts[-1] + centre[axis] >= n  # covered to the end
            assert len(starts) == 1 or starts[-2] + centre[axis] < n  # the last one is needed
    assert bool(len(first)) == bool(np.prod(shape))


def test_patch_origins_of_the_paper():
    first = patch_origins((70, 32, 81), (64, 64, 80), (16, 16, 20))
    assert first.dtype == np.int64
    assert first.tolist() == [[x, -16, z] for x in (-16, 16, 48) for z in (-20, 20, 60)]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (((4, 4, 4), (4, 4, 4), (2, 0, 0)), ValueError, "leaves no centre"),
        (((4, 4, 4), (4, 4, 4), (-1, 0, 0)), ValueError, "margin is"),
        (((4, 4), (4, 4, 4), (0, 0, 0)), ValueError, "shape is"),
        (((4, 4, 4), (4, 0, 4), (0, 0, 0)), ValueError, "patch is"),
        (((4, 4, 4.5), (4, 4, 4), (0, 0, 0)), TypeError, "shape is"),
        (((4, 4, 4), (4, 4, 4), (1, 1, 1), (2, 3, 2)), ValueError, "step is .2, 3, 2., which leaves gaps"),
        (((4, 4, 4), (4, 4, 4), (1, 1, 1), (2, 0, 2)), ValueError, "step is"),
    ],
)
def test_misuse_of_patch_origins_is_named(arguments, error, message):
    with pytest.raises(error, match=message):
        patch_origins(*arguments)


def frozen(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    array = np.zeros(shape, dtype)
    array.flags.writeable = False
    return array


VOLUME, PATCHES, LOGITS = (np.zeros(s, np.float32) for s in ((4, 4, 4), (2, 1, 3, 3, 3), (2, 2, 3, 3, 3)))
FIRST = np.zeros((2, 3), np.int64)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"volume": VOLUME.tolist()}, TypeError, "volume is a builtins.list"),
        ({"volume": VOLUME[0]}, ValueError, "volume has shape"),
        ({"volume": VOLUME.astype(np.int64)}, TypeError, "volume is int64, float32 or int16 or"),
        ({"volume": VOLUME.astype(">f4")}, TypeError, "volume is >f4"),
        ({"volume": VOLUME.astype(object)}, TypeError, "volume is object"),
        ({"dtype": "float64"}, TypeError, "dtype is 'float64', float32 or"),
        ({"dtype": "bfloat16"}, TypeError, "NumPy has no bfloat16"),
        ({"origins": FIRST.astype(np.int32)}, TypeError, "origins is int32, int64 is needed"),
        ({"origins": FIRST[:, :2]}, ValueError, "origins has shape"),
        ({"origins": FIRST + 2**62 + 1}, ValueError, "origins lie beyond"),
        ({"patch_shape": (3, 3)}, ValueError, "patch_shape is"),
        ({"out": np.zeros((2, 3, 3, 4), np.float32)}, ValueError, "out has shape"),
        ({"out": np.zeros((2, 3, 3, 3))}, TypeError, "out is float64"),
        ({"out": np.zeros((3, 3, 3, 2), np.float32).T}, ValueError, "C-contiguous"),
        ({"out": frozen((2, 3, 3, 3), np.float32)}, ValueError, "out is read-only"),
        ({"threads": -1}, ValueError, "threads is -1"),
    ],
)
def test_misuse_of_extract_is_named(wrong, error, message):
    good = {"volume": VOLUME, "origins": FIRST, "patch_shape": (3, 3, 3), "pad_value": 0.0}
    with pytest.raises(error, match=message):
        extract_patches(**(good | wrong))


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"patches": None}, TypeError, "patches is a builtins.NoneType"),
        ({"patches": PATCHES[0]}, ValueError, "patches has shape"),
        ({"patches": PATCHES.astype(np.float64)}, TypeError, "patches is float64, float32 or float16"),
        ({"patches": PATCHES[..., ::-1]}, ValueError, "patches has gaps"),
        ({"origins": FIRST[:1]}, ValueError, r"origins has shape \(1, 3\), \(2, 3\) is needed"),
        ({"margin": (0, -1, 0)}, ValueError, "margin is"),
        ({"out": np.zeros((2, 4, 4, 4), np.float32)}, ValueError, "out has shape"),
        ({"out": np.zeros((1, 4, 4, 4), np.uint8)}, TypeError, "out is uint8"),
        ({"out": frozen((1, 4, 4, 4), np.float32)}, ValueError, "out is read-only"),
    ],
)
def test_misuse_of_stitch_is_named(wrong, error, message):
    good = {"patches": PATCHES, "origins": FIRST, "margin": (1, 1, 1), "out": np.zeros((1, 4, 4, 4), np.float32)}
    with pytest.raises(error, match=message):
        stitch_patches(**(good | wrong))


def test_misuse_of_the_mask_is_named():
    with pytest.raises(ValueError, match=r"patches has shape \(2, 1, 3, 3, 3\), \(n, 2, px, py, pz\) is needed"):
        stitch_mask(PATCHES, FIRST, (1, 1, 1), np.zeros((4, 4, 4), np.uint8))
    with pytest.raises(TypeError, match="out is bool, uint8 is needed"):
        stitch_mask(LOGITS, FIRST, (1, 1, 1), np.zeros((4, 4, 4), bool))


def test_misuse_of_blending_is_named():
    window, total, weight = gaussian_window((3, 3, 3)), np.zeros((1, 4, 4, 4), np.float32), VOLUME.copy()
    with pytest.raises(ValueError, match=r"window has shape \(3, 3, 2\), \(3, 3, 3\) is needed"):
        blend_patches(PATCHES, FIRST, window[..., :2], total, weight)
    with pytest.raises(ValueError, match="window has gaps"):
        blend_patches(PATCHES, FIRST, window[::-1], total, weight)
    with pytest.raises(ValueError, match=r"weight has shape \(4, 4\)"):
        blend_patches(PATCHES, FIRST, window, total, weight[0])
    with pytest.raises(ValueError, match="total is read-only"):
        blend_patches(PATCHES, FIRST, window, frozen((1, 4, 4, 4), np.float32), weight)
    with pytest.raises(ValueError, match="weight is read-only"):
        blend_patches(PATCHES, FIRST, window, total, frozen((4, 4, 4), np.float32))


def test_tensors_are_checked():
    torch = pytest.importorskip("torch")
    logits, out = torch.from_numpy(LOGITS), torch.zeros((4, 4, 4), dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"patches records its gradient, .+ patches.detach\(\)"):
        stitch_mask(logits.clone().requires_grad_(), FIRST, (0, 0, 0), out)
    with pytest.raises(RuntimeError, match="no kernels for the device meta"):
        stitch_mask(logits.to("meta"), FIRST, (0, 0, 0), out.to("meta"))
    with pytest.raises(ValueError, match=r"different devices \(patches on meta, out on cpu\)"):
        stitch_mask(logits.to("meta"), FIRST, (0, 0, 0), out.numpy())


@pytest.mark.slow
def test_volumes_of_more_than_two_to_the_31_voxels():
    # Memory without pages: only what is written or read becomes real.
    shape = (1300, 1300, 1300)
    size = int(np.prod(shape))
    assert size > 2**31
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    volume = np.frombuffer(memory, np.uint8).reshape(shape)
    logits = np.random.default_rng(0).normal(size=(1, 2, 6, 5, 8)).astype(np.float32)
    origin = np.array([[1295, 1296, 1294]])
    for order in ((0, 1, 2), (2, 0, 1)):
        view = volume.transpose(order)
        stitch_mask(logits, origin, (0, 0, 0), view)
        expected = np.zeros((6, 5, 8), np.uint8)
        expected[:5, :4, :6] = logits[0, 1, :5, :4, :6] > logits[0, 0, :5, :4, :6]
        assert expected.any()
        assert view[1295:, 1296:, 1294:].tolist() == expected[:5, :4, :6].tolist()
        np.testing.assert_array_equal(extract_patches(view, origin, (6, 5, 8), 0.0)[0], expected)
        view[1295:, 1296:, 1294:] = 0
