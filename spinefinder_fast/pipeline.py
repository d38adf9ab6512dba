# SPDX-License-Identifier: Apache-2.0
"""The whole method: scan -> volume -> detection -> identification -> centroids, as in the paper's Fig. 1."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from spinefinder_fast.centroids import aggregate
from spinefinder_fast.coarse import Box, search, work_of
from spinefinder_fast.decoder import decode
from spinefinder_fast.detection import PATCH, detect, largest_tile
from spinefinder_fast.identification import identify
from spinefinder_fast.networks.weights import Model, Precision, load_model
from spinefinder_fast.procedure import DEFAULT, Procedure
from spinefinder_fast.scan import LARGE_VOXELS, Scan, ScanFile, open_scan
from spinefinder_fast.spine import Spine
from spinefinder_fast.volume import Volume, mask_onto, resample, resample_slabs

T = TypeVar("T")


def locate(scan: str | Path | ScanFile | Scan, model: Model | None = None, *, procedure: Procedure = DEFAULT) -> Spine:
    """Find and name the vertebrae in a CT scan.

    Args:
        scan: a NIfTI, NRRD or MHA file, a folder of one DICOM series, or one already opened or read. Of a file only a
            few slices are in memory at once, but for the first one without a `model`: it is read while that is loaded.
        model: from `load_model`; None for the weights of the package, loaded once and kept, in the precision that goes
            with the procedure.
        procedure: how the networks are run and their votes counted.

    Returns:
        The labelled centroids in LPS mm; ``.voxels()`` gives them in the voxels of the file. With the default
        ``decode="order"`` each has its confidence, ``details["numbering"]`` tells what else they may be, and there is a
        warning where the levels are not certain.

    Raises:
        ScanError: the scan cannot be read or is not a CT that can be used safely.
        WeightsError: the weights are missing or damaged.
    """
    clock = Clock()
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(lambda: model or _default_model(procedure.precision))
        if isinstance(scan, str | Path):
            scan = open_scan(scan)
        if model is None and isinstance(scan, ScanFile) and scan.voxels <= LARGE_VOXELS and not loading.done():
            # The first time, the scan is read while the networks are compiled.
            scan = scan.read()
        loaded = loading.result()
    clock.lap("load")
    found = find_spine(scan, loaded, procedure, clock)
    volume, mask = found.volume, found.mask
    labels = clock.timed("identify", identify(volume, mask, loaded, strip=procedure.look == "coarse_to_fine"))
    details: dict[str, object] = {
        "weights": loaded.id,
        "spacing_mm": loaded.spacing_mm,
        "tile": found.tile,
        "precision": str(loaded.dtype).removeprefix("torch."),
        "procedure": asdict(procedure),
        "seconds": clock.laps,
        "searched": round(work_of(found.boxes, found.detection_volume.array.shape), 3),
    }
    warnings = scan.warnings
    if procedure.decode == "order":
        vertebrae, numbering = decode(labels, mask, volume)
        details["numbering"] = numbering
        if vertebrae and numbering.verdict != "certain":
            warnings = (*warnings, numbering.doubt())
        if inferred := [v.name for v in vertebrae if v.inferred]:
            warnings = (*warnings, f"W_INFERRED: {inferred[0]} was not detected; it is put where its neighbours say")
    else:
        vertebrae = aggregate(labels, mask, volume.grid, procedure.threshold, procedure.centre)
    clock.lap("aggregate")
    return Spine(tuple(vertebrae), scan.file_grid, scan.name, warnings, details)


@dataclass(frozen=True, eq=False)
class Found:
    """Where the spine is in a scan, whichever vertebrae they are.

    Attributes:
        volume: the scan on the grid of the identification.
        mask: (X, Y, Z) uint8 on that grid, 1 on vertebrae.
        detection_volume: the scan on the grid of the detection; `volume` itself where that is the same.
        detection_mask: the mask on that grid, as it was detected.
        boxes: of that grid, in which was looked; None for all of it.
        tile: the largest that a network saw at once: memory decides it, and answers depend on it a little.
    """

    volume: Volume
    mask: NDArray[np.uint8]
    detection_volume: Volume
    detection_mask: NDArray[np.uint8]
    boxes: tuple[Box, ...] | None
    tile: tuple[int, int, int]


def find_spine(
    scan: ScanFile | Scan, model: Model, procedure: Procedure = DEFAULT, clock: Clock | None = None
) -> Found:
    """The first half of `locate`: where vertebrae are, before any has a name.

    Args:
        scan: opened or read.
        model: its coarse and its detection network are run.
        procedure: where they look, and in what tiles.
        clock: is told the time of each stage.
    """
    clock = clock or Clock()
    spacings = list(dict.fromkeys((model.spacing_mm, model.detection_spacing_mm or model.spacing_mm)))
    if isinstance(scan, ScanFile):
        volumes = resample_slabs(clock.timed("load", scan.slabs()), scan.grid, spacings)
    else:
        volumes = [resample(scan, spacing) for spacing in spacings]
    volume, coarser = volumes[0], volumes[-1]
    clock.lap("resample")
    tile = largest_tile(model) if procedure.tiling == "large" else PATCH
    boxes = search(coarser, model, tile) if procedure.look == "coarse_to_fine" else None
    clock.lap("coarse")
    detected = detect(coarser, model, procedure.tiling, boxes, tile)
    mask = mask_onto(detected, coarser.grid, volume.grid)
    clock.lap("detect")
    return Found(volume, mask, coarser, detected, boxes, tile)


class Clock:
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
        seconds = self.laps.get(stage, 0.0)
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


@lru_cache(maxsize=2)
def _default_model(precision: Precision) -> Model:
    return load_model(precision=precision)
