# SPDX-License-Identifier: Apache-2.0
"""How the networks are run and their votes counted: what may differ without another training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

Tiling = Literal["faithful", "large"]
Centre = Literal["median", "mean", "geometric_median", "mean_shift"]
Threshold = Literal["in_view", "paper"]


@dataclass(frozen=True)
class Procedure:
    """The choices between trained networks and centroids.

    Attributes:
        tiling: how detection covers a volume: ``"faithful"``, the paper's patches, or ``"large"``; see
            `detection.detect`.
        centre: of the votes for a vertebra: ``"median"`` (the paper), ``"mean"``, ``"geometric_median"`` or
            ``"mean_shift"`` (the paper's own wish); see `centroids.aggregate`.
        threshold: how many votes make a vertebra: ``"in_view"`` or ``"paper"`` (Eq. 3 as it stands); see
            `centroids.aggregate`.

    Raises:
        ValueError: a choice that there is not.
    """

    tiling: Tiling = "faithful"
    centre: Centre = "median"
    threshold: Threshold = "in_view"

    def __post_init__(self) -> None:
        for name, choices in (("tiling", Tiling), ("centre", Centre), ("threshold", Threshold)):
            if (value := getattr(self, name)) not in get_args(choices):
                *others, last = get_args(choices)
                raise ValueError(f"{name} is {value!r}; {', '.join(others)} or {last} is needed")


FAITHFUL: Final = Procedure()
"""The paper's, but for the threshold."""
