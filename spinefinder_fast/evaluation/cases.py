# SPDX-License-Identifier: Apache-2.0
"""One scan under evaluation, and what became of each of its vertebrae."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Literal

import numpy as np

from spinefinder_fast import anatomy
from spinefinder_fast.spine import Spine, Vertebra

LIMIT_MM: Final = 20.0
"""A vertebra further than this from every prediction is not found."""

Fate = Literal["identified", "misnamed", "missed", "extra"]


@dataclass(frozen=True)
class Outcome:
    """What became of an annotated vertebra, or a predicted one that is not annotated.

    Attributes:
        name: the annotated name; of an extra one, the predicted.
        fate: ``identified``, the nearest prediction, within 20 mm, carries the name; ``misnamed``, it carries another;
            ``missed``, there is no prediction within 20 mm; ``extra``, predicted, and no vertebra of that name is
            annotated in the scan.
        error_mm: distance to the prediction of the same name; None where there is none.
        nearest: name of the nearest prediction; None where nothing was predicted. Of an extra one, the nearest
            annotated vertebra.
        nearest_mm: distance to it.
    """

    name: str
    fate: Fate
    error_mm: float | None
    nearest: str | None
    nearest_mm: float | None

    @property
    def step(self) -> int | None:
        """How many levels too low the name is that a found vertebra got; None where it was not found, or where one of
        the names, T13 or L6, has no place in the row of 26."""
        if self.fate not in ("identified", "misnamed") or self.nearest not in anatomy.LABELS:
            return None
        return anatomy.label_of(self.nearest) - anatomy.label_of(self.name) if self.name in anatomy.LABELS else None


@dataclass(frozen=True, eq=False)
class Case:
    """The prediction and the truth of one scan.

    Attributes:
        name: of the scan.
        prediction: LPS mm of the scan; empty where nothing was found or no prediction exists.
        truth: the annotated centroids, LPS mm.
        scan: the scan's file or folder, where it is at hand.
        patient: whose it is, where that is known.
    """

    name: str
    prediction: Spine
    truth: Spine
    scan: Path | None = None
    patient: str = ""

    @cached_property
    def outcomes(self) -> tuple[Outcome, ...]:
        """Of the annotated vertebrae from head to foot, then of the extra ones."""
        return (*map(self._of_annotated, self.truth), *self._of_extra())

    @property
    def all_right(self) -> bool:
        """Whether every annotated vertebra is identified and nothing else was predicted."""
        return all(outcome.fate == "identified" for outcome in self.outcomes)

    @property
    def shift(self) -> int | None:
        """The number of levels by which every vertebra that was found is named too low: 0 where all names are right,
        -1 where each bears the name of the one above; None where they differ, or none was found."""
        steps = {o.step for o in self.outcomes if o.fate in ("identified", "misnamed")}
        return steps.pop() if len(steps) == 1 else None

    def _of_annotated(self, vertebra: Vertebra) -> Outcome:
        error = None
        if vertebra.name in self.prediction:
            error = distance_mm(self.prediction[vertebra.name], vertebra)
        if not len(self.prediction):
            return Outcome(vertebra.name, "missed", error, None, None)
        nearest = min(self.prediction, key=lambda v: distance_mm(v, vertebra))
        away = distance_mm(nearest, vertebra)
        fate: Fate = "missed" if away > LIMIT_MM else "identified" if nearest.name == vertebra.name else "misnamed"
        return Outcome(vertebra.name, fate, error, nearest.name, away)

    def _of_extra(self) -> Iterator[Outcome]:
        for vertebra in self.prediction:
            if vertebra.name not in self.truth:
                nearest = min(self.truth, key=lambda v: distance_mm(v, vertebra), default=None)
                if nearest is None:
                    yield Outcome(vertebra.name, "extra", None, None, None)
                else:
                    yield Outcome(vertebra.name, "extra", None, nearest.name, distance_mm(nearest, vertebra))


def distance_mm(a: Vertebra, b: Vertebra) -> float:
    """Between two centroids, mm."""
    return float(np.linalg.norm(np.subtract(a.lps, b.lps)))
