# SPDX-License-Identifier: Apache-2.0
"""From dense votes back to sparse centroids: one median per vertebra (paper, section 2.3 and Eq. 3)."""

from __future__ import annotations

from collections.abc import Iterable
from math import pi
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from spinefinder_fast import anatomy
from spinefinder_fast.geometry import Grid
from spinefinder_fast.kernels import LabelVotes
from spinefinder_fast.spine import Vertebra

Threshold = Literal["in_view", "paper"]

EQ3_FLOOR_MM3 = 3000.0
EQ3_FACTOR = 0.4

LEAST_IN_VIEW = 0.25
"""A sliver of a vertebra needs as many votes as a quarter of it: at the border a few stray ones name nothing."""


def aggregate(
    labels: Iterable[tuple[int, NDArray[np.float32]]],
    mask: NDArray[np.uint8],
    grid: Grid,
    threshold: Threshold = "in_view",
) -> list[Vertebra]:
    """The median position of the votes for each vertebra that has enough of them.

    A voxel of the mask votes for the vertebra to whose label its value rounds.

    Args:
        labels: sagittal slices as `identify` yields them, each once and in any order: the index along X, and (Y, Z)
            float32. ``enumerate(volume)`` makes them of a volume.
        mask: (X, Y, Z) uint8, the result of `detect`.
        grid: of the mask.
        threshold: how many votes are enough: ``"paper"``, Eq. 3 as it stands; ``"in_view"``, Eq. 3 but never more than
            half of what the vertebra's own discs would give, and less where the field of view cuts it. Eq. 3 alone asks
            of C1 more votes than its discs have voxels.
    """
    counted = LabelVotes(mask.shape, anatomy.N_LABELS)
    for i, of_slice in labels:
        counted.add(of_slice[None], mask[i : i + 1], first=(i, 0, 0))
    votes = counted.medians()
    spacing = np.array(grid.spacing_mm)
    found = []
    for index in np.flatnonzero(votes.votes):
        label = int(index) + 1
        # The median halves what is seen of a vertebra, so twice its distance to the nearer end of the field of view is
        # the height that is seen; single stray votes at the border do not change it.
        to_end = min(votes.median[index, 2] + 0.5, grid.shape[2] - 0.5 - votes.median[index, 2]) * spacing[2]
        in_view = min(1.0, 2 * float(to_end) / anatomy.height_mm(label))
        if votes.votes[index] * grid.voxel_volume_mm3 > needed_mm3(label, threshold, in_view):
            spread = (votes.q75[index] - votes.q25[index]) * spacing
            found.append(
                Vertebra(
                    name=anatomy.name_of(label),
                    lps=tuple(map(float, grid.to_lps(votes.median[index]))),  # type: ignore[arg-type]
                    votes=int(votes.votes[index]),
                    spread_mm=tuple(map(float, spread)),  # type: ignore[arg-type]
                    truncated=in_view < 1,
                )
            )
    return found


def needed_mm3(label: int, threshold: Threshold = "in_view", in_view: float = 1.0) -> float:
    """Volume of votes that a vertebra must exceed, mm^3.

    Eq. 3 is ``max(3000, 0.4 R^3)`` votes of 1 mm^3. The paper calls R the radius, the published code uses the diameter;
    with radii the second term would never exceed the first, so the diameter is meant.

    Args:
        label: 1..26.
        threshold: see `aggregate`.
        in_view: share of the vertebra's height that lies inside the field of view; only ``"in_view"`` heeds it.

    Raises:
        ValueError: another threshold.
    """
    if threshold not in ("in_view", "paper"):
        raise ValueError(f"threshold is {threshold!r}; in_view or paper is needed")
    diameter = anatomy.DIAMETERS_MM[anatomy.name_of(label)]
    equation_3 = max(EQ3_FLOOR_MM3, EQ3_FACTOR * diameter**3)
    if threshold == "paper":
        return equation_3
    discs = pi * (diameter / 2) ** 2 * anatomy.height_mm(label)
    return min(equation_3, 0.5 * discs) * max(in_view, LEAST_IN_VIEW)
