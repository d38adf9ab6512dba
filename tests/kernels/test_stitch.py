# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from spinefinder_fast.kernels import extract_patches, patch_origins, reference, stitch_mask, stitch_patches

from .forms import THREADS, compiled_form, every_form, form, layouts, shapes

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
        ({"volume": VOLUME.astype(np.int16)}, TypeError, "volume is int16, float32 is needed"),
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
        ({"patches": PATCHES.astype(np.float16)}, TypeError, "patches is float16"),
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
