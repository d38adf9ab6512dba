# SPDX-License-Identifier: Apache-2.0
"""Bringing predictions and ground truth together, scan by scan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from spinefinder_fast.annotations import ENDINGS, centroids_source, find_centroids, read_centroids
from spinefinder_fast.dataset import SPLITS, is_dataset, read_manifest
from spinefinder_fast.dataset.layouts import case_of, case_of_scan
from spinefinder_fast.errors import AnnotationError, SpinefinderError
from spinefinder_fast.evaluation.cases import Case
from spinefinder_fast.scan import find_scans, read_grid, scan_name
from spinefinder_fast.spine import Spine


@dataclass(frozen=True)
class Cases:
    """Predictions and ground truth of the same scans.

    Attributes:
        cases: one per scan with ground truth.
        unpredicted: names of the scans without a prediction: they are among the cases, with everything missing.
        unannotated: names of predictions without ground truth: they are not.
    """

    cases: list[Case]
    unpredicted: list[str]
    unannotated: list[str]


def read_cases(predictions: str | Path, truth: str | Path, split: str = "test") -> Cases:
    """Read predictions and the truth, and pair them by the name of the scan.

    Names are compared without what data sets append (``_ct``, ``_seg-vert``, ``_msk`` ...). Where a scan has files in
    several formats, the first of VerSe JSON, Slicer markups, ``.lml`` and CSV is read. Formats that need the scan
    itself find it by its name anywhere in the folder of the ground truth.

    Args:
        predictions: folder of predicted centroids, with sub-folders.
        truth: such a folder of annotated ones; or a data set, a ``dataset.csv`` or a folder with one.
        split: of a data set; a plain folder is taken whole.

    Raises:
        AnnotationError: a file cannot be understood or its scan is not there; ``E_NO_CENTROIDS``, no ground truth in
            the folder, or in the split; ``E_NAME_CLASH``, two scans of one name.
    """
    predictions, truth = Path(predictions), Path(truth)
    predicted = _by_case(predictions)
    if is_dataset(truth):
        cases, used = _of_dataset(predicted, truth, split)
    else:
        cases, used = _of_folder(predicted, truth)
    unpredicted = [case.name for case in cases if case.name not in used]
    return Cases(cases, unpredicted, sorted(predicted.keys() - set(used.values())))


def _of_folder(predicted: dict[str, Path], truth: Path) -> tuple[list[Case], dict[str, str]]:
    annotated = _by_case(truth)
    if not annotated:
        raise AnnotationError("E_NO_CENTROIDS", f"no file in {truth} ends in {', '.join(ENDINGS)}")
    scans = find_scans([truth])
    cases = []
    for name, path in annotated.items():
        prediction = _read(predicted[name], name, scans) if name in predicted else Spine((), source=name)
        own = _scans_of(name, path, scans)
        cases.append(Case(name, prediction, _read(path, name, scans), own[0] if len(own) == 1 else None))
    return cases, {name: name for name in annotated if name in predicted}


def _of_dataset(predicted: dict[str, Path], truth: Path, split: str) -> tuple[list[Case], dict[str, str]]:
    from spinefinder_fast.batch import result_names  # and with it torch, which folders do without

    manifest = read_manifest(truth)
    manifest.check_split()
    entries = manifest.of_split(split)
    if not entries:
        held = [f"{s} ({len(manifest.of_split(s))} scans)" for s in SPLITS if manifest.of_split(s)]
        raise AnnotationError(
            "E_NO_CENTROIDS", f"{manifest.path} has no scan in split {split}; it has {', '.join(held) or 'none at all'}"
        )
    cases: list[Case] = []
    used: dict[str, str] = {}
    # The names that `predict` gives to the results of these scans.
    names = [case_of(name) for name in result_names([entry.scan for entry in entries])]
    for entry, name in zip(entries, names, strict=True):
        try:
            grid = read_grid(entry.scan)
        except SpinefinderError:
            grid = None  # a scan that cannot be read is missing its results, not the whole evaluation
        # Other scans beside them may have made `predict` put more folders, or fewer, before the name.
        found = next((n for n in (name, *_longer_names(entry.scan)) if n in predicted), None)
        prediction = Spine((), source=name)
        if found is not None and found not in used.values():
            prediction = read_centroids(predicted[found], grid)
            used[name] = found
        cases.append(Case(name, prediction, read_centroids(entry.centroids, grid), entry.scan, entry.patient))
    return cases, used


def _longer_names(scan: Path) -> Iterator[str]:
    parents = scan.absolute().parent.parts[1:]
    for depth in range(len(parents) + 1):
        yield case_of("_".join((*parents[len(parents) - depth :], scan_name(scan))))


def _by_case(folder: Path) -> dict[str, Path]:
    """The file to read for each scan."""
    cases: dict[str, Path] = {}
    for path in sorted(find_centroids(folder), key=lambda p: (_rank(p), p)):
        case = case_of(centroids_source(path))
        if case not in cases:
            cases[case] = path
        elif _rank(cases[case]) == _rank(path):
            raise AnnotationError("E_NAME_CLASH", f"{cases[case]} and {path} are both of scan {case}")
    return dict(sorted(cases.items()))


def _rank(path: Path) -> int:
    return next(rank for rank, ending in enumerate(ENDINGS) if path.name.lower().endswith(ending))


def _read(path: Path, case: str, scans: list[Path]) -> Spine:
    try:
        return read_centroids(path)
    except AnnotationError as error:
        if error.code != "E_NEEDS_SCAN":
            raise
        own = _scans_of(case, path, scans)
        if len(own) != 1:
            raise AnnotationError(error.code, f"{error.message}; {len(own)} scans named {case} were found") from error
    return read_centroids(path, read_grid(own[0]))


def _scans_of(case: str, path: Path, scans: list[Path]) -> list[Path]:
    """The scans of that name: those beside the file of centroids, or else wherever they are."""
    own = [scan for scan in scans if case_of_scan(scan) == case]
    return [scan for scan in own if scan.parent == path.parent] or own
