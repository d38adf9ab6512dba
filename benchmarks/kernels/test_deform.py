# SPDX-License-Identifier: Apache-2.0
"""The paper's crop of 8x80x320 voxels, image and labels, out of eight slices that are deformed; against elasticdeform.

Today the whole slices are deformed and then cropped; elasticdeform can also be told the crop.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np

from spinefinder_fast.kernels import deform_grid

from .ways import Way, compare

PAPER = {"full": (8, 80, 320)}
GROWING = {"small": (8, 80, 320), "middle": (8, 320, 640), "full": (8, 640, 2560)}
"""Crops of 1 : 8 : 64 times the voxels."""


@cache
def slices(crop: tuple[int, int, int]) -> tuple[list[np.ndarray], np.ndarray, list[slice]]:
    """Image (8, y, z) float32 and labels (1, y, z) uint8; displacements at 3x3 points; where the crop lies.

    The paper's crop lies in slices of 300x600 voxels, a larger one in slices that are larger by as much.
    """
    rng = np.random.default_rng(0)
    shape = 300 * crop[1] // 80, 600 * crop[2] // 320
    image = rng.normal(0, 1, (crop[0], *shape)).astype(np.float32)
    labels = rng.integers(0, 27, (1, *shape), np.uint8)
    inside = [slice((n - c) // 2, (n - c) // 2 + c) for n, c in zip(shape, crop[1:], strict=True)]
    return [image, labels], rng.normal(0, 7, (2, 3, 3)), inside


def options(order: int) -> dict[str, Any]:
    return {"axis": (1, 2), "order": [order, 0], "mode": "nearest"}


def ours(order: int, images: list[np.ndarray], displacement: np.ndarray, crop: list[slice], **how: Any) -> Any:
    return deform_grid(images, displacement, crop=crop, **options(order), **how)


def whole(order: int, images: list[np.ndarray], displacement: np.ndarray, crop: list[slice]) -> Any:
    import elasticdeform

    deformed = elasticdeform.deform_grid(images, displacement, **options(order))
    return [np.ascontiguousarray(image[:, crop[0], crop[1]]) for image in deformed]


def cropped(order: int, images: list[np.ndarray], displacement: np.ndarray, crop: list[slice]) -> Any:
    import elasticdeform

    return elasticdeform.deform_grid(images, displacement, crop=crop, **options(order))


def ways(order: int) -> list[Way]:
    return [
        Way(partial(ours, order)),
        Way(partial(ours, order, threads=1), "one thread"),
        Way(partial(whole, order), "elasticdeform, then crop", 10, needs="elasticdeform"),
        Way(partial(cropped, order), "elasticdeform of the crop", needs="elasticdeform"),
    ]


@cache
def expected(order: int) -> list[np.ndarray]:
    found: list[np.ndarray] = cropped(order, *slices(PAPER["full"]))
    return found


def check(order: int, measure: Any) -> None:
    image, labels = measure(*slices(PAPER["full"]))
    np.testing.assert_allclose(image, expected(order)[0], rtol=0, atol=3e-6 if order else 0)
    np.testing.assert_array_equal(labels, expected(order)[1])


@compare(ways(0), PAPER)
def test_deform_grid_nearest(measure, size, way):
    check(0, measure)


@compare(ways(1), PAPER)
def test_deform_grid_linear(measure, size, way):
    check(1, measure)


@compare(ways(3), PAPER)
def test_deform_grid_cubic(measure, size, way):
    check(3, measure)


@compare([Way(partial(ours, 3))], GROWING)
def test_deform_grid_growing(measure, size, way):
    arguments = slices(GROWING[size])
    image, labels = measure(*arguments)
    expected_image, expected_labels = cropped(3, *arguments)
    np.testing.assert_allclose(image, expected_image, rtol=0, atol=3e-6)
    np.testing.assert_array_equal(labels, expected_labels)
