# SPDX-License-Identifier: Apache-2.0
"""Many scans, one model: each is located and reported by itself, and a bad one costs nobody else."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import torch

from spinefinder_fast import anatomy
from spinefinder_fast.discs import dense_labels
from spinefinder_fast.errors import OutputError, SpinefinderError
from spinefinder_fast.files import make_folder
from spinefinder_fast.pipeline import locate
from spinefinder_fast.procedure import DEFAULT, Procedure
from spinefinder_fast.report import (
    ScanResult,
    draw_spine,
    write_csv,
    write_labelmap,
    write_markups,
    write_verse_json,
)
from spinefinder_fast.scan import LABELMAP_SUFFIX, LARGE_VOXELS, Scan, ScanFile, open_scan, scan_name
from spinefinder_fast.spine import Spine

if TYPE_CHECKING:
    from spinefinder_fast.networks.weights import Model


RESULT_ENDINGS = ("_ctd.json", ".mrk.json", ".csv", ".png")

SIDE_BY_SIDE = 2
"""Scans that are located at once on a CPU, each with its share of the threads: small networks leave cores idle when
many share one of them."""

SUMMARY = "summary"
"""The batch's own table is ``summary.csv``, so no scan's results may be called so."""


UNTOLD = "ct"
"""A name of a scan that tells it from no other."""


def result_names(paths: Sequence[Path]) -> list[str]:
    """One name per scan to write its results under: the scan's own, with folders before it where two would clash.

    Raises:
        OutputError: ``E_NAME_CLASH``, two scans cannot be told apart by name (``a.nii`` beside ``a.nii.gz``).
    """
    # Links are not followed (hence not `resolve`): the name is made of what the user sees. The root is no name.
    parents = [Path(os.path.abspath(path)).parent.parts[1:] for path in paths]  # noqa: PTH100
    own = [scan_name(path) for path in paths]
    # A scan that is just called "ct" is told from others by its folder, as `evaluate` does.
    depths = [int(name.casefold() == UNTOLD) for name in own]
    while True:
        names = [
            "_".join((*parent[max(0, len(parent) - depth) :], name))
            for parent, depth, name in zip(parents, depths, own, strict=True)
        ]
        clashes = _clashes(names)
        deeper = [depth + (name in clashes) for depth, name in zip(depths, names, strict=True)]
        if deeper == depths:
            return names
        if all(
            depth >= len(parent) for name, depth, parent in zip(names, depths, parents, strict=True) if name in clashes
        ):
            raise OutputError(
                "E_NAME_CLASH", f"several scans are called {min(clashes)}; run them into separate folders"
            )
        depths = deeper


def _clashes(names: Sequence[str]) -> set[str]:
    # On many file systems names that differ in case alone are one file.
    count = Counter([SUMMARY, *(name.casefold() for name in names)])
    return {name for name in names if count[name.casefold()] > 1}


def predict_batch(
    paths: Sequence[Path],
    folder: Path,
    model: Model | Future[Model],
    *,
    procedure: Procedure = DEFAULT,
    label_map: bool = False,
    picture: bool = True,
) -> Iterator[tuple[ScanResult, Spine | None]]:
    """Locate the vertebrae of each scan and write its results into `folder`.

    While scans are located, on a CPU two at once, the next one is read and the results of the one before are written.

    For each scan: ``<name>_ctd.json`` (VerSe), ``<name>.csv``, ``<name>.mrk.json`` (3D Slicer), and on request a
    picture ``<name>.png`` and the dense labels ``<name>_labels.nii.gz``.

    Args:
        paths: from `scan.find_scans`.
        folder: for the results; made where it is missing.
        model: loaded once, used for all; or one that is still being loaded, while the first scan is read.
        procedure: how the networks are run and their votes counted.
        label_map: write the dense labels too.
        picture: draw the picture too.

    Yields:
        What became of each scan, as it is done, and its spine, or None.

    Raises:
        OutputError: the folder cannot be written, or two scans have one name.
        WeightsError: the model that is being loaded cannot be; nothing is written or removed.
    """
    names = result_names(paths)
    jobs = (_Job(name, path, folder) for name, path in zip(names, paths, strict=True))
    threads = torch.get_num_threads()
    reader, writer = (ThreadPoolExecutor(1, f"spinefinder-{stage}") for stage in ("read", "write"))
    stages = [reader, writer]
    queue: deque[Future[_Job]] = deque()
    try:
        first = [(job, reader.submit(job.read, clear=False)) for job in islice(jobs, 1)]  # meanwhile
        if isinstance(model, Future):
            model = model.result()
        make_folder(folder)
        workers = max(1, min(SIDE_BY_SIDE, threads, len(paths))) if model.device == "cpu" else 1
        # The number of threads is each thread's own.
        worker = ThreadPoolExecutor(workers, "spinefinder-locate", torch.set_num_threads, (threads // workers,))
        stages.insert(1, worker)
        jobs_read = chain(first, ((job, reader.submit(job.read)) for job in jobs))
        while True:
            # One is read and one is written meanwhile.
            for job, read in islice(jobs_read, workers + 2 - len(queue)):
                located = worker.submit(job.locate, read, model, procedure)
                queue.append(writer.submit(job.write, located, label_map, picture))
            if not queue:
                return
            done = queue.popleft().result()
            yield done.result(), done.spine
    finally:
        # Nobody takes what is still under way, whether the folder is full or the caller has had enough.
        for stage in stages:
            stage.shutdown(wait=False, cancel_futures=True)
        for stage in stages:
            stage.shutdown()
        torch.set_num_threads(threads)  # which threads that begin later start from


class _Job:
    """One scan on its way through the stages, each in a thread of its own; a fault ends its way and is kept."""

    def __init__(self, name: str, path: Path, folder: Path) -> None:
        self.spine: Spine | None = None
        self._name, self._path, self._folder = name, path, folder
        self._scan: Scan | ScanFile | None = None
        self._fault: tuple[str, str] | None = None
        self._seconds: dict[str, float] = {}
        self._cleared = False

    def read(self, clear: bool = True) -> None:
        with self._stage("load"):
            if clear:
                self._clear()
            opened = open_scan(self._path)
            # A large one is not held (but by ITK, in NRRD and MetaImage): it is read while it is located, and once
            # more for the picture.
            self._scan = opened if opened.voxels > LARGE_VOXELS else opened.read()

    def locate(self, read: Future[None], model: Model, procedure: Procedure) -> None:
        read.result()
        if not self._cleared:
            with self._stage("load"):
                self._clear()
        with self._stage("locate"):
            if self._scan is not None:
                self.spine = replace(locate(self._scan, model, procedure=procedure), source=self._name)

    def _clear(self) -> None:
        """Remove the results of an earlier run: should this scan fail now, they must not pass for its own. Not before
        there is a model, for without one nothing is found anew."""
        for ending in (*RESULT_ENDINGS, LABELMAP_SUFFIX):
            (self._folder / (self._name + ending)).unlink(missing_ok=True)
        self._cleared = True

    def write(self, located: Future[None], label_map: bool, picture: bool) -> _Job:
        located.result()
        with self._stage("write"):
            if self._scan is not None and self.spine is not None:
                _write(self._scan, self.spine, self._folder, self._name, label_map, picture)
        self._scan = None
        return self

    def result(self) -> ScanResult:
        """What became of it."""
        seconds, stages = sum(self._seconds.values()), dict(self._seconds)
        if self.spine is None or self._fault:
            status, message = self._fault or ("failed", "[E_INTERNAL] no result")
            return ScanResult(self._name, status, (), seconds, message, stages)
        warnings = self.spine.warnings if len(self.spine) else (*self.spine.warnings, "no vertebra found")
        laps = dict(self.spine.details["seconds"])
        # A scan that stayed in its file was read while it was located.
        stages = {"load": stages["load"] + laps.pop("load", 0.0), **laps, "write": stages["write"]}
        status, message = ("ok_warn", "; ".join(warnings)) if warnings else ("ok", "")
        return ScanResult(self._name, status, self.spine.names, seconds, message, stages)

    @contextmanager
    def _stage(self, stage: str) -> Iterator[None]:
        start = perf_counter()
        try:
            yield
        except OutputError:
            # The folder is full or gone: every other scan would fail alike.
            raise
        except SpinefinderError as error:
            self._fault = "refused", str(error)
        except Exception as error:
            # Whatever it is, the rest of the batch must not pay for it.
            self._fault = "failed", f"[E_INTERNAL] {type(error).__name__}: {error}".splitlines()[0]
        if self._fault:
            self._scan = self.spine = None
        self._seconds[stage] = self._seconds.get(stage, 0.0) + perf_counter() - start


def _write(scan: Scan | ScanFile, spine: Spine, folder: Path, name: str, label_map: bool, picture: bool) -> None:
    # The centroids last: where they are, everything else is.
    if picture:
        draw_spine(scan, spine, folder / f"{name}.png")
    if label_map:
        known = Spine(tuple(v for v in spine if v.name in anatomy.LABELS))  # T13 and L6 have no label
        labels = dense_labels(
            np.array([v.label for v in known], np.int64),
            scan.grid.to_voxel(known.lps()),
            scan.grid.shape,
            scan.grid.spacing_mm,
        )
        stored = scan.file_grid.reorientation().undo(labels)
        write_labelmap(folder / f"{name}{LABELMAP_SUFFIX}", stored, scan.file_grid)
    write_csv(folder / f"{name}.csv", spine)
    write_markups(folder / f"{name}.mrk.json", spine)
    write_verse_json(folder / f"{name}_ctd.json", spine)
