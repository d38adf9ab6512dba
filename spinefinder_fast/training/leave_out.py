# SPDX-License-Identifier: Apache-2.0
"""Judges a training by real scans although it trains on them: each is named by weights that never saw its patient.

    python -m spinefinder_fast.training.leave_out RECIPE SET SCANS START OUTPUT

The patients are dealt into folds. For each, training goes on from START with the synthetic scans of SET and the real
scans of all other folds, by RECIPE; the scans of the fold are then predicted, from SCANS, into ``OUTPUT/results``, and
there the evaluation of all of them together is written, ``where.csv``, and ``ladders.png``, what each vertebra was
called; beside it ``results_median`` holds the same without the order. A run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from spinefinder_fast.annotations import read_centroids
from spinefinder_fast.batch import predict_batch
from spinefinder_fast.dataset.layouts import find_entries
from spinefinder_fast.evaluation import Case, write_report
from spinefinder_fast.evaluation.figures import ladders
from spinefinder_fast.files import write_bytes
from spinefinder_fast.networks.weights import Kind, load_model
from spinefinder_fast.procedure import DEFAULT
from spinefinder_fast.scan import read_grid
from spinefinder_fast.spine import Spine
from spinefinder_fast.training.build_set import REAL, SYNTHETIC, whole_scans
from spinefinder_fast.training.run import train_model
from spinefinder_fast.training.settings import PAPER, TrainingSettings, read_recipe
from spinefinder_fast.training.volumes import entries_of
from spinefinder_fast.training.where import WHERE, Where, as_csv

RESULTS = "results"
LADDERS = "ladders.png"

WAYS: Final = {RESULTS: DEFAULT, "results_median": replace(DEFAULT, decode="median")}
"""Folder of results -> how they are made: in order, and by the paper's median for comparison."""

KINDS: tuple[Kind, ...] = tuple(PAPER)


def deal(names: Sequence[str], folds: int) -> list[list[str]]:
    """The names, in order of the alphabet, dealt round like cards."""
    ordered = sorted(names)
    return [ordered[k::folds] for k in range(folds)]


def leave_out(
    settings: Mapping[Kind, TrainingSettings], built: Path, scans: Path, start: Path, output: Path, folds: int
) -> Path | None:
    """Train for each fold, and judge all folds together; see the module's text.

    Args:
        settings: of both networks, or of one: then only that is trained, and nothing is judged yet.
        built: a set by `build_set`; each folder in its ``real`` is a patient.
        scans: the real scans as they are, ``<id>/ct.nii.gz`` with their centroids.
        start: weights that saw no real scan.
        output: folder for the weights of the folds, and for the results.
        folds: into how many parts the patients are dealt.

    Returns:
        The page of the evaluation, or None where only one network was trained.
    """
    patients = [folder.name for folder in (built / REAL).iterdir() if folder.is_dir()]
    entries = {entry.scan.parent.name: entry for entry in find_entries(scans).entries}
    cases: dict[str, list[Case]] = {results: [] for results in WAYS}
    where = []
    for k, left_out in enumerate(deal(patients, folds)):
        seen = [built / SYNTHETIC, *(built / REAL / name for name in sorted(patients) if name not in left_out)]
        folder = output / f"fold{k}"
        about = {"never_seen": left_out}
        store = output / "volumes"
        train_model(entries_of(seen, "train"), [], settings, folder, start=start, store=store, provenance=about)
        if len(settings) < len(KINDS):
            continue
        wanted = [entries[name] for patient in left_out for name in whole_scans(built / REAL / patient)]
        model = load_model(folder)
        for results, procedure in WAYS.items():
            predicted = predict_batch([entry.scan for entry in wanted], output / results, model, procedure=procedure)
            for entry, (result, spine) in zip(wanted, predicted, strict=True):
                truth = read_centroids(entry.centroids, read_grid(entry.scan))
                found = spine or Spine((), source=result.scan)
                cases[results].append(Case(result.scan, found, truth, entry.scan, entry.patient))
        where += [Where.of(entry, model) for entry in wanted]
    if not where:
        return None
    write_bytes(output / RESULTS / WHERE, as_csv(where).encode())
    pages = []
    for results, of_way in cases.items():
        write_bytes(output / results / LADDERS, ladders(of_way))
        title = f"Real scans, each left out of the training of its weights; decode {WAYS[results].decode}"
        pages.append(write_report(of_way, output / results, title=title))
    return pages[0]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Judge a training by real scans that each of its weights never saw.")
    for argument in ("recipe", "set", "scans", "start", "output"):
        parser.add_argument(argument, type=Path)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--network", choices=("both", *KINDS), default="both")
    given = parser.parse_args()
    kinds = KINDS if given.network == "both" else (given.network,)
    page = leave_out(
        {kind: read_recipe(given.recipe, kind) for kind in kinds},
        given.set,
        given.scans,
        given.start,
        given.output,
        given.folds,
    )
    print(page or f"{given.network} is trained; run again for the other network, and for the evaluation")
