# SPDX-License-Identifier: Apache-2.0
"""How large the scans are, and how often each way runs: in earnest, and to try the benchmark itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Extent:
    """A scan: a phantom made anew on a finer grid.

    Attributes:
        first, last: vertebrae of the phantom.
        fov_mm: of the phantom, left-right and front-back.
        shape: voxels of the scan.
        spacing_mm: of the scan.
    """

    first: str
    last: str
    fov_mm: tuple[float, float]
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]


@dataclass(frozen=True)
class Sizes:
    """Everything that the quick form has less of.

    Attributes:
        scan: the one that most of it is about.
        growth: how many times its length the longer ones have.
        longest: slices of the one for memory.
        small: a scan of the batch.
        batch: how many.
        warm: runs that count, after one that does not.
        roi: side of SegResNet's windows, voxels.
        patches, slices: of the paper's setting, how many are measured.
        phantoms: first and last vertebra, by seed, of those on which the fast way must agree with the paper's.
        phantom_fov_mm: of those.
        starts: fresh processes for start-up times.
    """

    scan: Extent
    growth: tuple[int, ...]
    longest: int
    small: Extent
    batch: int
    warm: int
    roi: int
    patches: int
    slices: int
    phantoms: dict[int, tuple[str, str]] = field(default_factory=dict)
    phantom_fov_mm: tuple[float, float] = (220.0, 200.0)
    starts: int = 5


FULL = Sizes(
    scan=Extent("C7", "S1", (410.0, 410.0), (512, 512, 400), (0.8, 0.8, 1.25)),
    growth=(2, 4),
    longest=2000,
    small=Extent("C7", "S1", (410.0, 410.0), (256, 256, 200), (1.6, 1.6, 2.5)),
    batch=20,
    warm=3,
    roi=96,
    patches=4,
    slices=4,
    phantoms={
        101: ("C1", "T2"),
        102: ("C5", "T8"),
        103: ("T3", "T12"),
        104: ("T8", "L5"),
        105: ("T11", "S2"),
        106: ("L1", "S2"),
    },
)

QUICK = Sizes(
    scan=Extent("T12", "L3", (110.0, 120.0), (68, 75, 70), (1.6, 1.6, 2.0)),
    growth=(2,),
    longest=140,
    small=Extent("T12", "L3", (110.0, 120.0), (55, 60, 70), (2.0, 2.0, 2.0)),
    batch=2,
    warm=1,
    roi=48,
    patches=1,
    slices=1,
    phantoms={104: ("T12", "L2")},
    phantom_fov_mm=(100.0, 110.0),
    starts=1,
)


def shape_text(shape: Any) -> str:
    """As the tables show it."""
    return "x".join(str(n) for n in shape)
