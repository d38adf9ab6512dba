# SPDX-License-Identifier: Apache-2.0
"""Whole phantoms: a person, a field of view, a tissue map, an image, and the true centroids."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spinefinder_fast import anatomy
from spinefinder_fast.geometry import Grid
from spinefinder_fast.phantom.anatomy import outreach, paint_person
from spinefinder_fast.phantom.canvas import Canvas
from spinefinder_fast.phantom.image import Look, draw_look, render
from spinefinder_fast.phantom.person import Person, draw_person
from spinefinder_fast.phantom.variants import vary
from spinefinder_fast.spine import Spine, Vertebra

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Phantom:
    """A synthetic scan and its truth.

    Attributes:
        array: HU, int16, canonical axes, shape (x, y, z).
        tissue: `Tissue` values, uint8, shape (x, y, z): what the image was made from.
        grid: where the voxels lie, LPS mm.
        spine: the centroids inside of the field of view; `truncated` where it cuts the vertebra.
        person: the centroids of the whole person, C1 to S2, wherever they lie; with T13 or L6, or without L5, where
            the person is so built.
    """

    array: NDArray[np.int16]
    tissue: NDArray[np.uint8]
    grid: Grid
    spine: Spine
    person: Spine


def make_phantom(
    first: str = "T8",
    last: str = "L5",
    *,
    spacing_mm: float | tuple[float, float, float] = 1.0,
    seed: int = 0,
    fov_mm: tuple[float, float] = (220.0, 200.0),
    look: Look | None = None,
) -> Phantom:
    """A CT-like scan that shows the vertebrae from `first` to `last`, and no other centroid.

    Args:
        first: name of the uppermost vertebra, ``"C1"`` ... ``"S2"``.
        last: name of the lowest vertebra, `first` or below.
        spacing_mm: distance of voxel centres along x, y, z.
        seed: same seed, same scan, bit for bit.
        fov_mm: extent of the field of view left-right and front-back; widened where a curved spine needs it.
        look: how the image looks; None is a quiet scan without contrast medium.

    Returns:
        The scan, its grid and its true centroids.

    Raises:
        ValueError: a name is unknown, `last` lies above `first`, or a length is not positive.
    """
    for name in (first, last):
        if name not in anatomy.LABELS:
            raise ValueError(f"no vertebra is called {name!r}; names are C1-C7, T1-T12, L1-L5, S1, S2")
    top, bottom = anatomy.label_of(first) - 1, anatomy.label_of(last) - 1
    if bottom < top:
        raise ValueError(f"{last} lies above {first}")
    step = np.broadcast_to(np.asarray(spacing_mm, np.float64), 3)
    if step.min() <= 0 or min(fov_mm) <= 0:
        raise ValueError("spacing_mm and fov_mm must be positive")
    rng = np.random.default_rng(seed)
    person = draw_person(rng, arms="none" if max(fov_mm) < 300 else "up")
    z = person.centroids[:, 2]
    high = 0.5 * (z[top] + z[top - 1]) if top else z[0] + 25
    low = 0.5 * (z[bottom] + z[bottom + 1])
    shown = person.centroids[top : bottom + 1]
    centre = 0.5 * (shown.min(axis=0) + shown.max(axis=0))[:2]
    # A narrow field is laid around the spine, a wide one around the body in front of it.
    centre[1] -= np.clip(0.25 * (fov_mm[1] - 140), 0, 45) - 12
    need = 2 * np.abs(shown[:, :2] - centre).max(axis=0) + 30
    extent = np.maximum(fov_mm, need)
    box_low, box_high = np.array([*(centre - extent / 2), low]), np.array([*(centre + extent / 2), high])
    return _scan(person, box_low, box_high, step, rng, look or Look(), table=max(fov_mm) >= 300)


def random_phantom(
    rng: np.random.Generator,
    spacing_mm: float | tuple[float, float, float] = 2.0,
    *,
    max_voxels: int = 8_000_000,
    region: str | None = None,
    without: Collection[str] = (),
) -> Phantom:
    """A scan for training: any part of any spine, tight or wide, of any person, on any scanner.

    Some persons have a vertebra or a pair of ribs more or less than usual, and some have broken, worn or operated
    spines; see `variants`.

    Args:
        rng: source of randomness.
        spacing_mm: distance of voxel centres along x, y, z.
        max_voxels: the field of view is narrowed, then shortened, until it holds no more.
        region: what is shown, one of `REGIONS`; None is any of them as often as it is scanned, and now and then any
            row of vertebrae.
        without: ingredients to leave out: ``"variants"``, ``"narrow fields of view"``, or any of `image.WITHOUT`.
    """
    step = np.broadcast_to(np.asarray(spacing_mm, np.float64), 3)
    person = draw_person(rng)
    # From a stream of its own: what befalls the spine changes nothing else that is drawn.
    if "variants" not in without:
        person = vary(person, np.random.default_rng((person.seed, 1)))
    top, bottom = (person.index(level) for level in _draw_levels(rng, region))
    z = person.centroids[:, 2]
    high = z[top] + rng.uniform(-8, 40) if top else z[0] + rng.uniform(5, 150)
    # Of two vertebrae not both are cut away: there would be no centroid in view.
    least = -8 if bottom - top > 1 else 2
    low = z[bottom] - rng.uniform(least, 40 if person.kinds[bottom] < 25 else 70)
    shown = person.centroids[top : bottom + 1]
    centre = 0.5 * (shown.min(axis=0) + shown.max(axis=0))[:2]
    kind = rng.random()
    if "narrow fields of view" in without:
        kind = 1.0
    if kind < 0.3:  # a reconstruction around the spine
        extent = np.array([rng.uniform(70, 180), rng.uniform(90, 180)])
        centre += rng.uniform(-15, 15, 2)
    elif kind < 0.5:  # part of the body
        extent = rng.uniform(180, 320, 2)
        centre += [rng.uniform(-40, 40), rng.uniform(-60, 10)]
    else:  # the whole body
        extent = np.array([rng.uniform(340, 480)] * 2) * [1, rng.uniform(0.75, 1)]
        centre += [rng.uniform(-20, 20), -45 + rng.uniform(-20, 20)]
    extent = np.maximum(extent, 2 * np.abs(shown[:, :2] - centre).max(axis=0) + 20)
    room = max_voxels * step.prod() / max(high - low, 1)
    if extent.prod() > room:
        floor = 2 * np.abs(shown[:, :2] - centre).max(axis=0) + 60
        extent = np.maximum(extent * np.sqrt(room / extent.prod()), np.minimum(extent, floor))
    low = max(low, high - max_voxels * step.prod() / extent.prod())
    box_low, box_high = np.array([*(centre - extent / 2), low]), np.array([*(centre + extent / 2), high])
    look, table = draw_look(rng, person.bone_density, without), rng.random() < 0.6
    held = int(rng.integers(12, 22))
    held_last = min(held + int(rng.integers(2, 5)), 25) - 1
    screws = (
        range(person.index(held), person.index(held_last) + 1)
        if rng.random() < 0.05 and "variants" not in without
        else range(0)
    )
    if person.findings.screws:
        screws = range(0)
    return _scan(person, box_low, box_high, step, rng, look, table=table, screws=screws)


REGIONS: Final = {
    "head": ((0, 0), (2, 5)),
    "neck": ((0, 2), (5, 10)),
    "chest": ((3, 8), (16, 21)),
    "abdomen": ((14, 18), (23, 25)),
    "lumbar": ((17, 20), (23, 25)),
    "trunk": ((3, 8), (23, 25)),
    "whole": ((0, 2), (23, 25)),
}
"""What is scanned in practice: between which levels, from 0 = C1, its uppermost and its lowest vertebra lie."""


def _draw_levels(rng: np.random.Generator, region: str | None) -> tuple[int, int]:
    kind = str(region or rng.choice([*REGIONS, "any"], p=[0.06, 0.16, 0.24, 0.12, 0.1, 0.12, 0.03, 0.17]))
    if kind == "any":
        count = int(rng.integers(2, 13))
        top = int(rng.integers(0, 26 - count + 1))
        return top, top + count - 1
    if kind not in REGIONS:
        raise ValueError(f"region is {kind!r}; {', '.join(REGIONS)} are known")
    (top, top_last), (bottom, bottom_last) = REGIONS[kind]
    return int(rng.integers(top, top_last + 1)), int(rng.integers(bottom, bottom_last + 1))


def _scan(
    person: Person,
    low: Array,
    high: Array,
    step: Array,
    rng: np.random.Generator,
    look: Look,
    *,
    table: bool,
    screws: Sequence[int] = (),
) -> Phantom:
    shape = np.maximum(np.round((high - low) / step), 1).astype(int)
    origin = low + 0.5 * step
    spacing = (float(step[0]), float(step[1]), float(step[2]))
    size = (int(shape[0]), int(shape[1]), int(shape[2]))
    canvas = Canvas(size, spacing, origin, np.random.default_rng(person.seed))
    paint_person(canvas, person, table=table, screws=screws)
    grid = Grid.from_spacing(canvas.tissue.shape, spacing, (origin[0], origin[1], origin[2]))
    centroids = canvas.image_of(person.body_centres()[: len(person.names)])
    vertebrae = []
    for i, (x, y, z) in enumerate(centroids.tolist()):
        cut = not grid.contains(canvas.image_of(outreach(person, i))).all()
        vertebrae.append(Vertebra(person.names[i], (x, y, z), truncated=cut))
    whole = Spine(tuple(vertebrae), grid=grid, source="phantom")
    inside = grid.contains(centroids)
    spine = replace(whole, vertebrae=tuple(v for v, i in zip(whole, inside, strict=True) if i))
    heights = origin[2] + step[2] * np.arange(shape[2])
    level = np.interp(heights, person.centroids[::-1, 2], person.levels[::-1])
    array = render(canvas.tissue, spacing, rng, look, bone_gain=np.interp(level, [1, 6, 12, 19], [1.8, 1.5, 1.15, 1.0]))
    return Phantom(array, canvas.tissue, grid, spine, whole)
