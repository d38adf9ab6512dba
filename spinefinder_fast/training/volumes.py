# SPDX-License-Identifier: Apache-2.0
"""The scans of a training run: each is read and resampled once, kept on disk, and mapped into memory from there.

Mapped files are shared by all processes that prepare crops and by all that train, and a data set may be larger than
the memory.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spinefinder_fast import anatomy
from spinefinder_fast.annotations import ENDINGS, read_centroids
from spinefinder_fast.dataset import Entry, is_dataset, read_manifest
from spinefinder_fast.dataset.layouts import find_entries
from spinefinder_fast.errors import AnnotationError, OutputError, ScanError
from spinefinder_fast.files import make_folder
from spinefinder_fast.geometry import Grid
from spinefinder_fast.scan import Scan, read_scan, scan_name
from spinefinder_fast.spine import Spine
from spinefinder_fast.volume import Volume, resample

_FORMAT: Final = "1"
"""Of the stored volumes; another one makes all of them anew."""


@dataclass(frozen=True, eq=False)
class TrainingScan:
    """A scan on the training grid, with its points.

    Attributes:
        name: of the scan.
        path: of its file.
        stored: ``.npy`` file of its voxels, (X, Y, Z) int16 or float32, canonical axes, HU.
        grid: of these voxels.
        truth: its annotated centroids, T13 and L6 among them.
        patient: whose it is.
    """

    name: str
    path: Path
    stored: Path
    grid: Grid
    truth: Spine
    patient: str = ""

    @property
    def identity(self) -> list[object]:
        """What tells the scan and its annotation from others, wherever its file lies: plain values."""
        points = [[v.name, *(round(x, 3) for x in v.lps)] for v in self.truth]
        return [f"{self.path.parent.name}/{self.path.name}", list(self.grid.shape), points]

    @cached_property
    def array(self) -> NDArray[Any]:
        """(X, Y, Z) int16 or float32, HU, mapped from disk: what is not looked at is not read."""
        array: NDArray[Any] = np.load(self.stored, mmap_mode="r")
        return array

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """(n,) int64, 1..26: of the annotated vertebrae; T13 is one more T12 and L6 one more L5, as in the published
        code, for both look like it and neither is background."""
        return np.array([anatomy.label_of(anatomy.like(v.name)) for v in self.truth], np.int64)

    @cached_property
    def centroids_vox(self) -> NDArray[np.float64]:
        """(n, 3) float64, voxels of `array`, in the order of `labels`."""
        return self.grid.to_voxel(self.truth.lps())

    def volume(self) -> Volume:
        """The whole scan in memory, as the pipeline takes it."""
        return Volume(np.array(self.array, np.float32, order="C"), self.grid)

    def __getstate__(self) -> dict[str, Any]:
        # A process that is sent this maps the file itself, instead of being sent the voxels.
        return {k: v for k, v in self.__dict__.items() if k not in ("array", "labels", "centroids_vox")}


def entries_of(data: Sequence[Path], split: str) -> list[Entry]:
    """The scans that some paths name, for one split.

    A data set (a ``dataset.csv``, or a folder with one) gives its scans of that split. Any other folder gives all scans
    in it, in any layout that `dataset.find_entries` knows; where its folders are named after several splits, those of
    the one.

    Raises:
        AnnotationError: a scan has no centroids; the manifest is wrong or holds a patient in two splits.
    """
    entries: list[Entry] = []
    for path in data:
        if is_dataset(path):
            manifest = read_manifest(path)
            manifest.check_split()
            entries += manifest.of_split(split)
            continue
        found = find_entries(path)
        if found.without:
            raise AnnotationError(
                "E_NO_ANNOTATION", f"{found.without[0]} has no centroids; a file such as NAME.lml beside it is needed"
            )
        taken: list[Entry] = []
        several = len({entry.split for entry in found.entries}) > 1
        for entry in found.entries:
            if not entry.centroids.name.lower().endswith(ENDINGS):
                raise AnnotationError(
                    "E_NO_ANNOTATION",
                    f"{entry.scan} has masks alone; `spinefinder dataset import` makes centroids of them",
                )
            if not several or entry.split == split:
                taken.append(replace(entry, split=split))
        if not taken:
            raise AnnotationError(
                "E_NO_SCAN", f"{path} has no scan with centroids for {split}; is it the right folder?"
            )
        entries += taken
    return entries


def load_training_scans(
    entries: Sequence[Entry],
    spacing_mm: float,
    store: Path,
    on_scan: Callable[[int], None] = lambda done: None,
) -> list[TrainingScan]:
    """Every scan on the training grid. What is not in the store yet is read, resampled and put there.

    A scan whose annotation is empty teaches what is not a vertebra. HU are rounded to whole numbers.

    Args:
        entries: the scans and their centroids.
        spacing_mm: isotropic grid to train on, mm.
        store: folder for the volumes; may serve several runs.
        on_scan: called with the number of scans that are ready.

    Raises:
        AnnotationError: centroids that cannot be used, or no scan at all.
        ScanError: a scan that cannot be read.
        OutputError: the store cannot be written.
    """
    if not entries:
        raise AnnotationError("E_NO_SCAN", "there is no scan to train on; give a folder of scans or a data set")
    make_folder(store)
    scans = []
    for entry in entries:
        scans.append(_load(entry, spacing_mm, store))
        on_scan(len(scans))
    return scans


def _load(entry: Entry, spacing_mm: float, store: Path) -> TrainingScan:
    stored = store / f"{_key(entry.scan, spacing_mm)}.npy"
    geometry = stored.with_suffix(".npz")
    if not geometry.exists():
        scan = _read(entry.scan)
        volume = resample(scan, spacing_mm)
        _save(stored, lambda file: np.save(file, np.clip(np.rint(volume.array), -32768, 32767).astype(np.int16)))
        # Last, for where the geometry is, the voxels are whole.
        grids = volume.grid.affine, scan.file_grid.affine, np.array(scan.file_grid.shape)
        _save(geometry, lambda file: np.savez(file, affine=grids[0], file_affine=grids[1], file_shape=grids[2]))
    with np.load(geometry) as kept:
        file_grid = Grid(tuple(kept["file_shape"]), kept["file_affine"])
        affine = kept["affine"]
    shape = np.load(stored, mmap_mode="r").shape
    truth = replace(read_centroids(entry.centroids, file_grid), source=scan_name(entry.scan))
    return TrainingScan(scan_name(entry.scan), entry.scan.resolve(), stored, Grid(shape, affine), truth, entry.patient)


def _read(path: Path) -> Scan:
    try:
        return read_scan(path)
    except ScanError as error:
        raise ScanError(error.code, f"{path}: {error.message}") from error


def _key(scan: Path, spacing_mm: float) -> str:
    """Changes with the scan's files and with the grid."""
    state = hashlib.sha256(f"{_FORMAT} {spacing_mm!r} {scan.resolve()}".encode())
    for file in _files(scan):
        status = file.stat()
        state.update(f"\n{file.name} {status.st_size} {status.st_mtime_ns}".encode())
    return state.hexdigest()[:32]


def _files(scan: Path) -> Iterator[Path]:
    if scan.is_dir():
        yield from sorted(p for p in scan.iterdir() if p.is_file())
    elif scan.exists():  # what is not there is for the reader to say
        yield scan


def _save(path: Path, write: Callable[[Any], None]) -> None:
    partial = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        try:
            with partial.open("wb") as file:
                write(file)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError("E_WRITE", f"cannot write {path}: {error.strerror or error}") from error
