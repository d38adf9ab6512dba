# SPDX-License-Identifier: Apache-2.0
"""The CUDA kernels on volumes of over 1 GB, against the device's copy bandwidth: they do little but read and write."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from spinefinder_fast.kernels import (
    blend_patches,
    deform_grid,
    extract_patches,
    gaussian_window,
    label_medians,
    patch_origins,
    rasterize_discs,
    rasterize_spheres,
    reference,
    stitch_mask,
    stitch_patches,
    stitch_probability,
)

from . import gpu, scene
from .scene import MARGIN, PATCH
from .ways import compare

pytestmark = pytest.mark.gpu

CENTRE = tuple(slice(m, p - m) for m, p in zip(MARGIN, PATCH, strict=True))
TILES = (16, 16, 16)
TILED = {"huge": tuple(n * (s.stop - s.start) for n, s in zip(TILES, CENTRE, strict=True))}
"""A volume that the centres of 4096 patches fill: 10.7 GB of logits, 1.3 GB of them read."""
FLOATS = {"huge": (512, 512, 1280)}
SLICES = {"huge": (8, 4096, 8192)}


def untiled(centres: torch.Tensor) -> torch.Tensor:
    """The volume that the centres (n, cx, cy, cz) of all patches make."""
    cx, cy, cz = centres.shape[1:]
    whole = centres.reshape(*TILES, cx, cy, cz).permute(0, 3, 1, 4, 2, 5)
    return whole.reshape(TILES[0] * cx, TILES[1] * cy, TILES[2] * cz)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator("cuda").manual_seed(0), device="cuda")


@compare(gpu.against_copying(rasterize_discs), scene.HUGE)
def test_rasterize_discs(measure, size, way):
    out = torch.full(scene.HUGE[size], 99, dtype=torch.uint8, device="cuda")
    measure(out, *scene.discs(size), moved_bytes=out.nbytes)
    if way.answers:
        np.testing.assert_array_equal(out.cpu().numpy(), scene.labels(size))


@compare(gpu.against_copying(rasterize_spheres), scene.HUGE)
def test_rasterize_spheres(measure, size, way):
    labels, centres = scene.centroids(size)
    arguments = centres, np.full(len(labels), 14.0), labels.astype(np.uint8), scene.spacing_mm(size)
    out = torch.full(scene.HUGE[size], 99, dtype=torch.uint8, device="cuda")
    measure(out, *arguments, moved_bytes=out.nbytes)
    if way.answers:
        np.testing.assert_array_equal(
            out.cpu().numpy(), rasterize_spheres(np.empty(scene.HUGE[size], np.uint8), *arguments)
        )


@compare(gpu.against_copying(label_medians), scene.HUGE)
def test_label_medians(measure, size, way):
    labels = scene.labels(size)
    answer = measure(torch.from_numpy(labels).cuda(), moved_bytes=labels.nbytes)
    if way.answers:
        expected = label_medians(labels)
        np.testing.assert_array_equal(answer.votes, expected.votes)
        np.testing.assert_array_equal(answer.median, expected.median)


@compare(gpu.against_copying(label_medians), FLOATS)
def test_label_medians_masked(measure, size, way):
    labels = np.ascontiguousarray(scene.labels(size)[::2, ::2])
    regression, mask = labels + np.float32(0.25), (labels > 0).astype(np.uint8)
    moved = regression.nbytes + mask.nbytes
    answer = measure(torch.from_numpy(regression).cuda(), torch.from_numpy(mask).cuda(), moved_bytes=moved)
    if way.answers:
        expected = label_medians(labels)
        np.testing.assert_array_equal(answer.votes, expected.votes)
        np.testing.assert_array_equal(answer.median, expected.median)


@compare(gpu.against_copying(stitch_mask), TILED)
def test_stitch_mask(measure, size, way):
    gpu.need_gb(16)
    logits = random(math.prod(TILES), 2, *PATCH)
    out = torch.full(TILED[size], 99, dtype=torch.uint8, device="cuda")
    measure(logits, patch_origins(out.shape, PATCH, MARGIN), MARGIN, out, moved_bytes=9 * out.nbytes)
    if way.answers:
        centres = logits[(slice(None), slice(None), *CENTRE)]
        assert torch.equal(out, untiled(centres[:, 1] > centres[:, 0]))


@compare(gpu.against_copying(stitch_patches), TILED)
def test_stitch_patches(measure, size, way):
    gpu.need_gb(16)
    logits = random(math.prod(TILES), 2, *PATCH)
    out = torch.full((2, *TILED[size]), 99.0, device="cuda")
    measure(logits, patch_origins(out.shape[1:], PATCH, MARGIN), MARGIN, out, moved_bytes=2 * out.nbytes)
    if way.answers:
        for channel in range(2):
            assert torch.equal(out[channel], untiled(logits[(slice(None), channel, *CENTRE)]))


@compare(gpu.against_copying(stitch_probability), TILED)
def test_stitch_probability(measure, size, way):
    gpu.need_gb(16)
    logits = random(math.prod(TILES), 2, *PATCH)
    out = torch.full(TILED[size], 99.0, device="cuda")
    measure(logits, patch_origins(out.shape, PATCH, MARGIN), MARGIN, out, moved_bytes=3 * out.nbytes)
    if way.answers:
        centres = logits[(slice(None), slice(None), *CENTRE)].double()
        torch.testing.assert_close(out.double(), untiled((centres[:, 1] - centres[:, 0]).sigmoid()), rtol=1e-6, atol=0)


@compare(gpu.against_copying(blend_patches), TILED)
def test_blend_patches(measure, size, way):
    gpu.need_gb(16)
    logits = random(math.prod(TILES), 2, *PATCH)
    window = gaussian_window(PATCH)
    total, weight = torch.zeros((2, *TILED[size]), device="cuda"), torch.zeros(TILED[size], device="cuda")
    origins = patch_origins(weight.shape, PATCH, MARGIN)
    moved = logits.nbytes + 2 * (total.nbytes + weight.nbytes)
    measure(logits, origins, torch.from_numpy(window).cuda(), total, weight, moved_bytes=moved)
    if way.answers:
        total.zero_()
        weight.zero_()
        blend_patches(logits, origins, torch.from_numpy(window).cuda(), total, weight)
        corner = (origins < PATCH).all(axis=1)
        expected = np.zeros((2, *PATCH), np.float32), np.zeros(PATCH, np.float32)
        reference.blend_patches(logits[corner].cpu().numpy(), origins[corner], window, *expected)
        x, y, z = (slice(n) for n in PATCH)
        np.testing.assert_array_equal(total[:, x, y, z].cpu().numpy(), expected[0])
        np.testing.assert_array_equal(weight[x, y, z].cpu().numpy(), expected[1])


def extract(volume: torch.Tensor, origins: np.ndarray, out: torch.Tensor) -> torch.Tensor:
    return extract_patches(volume, origins, PATCH, -5.0, out=out)


@compare(gpu.against_copying(extract), FLOATS)
def test_extract_patches(measure, size, way):
    gpu.need_gb(16)
    volume = random(*FLOATS[size])
    origins = patch_origins(volume.shape, PATCH, MARGIN)
    out = torch.empty((len(origins), *PATCH), device="cuda")
    measure(volume, origins, out, moved_bytes=volume.nbytes + out.nbytes)
    if way.answers:
        some = [0, len(origins) // 2, len(origins) - 1]
        expected = reference.extract_patches(volume.cpu().numpy(), origins[some], PATCH, -5.0)
        np.testing.assert_array_equal(out[some].cpu().numpy(), expected)


def deform(image: torch.Tensor, displacement: np.ndarray, out: torch.Tensor) -> torch.Tensor:
    return deform_grid(image, displacement, axis=(1, 2), order=1, mode="nearest", out=out)


@compare(gpu.against_copying(deform), SLICES)
def test_deform_grid(measure, size, way):
    image = random(*SLICES[size])
    displacement = np.random.default_rng(0).normal(0, 7, (2, 3, 3))
    out = torch.empty_like(image)
    measure(image, displacement, out, moved_bytes=image.nbytes + out.nbytes)
    if way.answers:
        some = (slice(1000, 1100), slice(3000, 3300))
        expected = deform_grid(image.cpu().numpy(), displacement, axis=(1, 2), order=1, mode="nearest", crop=some)
        np.testing.assert_array_equal(out[(slice(None), *some)].cpu().numpy(), expected)
