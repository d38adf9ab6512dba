# SPDX-License-Identifier: Apache-2.0
"""From dense votes to candidate bodies: where along the spine vertebral bodies lie, whatever their names.

The regressed labels say roughly which level is where, but their steps may lie half a level off. Where a body is, the
image says better: between the dark discs, with bright end plates at both ends. So the phase comes from both, and the
levels are left to the numbering.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spinefinder_fast import anatomy
from spinefinder_fast.centroids import needed_mm3
from spinefinder_fast.geometry import Grid
from spinefinder_fast.volume import Volume

Array = NDArray[np.float64]

STEP_MM: Final = 1.0
"""Of the places along the spine."""

CORE_MM: Final = 24.0
"""Votes farther from the middle of the spine than this are no votes of bodies."""

SMALLEST_MM3: Final = 1500.0
"""Smaller pieces of the mask are specks."""

BESIDE_MM: Final = 30.0
"""A piece of the mask that lies farther beside the spine is none of it: a shoulder, a hip, an arm."""

TALL_MM: Final = 60.0
"""In a piece of the mask as tall, two or three vertebrae, the labels of a spine rise from above to below."""

MOST_ROWS: Final = 200
"""No more rows of a piece are compared with each other."""

SMOOTH_MM: Final = 8.0
"""The middle of the spine is smoothed along it by a Gaussian as wide."""

PROBE_MM: Final = 7.0
"""Half side of the square, across the spine, over which HU are averaged."""


@dataclass(frozen=True)
class Profile:
    """What is seen along the spine, from head to foot, in steps of `STEP_MM`.

    Attributes:
        centre: (s, 3) the middle of the spine, LPS mm.
        label: (s,) median of the labels that are regressed there; NaN where no voxel votes.
        spread: (s,) half of their inter-quartile range.
        votes: (s,) voxels of the mask, those of the slices around, per mm.
        hu: (s,) mean HU around the middle.
        voxels: (m, 3) int, the voting voxels near the middle.
        rows: (s,) row of voxels (index along Z) of each place.
    """

    centre: Array
    label: Array
    spread: Array
    votes: Array
    hu: Array
    voxels: NDArray[np.intp]
    rows: Array


def profile(
    labels: Iterable[tuple[int, NDArray[np.float32]]],
    mask: NDArray[np.uint8],
    volume: Volume,
) -> Profile | None:
    """Follow the spine through the mask; None where there is none.

    Args:
        labels: sagittal slices as `identification.identify` yields them.
        mask: (X, Y, Z) uint8, the result of `detection.detect`.
        volume: HU on the same grid.
    """
    spacing = np.array(volume.grid.spacing_mm)
    # Numbers of pieces take four bytes a voxel, so only where there are any: of a long scan that is a small part.
    box = _bounds(mask)
    first = np.array([side.start for side in box])
    pieces, n = ndimage.label(mask[box])
    sizes = np.bincount(pieces[pieces > 0], minlength=n + 1) * volume.grid.voxel_volume_mm3
    kept = sizes >= min(SMALLEST_MM3, sizes.max(initial=0.0))
    kept[0] = False
    voxels, values = [], []
    for i, of_slice in labels:
        if box[0].start <= i < box[0].stop:
            y, z = np.add(np.nonzero(kept[pieces[i - first[0]]]), first[1:, None])
            voxels.append(np.column_stack([np.full(len(y), i), y, z]))
            values.append(of_slice[y, z])
    votes = np.concatenate(voxels) if voxels else np.zeros((0, 3), int)
    value = np.concatenate(values).astype(np.float64) if values else np.zeros(0)
    votes, value = votes[np.isfinite(value)], value[np.isfinite(value)]
    if not len(votes):
        return None
    of_piece = pieces[tuple((votes - first).T)]
    for piece in np.unique(of_piece):
        label = round(float(np.median(value[of_piece == piece])))
        needed = needed_mm3(min(max(label, 1), anatomy.N_LABELS))
        kept[piece] = sizes[piece] >= min(needed, sizes.max())
    votes, value, of_piece = (of_vote[kept[of_piece]] for of_vote in (votes, value, of_piece))
    column = _column(votes, value, of_piece, spacing)
    votes, value = votes[column], value[column]
    rows = np.arange(votes[:, 2].min(), votes[:, 2].max() + 1)
    middle = _middle(votes, rows, spacing)
    across = (votes[:, :2] - middle[votes[:, 2] - rows[0]]) * spacing[:2]
    near = (np.hypot(*across.T) <= CORE_MM) & (value >= 0.5) & (value < anatomy.N_LABELS + 0.5)
    quartiles = np.full((len(rows), 3), np.nan)
    counts = np.bincount(votes[near, 2] - rows[0], minlength=len(rows))
    for k, own in _by_row(value[near], votes[near, 2] - rows[0]):
        quartiles[k] = np.percentile(own, (25, 50, 75))
    # From here on from head to foot, and by length along the spine.
    line = volume.grid.to_lps(np.column_stack([middle, rows])[::-1])
    length = np.concatenate([[0.0], np.linalg.norm(np.diff(line, axis=0), axis=1).cumsum()])
    places = np.arange(0.0, length[-1] + 1e-6, STEP_MM)

    def along(of_rows: Array) -> Array:
        return np.asarray(np.interp(places, length, of_rows[::-1]))

    centre = np.column_stack([np.interp(places, length, line[:, axis]) for axis in range(3)])
    per_mm = counts * volume.grid.voxel_volume_mm3 / spacing[2]
    return Profile(
        centre,
        along(quartiles[:, 1]),
        along(0.5 * (quartiles[:, 2] - quartiles[:, 0])),
        along(per_mm),
        _mean_hu(centre, volume),
        votes[near],
        along(rows.astype(np.float64)),
    )


def _by_row(values: NDArray[Any], rows: NDArray[np.intp]) -> Iterator[tuple[int, NDArray[Any]]]:
    """Each row that occurs and the values that lie in it; sorted once, or long scans would take the square of time."""
    if not len(rows):
        return
    order = np.argsort(rows, kind="stable")
    found, starts = np.unique(rows[order], return_index=True)
    yield from zip(found.tolist(), np.split(values[order], starts[1:]), strict=True)


def _bounds(mask: NDArray[np.uint8]) -> tuple[slice, slice, slice]:
    """The smallest box that holds the mask; empty without any."""
    flat = [np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    x, y, z = (slice(int(of[0]), int(of[-1]) + 1) if len(of) else slice(0, 0) for of in flat)
    return x, y, z


def _column(votes: NDArray[np.intp], value: Array, of_piece: NDArray[np.intp], spacing: Array) -> NDArray[np.bool_]:
    """Which votes lie in the one column that a spine is: in the piece of the mask that most looks like one, and in
    those that go on above or below it. Side by side with it, half of the votes could be a shoulder's."""
    names = np.unique(of_piece)
    likeness = np.array([_likeness(votes[own], value[own], spacing) for own in (of_piece == name for name in names)])
    middle = np.full((votes[:, 2].max() + 1, 2), np.nan)
    taken = []
    for piece in names[np.argsort(-likeness, kind="stable")]:
        own = votes[of_piece == piece]
        medians = {z: np.median(of, axis=0) * spacing[:2] for z, of in _by_row(own[:, :2], own[:, 2])}
        rows, places = np.array(list(medians)), np.array(list(medians.values()))
        known = np.flatnonzero(np.isfinite(middle[:, 0]))
        if len(known):
            nearest = known[np.abs(known - rows[:, None]).argmin(axis=1)]
            # Where the column has a gap the spine may lean on the way, but not lie down.
            lean = np.abs(nearest - rows) * spacing[2]
            aside = np.linalg.norm(places - middle[nearest], axis=1) - lean
            if np.median(aside[lean == lean.min()]) > BESIDE_MM:
                continue
        taken.append(piece)
        free = ~np.isfinite(middle[rows, 0])
        middle[rows[free]] = places[free]
    return np.isin(of_piece, taken)


def _likeness(votes: NDArray[np.intp], value: Array, spacing: Array) -> float:
    """How much a piece of the mask looks like a spine: its votes, and down a tall one the labels must rise, in most
    pairs of rows and by one per gap. A raised arm may be the larger piece; along it they do not. By pairs, for at the
    ends of a spine labels may be wild."""
    if (np.ptp(votes[:, 2]) + 1) * spacing[2] < TALL_MM:
        return float(len(votes))
    medians = [(z, np.median(of)) for z, of in _by_row(value, votes[:, 2])]
    rows, labels = np.array(medians[:: -(-len(medians) // MOST_ROWS)]).T
    low, high = np.triu_indices(len(rows), 1)
    rises = labels[low] - labels[high]
    slope = np.median(rises / ((rows[high] - rows[low]) * spacing[2]))
    gaps = np.array(list(anatomy.BODY_GAPS_MM.values()))
    rise = slope * gaps[int(np.clip(np.median(labels) - 1, 0, len(gaps) - 1))]
    return len(votes) * float(np.clip(rise, 0.0, 1.0) * max(0.0, np.sign(rises).mean()))


def _middle(votes: NDArray[np.intp], rows: NDArray[np.intp], spacing: Array) -> Array:
    """(rows, 2) the middle of the mask in each row, smoothed; rows without votes lie between their neighbours."""
    middle = np.full((len(rows), 2), np.nan)
    for k, own in _by_row(votes[:, :2], votes[:, 2] - rows[0]):
        middle[k] = np.median(own, axis=0)
    known = np.flatnonzero(np.isfinite(middle[:, 0]))
    for axis in range(2):
        filled = np.interp(np.arange(len(rows)), known, middle[known, axis])
        filled = ndimage.median_filter(filled, size=max(1, round(2 * SMOOTH_MM / spacing[2])), mode="nearest")
        middle[:, axis] = ndimage.gaussian_filter1d(filled, SMOOTH_MM / spacing[2], mode="nearest")
    return middle


def _mean_hu(centre: Array, volume: Volume) -> Array:
    """(s,) mean HU in a square across the spine around each place."""
    down = np.gradient(centre, axis=0) if len(centre) > 1 else np.array([[0.0, 0.0, -1.0]])
    down /= np.linalg.norm(down, axis=1, keepdims=True)
    side = np.cross(down, (0.0, 1.0, 0.0))
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    back = np.cross(side, down)
    u, v = (grid.ravel()[:, None, None] for grid in np.meshgrid(*2 * [np.linspace(-PROBE_MM, PROBE_MM, 8)]))
    points = volume.grid.to_voxel(centre + u * side + v * back)
    hu = ndimage.map_coordinates(volume.array, points.reshape(-1, 3).T, np.float32, order=1, mode="nearest")
    return np.asarray(hu.reshape(points.shape[:2]).mean(axis=0), np.float64)


GAP_SPREAD: Final = 0.1
"""Relative spread of one person's gaps when the level is known roughly."""

SIZES: Final = np.exp(np.linspace(-0.24, 0.24, 5))
SIZE_SPREAD: Final = 0.08
"""People's sizes that are tried, against the adult mean, and how they spread; children are among them."""

IMAGE, STEPS, PHASE = 1.0, 1.0, 1.0
"""How much the image, the steps of the labels and their values say about where bodies lie."""

ENOUGH = 1.0

HIGH_VOXELS: Final = 0.5
"""So much too high the dense annotation lies in its grid, and whatever learnt from it: a plane in which the discs of
two vertebrae meet goes to the lower one (`tests/test_discs.py` holds the figure)."""


@dataclass(frozen=True)
class Bodies:
    """Candidate bodies from head to foot.

    Attributes:
        points: (n, 3) centres, LPS mm.
        label: (n,) median label regressed around the centre, not rounded; NaN where nothing votes.
        spread: (n,) half the inter-quartile range of what is regressed there.
        fill: (n,) votes, in parts of those that such a vertebra would give.
        votes: (n,) voxels that vote for it.
        spread_mm: (n, 3) inter-quartile range of their places along x, y, z.
        truncated: (n,) whether the field of view cuts it.
    """

    points: Array
    label: Array
    spread: Array
    fill: Array
    votes: NDArray[np.intp]
    spread_mm: Array
    truncated: NDArray[np.bool_]


def find_bodies(seen: Profile, grid: Grid) -> Bodies:
    """The row of bodies that fits image and labels best: a path down the profile whose steps are gaps.

    Args:
        seen: what is seen along the spine.
        grid: of the mask.
    """
    usual = _expected_gap(seen.label)
    rows = [_best_row(seen, size * usual) for size in SIZES]
    prior = -0.5 * (np.log(SIZES) / SIZE_SPREAD) ** 2
    best = int(np.argmax([score + p for (score, _), p in zip(rows, prior, strict=True)]))
    return _bodies(seen, rows[best][1], SIZES[best] * usual, grid)


def _best_row(seen: Profile, gap: Array) -> tuple[float, NDArray[np.int64]]:
    """What the best row of bodies for these gaps is worth, and their places."""
    worth = bodyness(seen, gap)
    n = len(worth)
    best, back = np.empty(n), np.full(n, -1)
    for s in range(n):
        # A first body lies no farther below the end of the mask than one gap.
        best[s] = worth[s] if s * STEP_MM <= 0.9 * gap[s] else -np.inf
        before = np.arange(max(0, int(s - 1.6 * gap[s] / STEP_MM)), max(0, int(s - 0.6 * gap[s] / STEP_MM)))
        if len(before):
            off = np.log((s - before) * STEP_MM / (0.5 * (gap[s] + gap[before]))) / GAP_SPREAD
            paths = best[before] - 0.5 * off**2
            if (top := paths.max()) + worth[s] > best[s]:
                best[s], back[s] = top + worth[s], before[paths.argmax()]
    last = np.where((n - 1 - np.arange(n)) * STEP_MM <= 0.9 * gap, best, -np.inf)
    place = []
    s = int(last.argmax())
    score = float(last[s])
    while s >= 0:
        place.append(s)
        s = int(back[s])
    return score, np.array(place[::-1])


def bodyness(seen: Profile, gap: Array) -> Array:
    """(s,) how much each place looks like the middle of a body and not like a disc."""
    places = np.arange(len(gap))
    rise = np.nan_to_num(np.gradient(seen.label, STEP_MM)) * gap if len(gap) > 1 else np.zeros(1)
    # End plates and discs make the image uneven; the middle of a body, soft or hard, is even.
    uneven = np.abs(np.gradient(seen.hu, STEP_MM)) if len(gap) > 1 else np.zeros(1)
    uneven = uneven / (ndimage.gaussian_filter1d(uneven, 30.0 / STEP_MM, mode="nearest") + 2.0)

    def contrast(of: Array) -> Array:
        """Mean over a body minus mean over the discs beside it."""
        total = np.concatenate([[0.0], of.cumsum()])

        def mean(low: float, high: float) -> Array:
            a = (places + np.round(low * gap / STEP_MM)).clip(0, len(of) - 1).astype(int)
            b = (places + np.round(high * gap / STEP_MM)).clip(0, len(of) - 1).astype(int) + 1
            return np.asarray((total[np.maximum(b, a + 1)] - total[a]) / np.maximum(b - a, 1))

        return mean(-0.3, 0.3) - 0.5 * (mean(-0.6, -0.4) + mean(0.4, 0.6))

    phase = np.cos(2 * np.pi * np.nan_to_num(seen.label))
    return -IMAGE * contrast(uneven.clip(0, 3)) - STEPS * contrast(rise.clip(0, 3)) + PHASE * phase + ENOUGH


def _expected_gap(label: Array) -> Array:
    """(s,) typical distance of neighbours around each place, by its label."""
    gaps = np.array(list(anatomy.BODY_GAPS_MM.values()))
    between = np.arange(len(gaps)) + 1.5
    known = np.flatnonzero(np.isfinite(label))
    smooth = np.interp(np.arange(len(label)), known, label[known]) if len(known) else np.full(len(label), 13.0)
    smooth = ndimage.gaussian_filter1d(smooth, 15.0 / STEP_MM, mode="nearest")
    return np.asarray(np.interp(smooth, between, gaps))


def _bodies(seen: Profile, place: NDArray[np.intp], gap: Array, grid: Grid) -> Bodies:
    half = 0.5 * gap[place] / STEP_MM
    middle = 0.5 * (place[1:] + place[:-1])
    starts = np.concatenate([[place[0] - half[0]], middle])
    stops = np.concatenate([middle, [place[-1] + half[-1]]])
    spacing = np.array(grid.spacing_mm)
    rows = np.interp([starts, place, stops], np.arange(len(seen.rows)), seen.rows)
    rows[2, -1] -= 1  # the row at the very end is the last body's
    label, spread, fill, votes, spread_mm = [], [], [], [], []
    for k, p in enumerate(place):
        # The inner half of the stretch: towards its ends the labels climb to those of the neighbours.
        core = slice(round(0.5 * (p + max(starts[k], 0))), round(0.5 * (p + stops[k])) + 1)
        known = np.isfinite(seen.label[core])
        label.append(float(np.median(seen.label[core][known])) if known.any() else np.nan)
        spread.append(float(np.median(seen.spread[core][known])) if known.any() else np.nan)
        own = seen.voxels[(seen.voxels[:, 2] <= rows[0, k]) & (seen.voxels[:, 2] > rows[2, k])]
        diameter = anatomy.DIAMETERS_MM[anatomy.name_of(int(np.clip(round(np.nan_to_num(label[-1], nan=13)), 1, 26)))]
        fill.append(len(own) * grid.voxel_volume_mm3 / (np.pi / 4 * diameter**2 * gap[p]))
        votes.append(len(own))
        quartiles = np.percentile(own, (25, 75), axis=0) if len(own) else np.zeros((2, 3))
        spread_mm.append((quartiles[1] - quartiles[0]) * spacing)
    true = place + HIGH_VOXELS * spacing[2] / STEP_MM
    points = [np.interp(true, np.arange(len(seen.centre)), seen.centre[:, axis]) for axis in range(3)]
    to_end = np.minimum(rows[1] + 0.5, grid.shape[2] - 0.5 - rows[1]) * spacing[2]
    return Bodies(
        points=np.column_stack(points),
        label=np.array(label),
        spread=np.array(spread),
        fill=np.array(fill),
        votes=np.array(votes),
        spread_mm=np.array(spread_mm),
        truncated=2 * to_end < gap[place],
    )
