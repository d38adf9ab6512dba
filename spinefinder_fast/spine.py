# SPDX-License-Identifier: Apache-2.0
"""The answer: the labelled centroids of a scan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinefinder_fast import anatomy
from spinefinder_fast.geometry import Grid


@dataclass(frozen=True)
class Vertebra:
    """One vertebra: its name and the centroid of its body.

    Attributes:
        name: ``"C1"`` ... ``"S2"`` (annotations may also hold ``"T13"`` and ``"L6"``).
        lps: centroid in LPS mm.
        votes: number of voxels that voted for this vertebra, on the grid the networks worked on; 0 where the
            centroid was annotated and not found, or inferred from its neighbours (`decoder`: C1).
        spread_mm: inter-quartile range of the votes along x, y, z, mm; None without votes.
        truncated: whether the field of view cuts the vertebra.
        confidence: probability of the name among all that the vertebra could have, 0 to 1; None where it was annotated,
            or found by a procedure that gives none.
    """

    name: str
    lps: tuple[float, float, float]
    votes: int = 0
    spread_mm: tuple[float, float, float] | None = None
    truncated: bool = False
    confidence: float | None = None

    @property
    def inferred(self) -> bool:
        """Whether it was put where its neighbours say, and not detected."""
        return not self.votes and self.confidence is not None

    @property
    def label(self) -> int:
        """Label 1..26 of the name.

        Raises:
            KeyError: the name (T13, L6) has no label.
        """
        return anatomy.label_of(self.name)


def _cranio_caudal(vertebra: Vertebra) -> tuple[int, int]:
    # T13 and L6 sort behind T12 and L5 by their number.
    return "CTLS".index(vertebra.name[0]), int(vertebra.name[1:])


@dataclass(frozen=True)
class Spine:
    """The labelled centroids of one scan, in cranio-caudal order.

    Iterating gives each `Vertebra`; ``spine["L1"]`` gives one by name; ``"L1" in spine`` asks for it.

    Attributes:
        vertebrae: one per name.
        grid: the grid of the scan FILE (its own axes and voxels), or None where only points are known.
        source: what the centroids belong to: the scan's name, without folder or ending.
        warnings: one line each, what a reader of the result should know.
        details: settings and measurements worth keeping with the result (weights, procedure, seconds).
    """

    vertebrae: tuple[Vertebra, ...]
    grid: Grid | None = None
    source: str = ""
    warnings: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [v.name for v in self.vertebrae]
        if len(set(names)) != len(names):
            raise ValueError(f"a spine holds each name once, got {names}")
        object.__setattr__(self, "vertebrae", tuple(sorted(self.vertebrae, key=_cranio_caudal)))

    def __iter__(self) -> Iterator[Vertebra]:
        return iter(self.vertebrae)

    def __len__(self) -> int:
        return len(self.vertebrae)

    def __contains__(self, name: object) -> bool:
        return any(v.name == name for v in self.vertebrae)

    def __getitem__(self, name: str) -> Vertebra:
        for vertebra in self.vertebrae:
            if vertebra.name == name:
                return vertebra
        raise KeyError(name)

    @property
    def names(self) -> list[str]:
        """Names in cranio-caudal order."""
        return [v.name for v in self.vertebrae]

    def lps(self) -> NDArray[np.float64]:
        """(n, 3) float64 centroids, LPS mm, in cranio-caudal order."""
        return np.array([v.lps for v in self.vertebrae], np.float64).reshape(-1, 3)

    def voxels(self) -> NDArray[np.float64]:
        """(n, 3) float64 centroids as continuous voxel indices of the scan file, in its own axis order.

        Raises:
            ValueError: the spine has no grid.
        """
        if self.grid is None:
            raise ValueError("this spine has no grid: its centroids are known in LPS mm only")
        return self.grid.to_voxel(self.lps())
