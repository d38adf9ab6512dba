# SPDX-License-Identifier: Apache-2.0
"""The protocol of McCouat and Glocker 2019 and of their published code: all vertebrae of all scans in one pool.

A vertebra is identified where the nearest predicted centroid, at most 20 mm away, carries its name. Every annotated
vertebra counts, S1 and S2 too, but in "All" only; L6 and T13 count, though the paper's networks cannot name them. The
distance is that of predictions whose name is annotated in their scan: a missing prediction costs nothing there, so the
mean means nothing without the rate.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from spinefinder_fast import anatomy
from spinefinder_fast.evaluation.cases import Case, Outcome
from spinefinder_fast.spine import Spine

if TYPE_CHECKING:
    from rich.table import Table

REGIONS: Final = {"All": "CTLS", "Cervical": "C", "Thoracic": "T", "Lumbar": "L"}
"""Name -> first letters of the vertebrae that count in it."""


@dataclass(frozen=True)
class RegionScore:
    """The score of one region.

    Attributes:
        region: ``All``, ``Cervical``, ``Thoracic`` or ``Lumbar``; S1 and S2 count in ``All`` only.
        annotated: ground-truth centroids, the denominator of the identification rate. L6 and T13 are among them,
            though the paper's networks cannot name them.
        identified: those whose nearest predicted centroid, within 20 mm, carries their name.
        localised: predictions whose name the ground truth of their scan has, the denominator of mean and std.
        mean_mm, std_mm: distance of these to the centroid of their name; None where there are none. A missing
            prediction costs nothing here, so never read them without the rate.
        missing: ground-truth centroids whose name was not predicted.
        extra: predictions whose name the ground truth of their scan lacks.
    """

    region: str
    annotated: int
    identified: int
    localised: int
    mean_mm: float | None
    std_mm: float | None
    missing: int
    extra: int

    @property
    def id_rate(self) -> float | None:
        """Share of the annotated vertebrae that were identified, 0 to 1; None where none is annotated. It is the
        recall, too."""
        return self.identified / self.annotated if self.annotated else None

    @property
    def precision(self) -> float | None:
        """Share of the predicted vertebrae that identify one, 0 to 1; None where none is predicted."""
        predicted = self.localised + self.extra
        return self.identified / predicted if predicted else None


@dataclass(frozen=True)
class Evaluation:
    """Scores of a set of scans.

    Attributes:
        scans: number of scans.
        regions: scores of All, Cervical, Thoracic, Lumbar, in that order.
    """

    scans: int
    regions: tuple[RegionScore, ...]

    def __getitem__(self, region: str) -> RegionScore:
        for score in self.regions:
            if score.region == region:
                return score
        raise KeyError(region)

    def table(self) -> Table:
        """The scores for the terminal, each with its denominator."""
        from rich.table import Table

        table = Table(title=f"McCouat protocol, {self.scans} scan{'' if self.scans == 1 else 's'}", title_style="bold")
        table.add_column("region")
        for column in ("Id rate %", "identified", "mean mm", "std mm", "over", "missing", "extra"):
            table.add_column(column, justify="right")
        for s in self.regions:
            table.add_row(
                s.region,
                "-" if s.id_rate is None else f"{100 * s.id_rate:.1f}",
                f"{s.identified} of {s.annotated}",
                "-" if s.mean_mm is None else f"{s.mean_mm:.2f}",
                "-" if s.std_mm is None else f"{s.std_mm:.2f}",
                str(s.localised),
                str(s.missing),
                str(s.extra),
            )
        return table


def evaluate(pairs: Iterable[tuple[Spine, Spine]]) -> Evaluation:
    """Score predictions against the ground truth of the same scans.

    Args:
        pairs: (prediction, ground truth) of each scan, both in LPS mm of that scan; a scan in which nothing was
            found is an empty `Spine`, not a pair left out.
    """
    return score_cases([Case("", prediction, truth) for prediction, truth in pairs])


def score_cases(cases: Sequence[Case]) -> Evaluation:
    """Score scans by this protocol."""
    outcomes = [outcome for case in cases for outcome in case.outcomes]
    return Evaluation(len(cases), tuple(_score(region, in_region(outcomes, region)) for region in REGIONS))


def in_region(outcomes: Iterable[Outcome], region: str) -> list[Outcome]:
    """Those that count in a region."""
    return [outcome for outcome in outcomes if anatomy.region_of(outcome.name) in REGIONS[region]]


def _score(region: str, outcomes: Sequence[Outcome]) -> RegionScore:
    errors = [outcome.error_mm for outcome in outcomes if outcome.error_mm is not None]
    extra = sum(outcome.fate == "extra" for outcome in outcomes)
    return RegionScore(
        region=region,
        annotated=len(outcomes) - extra,
        identified=sum(outcome.fate == "identified" for outcome in outcomes),
        localised=len(errors),
        mean_mm=float(np.mean(errors)) if errors else None,
        std_mm=float(np.std(errors)) if errors else None,
        missing=len(outcomes) - extra - len(errors),
        extra=extra,
    )
