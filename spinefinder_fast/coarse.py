# SPDX-License-Identifier: Apache-2.0
"""Where may the spine be? A coarse look at the whole scan, so that the fine networks look only there.

Nearly all of a scan is not spine. A small network on coarse voxels, a thirtieth of the detection's work, says where it
may be; boxes around that, one for each stretch of the body, are what detection works on. Nothing may be lost by it: the
coarse network is asked for the faintest suspicion, the boxes are wide and go on beyond both ends, holes are bridged;
and where little or nothing is found, no box is drawn and the whole scan is searched.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log, prod
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spinefinder_fast.detection import LARGEST_TILE, Shape, run_tiles, tile_shape
from spinefinder_fast.geometry import Grid
from spinefinder_fast.volume import Volume, resample_array

if TYPE_CHECKING:
    from spinefinder_fast.networks.weights import Model

MARGIN: Final = (4, 4, 8)
"""Of the tiles, in coarse voxels. One tile holds most scans, and around a scan there is nothing to see."""

SUSPICION: Final = 0.1
"""Chance of a vertebra above which a coarse voxel is one."""

SMALLEST_MM3: Final = 6_000.0
"""Smaller pieces are specks: about the volume that the discs of one vertebra of the neck fill."""

LEAST_MM3: Final = 12_000.0
"""With less than this in all, the coarse look has not seen a spine, whatever it saw."""

ASIDE_MM: Final = 24.0
"""The boxes go so far beyond what was found, to the sides, to the front and to the back."""

ALONG_MM: Final = 60.0
"""And so far beyond its upper and lower end: two vertebrae that the coarse network may have missed."""

STRETCH_MM: Final = 264.0
"""Longest stretch of the body in one box: the spine bends, and a straight box around a long one is wide."""


@dataclass(frozen=True)
class Box:
    """A part of a volume.

    Attributes:
        low, high: first voxel along x, y, z and the one behind the last.
    """

    low: tuple[int, int, int]
    high: tuple[int, int, int]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along x, y, z."""
        x, y, z = (b - a for a, b in zip(self.low, self.high, strict=True))
        return x, y, z


def search(volume: Volume, model: Model, largest: Shape = LARGEST_TILE) -> tuple[Box, ...] | None:
    """Boxes of `volume` that hold all of the spine, from foot to head; None where the whole must be searched.

    Args:
        volume: HU on the grid of the model's fine networks.
        model: its coarse network is run; without one the answer is None.
        largest: no tile that it sees at once is larger (`detection.largest_tile`).
    """
    if model.coarse is None:
        return None
    array, affine = resample_array(volume.array, volume.grid, model.coarse_spacing_mm)
    coarse = Volume(array, Grid(array.shape, affine))
    tile = tile_shape(array.shape, "large", MARGIN, largest)
    mask = run_tiles(model.coarse, coarse, tile, MARGIN, model, bias=log((1 - SUSPICION) / SUSPICION))
    return boxes_around(mask, coarse.grid, volume.grid)


def boxes_around(mask: NDArray[np.uint8], coarse: Grid, fine: Grid) -> tuple[Box, ...] | None:
    """Boxes of the fine grid around what a coarse mask holds; see `search`.

    Args:
        mask: (X, Y, Z) uint8 on the coarse grid.
        coarse, fine: of the same scan, both canonical.
    """
    pieces, n = ndimage.label(mask, np.ones((3, 3, 3)))
    sizes = np.bincount(pieces.ravel(), minlength=n + 1) * coarse.voxel_volume_mm3
    kept = sizes >= SMALLEST_MM3
    kept[0] = False
    if sizes[kept].sum() < LEAST_MM3:
        return None
    # Edges of the fine volume coincide with those of the coarse one, at its low end.
    scale = coarse.spacing_mm[0] / fine.spacing_mm[0]
    where = np.argwhere(kept[pieces])
    spacing = np.array(fine.spacing_mm)
    reach = ASIDE_MM / spacing
    lowest, highest = where[:, 2].min() * scale, (where[:, 2].max() + 1) * scale
    bottom = max(0, int(lowest - ALONG_MM / spacing[2]))
    top = min(fine.shape[2], ceil(highest + ALONG_MM / spacing[2]))
    count = ceil((top - bottom) * spacing[2] / STRETCH_MM)
    edges = np.linspace(bottom, top, count + 1).round().astype(int)
    boxes = []
    for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        near = (where[:, 2] + 1 > (a - reach[2]) / scale) & (where[:, 2] < (b + reach[2]) / scale)
        if not near.any():
            # A hole: the spine passes between what lies above and below.
            above, below = where[where[:, 2] * scale >= b], where[where[:, 2] * scale < a]
            ends = [side[side[:, 2] == end] for side, end in _ends(below, above)]
            own = np.concatenate(ends)
        else:
            own = where[near]
        low = np.maximum(own[:, :2].min(axis=0) * scale - reach[:2], 0).astype(int)
        high = np.minimum(np.ceil((own[:, :2].max(axis=0) + 1) * scale + reach[:2]), fine.shape[:2]).astype(int)
        boxes.append(Box((int(low[0]), int(low[1]), a), (int(high[0]), int(high[1]), b)))
    return tuple(boxes)


def _ends(below: NDArray[np.intp], above: NDArray[np.intp]) -> list[tuple[NDArray[np.intp], int]]:
    """What lies below and above a hole, each with its slice next to the hole."""
    sides = [(below, int(below[:, 2].max()))] if len(below) else []
    return sides + ([(above, int(above[:, 2].min()))] if len(above) else [])


def work_of(boxes: tuple[Box, ...] | None, shape: tuple[int, ...]) -> float:
    """The share of a volume that the boxes hold, 1 for None."""
    return 1.0 if boxes is None else sum(prod(box.shape) for box in boxes) / prod(shape)
