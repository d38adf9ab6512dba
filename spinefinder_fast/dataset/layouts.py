# SPDX-License-Identifier: Apache-2.0
"""Which centroids belong to which scan in a folder, whatever its layout.

========================  ===========================================================================================
layout                    files
========================  ===========================================================================================
manifest                  ``dataset.csv`` says everything
BioMedia, SpineWeb 15     ``NAME.nii.gz`` and ``NAME.lml`` beside it
VerSe, BIDS               ``rawdata/sub-X/sub-X_ct.nii.gz``, ``derivatives/sub-X/sub-X_seg-vb_ctd.json``
VerSe, MICCAI 2020        ``NAME/NAME.nii.gz`` and ``NAME_iso-ctd.json`` beside it
Slicer                    ``NAME.nii.gz`` and ``NAME.mrk.json`` beside it
our own results           ``NAME_ctd.json``, ``NAME.csv``
a folder per scan         ``ID/ct.nii.gz`` and ``ID/centroids.json``
TotalSegmentator          ``ID/ct.nii.gz`` and ``ID/segmentations/vertebrae_L1.nii.gz`` ...
VerSe masks               ``*_seg-vert_msk.nii.gz`` or ``*_seg.nii.gz``, with the names of BIDS or of MICCAI 2020
========================  ===========================================================================================

Names are compared without what the data sets append (``_ct``, ``_seg-vert``, ``_msk`` ...). Where several scans have
one name, the one nearest in the tree is meant. Where a scan has several files, annotated points come before what
masks give, and formats come in the order of `annotations.ENDINGS`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from spinefinder_fast.annotations import (
    ENDINGS,
    Point,
    Points,
    centroids_source,
    find_centroids,
    folder_name,
    read_points,
)
from spinefinder_fast.dataset.manifest import Entry, is_dataset, read_manifest
from spinefinder_fast.dataset.masks import centroids_of_masks, is_mask_folder
from spinefinder_fast.errors import AnnotationError
from spinefinder_fast.geometry import Grid
from spinefinder_fast.scan import SEGMENTATIONS, find_scans, is_mask, scan_name

_APPENDED: Final = re.compile(r"(_ct|_seg(-[a-z]+)?|_msk)+$")
_VERSE_MASK: Final = re.compile(r"(_seg-vert)?_msk$|_seg(-vert)?$")
_PREFERRED: Final = ("seg-vb", "seg-subreg", "seg-vert")
_SUBJECT: Final = re.compile(r"sub-([A-Za-z0-9]+)")
_SPLIT: Final = re.compile(r"(?:^|[^a-z])(train|val|test)(?:ing|idation)?$")
_SPLIT_NAMES: Final = {"train": "train", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class Found:
    """What a folder holds.

    Attributes:
        entries: the scans with centroids; `split` is empty where no folder is named after one. `centroids` may also
            be a label map or a folder of masks: `read_any` reads those too.
        without: scans without centroids, label maps of other names among them.
        strays: files of centroids without a scan.
    """

    entries: tuple[Entry, ...]
    without: tuple[Path, ...] = ()
    strays: tuple[Path, ...] = ()


def find_entries(folder: Path, patient_pattern: str | None = None) -> Found:
    """The scans and their centroids in a folder with its sub-folders.

    The patient is what `patient_pattern` finds; else what ``centroids.json`` states; else the BIDS subject; else the
    scan's name, which is the folder's where the scan is called ``ct``.

    Args:
        folder: searched; a manifest, or a ``dataset.csv`` in it, decides everything but the patient.
        patient_pattern: regular expression, searched in the scan's name; its first group, or all of it, is the
            patient.

    Raises:
        AnnotationError: as `read_manifest`.
        ScanError: ``E_NO_SCAN``, there is no such folder.
    """
    if is_dataset(folder):
        return Found(with_patients(read_manifest(folder).entries, patient_pattern))
    every = find_scans([folder], masks=True)
    scans = [scan for scan in every if not is_mask(scan)]
    files: dict[Path, list[Path]] = {scan: [] for scan in scans}
    strays = []
    masks = [scan for scan in every if _VERSE_MASK.search(scan_name(scan))]
    for file in (*find_centroids(folder), *masks):
        if (owner := _owner(file, scans)) is not None:
            files[owner].append(file)
        elif file not in masks:
            strays.append(file)
    for scan in scans:
        # Of several scans in a folder, it is the one called ``ct`` to which the masks belong.
        alone = sum(other.parent == scan.parent for other in scans) == 1 or scan_name(scan).lower() == "ct"
        if alone and is_mask_folder(scan.parent / SEGMENTATIONS):
            files[scan].append(scan.parent / SEGMENTATIONS)
    entries, without = [], []
    for scan in scans:
        if files[scan]:
            entries.append(_entry(scan, min(files[scan], key=_rank), folder, patient_pattern))
        else:
            without.append(scan)
    return Found(tuple(entries), tuple(without), tuple(strays))


def with_patients(entries: Sequence[Entry], pattern: str | None) -> tuple[Entry, ...]:
    """The entries, with the patient that `pattern` finds in the name of the scan, if it finds one."""
    return tuple(replace(entry, patient=_matched(pattern, entry.scan) or entry.patient) for entry in entries)


def read_any(path: Path, grid: Grid | None = None) -> Points:
    """As `annotations.read_points`, and also for a label map and for a folder of masks.

    Raises:
        AnnotationError: nothing of it can be used.
    """
    if path.name.lower().endswith(ENDINGS):
        return read_points(path, grid)
    spine = centroids_of_masks(path, grid)
    points = tuple(Point(v, f"mask of {v.name}", 0) for v in spine)
    return Points(points, grid=spine.grid, warnings=spine.warnings)


def case_of(name: str) -> str:
    """A name without what data sets append to those of scans and of centroids."""
    return _APPENDED.sub("", name)


def case_of_scan(scan: Path) -> str:
    """The name of a scan, or of its folder where the scan itself is just called ``ct``."""
    name = scan_name(scan)
    return folder_name(scan) if name.lower() == "ct" else case_of(name)


def _owner(file: Path, scans: Sequence[Path]) -> Path | None:
    source = centroids_source(file) if file.name.lower().endswith(ENDINGS) else scan_name(file)
    if source.lower() == "ct":  # as the scan beside it, it is called after its folder
        source = folder_name(file)
    same = [scan for scan in scans if case_of_scan(scan) == case_of(source)]
    if not same:
        # MICCAI 2020 has names such as verse400_CT-iso_iso-ctd.json beside verse400.nii.gz.
        beside = [scan for scan in scans if scan.parent == file.parent and source.startswith(f"{case_of_scan(scan)}_")]
        return max(beside, key=lambda scan: len(case_of_scan(scan)), default=None)
    return max(same, key=lambda scan: len(Path(os.path.commonpath([scan.parent, file.parent])).parts))


def _rank(file: Path) -> tuple[int, int, str]:
    kind = next((i for i, ending in enumerate(ENDINGS) if file.name.lower().endswith(ending)), len(ENDINGS))
    preferred = next((i for i, word in enumerate(_PREFERRED) if word in file.name), len(_PREFERRED))
    return kind, preferred, str(file)


def _entry(scan: Path, centroids: Path, root: Path, pattern: str | None) -> Entry:
    meta: dict[str, object] = {}
    if centroids.name.lower().endswith("centroids.json"):
        try:
            found = read_points(centroids).details.get("meta")
            meta = found if isinstance(found, dict) else {}
        except AnnotationError:
            pass  # whoever reads the points is told
    subject = _SUBJECT.search(scan_name(scan)) or _SUBJECT.search(scan.parent.name)
    case = case_of_scan(scan)
    patient = _matched(pattern, scan) or str(meta.get("patient") or "") or (subject.group(1) if subject else case)
    # A folder of one DICOM series is its own scan.
    inner = scan.parent.relative_to(root).parts if scan.parent.is_relative_to(root) else ()
    parts = (root.resolve().name, *inner)
    splits = [_SPLIT_NAMES[m.group(1)] for part in parts if (m := _SPLIT.search(part.lower()))]
    source, licence = (str(meta.get(key) or "") for key in ("source", "licence"))
    return Entry(scan, centroids, patient, splits[-1] if splits else "", source, licence)


def _matched(pattern: str | None, scan: Path) -> str:
    name = folder_name(scan) if scan_name(scan).lower() == "ct" else scan_name(scan)
    match = re.search(pattern, name) if pattern else None
    return (match.group(1) if match.re.groups else match.group()) or "" if match else ""
