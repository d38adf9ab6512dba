# SPDX-License-Identifier: Apache-2.0
"""From a data set to a model: both networks, one after the other, and how the model fares on the validation scans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from spinefinder_fast.annotations import read_centroids
from spinefinder_fast.batch import predict_batch
from spinefinder_fast.dataset import Entry
from spinefinder_fast.errors import AnnotationError
from spinefinder_fast.evaluation import Case, write_report
from spinefinder_fast.networks.weights import Kind, copy_network, load_model, read_manifest
from spinefinder_fast.scan import read_grid
from spinefinder_fast.spine import Spine
from spinefinder_fast.training.loop import EpochReport, train
from spinefinder_fast.training.settings import TrainingSettings
from spinefinder_fast.training.team import Team
from spinefinder_fast.training.volumes import TrainingScan, load_training_scans

ALONE: Final = Team()

JUDGED: Final = "validation"
"""Folder, in that of the model, for its results on the validation scans."""


class Watcher:
    """What someone who watches a training is told; this one does not listen."""

    def begins(self, settings: TrainingSettings, training: int, validation: int) -> None:
        """A network's training, with so many scans."""

    def stepped(self, step: int, steps: int) -> None:
        """So many steps of all are done."""

    def epoch(self, report: EpochReport) -> None:
        """An epoch is over."""


def train_model(
    training: Sequence[Entry],
    validation: Sequence[Entry],
    settings: Mapping[Kind, TrainingSettings],
    folder: Path,
    *,
    provenance: dict[str, Any] | None = None,
    store: Path | None = None,
    minutes: float | None = None,
    team: Team = ALONE,
    start: Path | None = None,
    watcher: Watcher | None = None,
) -> None:
    """Train networks of a model into one folder, in the order of `settings`; go on where an earlier call stopped.

    The later network is validated together with the earlier one, the earlier with the truth in the later one's place.

    Args:
        training, validation: scans and their centroids, of different patients.
        settings: of one network or of both.
        folder: for checkpoints, logs and weights.
        provenance: what the manifest of the weights is to say of the data.
        store: folder for the resampled scans; ``folder / "volumes"`` by default.
        minutes: finish each network after the epoch in which this time is over.
        team: the processes that share the work, all of which call this.
        start: a model folder whose networks lend their weights; its coarse network, unless it is trained too, is taken
            over as it is. None begins at random.
        watcher: is told how it goes, in the leading process.

    Raises:
        AnnotationError: ``E_SPLIT_OVERLAP``, a scan or a patient is on both sides; or centroids that cannot be used.
        ScanError: a scan that cannot be read.
        WeightsError: a checkpoint of other settings, scans or weights; weights of `start` that do not fit.
    """
    watcher = (watcher if team.leads else None) or Watcher()
    if shared := {e.patient for e in training} & {e.patient for e in validation}:
        raise AnnotationError(
            "E_SPLIT_OVERLAP", f"{', '.join(sorted(shared))}: in training and validation; keep patients apart"
        )
    for of_network in settings.values():
        scans: list[list[TrainingScan]] = []
        for turn in range(team.size):
            # The first process fills the store; the others find everything there.
            if turn == team.rank:
                for entries in (training, validation):
                    where = store or folder / "volumes"
                    scans.append(load_training_scans(entries, of_network.spacing_mm, where) if entries else [])
            team.wait()
        # By what they show, too: a copy under another name is the same patient.
        seen = {crc32(scan.array.data) for scan in scans[0]}
        if copies := [str(scan.path) for scan in scans[1] if crc32(scan.array.data) in seen]:
            raise AnnotationError(
                "E_SPLIT_OVERLAP", f"{', '.join(copies)}: in training and validation; keep patients apart"
            )
        watcher.begins(of_network, len(scans[0]), len(scans[1]))
        train(
            scans[0],
            of_network,
            folder,
            scans[1],
            provenance,
            minutes,
            team,
            start,
            on_epoch=watcher.epoch,
            on_step=watcher.stepped,
        )
    # It saw what the start saw, and is as good beside networks that saw more.
    if start and "coarse" not in settings and team.leads and "coarse" in read_manifest(start)["networks"]:
        copy_network("coarse", start, folder)


def judge(folder: Path, entries: Sequence[Entry], device: str = "cpu") -> str:
    """Run a trained model on scans, from their files, and write the evaluation into ``folder / "validation"``.

    Returns:
        One line that says where the page is, or why there is none.

    Raises:
        WeightsError: the weights are damaged.
        ScanError: a scan that cannot be read.
        OutputError: the page cannot be written.
    """
    if lacking := {"detection", "identification"} - read_manifest(folder)["networks"].keys():
        return f"no evaluation: the model has no {', '.join(lacking)} network yet"
    if not entries:
        return "no evaluation: no validation scans were given"
    results = folder / JUDGED
    cases, failed = [], []
    predicted = predict_batch([entry.scan for entry in entries], results, load_model(folder, device))
    for entry, (result, spine) in zip(entries, predicted, strict=True):
        truth = read_centroids(entry.centroids, read_grid(entry.scan))
        # A scan that could not be done counts, with everything missing.
        cases.append(Case(result.scan, spine or Spine((), source=result.scan), truth, entry.scan, entry.patient))
        if spine is None:
            failed.append(result)
    page = write_report(cases, results, title="Validation scans", unpredicted=[result.scan for result in failed])
    lost = f"; {len(failed)} scans could not be done, the first: {failed[0].message}" if failed else ""
    return f"the evaluation: {page}{lost}"
