# SPDX-License-Identifier: Apache-2.0
"""Discs to dense labels, against loops and vectorised NumPy of the same definition."""

from __future__ import annotations

from functools import cache, partial

import numpy as np

from spinefinder_fast.kernels import rasterize_disc_crops, rasterize_discs, rasterize_spheres, reference

from . import scene
from .ways import Way, compare


def slabs(segment, spacing, nz):
    """Plane and clipped part in the plane, mm, of one segment: x, y, ex, ey."""
    low, high = segment if segment[0, 2] <= segment[1, 2] else segment[::-1]
    ax, ay = low[0] * spacing[0], low[1] * spacing[1]
    dx, dy, dz = high[0] * spacing[0] - ax, high[1] * spacing[1] - ay, high[2] - low[2]
    for k in range(max(int(np.floor(low[2] + 0.5)), 0), min(int(np.floor(high[2] + 0.5)) + 1, nz)):
        t0, t1 = (min(max((k + side - low[2]) / dz, 0.0), 1.0) for side in (-0.5, 0.5)) if dz > 0 else (0.0, 1.0)
        x, y = ax + t0 * dx, ay + t0 * dy
        yield k, x, y, ax + t1 * dx - x, ay + t1 * dy - y


def box_of(centre, extent, radius, spacing, n):
    low = int(np.floor((min(centre, centre + extent) - radius) / spacing))
    high = int(np.ceil((max(centre, centre + extent) + radius) / spacing)) + 1
    return max(low, 0), min(high, n)


def python_loops(out, segments, radii, values, spacing):
    out[...] = 0
    for segment, radius, value in zip(segments, radii.tolist(), values, strict=True):
        for k, x, y, ex, ey in slabs(segment, spacing, out.shape[2]):
            length2 = ex * ex + ey * ey
            scale = 1 / length2 if length2 > 1e-30 else 0.0
            for i in range(*box_of(x, ex, radius, spacing[0], out.shape[0])):
                for j in range(*box_of(y, ey, radius, spacing[1], out.shape[1])):
                    px, py = i * spacing[0] - x, j * spacing[1] - y
                    t = min(max((px * ex + py * ey) * scale, 0.0), 1.0)
                    rx, ry = px - t * ex, py - t * ey
                    if rx * rx + ry * ry <= radius * radius:
                        out[i, j, k] = value
    return out


def vectorised_numpy(out, segments, radii, values, spacing):
    out[...] = 0
    for segment, radius, value in zip(segments, radii, values, strict=True):
        for k, x, y, ex, ey in slabs(segment, spacing, out.shape[2]):
            length2 = ex * ex + ey * ey
            scale = 1 / length2 if length2 > 1e-30 else 0.0
            i0, i1 = box_of(x, ex, radius, spacing[0], out.shape[0])
            j0, j1 = box_of(y, ey, radius, spacing[1], out.shape[1])
            px = np.arange(i0, i1)[:, None] * spacing[0] - x
            py = np.arange(j0, j1)[None, :] * spacing[1] - y
            t = np.clip((px * ex + py * ey) * scale, 0, 1)
            rx, ry = px - t * ex, py - t * ey
            out[i0:i1, j0:j1, k][rx * rx + ry * ry <= radius * radius] = value
    return out


def clearing(out, *_):
    out.fill(0)


WAYS = [
    Way(rasterize_discs),
    Way(partial(rasterize_discs, threads=1), "one thread"),
    Way(clearing, "clearing the volume", 1.5, better="lower", answers=False),
    Way(python_loops, "the paper's loops", 200),
    Way(vectorised_numpy, "vectorised NumPy", 8),
]


@cache
def expected(size: str) -> np.ndarray:
    return reference.rasterize_discs(np.empty(scene.SIZES[size], np.uint8), *scene.discs(size))


@compare(WAYS)
def test_rasterize_discs(measure, size, way):
    out = np.full(scene.SIZES[size], 99, np.uint8)
    measure(out, *scene.discs(size))
    if way.answers:
        np.testing.assert_array_equal(out, expected(size))


def crops_of_the_whole(out, origins, *discs):
    whole = rasterize_discs(np.empty(scene.SIZES["full"], np.uint8), *discs)
    for crop, (x, y, z) in zip(out, origins, strict=True):
        nx, ny, nz = crop.shape
        crop[...] = whole[x : x + nx, y : y + ny, z : z + nz]
    return out


CROPS = {"small": (16, 1, 80, 320), "full": (16, 64, 64, 80)}
"""Batches that the identification and the detection network are trained on."""


@compare([Way(rasterize_disc_crops), Way(crops_of_the_whole, "the whole volume, cropped")], CROPS)
def test_rasterize_disc_crops(measure, size, way):
    # Around the spine, where training takes them.
    shape, whole = np.array(CROPS[size][1:]), np.array(scene.SIZES["full"])
    middle = np.random.default_rng(0).choice(scene.centroids("full")[1], CROPS[size][0])
    origins = np.clip(middle.astype(np.int64) - shape // 2, 0, whole - shape)
    out = np.full(CROPS[size], 99, np.uint8)
    measure(out, origins, *scene.discs("full"))
    np.testing.assert_array_equal(
        out, reference.rasterize_disc_crops(np.empty_like(out), origins, *scene.discs("full"))
    )


def vectorised_spheres(out, centres, radii, values, spacing):
    out[...] = 0
    for centre, radius, value in zip(centres * spacing, radii, values, strict=True):
        box = [box_of(c, 0.0, radius, s, n) for c, s, n in zip(centre, spacing, out.shape, strict=True)]
        x, y, z = (
            np.arange(*b).reshape(side) * s - c
            for b, s, c, side in zip(box, spacing, centre, ((-1, 1, 1), (1, -1, 1), (1, 1, -1)), strict=True)
        )
        out[tuple(slice(*b) for b in box)][x * x + y * y + z * z <= radius * radius] = value
    return out


SPHERES = [Way(rasterize_spheres), Way(vectorised_spheres, "vectorised NumPy")]


@compare(SPHERES)
def test_rasterize_spheres(measure, size, way):
    labels, centres = scene.centroids(size)
    arguments = centres, np.full(len(labels), 14.0), labels.astype(np.uint8), scene.spacing_mm(size)
    out = np.full(scene.SIZES[size], 99, np.uint8)
    measure(out, *arguments)
    other = next(other for other in SPHERES if other is not way)
    np.testing.assert_array_equal(out, other.run(np.empty_like(out), *arguments))
