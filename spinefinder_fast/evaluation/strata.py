# SPDX-License-Identifier: Apache-2.0
"""What kind of scan it is: how much of the body it shows, how thick its slices are, whether there is metal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from spinefinder_fast.errors import SpinefinderError
from spinefinder_fast.evaluation.cases import Case
from spinefinder_fast.geometry import Grid
from spinefinder_fast.scan import Scan, read_grid

UNKNOWN: Final = "unknown"

_LENGTHS_MM: Final = (150.0, 300.0, 450.0)
_THICKNESSES_MM: Final = (1.25, 2.5)

METAL_HU: Final = 2500.0
"""Denser than any bone or enamel near the spine."""

METAL_MM3: Final = 300.0
"""Of that density around the spine: half a pedicle screw. Calcium and contrast medium stay below."""

_AROUND_MM: Final = 40.0


@dataclass(frozen=True)
class Traits:
    """Of one scan.

    Attributes:
        length_mm: of the field of view along the body; None where neither the scan nor its grid is at hand.
        slice_mm: the largest distance of neighbouring voxels; None likewise.
        metal_mm3: volume of at least `METAL_HU` within 40 mm of the spine; None where the scan is not at hand.
    """

    length_mm: float | None = None
    slice_mm: float | None = None
    metal_mm3: float | None = None

    def strata(self) -> dict[str, str]:
        """To which stratum of each kind the scan belongs."""
        return {
            "field of view": _bin(self.length_mm, _LENGTHS_MM),
            "slices": _bin(self.slice_mm, _THICKNESSES_MM),
            "metal": UNKNOWN if self.metal_mm3 is None else "metal" if self.metal_mm3 >= METAL_MM3 else "no metal",
        }


KINDS: Final = {
    "field of view": ("up to 150 mm", "150 to 300 mm", "300 to 450 mm", "over 450 mm", UNKNOWN),
    "slices": ("up to 1.25 mm", "1.25 to 2.5 mm", "over 2.5 mm", UNKNOWN),
    "metal": ("no metal", "metal", UNKNOWN),
}
"""Every stratum of each kind, in the order of the tables."""


def traits_of(case: Case, scan: Scan | None) -> Traits:
    """What is known of a scan: from the scan itself, else from the grid in its centroids or in its file's header."""
    grid = scan.grid if scan is not None else _grid(case)
    if grid is None:
        return Traits()
    canonical = grid.canonical()
    spacing = canonical.spacing_mm
    return Traits(canonical.shape[2] * spacing[2], max(spacing), None if scan is None else _metal_mm3(case, scan))


def _grid(case: Case) -> Grid | None:
    if case.scan is not None:
        try:
            return read_grid(case.scan)
        except SpinefinderError:
            pass
    return case.truth.grid or case.prediction.grid


def _metal_mm3(case: Case, scan: Scan) -> float:
    points = np.vstack([case.truth.lps(), case.prediction.lps()])
    if not len(points):
        return 0.0
    reach = _AROUND_MM / np.array(scan.grid.spacing_mm)
    vox = scan.grid.to_voxel(points)
    low = np.maximum(np.floor(vox.min(axis=0) - reach), 0).astype(int)
    high = np.maximum(np.ceil(vox.max(axis=0) + reach) + 1, 0).astype(int)
    box = scan.array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    return float(np.count_nonzero(box >= METAL_HU) * scan.grid.voxel_volume_mm3)


def _bin(value: float | None, edges: Sequence[float]) -> str:
    if value is None:
        return UNKNOWN
    # A spacing of 2.5 is often stored as 2.50001.
    place = sum(value > edge * 1.001 for edge in edges)
    if place == 0:
        return f"up to {edges[0]:g} mm"
    return f"over {edges[-1]:g} mm" if place == len(edges) else f"{edges[place - 1]:g} to {edges[place]:g} mm"
