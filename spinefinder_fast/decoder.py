# SPDX-License-Identifier: Apache-2.0
"""From dense votes to a numbered spine: the order of the vertebrae, which the paper leaves to future work.

The paper's own aggregation, `centroids.aggregate`, takes a median per label, each for itself: a level may be skipped or
lie half a level off, a sliver may get a wild name. Here bodies are found first, along the spine and without names, and
then numbered all together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spinefinder_fast import anatomy
from spinefinder_fast.ordering import levels
from spinefinder_fast.ordering.bodies import Bodies, find_bodies, profile
from spinefinder_fast.ordering.numbering import PROBABLE, Numbering, number
from spinefinder_fast.spine import Vertebra
from spinefinder_fast.volume import Volume

Array = NDArray[np.float64]

LABEL_SD: Final = 0.3
"""How far the label that is regressed for a body may be off by itself, in levels."""

SHARED: Final = np.linspace(-4 / 3, 4 / 3, 9)
"""How far all labels of a scan may be off together: the networks count from the same ribs, the same skull."""

SHARED_SD: Final = (0.2, 0.8)
SHARED_FAR: Final = 0.1
"""Its spread in most scans and, in so large a share of them, where the networks were misled."""

UNLIKELIEST: Final = 6.0
"""No level of one body is less likely than this, in log units, whatever the network says."""

HALF_FILL: Final = 0.5
"""A body with this share of the votes that its vertebra would give is as likely real as not."""


STRAY_LEVELS: Final = 5.0
"""What is no vertebra mostly lies beside one: its label, too, is one of a few, and no sign that it is one."""

MISSED_AT_END: Final = np.log([0.15, *[0.05] * 23, 0.1, 0.5])
"""(26,) log probability that a vertebra in view beyond the ends was missed. C1 is small, S2 hardly stands out."""

STEP_MM, PROBE_MM, FARTHEST_MM, BODY_HU = 2.0, 10.0, 120.0, -600.0
"""Beyond the ends the body is followed in such steps, through cubes of twice the probe, up to there, and until it is
air: a scan that was padded shows nothing."""

MANY_UNNAMED: Final = 2
"""So many bodies with enough votes and without a name, and something is wrong with all the others' names."""


def decode(
    labels: Iterable[tuple[int, NDArray[np.float32]]],
    mask: NDArray[np.uint8],
    volume: Volume,
) -> tuple[list[Vertebra], Numbering]:
    """Find the bodies along the spine and number them.

    Args:
        labels: sagittal slices as `identification.identify` yields them, each once and in any order: the index along X,
            and (Y, Z) float32.
        mask: (X, Y, Z) uint8, the result of `detection.detect`.
        volume: HU on the same grid.

    Returns:
        The vertebrae from head to foot, T13 and L6 among them where they fit best, and the numbering with a confidence
        for each of them, what else they may be, and a verdict. The numbering speaks of the vertebrae alone: candidates
        that are none are left out of both. A C1 without votes was not detected, and is where C2 says it must be.
    """
    seen = profile(labels, mask, volume)
    if seen is None:
        return [], number(np.zeros((0, 3)), np.zeros((0, anatomy.N_LABELS)), np.zeros(0))
    bodies = find_bodies(seen, volume.grid)
    found = number(
        bodies.points,
        _evidence(bodies),
        _real(bodies),
        suppositions=_shared_prior(),
        beyond_mm=(_room_mm(bodies.points, volume), _room_mm(bodies.points[::-1], volume)),
        missed_at_end=MISSED_AT_END,
        gaps_mm=list(anatomy.BODY_GAPS_MM.values()),
    )
    points = _with_dens(bodies.points, found.names)
    # What nothing votes for bridges a hole in the mask: it keeps count there, and is not told of.
    kept = [i for i, name in enumerate(found.names) if name is not None and bodies.votes[i]]
    vertebrae = [
        Vertebra(
            name=str(found.names[i]),
            lps=tuple(map(float, points[i])),  # type: ignore[arg-type]
            votes=int(bodies.votes[i]),
            spread_mm=tuple(map(float, bodies.spread_mm[i])),  # type: ignore[arg-type]
            truncated=bool(bodies.truncated[i]),
            confidence=float(found.confidence[i]),
        )
        for i in kept
    ]
    numbering = found.of(kept)
    unnamed = sum(name is None and fill >= 0.5 * HALF_FILL for name, fill in zip(found.names, bodies.fill, strict=True))
    if unnamed >= MANY_UNNAMED:
        numbering = replace(numbering, verdict="ambiguous", unnamed=unnamed)
    return _with_atlas(vertebrae, numbering, _room_mm(bodies.points[kept[0] :], volume) if kept else 0.0)


def _evidence(bodies: Bodies) -> Array:
    """(9, n, 26) log probability of each label, if all are `SHARED` off; all alike where nothing is regressed."""
    off = np.nan_to_num(bodies.label[:, None] - np.arange(1, anatomy.N_LABELS + 1) - SHARED[:, None, None])
    off[:, ~np.isfinite(bodies.label)] = 0.0
    spread = np.hypot(LABEL_SD, np.nan_to_num(bodies.spread))[:, None]
    evidence = np.maximum(-0.5 * (off / spread) ** 2, -UNLIKELIEST)
    return np.asarray(evidence - np.logaddexp.reduce(evidence, axis=-1, keepdims=True))


def _shared_prior() -> Array:
    """(9,) log probability of each of `SHARED`."""
    near, far = (np.exp(-0.5 * (SHARED / sd) ** 2) for sd in SHARED_SD)
    return np.asarray(np.log((1 - SHARED_FAR) * near / near.sum() + SHARED_FAR * far / far.sum()))


def _with_dens(points: Array, names: Sequence[str | None]) -> Array:
    """The points, C1 and C2 by `anatomy.DENS_MM` further up the spine: without it they lay 2.9 to 7.9 mm too low in
    three real necks."""
    raised = points.copy()
    for i, name in enumerate(names):
        if name in ("C1", "C2"):
            up = points[i] - points[i + 1] if i + 1 < len(points) else np.array([0.0, 0.0, 1.0])
            raised[i] += anatomy.DENS_MM * up / np.linalg.norm(up)
    return raised


def _with_atlas(vertebrae: list[Vertebra], numbering: Numbering, room_mm: float) -> tuple[list[Vertebra], Numbering]:
    """With C1 where C2 is known, C1 was not detected and the field of view goes on beyond it: everyone has one, and a
    small one it is. It gets no vote. Of 39 annotated necks (VerSe) it lies within 5 mm of there in half, 14 mm in all.
    """
    if numbering.unnamed or [v.name for v in vertebrae[:2]] != ["C2", "C3"]:
        return vertebrae, numbering
    c2, c3 = (np.array(v.lps) for v in vertebrae[:2])
    above = numbering.size * anatomy.GAPS_MM["C1"]
    if numbering.confidence[:2].min() < PROBABLE or room_mm < anatomy.DENS_MM + 1.5 * above:
        return vertebrae, numbering
    place = c2 + above * (c2 - c3) / np.linalg.norm(c2 - c3)
    atlas = Vertebra("C1", tuple(map(float, place)), confidence=vertebrae[0].confidence)  # type: ignore[arg-type]
    others = tuple(replace(a, names=(_above(a.names[0]), *a.names)) for a in numbering.alternatives)
    return [atlas, *vertebrae], replace(
        numbering,
        names=("C1", *numbering.names),
        confidence=np.concatenate([numbering.confidence[:1], numbering.confidence]),
        alternatives=others,
    )


def _above(name: str | None) -> str | None:
    """The vertebra above; None above C1, and above what has no name."""
    if name is None or name == "C1":
        return None
    # T13 and L6 are like what they stand below.
    return anatomy.like(name) if name in anatomy.UNPREDICTED else anatomy.NAMES[anatomy.label_of(name) - 2]


def _room_mm(points: Array, volume: Volume) -> float:
    """How far the body goes on in view beyond the first of the points, in the direction in which they point there."""
    ahead = points[0] - points[min(2, len(points) - 1)]
    if not ahead.any():
        return 0.0
    steps = np.arange(STEP_MM, FARTHEST_MM, STEP_MM)
    path = points[0] + steps[:, None] * ahead / np.linalg.norm(ahead)
    at = np.rint(volume.grid.to_voxel(path)).astype(int)
    inside = np.all((at >= 0) & (at < volume.grid.shape), axis=1)
    reach = [max(1, round(PROBE_MM / mm)) for mm in volume.grid.spacing_mm]
    for room, here, seen in zip(steps, at, inside, strict=True):
        if not seen:
            return float(room)
        around = volume.array[tuple(slice(max(0, i - n), i + n + 1) for i, n in zip(here, reach, strict=True))]
        if around.mean() < BODY_HU:
            return float(room)
    return FARTHEST_MM


def _real(bodies: Bodies) -> Array:
    """(n,) log odds of a vertebra, by its votes; `number` takes any label of one that is none for equally likely."""
    by_votes = (2 * np.log2(np.maximum(bodies.fill, 1e-3) / HALF_FILL)).clip(-4.0, 4.0)
    # Where the mask has a hole, a whole stretch was missed, as at an end; single prices would add up to more.
    by_votes -= np.log(anatomy.N_LABELS / STRAY_LEVELS)
    return np.where(bodies.votes == 0, levels.MISSED_AT_END, by_votes)
