# SPDX-License-Identifier: Apache-2.0
"""The whole method: scan -> volume -> detection -> identification -> centroids, as in the paper's Fig. 1."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from typing import TypeVar

from spinefinder_fast.centroids import aggregate
from spinefinder_fast.coarse import search, work_of
from spinefinder_fast.decoder import decode
from spinefinder_fast.detection import detect
from spinefinder_fast.identification import identify
from spinefinder_fast.networks.weights import Model, load_model
from spinefinder_fast.procedure import DEFAULT, Procedure
from spinefinder_fast.scan import Scan, read_scan
from spinefinder_fast.spine import Spine
from spinefinder_fast.volume import mask_onto, resample

T = TypeVar("T")


def locate(scan: str | Path | Scan, model: Model | None = None, *, procedure: Procedure = DEFAULT) -> Spine:
    """Find and name the vertebrae in a CT scan.

    Args:
        scan: a NIfTI, NRRD or MHA file, a folder of one DICOM series, or a `Scan` already read.
        model: from `load_model`; None for the weights of the package, loaded once and kept.
        procedure: how the networks are run and their votes counted.

    Returns:
        The labelled centroids in LPS mm; ``.voxels()`` gives them in the voxels of the file. With the default
        ``decode="order"`` each has its confidence, ``details["numbering"]`` tells what else they may be, and there is a
        warning where the levels are not certain.

    Raises:
        ScanError: the scan cannot be read or is not a CT that can be used safely.
        WeightsError: the weights are missing or damaged.
    """
    model = model or _default_model()
    clock = _Clock()
    scan = scan if isinstance(scan, Scan) else read_scan(scan)
    clock.lap("load")
    volume = seen = resample(scan, model.spacing_mm)
    if model.detection_spacing_mm and model.detection_spacing_mm != model.spacing_mm:
        seen = resample(scan, model.detection_spacing_mm)
    clock.lap("resample")
    narrow = procedure.look == "coarse_to_fine"
    boxes = search(seen, model) if narrow else None
    clock.lap("coarse")
    mask = mask_onto(detect(seen, model, procedure.tiling, boxes), seen.grid, volume.grid)
    clock.lap("detect")
    labels = clock.timed("identify", identify(volume, mask, model, strip=narrow))
    details: dict[str, object] = {
        "weights": model.id,
        "spacing_mm": model.spacing_mm,
        "procedure": asdict(procedure),
        "seconds": clock.laps,
        "searched": round(work_of(boxes, seen.array.shape), 3),
    }
    warnings = scan.warnings
    if procedure.decode == "order":
        vertebrae, numbering = decode(labels, mask, volume, scan)
        details["numbering"] = numbering
        if vertebrae and numbering.verdict != "certain":
            warnings = (*warnings, numbering.doubt())
    else:
        vertebrae = aggregate(labels, mask, volume.grid, procedure.threshold, procedure.centre)
    clock.lap("aggregate")
    return Spine(tuple(vertebrae), scan.file_grid, scan.name, warnings, details)


class _Clock:
    """Seconds of each stage, in order."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = perf_counter()

    def lap(self, stage: str) -> None:
        now = perf_counter()
        self.laps[stage] = round(now - self._last, 4)
        self._last = now

    def timed(self, stage: str, items: Iterator[T]) -> Iterator[T]:
        """The same items. What making them takes is the stage's, and not that of the lap in which they are taken."""
        seconds = 0.0
        while True:
            start = perf_counter()
            item = next(items, None)
            spent = perf_counter() - start
            seconds += spent
            self._last += spent
            self.laps[stage] = round(seconds, 4)
            if item is None:
                return
            yield item


@lru_cache(maxsize=1)
def _default_model() -> Model:
    return load_model()
