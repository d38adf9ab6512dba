# SPDX-License-Identifier: Apache-2.0
"""Real anatomy as label maps -> tissue maps that `phantom.render` turns into CT-like scans.

Label maps know bones and organs and leave out what lies between: the body's hull, its fat and muscle, the discs
between the vertebrae, and airways and brain are added here. A mask of vertebrae alone gets the whole body of a phantom.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spinefinder_fast import anatomy
from spinefinder_fast.discs import dense_labels
from spinefinder_fast.geometry import Grid
from spinefinder_fast.kernels import deform_grid
from spinefinder_fast.phantom import Tissue
from spinefinder_fast.phantom.anatomy import paint_person
from spinefinder_fast.phantom.canvas import Canvas
from spinefinder_fast.phantom.person import Person, person_around
from spinefinder_fast.spine import Spine

_TISSUES: tuple[tuple[str, Tissue], ...] = (
    # The first pattern that is found in a structure's name decides.
    (r"cartilage", Tissue.CARTILAGE),
    (r"vertebrae|sacrum|^bone|rib|sternum|^hip_|femur|scapula_|clavic|humerus|skull|mandible|hyoid", Tissue.BONE),
    (r"^atlas|^axis|^cervical|^thoracic", Tissue.BONE),
    (r"lung", Tissue.LUNG),
    (r"trachea", Tissue.GAS),
    (r"spinal_cord", Tissue.CORD),
    (r"brain$", Tissue.BRAIN),
    (r"liver", Tissue.LIVER),
    (r"spleen", Tissue.SPLEEN),
    (r"kidney", Tissue.KIDNEY),
    (r"heart|atrial", Tissue.HEART),
    (r"aorta|arter|vein|vena|brachiocephalic|carotid|jugular", Tissue.BLOOD),
    (r"colon|bowel|stomach|duodenum|esophagus", Tissue.BOWEL),
    (r"gland|pancreas|gallbladder|bladder|prostate", Tissue.ORGAN),
)
"""Everything else (muscles, above all) is MUSCLE."""


POINTS_MM: Final = 45.0
"""Between the control points of a posture."""

BEND_MM: Final = (5.0, 8.0, 0.0)
"""How far a posture moves whole slices of the body to the left, to the back and up: spread over control points."""

STRETCH_MM: Final = 2.0
"""How far it moves each control point besides, along each axis."""


def tissue_map(
    labels: NDArray[np.integer], names: Mapping[str, int], spine: Spine, grid: Grid, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Tissue of every voxel.

    Args:
        labels: (X, Y, Z) integer, canonical axes, 0 where nothing is labelled.
        names: structure -> its value in `labels`.
        spine: the vertebrae of the map, to put discs between.
        grid: of `labels`.
        rng: how fat the person is, and where fat lies.

    Returns:
        (X, Y, Z) uint8 of `phantom.Tissue`.
    """
    lookup = np.zeros(int(labels.max()) + 1, np.uint8)
    for name, value in names.items():
        if value < len(lookup):
            lookup[value] = next((t for pattern, t in _TISSUES if re.search(pattern, name)), Tissue.MUSCLE)
    person = person_around(_places(spine, grid), rng)
    painted = _painted(person, grid)
    if all(name.startswith("vertebrae") for name in names):
        tissue = np.where(labels > 0, lookup[labels], painted)
    else:
        tissue = _with_body(lookup[labels], grid.spacing_mm, rng)
        _add_unlabelled(tissue, labels, painted, person, grid.spacing_mm)
    known = [v for v in spine if v.name in anatomy.LABELS]
    column = dense_labels(
        np.array([v.label for v in known], np.int64),
        grid.to_voxel(np.array([v.lps for v in known]).reshape(-1, 3)),
        grid.shape,
        grid.spacing_mm,
    )
    tissue[(column > 0) & (labels == 0)] = Tissue.DISC
    return tissue


def _places(spine: Spine, grid: Grid) -> dict[int, NDArray[np.float64]]:
    """Level from 0 = C1 -> where it lies along the axes of the grid, mm; of vertebrae whose place was seen."""
    seen = [v for v in spine if v.name in anatomy.LABELS and not v.truncated]
    return {v.label - 1: grid.to_voxel(np.array([v.lps]))[0] * grid.spacing_mm for v in seen}


def _painted(person: Person, grid: Grid) -> NDArray[np.uint8]:
    """(X, Y, Z): everything of a phantom's body but its vertebrae."""
    canvas = Canvas(grid.shape, grid.spacing_mm, np.zeros(3), np.random.default_rng(person.seed))
    paint_person(canvas, person, vertebrae=False)
    return canvas.tissue


def _with_body(
    tissue: NDArray[np.uint8], spacing: tuple[float, float, float], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """`tissue`, 0 where nothing is known, with fat and muscle in the hull of what is known."""
    free = tissue == 0
    depth = _depth_mm(~free, spacing)
    fat = rng.uniform(8, 35)
    # Between the organs lie fat and muscle, in strands of a centimetre or so.
    strands = ndimage.zoom(rng.normal(size=[n // 6 + 2 for n in tissue.shape]), 6, order=1)
    strands = strands[tuple(slice(n) for n in tissue.shape)]
    between = np.where(strands > rng.normal(0, 0.4), Tissue.FAT, Tissue.MUSCLE)
    tissue[free & (depth > -fat)] = Tissue.FAT
    inner = free & (depth > rng.uniform(0, 15))
    tissue[inner] = between[inner]
    return tissue


def _add_unlabelled(
    tissue: NDArray[np.uint8],
    labels: NDArray[np.integer],
    painted: NDArray[np.uint8],
    person: Person,
    spacing: tuple[float, float, float],
) -> None:
    """Airways, brain and tips of the lungs of a phantom, above T5, where the map labels nothing of the kind."""
    low = max(0, int(person.z_of(anatomy.label_of("T5") - 1) / spacing[2]))
    for filling in (Tissue.GAS, Tissue.BRAIN, Tissue.LUNG):
        known = np.flatnonzero((tissue[:, :, low:] == filling).any(axis=(0, 1)))
        # A trachea is labelled up to the larynx; above it, the way goes on.
        start = low + (int(known[-1]) + 1 if len(known) else 0)
        above = (slice(None), slice(None), slice(start, None))
        wanted = (painted[above] == filling) & (labels[above] == 0) & (tissue[above] != Tissue.AIR)
        tissue[above][wanted] = filling


def reposed(
    tissue: NDArray[np.uint8], spine: Spine, grid: Grid, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], Spine]:
    """The same body in another posture: bent along its length, and of slightly other shape everywhere.

    Args:
        tissue: (X, Y, Z) uint8 of `phantom.Tissue`, canonical axes.
        spine: its vertebrae; they move with it.
        grid: of `tissue`.
        rng: source of randomness.

    Returns:
        (X, Y, Z) uint8 on the same grid, and where the vertebrae are in it.
    """
    spacing = np.array(grid.spacing_mm)
    points = np.maximum(2, np.rint(np.array(grid.shape) * spacing / POINTS_MM).astype(int) + 1)
    moved = rng.normal(0, STRETCH_MM, (3, *points))
    moved += np.array(BEND_MM)[:, None, None, None] * rng.normal(size=(3, 1, 1, points[2]))
    displacement = moved / spacing[:, None, None, None]
    posed: NDArray[np.uint8] = deform_grid(tissue, displacement, order=0, mode="nearest", threads=1)
    # The posture says of each new voxel where it comes from; of a vertebra we know that, and want the new place.
    old = grid.to_voxel(spine.lps())
    steps = (points - 1) / np.maximum(np.array(grid.shape) - 1, 1)
    new = old
    for _ in range(30):
        at = (new * steps).T
        new = old - np.stack([ndimage.map_coordinates(part, at, order=3, mode="mirror") for part in displacement], 1)
    vertebrae = zip(spine, grid.to_lps(new).tolist(), strict=True)
    return posed, replace(spine, vertebrae=tuple(replace(v, lps=(x, y, z)) for v, (x, y, z) in vertebrae))


def _depth_mm(labelled: NDArray[np.bool_], spacing: tuple[float, float, float]) -> NDArray[np.float32]:
    """How deep each voxel lies in the hull of what is labelled (closed over 40 mm), mm; negative outside."""
    # Coarse voxels are enough for a skin and make the distances a hundred times cheaper.
    step = [max(1, round(6 / s)) for s in spacing]
    coarse_spacing = [n * s for n, s in zip(step, spacing, strict=True)]
    coarse = labelled[:: step[0], :: step[1], :: step[2]]
    # Above and below, the body goes on: there the closing must not round it off.
    padding = [(round(80 / coarse_spacing[0]),) * 2, (round(80 / coarse_spacing[1]),) * 2, (8, 8)]
    padded = np.pad(np.pad(coarse, [*padding[:2], (0, 0)]), [(0, 0), (0, 0), padding[2]], mode="edge")
    grown = ndimage.distance_transform_edt(~padded, sampling=coarse_spacing) <= 40
    closed = ndimage.distance_transform_edt(grown, sampling=coarse_spacing) > 40
    depth = ndimage.distance_transform_edt(closed, sampling=coarse_spacing)
    depth -= ndimage.distance_transform_edt(~closed, sampling=coarse_spacing)
    depth = depth[tuple(slice(p, p + n) for (p, _), n in zip(padding, coarse.shape, strict=True))]
    fine = ndimage.zoom(depth.astype(np.float32), step, order=1, mode="nearest", grid_mode=True)
    missing = [(0, max(0, n - m)) for n, m in zip(labelled.shape, fine.shape, strict=True)]
    return np.pad(fine, missing, mode="edge")[tuple(slice(n) for n in labelled.shape)]
