# SPDX-License-Identifier: Apache-2.0
"""How far the labels that are regressed for bodies are off, and which bodies are missed: what the decoder must know.

    python -m spinefinder_fast.training.offsets SCANS [--weights FOLDER]

prints a line for each scan that has centroids beside it, and what they come to together. The bodies are those before
they are numbered, so nothing here depends on the decoder's own constants for labels.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from spinefinder_fast import anatomy
from spinefinder_fast.annotations import read_centroids
from spinefinder_fast.dataset import Entry
from spinefinder_fast.dataset.layouts import find_entries
from spinefinder_fast.identification import identify
from spinefinder_fast.networks.weights import Model, load_model
from spinefinder_fast.ordering.bodies import find_bodies, profile
from spinefinder_fast.pipeline import find_spine
from spinefinder_fast.scan import read_scan

NEAR: Final = 0.45
"""A body belongs to the annotated vertebra that lies within this part of a gap from it."""

FAR: Final = 0.5
"""Scans whose labels are farther off together were misled."""

ENDS: Final = 2
"""So many vertebrae at each end of an annotation are watched for being missed."""


@dataclass(frozen=True)
class Offsets:
    """Of one scan.

    Attributes:
        scan: its name.
        off: regressed label minus the true one, of each annotated vertebra that a body was found for.
        ends: annotated vertebrae at the ends that lie wholly in view.
        missed: those of them near which no body was found.
    """

    scan: str
    off: tuple[float, ...]
    ends: tuple[str, ...]
    missed: tuple[str, ...]

    @property
    def shared(self) -> float:
        """What all are off together: the median; NaN without any."""
        return float(np.median(self.off)) if self.off else float("nan")

    @classmethod
    def of(cls, entry: Entry, model: Model) -> Offsets:
        """Run the networks on a scan, as `locate` does by default, up to the candidate bodies."""
        scan = read_scan(entry.scan)
        found = find_spine(scan, model)
        volume, mask = found.volume, found.mask
        along = profile(identify(volume, mask, model, strip=True), mask, volume)
        truth = read_centroids(entry.centroids, scan.file_grid).vertebrae
        names = tuple(v.name for v in truth if not v.truncated)
        ends = tuple(dict.fromkeys([*names[:ENDS], *names[-ENDS:]]))
        if along is None:
            return cls(entry.scan.parent.name, (), ends, ends)
        bodies = find_bodies(along, volume.grid)
        known = np.isfinite(bodies.label)
        off, missed = [], []
        for vertebra in truth:
            label = anatomy.label_of(anatomy.like(vertebra.name))
            distance = np.linalg.norm(bodies.points[known] - vertebra.lps, axis=1)
            # The gap to the next one, or above the last.
            gap = list(anatomy.GAPS_MM.values())[min(label, len(anatomy.GAPS_MM)) - 1]
            if len(distance) and distance.min() < NEAR * gap:
                off.append(float(bodies.label[known][distance.argmin()] - label))
            elif vertebra.name in ends:
                missed.append(vertebra.name)
        return cls(entry.scan.parent.name, tuple(off), ends, tuple(missed))


def summary(found: Sequence[Offsets]) -> str:
    """What the scans come to together, as lines of text."""
    shared = np.array([o.shared for o in found if o.off])
    own = np.concatenate([np.subtract(o.off, o.shared) for o in found]) if len(shared) else np.zeros(0)
    near = np.abs(shared) <= FAR
    watched = Counter(name for o in found for name in o.ends)
    missed = Counter(name for o in found for name in o.missed)
    lines = [
        f"{len(found)} scans, {len(own)} bodies",
        f"shared: within {FAR:g} in {near.mean():.1%} of the scans, spread there {_rms(shared[near]):.2f}, "
        f"elsewhere {_rms(shared[~near]):.2f}",
        f"own: spread {_rms(own):.2f}, of nine in ten below {np.quantile(np.abs(own), 0.9):.2f}",
        "missed at the ends: "
        + ", ".join(f"{name} {missed[name]}/{watched[name]}" for name in anatomy.EVERY_NAME if watched[name]),
    ]
    return "\n".join(lines)


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if len(values) else float("nan")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="How far regressed labels are off, and which bodies are missed.")
    parser.add_argument("scans", type=Path)
    parser.add_argument("--weights", type=Path)
    given = parser.parse_args()
    model = load_model(given.weights)
    rows = []
    for entry in find_entries(given.scans).entries:
        rows.append(row := Offsets.of(entry, model))
        print(f"{row.scan}: shared {row.shared:+.2f}; {' '.join(f'{x:+.1f}' for x in row.off)}", flush=True)
    print(summary(rows))
