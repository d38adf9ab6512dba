# SPDX-License-Identifier: Apache-2.0
"""From dense votes back to sparse centroids: one median per vertebra (paper, section 2.3 and Eq. 3)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import pi
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from spinefinder_fast import anatomy
from spinefinder_fast.geometry import Grid
from spinefinder_fast.kernels import LabelVotes
from spinefinder_fast.spine import Vertebra

if TYPE_CHECKING:
    from spinefinder_fast.procedure import Centre, Threshold

EQ3_FLOOR_MM3 = 3000.0
EQ3_FACTOR = 0.4

LEAST_IN_VIEW = 0.25
"""A sliver of a vertebra needs as many votes as a quarter of it: at the border a few stray ones name nothing."""

SETTLED_MM: Final = 0.01
SETTLING_STEPS: Final = 200
"""The geometric median and the mean shift are iterations, which end where a step moves less, or after so many."""


def aggregate(
    labels: Iterable[tuple[int, NDArray[np.float32]]],
    mask: NDArray[np.uint8],
    grid: Grid,
    threshold: Threshold = "in_view",
    centre: Centre = "median",
) -> list[Vertebra]:
    """The median position of the votes for each vertebra that has enough of them, or another centre of theirs.

    A voxel of the mask votes for the vertebra to whose label its value rounds.

    Args:
        labels: sagittal slices as `identify` yields them, each once and in any order: the index along X, and (Y, Z)
            float32. ``enumerate(volume)`` makes them of a volume.
        mask: (X, Y, Z) uint8, the result of `detect`.
        grid: of the mask.
        threshold: how many votes are enough: ``"paper"``, Eq. 3 as it stands; ``"in_view"``, Eq. 3 but never more than
            half of what the vertebra's own discs would give, and less where the field of view cuts it. Eq. 3 alone asks
            of C1 more votes than its discs have voxels.
        centre: ``"median"``, of each coordinate by itself (the paper); ``"mean"``; ``"geometric_median"``, the point
            with the least sum of distances to the voters; ``"mean_shift"``, the paper's own wish, the place where
            voters are densest, seen through a Gaussian as wide as the vertebra's radius. All but the median hold every
            voter in memory.

    Raises:
        ValueError: another threshold or centre.
    """
    if centre != "median" and centre not in CENTRES:
        raise ValueError(f"centre is {centre!r}; median, {', '.join(CENTRES)} are known")
    voters = [np.empty((0, 4), np.int64)]
    counted = LabelVotes(mask.shape, anatomy.N_LABELS)
    for i, of_slice in labels:
        counted.add(of_slice[None], mask[i : i + 1], first=(i, 0, 0))
        if centre != "median":
            voters.append(_voters(i, of_slice, mask[i]))
    votes = counted.medians()
    spacing = np.array(grid.spacing_mm)
    voted = np.concatenate(voters)
    found = []
    for index in np.flatnonzero(votes.votes):
        label = int(index) + 1
        # The median halves what is seen of a vertebra, so twice its distance to the nearer end of the field of view is
        # the height that is seen; single stray votes at the border do not change it.
        to_end = min(votes.median[index, 2] + 0.5, grid.shape[2] - 0.5 - votes.median[index, 2]) * spacing[2]
        in_view = min(1.0, 2 * float(to_end) / anatomy.height_mm(label))
        if votes.votes[index] * grid.voxel_volume_mm3 > needed_mm3(label, threshold, in_view):
            place_vox = votes.median[index]
            if centre != "median":
                radius_mm = 0.5 * anatomy.DIAMETERS_MM[anatomy.name_of(label)]
                place_vox = CENTRES[centre](voted[voted[:, 0] == label, 1:] * spacing, radius_mm) / spacing
            spread = (votes.q75[index] - votes.q25[index]) * spacing
            found.append(
                Vertebra(
                    name=anatomy.name_of(label),
                    lps=tuple(map(float, grid.to_lps(place_vox))),  # type: ignore[arg-type]
                    votes=int(votes.votes[index]),
                    spread_mm=tuple(map(float, spread)),  # type: ignore[arg-type]
                    truncated=in_view < 1,
                )
            )
    return found


def _voters(i: int, of_slice: NDArray[np.float32], mask: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(n, 4) int64: label, x, y, z of each voxel of slice `i` that votes, as `LabelVotes` counts them."""
    rounded = np.rint(of_slice)
    y, z = np.nonzero((mask != 0) & (rounded >= 1) & (rounded <= anatomy.N_LABELS))
    return np.stack([rounded[y, z].astype(np.int64), np.full_like(y, i), y, z], axis=1)


def mean(points: NDArray[np.float64], radius_mm: float) -> NDArray[np.float64]:
    """(n, 3) points -> (3,), their mean; of any radius."""
    return np.asarray(points.mean(axis=0))


def geometric_median(points: NDArray[np.float64], radius_mm: float) -> NDArray[np.float64]:
    """(n, 3) points, mm -> (3,), the point with the least sum of distances to them; of any radius.

    Unlike the median of each coordinate it does not depend on where the axes point.
    """
    # Weiszfeld's algorithm. A voter is a voxel and no point: one nearer than a millimetre weighs no more for that.
    return _settle(points, np.median(points, axis=0), lambda mm: 1 / np.maximum(mm, 1.0))


def mean_shift(points: NDArray[np.float64], radius_mm: float) -> NDArray[np.float64]:
    """(n, 3) points, mm -> (3,), where they are densest, seen through a Gaussian with `radius_mm` as its sigma.

    Of two heaps the larger one is taken: the points are sorted into cells as wide as that, and the shift begins in the
    middle of that cell's points around which they are densest.
    """

    def weight(mm: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.exp(-0.5 * (mm / radius_mm) ** 2))

    _, cell_of = np.unique(np.floor(points / radius_mm), axis=0, return_inverse=True)
    cells = [points[cell_of.reshape(-1) == cell].mean(axis=0) for cell in range(cell_of.max() + 1)]
    start = max(cells, key=lambda middle: weight(np.linalg.norm(points - middle, axis=1)).sum())
    return _settle(points, start, weight)


def _settle(
    points: NDArray[np.float64],
    start: NDArray[np.float64],
    weight: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """The mean of points weighted by their distance to it, mm; found from `start` on."""
    centre = start
    for _ in range(SETTLING_STEPS):
        weights = weight(np.linalg.norm(points - centre, axis=1))
        before, centre = centre, weights @ points / weights.sum()
        if np.linalg.norm(centre - before) < SETTLED_MM:
            break
    return centre


CENTRES: Final[dict[str, Callable[[NDArray[np.float64], float], NDArray[np.float64]]]] = {
    "mean": mean,
    "geometric_median": geometric_median,
    "mean_shift": mean_shift,
}
"""Alternatives to the median: from the voters of a vertebra, (n, 3) mm, and its radius, mm, to their centre."""


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
