# SPDX-License-Identifier: Apache-2.0
"""Identification rate and localisation error by region, as McCouat and Glocker 2019 count them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from spinefinder_fast import anatomy
from spinefinder_fast.files import write_bytes
from spinefinder_fast.spine import Spine

if TYPE_CHECKING:
    from rich.table import Table

LIMIT_MM: Final = 20.0
"""A vertebra further than this from every prediction is not identified."""

_REGIONS: Final = {"All": "CTLS", "Cervical": "C", "Thoracic": "T", "Lumbar": "L"}


@dataclass(frozen=True)
class RegionScore:
    """The score of one region.

    Attributes:
        region: ``All``, ``Cervical``, ``Thoracic`` or ``Lumbar``; S1 and S2 count in ``All`` only.
        annotated: ground-truth centroids, the denominator of the identification rate. L6 and T13 are among them,
            though no prediction can carry their name.
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
        """Share of the annotated vertebrae that were identified, 0 to 1; None where none is annotated."""
        return self.identified / self.annotated if self.annotated else None


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

    def write_json(self, path: Path) -> None:
        """Write the scores as JSON.

        Raises:
            OutputError: the file cannot be written.
        """
        regions = [{**asdict(score), "id_rate": score.id_rate} for score in self.regions]
        document = {"protocol": "McCouat and Glocker 2019", "scans": self.scans, "regions": regions}
        write_bytes(path, (json.dumps(document, indent=1) + "\n").encode())

    def write_csv(self, path: Path) -> None:
        """Write the scores as CSV, one line per region.

        Raises:
            OutputError: the file cannot be written.
        """
        text = io.StringIO(newline="")
        columns = [field.name for field in fields(RegionScore)]
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*columns, "id_rate"])
        writer.writerows([*(getattr(score, column) for column in columns), score.id_rate] for score in self.regions)
        write_bytes(path, text.getvalue().encode())


def evaluate(pairs: Iterable[tuple[Spine, Spine]]) -> Evaluation:
    """Score predictions against the ground truth of the same scans.

    Args:
        pairs: (prediction, ground truth) of each scan, both in LPS mm of that scan; a scan in which nothing was
            found is an empty `Spine`, not a pair left out.
    """
    identified: list[tuple[str, bool]] = []
    errors: list[tuple[str, float]] = []
    missing: list[str] = []
    extra: list[str] = []
    scans = 0
    for prediction, truth in pairs:
        scans += 1
        for vertebra in truth:
            identified.append((vertebra.name, _identified(vertebra.name, vertebra.lps, prediction)))
            if vertebra.name in prediction:
                errors.append((vertebra.name, _distance(prediction[vertebra.name].lps, vertebra.lps)))
            else:
                missing.append(vertebra.name)
        extra += [vertebra.name for vertebra in prediction if vertebra.name not in truth]

    def score(region: str, letters: str) -> RegionScore:
        hits = [hit for name, hit in identified if anatomy.region_of(name) in letters]
        distances = [distance for name, distance in errors if anatomy.region_of(name) in letters]
        return RegionScore(
            region=region,
            annotated=len(hits),
            identified=sum(hits),
            localised=len(distances),
            mean_mm=float(np.mean(distances)) if distances else None,
            std_mm=float(np.std(distances)) if distances else None,
            missing=sum(anatomy.region_of(name) in letters for name in missing),
            extra=sum(anatomy.region_of(name) in letters for name in extra),
        )

    return Evaluation(scans, tuple(score(region, letters) for region, letters in _REGIONS.items()))


def _identified(name: str, lps: tuple[float, float, float], prediction: Spine) -> bool:
    if not len(prediction):
        return False
    nearest = min(prediction, key=lambda v: _distance(v.lps, lps))
    return nearest.name == name and _distance(nearest.lps, lps) <= LIMIT_MM


def _distance(a: tuple[float, float, float], b: tuple[float, float, float]) -> float:
    return float(np.linalg.norm(np.subtract(a, b)))
