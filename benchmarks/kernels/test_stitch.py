# SPDX-License-Identifier: Apache-2.0
"""The paper's overlapping patches: batches of 16 of them in and out of a volume, against NumPy and torch.

One batch of logits serves for all: the logits of a whole scan would be 4 GB.
"""

from __future__ import annotations

from functools import cache, partial

import numpy as np
import torch

from spinefinder_fast.kernels import (
    blend_patches,
    extract_patches,
    gaussian_window,
    patch_origins,
    reference,
    stitch_mask,
)

from . import peers, scene
from .scene import MARGIN, PATCH
from .ways import Way, compare

BATCH = 16


@cache
def batches(size: str) -> list[np.ndarray]:
    first = patch_origins(scene.SIZES[size], PATCH, MARGIN)
    return [first[i : i + BATCH] for i in range(0, len(first), BATCH)]


@cache
def logits() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(BATCH, 2, *PATCH)).astype(np.float32)


def ours(size: str, out: np.ndarray) -> np.ndarray:
    for first in batches(size):
        stitch_mask(logits()[: len(first)], first, MARGIN, out)
    return out


def assign(foreground: np.ndarray, first: np.ndarray, out: np.ndarray) -> None:
    """Assigns the centres of patches (n, px, py, pz)."""
    for patch, origin in zip(foreground, first, strict=True):
        low = origin + MARGIN
        high = np.minimum(origin + PATCH - np.array(MARGIN), out.shape)
        inside = tuple(slice(a, b) for a, b in zip(low - origin, high - origin, strict=True))
        out[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = patch[inside]


def torch_argmax_crop_assign(size: str, out: np.ndarray) -> np.ndarray:
    for first in batches(size):
        assign(torch.from_numpy(logits()[: len(first)]).argmax(dim=1).numpy(), first, out)
    return out


def numpy_argmax_crop_assign(size: str, out: np.ndarray) -> np.ndarray:
    for first in batches(size):
        assign(logits()[: len(first)].argmax(axis=1), first, out)
    return out


def numpy_crop_compare_assign(size: str, out: np.ndarray) -> np.ndarray:
    centre = (slice(None), slice(None), *(slice(m, p - m) for m, p in zip(MARGIN, PATCH, strict=True)))
    for first in batches(size):
        cropped = logits()[: len(first)][centre]
        for patch, origin in zip(cropped, first, strict=True):
            low = origin + MARGIN
            part = tuple(slice(a, a + c) for a, c in zip(low, patch.shape[1:], strict=True))
            into = out[part]
            x, y, z = into.shape
            np.greater(patch[1, :x, :y, :z], patch[0, :x, :y, :z], out=into, casting="unsafe")
    return out


def reading_centres_once(size: str, out: np.ndarray) -> None:
    """Sums the 64-bit words of the centres in torch's threads, the fastest of the plain ways that we tried."""
    centre = tuple(slice(m, p - m) for m, p in zip(MARGIN, PATCH, strict=True))
    for first in batches(size):
        torch.from_numpy(logits()[: len(first)])[(slice(None), slice(None), *centre)].view(torch.int64).sum((3, 4))


def monai_gaussian(size: str, out: np.ndarray) -> np.ndarray:
    background, vertebra = peers.monai_gaussian(logits(), out.shape, MARGIN).numpy()
    return np.greater(vertebra, background, out=out, casting="unsafe")


def torchio(mode: str, size: str, out: np.ndarray) -> np.ndarray:
    background, vertebra = peers.torchio_grid(logits(), out.shape, MARGIN, mode).numpy()
    return np.greater(vertebra, background, out=out, casting="unsafe")


torchio_crop, torchio_hann = partial(torchio, "crop"), partial(torchio, "hann")

CACHED_NOTE = "the smallest volume stays in the cache"
READ_NOTE = "ours writes the mask besides, 40 voxels at a time"
BLEND_NOTE = "memory is the limit: every voxel of a patch takes 36 bytes in and out, of logits, window and sums"
MONAI_NOTE = "a third of its time is cutting the input and copying the logits"

WAYS = [
    Way(ours, note=CACHED_NOTE),
    Way(reading_centres_once, "reading the patch centres once", 1.5, better="lower", answers=False, note=READ_NOTE),
    Way(torch_argmax_crop_assign, "torch argmax, crop, NumPy assign", 50, once=True),
    Way(numpy_argmax_crop_assign, "NumPy argmax, crop, assign", once=True),
    Way(numpy_crop_compare_assign, "NumPy crop, compare, assign"),
    Way(
        torchio_crop, "TorchIO aggregator, crop", 5, needs="torchio", note="keeps the logits, compares them at the end"
    ),
    Way(monai_gaussian, "MONAI sliding window, Gaussian", 5, once=True, needs="monai", note=f"blends; {MONAI_NOTE}"),
]


@cache
def expected(size: str) -> np.ndarray:
    return stitched(size, np.concatenate(batches(size)))


def stitched(size: str, origins: np.ndarray) -> np.ndarray:
    out = np.zeros(scene.SIZES[size], np.uint8)
    for i in range(0, len(origins), BATCH):
        first = origins[i : i + BATCH]
        reference.stitch_mask(logits()[: len(first)], first, MARGIN, out)
    return out


def origins_of(way: Way, size: str) -> np.ndarray:
    """First voxels of a way's patches: the last ones of MONAI and TorchIO end with the padded volume."""
    if not way.needs:
        return np.concatenate(batches(size))
    return peers.torchio_sampler(scene.SIZES[size], PATCH, MARGIN).locations[:, :3] - MARGIN


@compare(WAYS)
def test_stitch_mask(measure, size, way):
    out = np.full(scene.SIZES[size], 99, np.uint8)
    logits()
    origins = origins_of(way, size)
    measure(size, out)
    if way.run is monai_gaussian:
        check_blended(out, origins, gaussian_window(PATCH))
    elif way.run is torchio_crop:
        np.testing.assert_array_equal(out, stitched(size, origins))
    elif way.answers:
        np.testing.assert_array_equal(out, expected(size))


def blend_ours(size: str, out: np.ndarray) -> np.ndarray:
    total, weight = np.zeros((2, *out.shape), np.float32), np.zeros(out.shape, np.float32)
    for first in batches(size):
        blend_patches(logits()[: len(first)], first, gaussian_window(PATCH), total, weight)
    return np.greater(total[1], total[0], out=out, casting="unsafe")


BLEND_WAYS = [
    Way(blend_ours, note=CACHED_NOTE),
    Way(
        monai_gaussian,
        "MONAI sliding window, Gaussian",
        5,
        once=True,
        needs="monai",
        note=f"{BLEND_NOTE}; {MONAI_NOTE}",
    ),
    Way(torchio_hann, "TorchIO aggregator, Hann", 5, once=True, needs="torchio", note=BLEND_NOTE),
]


@compare(BLEND_WAYS)
def test_blend_patches(measure, size, way):
    out = np.full(scene.SIZES[size], 99, np.uint8)
    logits()
    origins = origins_of(way, size)
    measure(size, out)
    sides = [np.hanning(n + 2)[1:-1].astype(np.float32) for n in PATCH]
    hann = sides[0][:, None, None] * sides[1][:, None] * sides[2]
    check_blended(out, origins, hann if way.run is torchio_hann else gaussian_window(PATCH))


def check_blended(out: np.ndarray, origins: np.ndarray, window: np.ndarray) -> None:
    total, weight = np.zeros((1, *out.shape), np.float32), np.zeros(out.shape, np.float32)
    differences = logits()[:, 1:] - logits()[:, :1]
    for i in range(0, len(origins), BATCH):
        reference.blend_patches(differences[: len(origins) - i], origins[i : i + BATCH], window, total, weight)
    lead = total[0] / weight
    clear = np.abs(lead) > 1e-4  # else rounding decides
    assert clear.mean() > 0.999
    np.testing.assert_array_equal(out[clear], lead[clear] > 0)


def extract_ours(volume: np.ndarray, size: str) -> float:
    out = np.empty((BATCH, *PATCH), np.float32)
    return sum(float(extract_patches(volume, f, PATCH, -5.0, out=out[: len(f)])[-1, 0, 0, 0]) for f in batches(size))


def pad_and_slice(volume: np.ndarray, size: str) -> float:
    # A whole centre more on the far side: the last patches reach beyond the margin.
    far = [p - m for p, m in zip(PATCH, MARGIN, strict=True)]
    padded = np.pad(volume, list(zip(MARGIN, far, strict=True)), constant_values=-5.0)
    last = 0.0
    for first in batches(size):
        parts = [padded[tuple(slice(a, a + p) for a, p in zip(o + MARGIN, PATCH, strict=True))] for o in first]
        last += float(np.stack(parts)[-1, 0, 0, 0])
    return last


EXTRACT = [Way(extract_ours, note=CACHED_NOTE), Way(pad_and_slice, "pad, slice, stack")]


@compare(EXTRACT)
def test_extract_patches(measure, size, way):
    volume = np.random.default_rng(0).random(scene.SIZES[size], np.float32)
    last = measure(volume, size)
    expected = sum(float(reference.extract_patches(volume, f[-1:], PATCH, -5.0)[0, 0, 0, 0]) for f in batches(size))
    assert last == expected
