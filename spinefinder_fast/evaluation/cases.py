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
        step: how many levels too low the name is that a found vertebra got, in the row of the 26 names and of those of
            T13 and L6 that occur in the scan; None where it was not found.
    """

    name: str
    fate: Fate
    error_mm: float | None
    nearest: str | None
    nearest_mm: float | None
    step: int | None = None


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
        """Whether every annotated vertebra, of which there are some, is identified and nothing else was predicted."""
        return len(self.truth) > 0 and all(outcome.fate == "identified" for outcome in self.outcomes)

    @property
    def shift(self) -> int | None:
        """The number of levels by which every vertebra that was found is named too low: 0 where all names are right,
        -1 where each bears the name of the one above; None where they differ, or none was found."""
        steps = {o.step for o in self.outcomes if o.fate in ("identified", "misnamed")}
        return steps.pop() if len(steps) == 1 else None

    @cached_property
    def _row(self) -> list[str]:
        """The names from head to foot, T13 and L6 only where they occur."""
        return [n for n in anatomy.EVERY_NAME if n in anatomy.LABELS or n in self.truth or n in self.prediction]

    def _of_annotated(self, vertebra: Vertebra) -> Outcome:
        error = None
        if vertebra.name in self.prediction:
            error = distance_mm(self.prediction[vertebra.name], vertebra)
        if not len(self.prediction):
            return Outcome(vertebra.name, "missed", error, None, None)
        nearest = min(self.prediction, key=lambda v: distance_mm(v, vertebra))
        away = distance_mm(nearest, vertebra)
        fate: Fate = "missed" if away > LIMIT_MM else "identified" if nearest.name == vertebra.name else "misnamed"
        step = None if fate == "missed" else self._row.index(nearest.name) - self._row.index(vertebra.name)
        return Outcome(vertebra.name, fate, error, nearest.name, away, step)

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
