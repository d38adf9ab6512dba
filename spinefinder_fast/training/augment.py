# SPDX-License-Identifier: Apache-2.0
"""Other looks and narrower views of a training crop: a scan that is stored once is seen through many scanners.

What a network learns by heart is how the stored scans look and where their fields of view end; both are drawn anew for
every crop. The ways to change a look are those usual in segmentation (nnU-Net, Isensee et al. 2021), but air and water
stay what they are, for the units of CT are absolute.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spinefinder_fast.volume import WINDOW_HU, WINDOW_SCALE_HU

Image = NDArray[np.float32]

BONE_SD: Final = 0.25
"""Spread of the logarithm of the factor on what is denser than water: bone density, tube voltage, contrast medium."""

NOISE: Final = (0.02, 0.2)
"""Standard deviations of noise, in units of the input: 10 to 100 HU with the usual window."""

BLUR_VOXELS: Final = (0.3, 1.0)
"""Standard deviations of a smooth kernel."""

SHARPEN: Final = (0.3, 1.0)
"""How much of what a blur takes away a sharp kernel adds."""

SLICE_MM: Final = (3.0, 6.0)
"""Thick slices, and the distance from one to the next."""

SHARES: Final = {"bone": 0.5, "blur": 0.25, "sharpen": 0.15, "slices": 0.2, "noise": 0.4}
"""How often each is done, each by itself; but what is blurred is not sharpened."""

DENSEST: Final = WINDOW_HU[1] / WINDOW_SCALE_HU
"""More the networks never see."""

NARROWEST_MM: Final = (40.0, 60.0, 60.0)
"""Shortest sides of a narrowed view, along x, y, z: a vertebra without its transverse processes, with its spinous one,
and two of the loin."""

NARROWED_AXES: Final = 0.6
"""How often each axis of a narrowed view is."""


def change_look(image: Image, spacing_mm: float, outside: float, rng: np.random.Generator) -> Image:
    """A crop as another scanner might show it.

    Args:
        image: (slices or 1, ..., z): network input with the window's ramp. Its first axis is left alone, unless by what
            goes voxel by voxel; the last one runs along the body.
        spacing_mm: of all but the first axis.
        outside: what stands for air and for what lies outside of the scan; it stays.
        rng: source of randomness.
    """
    does = {name: rng.random() < share for name, share in SHARES.items()}
    within = np.array([0.0, *[1.0] * (image.ndim - 1)])
    seen = (image != np.float32(outside)).astype(np.float32)

    def mean(weigh: Callable[[Image], Image], values: Image) -> Image:
        """Of what is seen, weighed over the neighbourhood: padding, which is no air, must not bleed in."""
        return np.asarray(weigh(values * seen) / np.maximum(weigh(seen), np.float32(1e-3)), np.float32)

    changed = image
    if does["bone"]:
        changed = np.where(changed > 0, changed * np.float32(np.exp(rng.normal(0, BONE_SD))), changed)
    if does["slices"]:
        thickness = rng.uniform(*SLICE_MM) / spacing_mm
        phase = rng.uniform(-thickness, 0)
        changed = mean(lambda values: _thick_slices(values, thickness, phase), changed)
    if does["blur"]:
        sigma = rng.uniform(*BLUR_VOXELS) * within
        changed = mean(lambda values: ndimage.gaussian_filter(values, sigma), changed)
    elif does["sharpen"]:
        blurred = mean(lambda values: ndimage.gaussian_filter(values, within), changed)
        changed = changed + np.float32(rng.uniform(*SHARPEN)) * (changed - blurred)
    if does["noise"]:
        strength = np.float32(np.exp(rng.uniform(*np.log(NOISE))))
        changed = changed + strength * rng.standard_normal(changed.shape, np.float32)
    answer: Image = np.where(seen > 0, changed.clip(np.float32(outside), np.float32(DENSEST)), image)
    return answer


def _thick_slices(image: Image, thickness: float, phase: float) -> Image:
    """Slices of so many voxels, the first about `phase`, each the mean of what it holds; linear in between."""
    n = image.shape[-1]
    centres = np.arange(phase, n + thickness, thickness)
    nothing = np.zeros((*image.shape[:-1], 1), np.float32)
    sums: Image = np.concatenate([nothing, np.cumsum(image, axis=-1)], axis=-1)
    edges = [np.clip(centres + side * thickness / 2, 0, n) for side in (-1, 1)]
    holds = edges[1] - edges[0] > 1e-3
    centres, edges = centres[holds], [edge[holds] for edge in edges]
    held = np.asarray(edges[1] - edges[0], np.float32)
    means: Image = (_at(sums, edges[1]) - _at(sums, edges[0])) / held
    # Voxel i reaches from i to i + 1, its middle is at i + 0.5.
    return _at(means, np.interp(np.arange(n) + 0.5, centres, np.arange(len(centres), dtype=float)))


def _at(array: Image, places: NDArray[np.float64]) -> Image:
    """Values between those of the last axis, linearly."""
    last = array.shape[-1] - 1
    low = np.minimum(places.astype(np.int64), max(last - 1, 0))
    high = np.minimum(low + 1, last)
    share = (places - low).astype(np.float32)
    answer: Image = array[..., low] * (1 - share) + array[..., high] * share
    return answer


def narrow_view(
    image: Image,
    labels: NDArray[np.uint8],
    steps_mm: tuple[float, ...],
    outside: float,
    rng: np.random.Generator,
) -> tuple[Image, NDArray[np.uint8]]:
    """The same crop in a scan whose field of view ends nearer by, with something labelled in it.

    Args:
        image: (x, y, z), or (slices, y, z).
        labels: of the same shape, or (y, z) of the slice in the middle; where all are 0, nothing is done.
        steps_mm: from voxel to voxel along the axes of `image`.
        outside: what is put where the view does not reach; labels are 0 there.
        rng: source of randomness.

    Returns:
        Copies of both.
    """
    labelled = np.argwhere(labels)
    if not len(labelled):
        return image, labels
    kept = labelled[rng.integers(len(labelled))].tolist()
    if labels.ndim < image.ndim:
        kept = [image.shape[0] // 2, *kept]
    view = []
    for n, step, place, narrowest in zip(image.shape, steps_mm, kept, NARROWEST_MM, strict=True):
        first, last = 0, n
        least = int(np.ceil(narrowest / step))
        if rng.random() < NARROWED_AXES and least < n:
            length = int(rng.integers(least, n + 1))
            first = int(np.clip(place - rng.integers(length), 0, n - length))
            last = first + length
        view.append(slice(first, last))
    seen, named = np.full_like(image, outside), np.zeros_like(labels)
    seen[tuple(view)] = image[tuple(view)]
    # A single labelled slice is the kept one, which is always in view.
    of_labels = tuple(view[image.ndim - labels.ndim :])
    named[of_labels] = labels[of_labels]
    return seen, named
