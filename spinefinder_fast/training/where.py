# SPDX-License-Identifier: Apache-2.0
"""How well the coarse and the detection network say where vertebrae are, whichever they are.

    python -m spinefinder_fast.training.where SCANS [--weights FOLDER]

prints a line for each scan that has centroids beside it.
"""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from spinefinder_fast import anatomy
from spinefinder_fast.annotations import read_centroids
from spinefinder_fast.coarse import Box, work_of
from spinefinder_fast.dataset import Entry
from spinefinder_fast.dataset.layouts import find_entries
from spinefinder_fast.discs import dense_labels
from spinefinder_fast.networks.weights import Model, load_model
from spinefinder_fast.pipeline import find_spine
from spinefinder_fast.scan import read_scan

WHERE = "where.csv"
"""One line per scan."""


@dataclass(frozen=True)
class Where:
    """Of one scan.

    Attributes:
        scan: its name.
        dice: of the detection, over the whole scan, with the dense labels of its annotated centroids.
        searched: share of the scan in the boxes of the coarse network.
        centroids: that are annotated.
        in_boxes: of those, how many lie in the boxes.
        in_detection: and how many in what is detected.
    """

    scan: str
    dice: float
    searched: float
    centroids: int
    in_boxes: int
    in_detection: int

    @classmethod
    def of(cls, entry: Entry, model: Model) -> Where:
        """Run both networks on a scan."""
        scan = read_scan(entry.scan)
        truth = read_centroids(entry.centroids, scan.file_grid)
        found = find_spine(scan, model)
        volume, boxes, mask = found.detection_volume, found.boxes, found.detection_mask > 0
        points = volume.grid.to_voxel(truth.lps())
        labels = np.array([anatomy.label_of(anatomy.like(v.name)) for v in truth], np.int64)
        dense = dense_labels(labels, points, volume.array.shape, volume.grid.spacing_mm) > 0
        places = [tuple(p) for p in np.rint(points).astype(int).clip(0, np.array(mask.shape) - 1)]
        return cls(
            scan=entry.scan.parent.name,
            dice=round(float(2 * (mask & dense).sum() / max(1, mask.sum() + dense.sum())), 3),
            searched=round(work_of(boxes, mask.shape), 3),
            centroids=len(places),
            in_boxes=sum(boxes is None or any(_holds(box, p) for box in boxes) for p in places),
            in_detection=sum(bool(mask[p]) for p in places),
        )


def _holds(box: Box, point: tuple[int, ...]) -> bool:
    return all(a <= p < b for a, p, b in zip(box.low, point, box.high, strict=True))


def as_csv(rows: Sequence[Where]) -> str:
    """A table with a line for each scan."""
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, [field.name for field in fields(Where)], lineterminator="\n")
    table.writeheader()
    table.writerows(asdict(row) for row in rows)
    return text.getvalue()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="How well the networks say where vertebrae are.")
    parser.add_argument("scans", type=Path)
    parser.add_argument("--weights", type=Path)
    given = parser.parse_args()
    model = load_model(given.weights)
    print(as_csv([Where.of(entry, model) for entry in find_entries(given.scans).entries]), end="")
