# SPDX-License-Identifier: Apache-2.0
"""Bringing predictions and ground truth together, scan by scan."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from spinefinder_fast.annotations import ENDINGS, centroids_source, find_centroids, read_centroids
from spinefinder_fast.errors import AnnotationError
from spinefinder_fast.scan import find_scans, read_grid, scan_name
from spinefinder_fast.spine import Spine


@dataclass(frozen=True)
class Pairs:
    """Predictions and ground truth of the same scans.

    Attributes:
        pairs: (prediction, ground truth), one per scan with ground truth, for `evaluate`.
        unpredicted: names of the scans without a prediction: they are in `pairs`, with everything missing.
        unannotated: names of predictions without ground truth: they are not in `pairs`.
    """

    pairs: list[tuple[Spine, Spine]]
    unpredicted: list[str]
    unannotated: list[str]


def read_pairs(predictions: str | Path, truth: str | Path) -> Pairs:
    """Read two folders of centroids (with sub-folders) and pair their files by the name of the scan.

    Names are compared without what VerSe appends (``_ct``, ``_seg-subreg``, ``_seg-vert``). Where a scan has files in
    several formats, the first of VerSe JSON, Slicer markups, ``.lml`` and CSV is read. Formats that need the scan
    itself find it by its name anywhere in the folder of the ground truth.

    Raises:
        AnnotationError: a file cannot be understood or its scan is not there; ``E_NO_CENTROIDS``, no ground truth in
            the folder; ``E_NAME_CLASH``, two scans of one name.
    """
    predicted, annotated = _by_case(Path(predictions)), _by_case(Path(truth))
    if not annotated:
        raise AnnotationError("E_NO_CENTROIDS", f"no file in {truth} ends in {', '.join(ENDINGS)}")
    scans = find_scans([truth])
    pairs = []
    for case, path in annotated.items():
        prediction = _read(predicted[case], case, scans) if case in predicted else Spine((), source=case)
        pairs.append((prediction, _read(path, case, scans)))
    return Pairs(pairs, sorted(annotated.keys() - predicted.keys()), sorted(predicted.keys() - annotated.keys()))


def _case(name: str) -> str:
    return re.sub(r"(_ct|_seg(-[a-z]+)?)$", "", name)


def _by_case(folder: Path) -> dict[str, Path]:
    """The file to read for each scan."""
    cases: dict[str, Path] = {}
    for path in sorted(find_centroids(folder), key=lambda p: (_rank(p), p)):
        case = _case(centroids_source(path))
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
        own = [scan for scan in scans if scan_name(scan).removesuffix("_ct") == case]
        own = [scan for scan in own if scan.parent == path.parent] or own
        if len(own) != 1:
            raise AnnotationError(error.code, f"{error.message}; {len(own)} scans named {case} were found") from error
    return read_centroids(path, read_grid(own[0]))
