# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import mmap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinefinder_fast.kernels import (
    rasterize_disc_crops,
    rasterize_discs,
    rasterize_sphere_crops,
    rasterize_spheres,
    reference,
)

from .forms import THREADS, compiled_form, every_form, form, layouts, shapes

# Quarters of a voxel meet the borders of slabs and the radius exactly; floats meet everything else.
COORDINATES = st.one_of(st.integers(-24, 64).map(lambda q: q / 4), st.floats(-6, 16))
RADII = st.one_of(st.integers(0, 24).map(lambda q: q / 4), st.floats(0, 6))
SPACINGS = st.tuples(*[st.sampled_from([1.0, 0.5, 0.75, 2.0, 3.3])] * 3)


FAR = 2**62


@st.composite
def scenes(draw: st.DrawFn, points: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[float, ...]]:
    """Points of n shapes, radii, values, spacing."""
    n = draw(st.integers(0, 4))
    flat = draw(st.lists(COORDINATES, min_size=n * int(np.prod(points)), max_size=n * int(np.prod(points))))
    radii = draw(st.lists(RADII, min_size=n, max_size=n))
    values = draw(st.lists(st.integers(0, 26), min_size=n, max_size=n))
    where = np.array(flat, np.float64).reshape(n, *points)
    return where, np.array(radii, np.float64), np.array(values, np.uint8), draw(SPACINGS)


def segments(*ends: tuple[tuple[float, float, float], tuple[float, float, float]]) -> np.ndarray:
    return np.array(ends, np.float64).reshape(-1, 2, 3)


def paint(name: str, shape: tuple[int, ...], where: np.ndarray, radius: float, spacing=(1.0, 1.0, 1.0)) -> np.ndarray:
    n = len(where)
    kernel = form(name).rasterize_discs if where.ndim == 3 else form(name).rasterize_spheres
    return kernel(np.full(shape, 99, np.uint8), where, np.full(n, radius), np.arange(1, n + 1, dtype=np.uint8), spacing)


@compiled_form
@given(shape=shapes(12, 11, 14), scene=scenes((2, 3)), lay_out=layouts(), threads=THREADS)
def test_discs_equal_the_reference(name, shape, scene, lay_out, threads):
    out = lay_out(np.full(shape, 99, np.uint8))
    assert form(name).rasterize_discs(out, *scene, threads=threads) is out
    np.testing.assert_array_equal(out, reference.rasterize_discs(np.empty(shape, np.uint8), *scene))


@compiled_form
@given(shape=shapes(12, 11, 14), scene=scenes((3,)), lay_out=layouts(), threads=THREADS)
def test_spheres_equal_the_reference(name, shape, scene, lay_out, threads):
    out = lay_out(np.full(shape, 99, np.uint8))
    assert form(name).rasterize_spheres(out, *scene, threads=threads) is out
    np.testing.assert_array_equal(out, reference.rasterize_spheres(np.empty(shape, np.uint8), *scene))


@st.composite
def crops(draw: st.DrawFn) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape (n, x, y, z) of crops, and their origins."""
    shape = (draw(st.integers(0, 3)), *draw(shapes(9, 8, 11)))
    origins = draw(st.lists(st.integers(-5, 9), min_size=3 * shape[0], max_size=3 * shape[0]))
    return shape, np.array(origins, np.int64).reshape(-1, 3)


def drawn_crop_of(data: st.DataObject, n: int, m: int) -> np.ndarray | None:
    if n == 0 or data.draw(st.booleans()):
        return None
    return np.array(data.draw(st.lists(st.integers(0, n - 1), min_size=m, max_size=m)), np.int64)


KINDS = pytest.mark.parametrize(
    ("kernel", "points"), [("rasterize_disc_crops", (2, 3)), ("rasterize_sphere_crops", (3,))]
)


@compiled_form
@KINDS
@given(crop=crops(), lay_out=layouts(4), threads=THREADS, data=st.data())
def test_crops_equal_the_reference(name, kernel, points, crop, lay_out, threads, data):
    shape, origins = crop
    scene = data.draw(scenes(points))
    crop_of = drawn_crop_of(data, shape[0], len(scene[0]))
    out = lay_out(np.full(shape, 99, np.uint8))
    assert getattr(form(name), kernel)(out, origins, *scene, crop_of, threads=threads) is out
    expected = getattr(reference, kernel)(np.empty(shape, np.uint8), origins, *scene, crop_of)
    np.testing.assert_array_equal(out, expected)


@every_form
@KINDS
@given(
    shape=st.tuples(*[st.integers(1, 6)] * 3),
    first=st.tuples(*[st.integers(0, 8)] * 3),
    data=st.data(),
)
def test_a_crop_is_the_window_of_the_whole(name, kernel, points, shape, first, data):
    where, radii, values, spacing = data.draw(scenes(points))
    forms = form(name)
    whole = getattr(forms, kernel.replace("_crops", "s"))(
        np.empty((14, 14, 14), np.uint8), where, radii, values, spacing
    )
    origins = np.array([first, first], np.int64)
    crop_of = np.zeros(len(where), np.int64)
    out = np.full((2, *shape), 99, np.uint8)
    getattr(forms, kernel)(out, origins, where, radii, values, spacing, crop_of)
    window = tuple(slice(a, a + n) for a, n in zip(first, shape, strict=True))
    np.testing.assert_array_equal(out[0], whole[window])
    assert not out[1].any()


@compiled_form
@KINDS
@given(
    offset=st.tuples(*[st.one_of(st.sampled_from([0, 2**31, 2**53, FAR - 20, -FAR]), st.integers(-FAR, FAR - 20))] * 3),
    shape=shapes(9, 8, 11),
    threads=THREADS,
    data=st.data(),
)
def test_far_crops_equal_the_reference(name, kernel, points, offset, shape, threads, data):
    where, radii, values, spacing = data.draw(scenes(points))
    origins = np.array([offset], np.int64)
    where = where + np.array(offset, np.float64)
    out = np.full((1, *shape), 99, np.uint8)
    getattr(form(name), kernel)(out, origins, where, radii, values, spacing, threads=threads)
    expected = getattr(reference, kernel)(np.empty((1, *shape), np.uint8), origins, where, radii, values, spacing)
    np.testing.assert_array_equal(out, expected)


@compiled_form
@KINDS
@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), lay_out=layouts(4), quarters=st.booleans())
def test_many_large_shapes_equal_the_reference(name, kernel, points, seed, lay_out, quarters):
    # Whole columns inside and outside of shapes, and more shapes than one launch holds.
    rng = np.random.default_rng(seed)
    m = int(rng.integers(1, 40))
    where, radii = rng.uniform(-9, 40, (m, *points)), rng.uniform(0, 16, m)
    if quarters:
        where, radii = (4 * where).round() / 4, (4 * radii).round() / 4
    scene = where, radii, rng.integers(0, 27, m).astype(np.uint8), (1.0, 0.75, 1.0)
    origins = rng.integers(-3, 4, (2, 3))
    out = lay_out(np.full((2, 33, 29, 37), 99, np.uint8))
    getattr(form(name), kernel)(out, origins, *scene)
    np.testing.assert_array_equal(out, getattr(reference, kernel)(np.empty(out.shape, np.uint8), origins, *scene))


@pytest.mark.parametrize("order", ["xyz", "zyx", "yzx"])
def test_volumes_beyond_the_caches_equal_the_reference(order):
    # Large ones are cleared past the caches, in pieces that begin and end anywhere.
    shape = (201, 303, 307)
    ends = segments(((90.5, 100, 20), (120, 140, 150)), ((120, 140, 150), (119, 180, 290)))
    scene = ends, np.array([17.0, 21.5]), np.array([3, 4], np.uint8), (1.0, 1.0, 1.0)
    axes = ["xyz".index(axis) for axis in order]
    stored = np.full(3 + np.prod(shape), 99, np.uint8)
    out = stored[1:-2].reshape([shape[a] for a in axes]).transpose(np.argsort(axes))
    assert out.size > 2**24
    rasterize_discs(out, *scene)
    np.testing.assert_array_equal(out, reference.rasterize_discs(np.empty(shape, np.uint8), *scene))
    assert stored[[0, -2, -1]].tolist() == [99, 99, 99]


def test_volumes_beyond_2_to_the_31_voxels():
    # Only the pages that are painted, or near, are ever real: the rest of the volume is cut off.
    shape = (1025, 2048, 1024)
    memory = mmap.mmap(-1, int(np.prod(shape)), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    volume = np.frombuffer(memory, np.uint8).reshape(shape)
    assert volume.size > 2**31
    ends = segments(
        ((0.5, 1010.25, 500.5), (1023.5, 1030.0, 530.0)), ((1024.0, 1025.0, 520.0), (1024.0, 1020.0, 523.0))
    )
    scene = ends, np.array([9.0, 7.5]), np.array([3, 4], np.uint8), (1.0, 1.0, 1.0)
    origin = np.array([[0, 995, 485]])
    window = volume[None, :, 995:1045, 485:555]
    rasterize_disc_crops(window, origin, *scene)
    expected = reference.rasterize_disc_crops(np.empty(window.shape, np.uint8), origin, *scene)
    np.testing.assert_array_equal(window, expected)
    assert window[0, -1].any()


@pytest.mark.parametrize("step", [1, 2])
def test_a_strided_volume_is_written_and_nothing_beside_it(step):
    stored = np.full((9 * step, 8, 10), 77, np.uint8)
    out = stored[::step, 1:-1, ::-1][:, :, 2:]
    before = stored.copy()
    rasterize_discs(out, segments(((4, 3, 1), (4, 3, 6))), np.array([2.5]), np.array([5], np.uint8), (1, 1, 1))
    written = np.zeros(stored.shape, bool)
    written[::step, 1:-1, ::-1][:, :, 2:] = True
    np.testing.assert_array_equal(stored[~written], before[~written])
    assert set(np.unique(out)) == {0, 5}


@every_form
@given(
    ends=st.tuples(*[st.tuples(st.floats(0, 9), st.floats(0, 9), st.floats(0, 9))] * 2),
    radius=st.floats(0.5, 4),
    spacing=SPACINGS,
)
def test_discs_agree_with_samples_along_the_segment(name, ends, radius, spacing):
    out = paint(name, (10, 10, 10), segments(ends), radius, spacing)
    low, high = np.array(ends)
    t = np.linspace(0, 1, 2001)
    samples = low + t[:, None] * (high - low)
    step = np.linalg.norm((high - low) * spacing) / 2000 + 1e-9  # samples miss the nearest point by less than this
    x, y = np.meshgrid(np.arange(10) * spacing[0], np.arange(10) * spacing[1], indexing="ij")
    for k in range(10):
        owned = samples[np.floor(samples[:, 2] + 0.5) == k]
        if not len(owned):
            # A touch of a slab shorter than the sampling may be painted; nothing else may.
            if (
                not (low[2] + 0.5) // 1 <= k <= (high[2] + 0.5) // 1
                and not (high[2] + 0.5) // 1 <= k <= (low[2] + 0.5) // 1
            ):
                assert not out[:, :, k].any()
            continue
        distance = np.sqrt(
            (x[..., None] - owned[:, 0] * spacing[0]) ** 2 + (y[..., None] - owned[:, 1] * spacing[1]) ** 2
        ).min(-1)
        assert out[:, :, k][distance <= radius].all()
        assert not out[:, :, k][distance > radius + step].any()


@every_form
@pytest.mark.parametrize(
    ("z0", "z1", "planes"),
    [
        (2.0, 5.0, [2, 3, 4, 5]),
        (1.5, 3.5, [2, 3, 4]),  # plane 2 owns its lower border, and plane 4 owns the last point
        (1.4999, 3.4999, [1, 2, 3]),
        (3.5, 1.5, [2, 3, 4]),  # the other way round
        (2.2, 2.2, [2]),  # no length: one disc
        (2.5, 2.5, [3]),
        (-9.0, 0.0, [0]),
        (5.2, 99.0, [5, 6]),
        (-9.0, -0.51, []),
        (6.5, 9.0, []),
    ],
)
def test_planes_own_half_open_slabs(name, z0, z1, planes):
    out = paint(name, (5, 5, 7), segments(((2, 2, z0), (2, 2, z1))), 1.0)
    assert np.flatnonzero(out.any(axis=(0, 1))).tolist() == planes
    for k in planes:
        assert out[:, :, k].sum() == 5  # the centre and its four neighbours


@every_form
def test_an_oblique_segment_is_clipped_to_each_slab(name):
    # x advances 4 voxels per plane: plane k sees x from 4k - 2 to 4k + 2, and half a disc beyond each end.
    out = paint(name, (17, 3, 5), segments(((0, 1, 0), (16, 1, 4))), 0.5)
    assert [np.flatnonzero(out[:, 1, k]).tolist() for k in range(5)] == [
        [0, 1, 2],
        [2, 3, 4, 5, 6],
        [6, 7, 8, 9, 10],
        [10, 11, 12, 13, 14],
        [14, 15, 16],
    ]


@every_form
def test_radius_counts_millimetres_in_the_plane(name):
    out = paint(name, (9, 9, 3), segments(((4, 4, 1), (4, 4, 1))), 2.0, spacing=(0.5, 2.0, 5.0))
    assert np.flatnonzero(out[:, 4, 1]).tolist() == list(range(9))
    assert np.flatnonzero(out[4, :, 1]).tolist() == [3, 4, 5]
    assert not out[:, :, [0, 2]].any()


@every_form
def test_a_later_shape_overwrites_an_earlier_one(name):
    both = segments(((3, 3, 2), (3, 3, 2)), ((4, 3, 2), (4, 3, 2)))
    out = paint(name, (8, 7, 5), both, 2.0)
    second = paint(name, (8, 7, 5), both[1:], 2.0)
    assert (out[second == 1] == 2).all()
    assert (out == 1).any()
    out = paint(name, (8, 7, 5), both[:, 0], 2.0)
    assert out[4, 3, 2] == 2
    assert out[1, 3, 2] == 1


@every_form
def test_what_lies_outside_is_dropped_and_not_moved_to_the_border(name):
    for far in ((-3, 2, 2), (2, 8, 2), (2, 2, -4), (2, 2, 1e15), (-1e15, 2, 2)):
        assert not paint(name, (5, 5, 5), segments((far, far)), 2.0).any()
        assert not paint(name, (5, 5, 5), np.array([far], np.float64), 2.0).any()


@every_form
def test_a_sphere_is_a_ball_in_millimetres(name):
    out = paint(name, (9, 9, 9), np.array([[4.0, 4, 4]]), 3.0, spacing=(1.0, 1.5, 3.0))
    assert [int(out.any(axis=axes).sum()) for axes in ((1, 2), (0, 2), (0, 1))] == [7, 5, 3]


@every_form
def test_nothing_to_paint_clears(name):
    assert not paint(name, (3, 4, 5), segments(), 1.0).any()
    assert not paint(name, (3, 4, 5), np.empty((0, 3)), 1.0).any()


def good() -> dict[str, object]:
    return {
        "out": np.zeros((4, 4, 4), np.uint8),
        "segments_vox": segments(((1, 1, 1), (2, 2, 2))),
        "radii_mm": np.array([1.0]),
        "values": np.array([1], np.uint8),
        "spacing_mm": (1.0, 1.0, 1.0),
        "threads": 1,
    }


def read_only() -> np.ndarray:
    array = np.zeros((4, 4, 4), np.uint8)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"out": [[[0]]]}, TypeError, "out is a builtins.list, a NumPy array or a tensor"),
        ({"out": np.zeros((4, 4), np.uint8)}, ValueError, r"out has shape \(4, 4\), \(x, y, z\) is needed"),
        ({"out": np.zeros((4, 4, 4), np.int64)}, TypeError, "out is int64, uint8 is needed"),
        ({"out": read_only()}, ValueError, "out is read-only"),
        ({"segments_vox": segments().tolist()}, TypeError, "segments_vox is a builtins.list, a NumPy array is"),
        ({"segments_vox": np.zeros((1, 3))}, ValueError, r"\(m, 2, 3\) is needed"),
        ({"segments_vox": np.zeros((1, 2, 3), np.float32)}, TypeError, "segments_vox is float32, float64"),
        ({"segments_vox": np.full((1, 2, 3), np.nan)}, ValueError, "segments_vox holds NaN"),
        ({"radii_mm": np.array([1.0, 2.0])}, ValueError, r"radii_mm has shape \(2,\), \(1\) is needed"),
        ({"radii_mm": np.array([-1.0])}, ValueError, "radii_mm holds"),
        ({"radii_mm": np.array([np.inf])}, ValueError, "radii_mm holds"),
        ({"radii_mm": np.array([np.nan])}, ValueError, "radii_mm holds"),
        ({"values": np.array([1])}, TypeError, "values is int64, uint8"),
        ({"spacing_mm": (1.0, 1.0)}, ValueError, "spacing_mm has shape"),
        ({"spacing_mm": (1.0, 0.0, 1.0)}, ValueError, "spacing_mm is"),
        ({"threads": 0}, ValueError, "threads is 0"),
        ({"threads": 1.5}, TypeError, "threads is 1.5"),
    ],
)
def test_misuse_is_named(wrong, error, message):
    with pytest.raises(error, match=message):
        rasterize_discs(**(good() | wrong))


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"out": np.zeros((4, 4, 4), np.uint8)}, ValueError, r"out has shape \(4, 4, 4\), \(n, x, y, z\) is needed"),
        ({"origins": np.zeros((2, 3), np.int64)}, ValueError, r"origins has shape \(2, 3\), \(1, 3\) is needed"),
        ({"origins": np.zeros((1, 3))}, TypeError, "origins is float64, int64 is needed"),
        ({"origins": np.full((1, 3), FAR + 1)}, ValueError, "origins lie beyond"),
        ({"crop_of": [0]}, TypeError, "crop_of is a builtins.list"),
        ({"crop_of": np.zeros(2, np.int64)}, ValueError, r"crop_of has shape \(2,\), \(1\) is needed"),
        ({"crop_of": np.zeros(1, np.int32)}, TypeError, "crop_of is int32, int64 is needed"),
        ({"crop_of": np.array([1])}, ValueError, "crop_of holds the number of no crop; there are 1"),
        ({"crop_of": np.array([-1])}, ValueError, "crop_of holds"),
    ],
)
def test_misuse_of_crops_is_named(wrong, error, message):
    arguments = good() | {"out": np.zeros((1, 4, 4, 4), np.uint8), "origins": np.zeros((1, 3), np.int64)} | wrong
    with pytest.raises(error, match=message):
        rasterize_disc_crops(**arguments)
    arguments["centres_vox"] = arguments.pop("segments_vox")[:, 0]
    with pytest.raises(error, match=message):
        rasterize_sphere_crops(**arguments)


def test_misuse_of_spheres_is_named():
    arguments = {"centres_vox": np.full((1, 3), np.inf), **{k: v for k, v in good().items() if k != "segments_vox"}}
    with pytest.raises(ValueError, match="centres_vox holds NaN"):
        rasterize_spheres(**arguments)
