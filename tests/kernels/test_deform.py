# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinefinder_fast.kernels import deform_grid, deform_random_grid, reference

from .forms import THREADS, compiled_form, every_form, form, layouts, sides

MODES = ["nearest", "wrap", "reflect", "mirror", "constant"]
BOUNDS = {0: 0.0, 1: 1e-6, 3: 5e-6}
"""Of an error, relative to the largest magnitude in the image."""


@st.composite
def jobs(draw: st.DrawFn, least: int = 0) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """An image, displacements and options. Deformed axes have at least so many voxels; with any, nothing is empty."""
    axes = draw(st.integers(1, 3))
    carried = draw(st.integers(0, 4 - axes))
    axis = tuple(sorted(draw(st.permutations(range(axes + carried)))[:axes]))
    largest = {1: 60, 2: 25, 3: 9}[axes]
    lengths = st.integers(least, largest) if least else sides(largest)
    carried_lengths = st.integers(min(least, 1), 13 if carried == 1 else 3)
    shape = [draw(lengths if a in axis else carried_lengths) for a in range(axes + carried)]
    order = draw(st.sampled_from([0, 1, 3]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    if order == 3 or draw(st.booleans()):
        image = rng.normal(0, 100, shape).astype(np.float32)
    else:
        image = rng.integers(0, 256, shape, np.uint8)
    points = [draw(st.integers(1, 5)) for _ in axis]
    displacement = rng.normal(0, draw(st.sampled_from([0.3, 2.0, 9.0, 60.0])), (axes, *points))
    crop = None
    if draw(st.booleans()):
        lows = [draw(st.integers(0, shape[a] - min(least, 1))) for a in axis]
        crop = [slice(low, draw(st.integers(low + min(least, 1), shape[a]))) for low, a in zip(lows, axis, strict=True)]
    options = {
        "axis": axis,
        "order": order,
        "mode": draw(st.sampled_from(MODES)),
        "cval": draw(st.sampled_from([0.0, 7.25, -3.0, 300.0])),
        "crop": crop,
    }
    return image, displacement, options


def assert_near(got: np.ndarray, want: np.ndarray, image: np.ndarray, displacement: np.ndarray, options: Any) -> None:
    """Both agree but for rounding, and where the answer jumps within 1e-6 voxels of the source."""
    axis, order, mode = options["axis"], options["order"], options["mode"]
    assert got.shape == want.shape
    assert got.dtype == want.dtype == image.dtype
    if not got.size:
        return
    sources = reference.deform_sources([image.shape[a] for a in axis], displacement, options["crop"])
    if order == 0 or mode in ("wrap", "reflect", "constant"):
        steps = sources * 2
        smooth = (np.abs(steps - np.rint(steps)) > 2e-6).all(0)
    else:
        smooth = np.ones(sources.shape[1:], bool)
    got, want = (np.moveaxis(a, axis, range(-len(axis), 0))[..., smooth] for a in (got, want))
    if image.dtype == np.uint8 and order:
        # One of them may have rounded up what the other has just below a half.
        exact = reference.deform_grid(image.astype(np.float32), displacement, **options)
        exact = np.moveaxis(exact, axis, range(-len(axis), 0))[..., smooth]
        clear = np.abs(exact - np.floor(exact) - 0.5) > 1e-3
        got, want = got[clear], want[clear]
        np.testing.assert_array_equal(got, want)
    else:
        np.testing.assert_allclose(got, want, rtol=0, atol=BOUNDS[order] * float(np.abs(image).max()))


@compiled_form
@given(job=jobs(), data=st.data(), threads=THREADS)
def test_deformation_equals_the_reference(name, job, data, threads):
    image, displacement, options = job
    laid_out = data.draw(layouts(image.ndim))(image)
    got = form(name).deform_grid(laid_out, displacement, threads=threads, **options)
    assert_near(got, reference.deform_grid(image, displacement, **options), image, displacement, options)


@every_form
@given(job=jobs(least=2))
def test_deformation_equals_elasticdeform(name, job):
    elasticdeform = pytest.importorskip("elasticdeform")
    image, displacement, options = job
    want = elasticdeform.deform_grid(image, displacement, **options)
    assert_near(form(name).deform_grid(image, displacement, **options), want, image, displacement, options)


@every_form
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("order", [0, 1, 3])
def test_no_displacement_gives_the_image_back(name, order, mode):
    image = np.random.default_rng(0).normal(0, 1, (3, 17, 21)).astype(np.float32)
    got = form(name).deform_grid(image, np.zeros((2, 3, 4)), axis=(1, 2), order=order, mode=mode)
    if order == 3:
        np.testing.assert_allclose(got, image, atol=5e-6 * np.abs(image).max())
    else:
        np.testing.assert_array_equal(got, image)


@every_form
@pytest.mark.parametrize(
    ("mode", "behind", "before"),
    [
        ("nearest", [30, 40, 50, 50, 50], [10, 10, 10, 20, 30]),
        ("mirror", [30, 40, 50, 40, 30], [30, 20, 10, 20, 30]),
        ("constant", [30, 40, 7, 7, 7], [7, 7, 7, 20, 30]),
        ("wrap", [30, 40, 10, 20, 30], [30, 40, 50, 20, 30]),
        ("reflect", [30, 40, 50, 50, 40], [20, 10, 20, 20, 30]),
    ],
)
def test_what_lies_beyond_the_border(name, mode, behind, before):
    image = np.array([10, 20, 30, 40, 50], np.uint8)
    for shift, expected in ((2.25, behind), (-2.25, before)):
        got = form(name).deform_grid(image, np.full((1, 1), shift), order=0, mode=mode, cval=6.5)
        assert got.tolist() == expected


@every_form
def test_the_displacement_passes_through_the_control_points(name):
    # A ramp shows where each voxel comes from; the control points are voxels 0, 10 and 20, and 0 and 8.
    ramp = np.stack(np.meshgrid(np.arange(21), np.arange(9), indexing="ij")).astype(np.float32)
    displacement = np.random.default_rng(1).normal(0, 0.4, (2, 3, 2))
    displacement += np.array([[1, 0, -1], [0.5] * 3]).reshape(2, 3, 1) * (1, -1)  # inwards, so that the ramp has no end
    displacement[1] = np.abs(displacement[1]) * (1, -1)
    displacement[0] = np.abs(displacement[0]) * np.array([1, 1, -1])[:, None]
    got = form(name).deform_grid(ramp, displacement, axis=(1, 2), order=1)
    np.testing.assert_allclose((got - ramp)[:, ::10, ::8], displacement, atol=1e-4)


@compiled_form
@given(job=jobs(), other=st.sampled_from([(0, "mirror"), (1, "constant"), (3, "nearest")]))
def test_a_list_shares_the_displacement(name, job, other):
    image, displacement, options = job
    axis, order, mode = options["axis"], *other
    second = np.random.default_rng(0).normal(0, 1, [image.shape[a] for a in axis]).astype(np.float32)
    both = {
        "axis": [axis, tuple(range(second.ndim))],
        "order": [options["order"], order],
        "mode": [options["mode"], mode],
        "cval": [options["cval"], 0.0],
        "crop": options["crop"],
    }
    got = form(name).deform_grid([image, second], displacement, **both)
    np.testing.assert_array_equal(got[0], form(name).deform_grid(image, displacement, **options))
    alone = form(name).deform_grid(second, displacement, order=order, mode=mode, crop=options["crop"])
    np.testing.assert_array_equal(got[1], alone)


@compiled_form
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("order", [0, 1, 3])
def test_a_crop_is_cut_from_the_whole(name, order, mode):
    rng = np.random.default_rng(3)
    image = rng.normal(0, 1, (9, 150, 170)).astype(np.float32)
    displacement = rng.normal(0, 6, (2, 3, 4))
    options = {"axis": (1, 2), "order": order, "mode": mode}
    whole = form(name).deform_grid(image, displacement, **options)
    for crop in ([slice(60, 90), slice(70, 110)], [slice(None, 4), slice(168, None)], [slice(0, 150), slice(3, 4)]):
        got = form(name).deform_grid(image, displacement, crop=crop, **options)
        # Of order 3 only the coefficients around the crop are computed.
        np.testing.assert_allclose(got, whole[:, crop[0], crop[1]], rtol=0, atol=1e-6 if order == 3 else 0)


@pytest.mark.parametrize("order", [0, 1, 3])
def test_the_same_bits_at_any_number_of_threads(order):
    rng = np.random.default_rng(4)
    images = [rng.normal(0, 1, (8, 90, 110)).astype(np.float32), rng.integers(0, 26, (1, 90, 110), np.uint8)]
    displacement = rng.normal(0, 8, (2, 3, 3))
    options = {"axis": (1, 2), "order": [order, 0], "mode": "nearest"}
    one = deform_grid(images, displacement, threads=1, **options)
    for threads in (2, 3, 7):
        for got, want in zip(deform_grid(images, displacement, threads=threads, **options), one, strict=True):
            np.testing.assert_array_equal(got, want)


@every_form
@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("size", [1e9, 4e18])
def test_displacements_far_beyond_the_image(name, order, size):
    image = np.arange(1, 31, dtype=np.float32).reshape(5, 6)
    displacement = np.full((2, 2, 2), size)
    got = form(name).deform_grid(image, displacement, order=order, mode="constant", cval=-1)
    assert (got == -1).all()
    for mode in MODES:
        got = form(name).deform_grid(image, displacement, order=order, mode=mode)
        assert np.isfinite(got).all()
        assert np.abs(got).max() < 40


def test_a_strided_out_is_written_and_nothing_beside_it():
    rng = np.random.default_rng(5)
    images = [rng.normal(0, 1, (4, 20, 30)).astype(np.float32), rng.integers(0, 9, (20, 30), np.uint8)]
    displacement = rng.normal(0, 2, (2, 3, 3))
    options = {"axis": [(1, 2), (0, 1)], "crop": [slice(5, 15), slice(3, 27)], "mode": "mirror"}
    for order in ([1, 0], [3, 1], [0, 1]):
        stored = [np.full((8, 12, 48), 77, np.float32), np.full((24, 10), 77, np.uint8)]
        outs = [stored[0][::-2, 1:-1, ::2], stored[1].T]
        got = deform_grid(images, displacement, order=order, out=outs, **options)
        assert all(g is o for g, o in zip(got, outs, strict=True))
        for g, want in zip(got, deform_grid(images, displacement, order=order, **options), strict=True):
            np.testing.assert_array_equal(g, want)
        outs[0][...] = 77
        assert (stored[0] == 77).all()


def test_what_is_carried_may_be_nothing():
    assert deform_grid(np.zeros((0, 4, 5), np.float32), np.ones((2, 2, 2)), axis=(1, 2)).shape == (0, 4, 5)


@pytest.mark.parametrize("points", [3, (3, 4)])
def test_a_random_grid_is_drawn_once_from_the_generator(points):
    image = np.random.default_rng(6).normal(0, 1, (3, 20, 30)).astype(np.float32)
    options = {"order": 1, "mode": "nearest", "crop": [slice(2, 9), slice(4, 29)]}
    drawn = np.random.default_rng(7).normal(0, 2.5, (2, 3, 3 if points == 3 else 4))
    want = deform_grid(image, drawn, axis=(1, 2), **options)
    got = deform_random_grid(image, 2.5, points, rng=np.random.default_rng(7), axis=(1, 2), **options)
    np.testing.assert_array_equal(got, want)
    several = deform_random_grid([image], 2.5, points, rng=np.random.default_rng(7), axis=[(1, 2)], **options)
    np.testing.assert_array_equal(several[0], want)


def test_a_random_grid_deforms_all_axes_if_none_is_named():
    image = np.random.default_rng(6).normal(0, 1, (6, 7, 8)).astype(np.float32)
    got = deform_random_grid(image, 1.5, rng=np.random.default_rng(7))
    np.testing.assert_array_equal(got, deform_grid(image, np.random.default_rng(7).normal(0, 1.5, (3, 3, 3, 3))))


def good() -> dict[str, Any]:
    return {"images": np.zeros((2, 6, 7), np.float32), "displacement": np.zeros((2, 3, 3)), "axis": (1, 2)}


def read_only() -> np.ndarray:
    array = np.zeros((2, 6, 7), np.float32)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"images": []}, ValueError, "images is empty"),
        ({"images": [[[0.0]]]}, TypeError, r"images\[0\] is a builtins.list"),
        ({"images": np.float32(1)}, TypeError, r"images\[0\] is a numpy.float32"),
        ({"images": np.zeros((1,) * 5, np.float32)}, ValueError, r"\(x, y, z, w\) is needed"),
        ({"images": np.zeros((2, 6, 7))}, TypeError, r"images\[0\] is float64, float32 is needed"),
        ({"images": np.zeros((2, 6, 7), np.uint8)}, TypeError, r"images\[0\] is uint8, float32 is needed"),
        ({"images": np.zeros((2, 6, 7), np.int8), "order": 0}, TypeError, "int8, float32 or uint8"),
        ({"images": [good()["images"], np.zeros((2, 6, 8), np.float32)]}, ValueError, r"\(6, 7\) voxels in one .*8"),
        ({"displacement": np.zeros((2, 3, 3), np.float32)}, TypeError, "displacement is float32, float64"),
        ({"displacement": np.zeros((3, 3, 3))}, ValueError, r"displacement has shape \(3, 3, 3\), \(2, p, q\)"),
        ({"displacement": np.zeros((2, 3))}, ValueError, r"displacement has shape \(2, 3\), \(2, p, q\)"),
        ({"displacement": np.zeros((2, 3, 0))}, ValueError, "needs a point along each axis"),
        ({"displacement": np.full((2, 3, 3), np.nan)}, ValueError, "displacement holds NaN"),
        ({"displacement": np.full((2, 3, 3), -1e19)}, ValueError, r"beyond 2\^62 voxels"),
        ({"axis": (2, 1)}, ValueError, r"axis is \(2, 1\) for an image of 3 axes"),
        ({"axis": (1, 1)}, ValueError, "in rising order"),
        ({"axis": (1, 3)}, ValueError, "in rising order"),
        ({"axis": (-2, -1)}, ValueError, "in rising order"),
        ({"axis": ()}, ValueError, "one to three"),
        ({"axis": 1.0}, TypeError, "axis is 1.0, whole numbers"),
        ({"axis": [(1, 2)] * 2}, ValueError, "axis has 2 entries for 1 images"),
        ({"order": 2}, ValueError, "order is 2, 0, 1 or 3"),
        ({"order": [3, 3]}, ValueError, "order has 2 entries for 1 images"),
        ({"mode": "edge"}, ValueError, "mode is 'edge', one of nearest"),
        ({"crop": [slice(0, 3)]}, ValueError, "crop has 1 slices for 2 deformed axes"),
        ({"crop": [slice(0, 3), 4]}, TypeError, "a slice for each deformed axis"),
        ({"crop": [slice(0, 3), slice(0, 8)]}, ValueError, "along an axis of 7 voxels; 0 <= start <= stop <= 7"),
        ({"crop": [slice(4, 3), slice(None)]}, ValueError, "along an axis of 6 voxels"),
        ({"crop": [slice(-3, None), slice(None)]}, ValueError, "along an axis of 6 voxels"),
        ({"crop": [slice(0, 6, 2), slice(None)]}, ValueError, "along an axis of 6 voxels"),
        ({"out": np.zeros((2, 6, 6), np.float32)}, ValueError, r"out\[0\] has shape \(2, 6, 6\), \(2, 6, 7\)"),
        ({"out": np.zeros((2, 6, 7))}, TypeError, r"out\[0\] is float64, float32"),
        ({"out": read_only()}, ValueError, r"out\[0\] is read-only"),
        ({"threads": 0}, ValueError, "threads is 0"),
    ],
)
def test_misuse_is_named(wrong, error, message):
    with pytest.raises(error, match=message):
        deform_grid(**(good() | wrong))


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"rng": np.random.RandomState(0)}, TypeError, "a numpy.random.Generator is needed"),
        ({"sigma": -1.0}, ValueError, "sigma is -1.0"),
        ({"sigma": np.nan}, ValueError, "sigma is nan"),
        ({"images": []}, TypeError, r"images\[0\] is a builtins.list"),
        ({"points": 0}, ValueError, "needs a point along each axis"),
        ({"points": (3,)}, ValueError, "displacement has shape"),
    ],
)
def test_misuse_of_a_random_grid_is_named(wrong, error, message):
    arguments = {"images": good()["images"], "sigma": 1.0, "rng": np.random.default_rng(0), "axis": (1, 2)}
    with pytest.raises(error, match=message):
        deform_random_grid(**(arguments | wrong))
