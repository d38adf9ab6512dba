# SPDX-License-Identifier: Apache-2.0
"""From any layout to one: a manifest, and one file of centroids per scan in the format that is wanted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from spinefinder_fast.dataset.layouts import case_of_scan, find_entries, read_any
from spinefinder_fast.dataset.manifest import MANIFEST, Entry, Manifest, write_manifest
from spinefinder_fast.errors import AnnotationError, ScanError, SpinefinderError
from spinefinder_fast.files import make_folder, write_bytes
from spinefinder_fast.report import write_csv, write_lml, write_markups, write_verse_json
from spinefinder_fast.scan import Scan, read_scan, write_nifti
from spinefinder_fast.spine import Spine

FORMATS: Final = {
    "verse": ("_ctd.json", write_verse_json),
    "biomedia": (".lml", write_lml),
    "slicer": (".mrk.json", write_markups),
    "csv": (".csv", write_csv),
}
"""Name of a format -> ending of its files and their writer."""

_WHOLE_FILES: Final = (".nii.gz", ".nii", ".nrrd", ".mha")
"""Scans that are one file; a DICOM series, or a header with its pixels elsewhere, is not, and is written anew."""


@dataclass(frozen=True)
class Imported:
    """What `import_dataset` did.

    Attributes:
        manifest: as it was written.
        vertebrae: number of centroids of each of its entries.
        left_out: scans that are not in it, and why, in one line.
        warnings: centroid files of which not everything is in it, and what, in one line.
    """

    manifest: Manifest
    vertebrae: tuple[int, ...]
    left_out: tuple[tuple[Path, str], ...]
    warnings: tuple[tuple[Path, str], ...] = ()


def import_dataset(
    sources: Iterable[Path],
    output: Path,
    *,
    form: str = "verse",
    copy: bool = False,
    validation: float = 0.0,
    test: float = 0.0,
    seed: int = 0,
    patient_pattern: str | None = None,
    source: str = "",
    licence: str = "",
) -> Imported:
    """Bring data sets of any known layout into one.

    Args:
        sources: folders.
        output: gets ``dataset.csv`` and the files of centroids.
        form: of those, a key of `FORMATS`.
        copy: whether the scans are copied there too, under the names of their centroids; otherwise the manifest says
            where they are.
        validation: share of the patients that no folder assigns to a split, for validation.
        test: the same, for the test.
        seed: of who goes where.
        patient_pattern: as `find_entries`.
        source: for scans whose source is not stated.
        licence: for scans whose licence is not stated.

    Returns:
        What was written and what was left out.

    Raises:
        ValueError: `form` is unknown or a share is impossible.
        AnnotationError: ``E_NO_CENTROIDS``, nothing can be imported, with the first reason; ``E_MANIFEST``, a manifest
            among the sources cannot be used.
        ScanError: ``E_NO_SCAN``, a source does not exist, or no scan is in any.
        OutputError: something cannot be written.
    """
    if form not in FORMATS:
        raise ValueError(f"format is {form!r}; {', '.join(FORMATS)} are known")
    if min(validation, test) < 0 or validation + test >= 1:
        raise ValueError(
            f"shares: validation is {validation}, test {test}; none may be negative, and their sum must stay below 1"
        )
    entries: list[Entry] = []
    left_out: list[tuple[Path, str]] = []
    for folder in sources:
        found = find_entries(folder, patient_pattern)
        entries += found.entries
        left_out += [(scan, "has no centroids") for scan in found.without]
    if not entries and not left_out:
        raise ScanError("E_NO_SCAN", "there is no scan to import")
    make_folder(output)
    ending, write = FORMATS[form]
    names = _names(entries, ending)
    written, vertebrae, warnings = [], [], []
    for entry, name in zip(entries, names, strict=True):
        try:
            scan = read_scan(entry.scan)
            spine = _read(entry, scan, name)
            place = entry.scan
            if copy:
                place, spine = _copy(scan, output / name, spine)
            file = output / f"{name}{ending}"
            write(file, spine)
        except (SpinefinderError, OSError) as error:
            if isinstance(error, SpinefinderError) and error.code in ("E_WRITE", "E_OUTPUT"):
                raise
            left_out.append((entry.scan, str(error)))
            continue
        written.append(
            replace(
                entry,
                scan=place.absolute(),
                centroids=file.absolute(),
                source=entry.source or source,
                licence=entry.licence or licence,
            )
        )
        vertebrae.append(len(spine))
        warnings += [(entry.centroids, warning) for warning in spine.warnings]
    if not written:
        raise AnnotationError("E_NO_CENTROIDS", f"nothing could be imported; {left_out[0][0]}: {left_out[0][1]}")
    manifest = write_manifest(output.absolute() / MANIFEST, _with_splits(written, validation, test, seed))
    return Imported(manifest, tuple(vertebrae), tuple(left_out), tuple(warnings))


def _read(entry: Entry, scan: Scan, name: str) -> Spine:
    """Strictly: what is converted with a part left out would look whole."""
    read = read_any(entry.centroids, scan.file_grid)
    if read.problems:
        raise AnnotationError(read.problems[0].code, read.problems[0].message)
    if not read.points:
        raise AnnotationError("E_NO_CENTROIDS", f"{entry.centroids}: no centroid in it")
    vertebrae = tuple(point.vertebra for point in read.points)
    spine = Spine(vertebrae, scan.file_grid, name, read.warnings, read.details)
    if not scan.file_grid.contains(spine.lps()).any():
        raise AnnotationError("E_OUTSIDE", f"{entry.centroids}: every centroid lies outside the scan; is it its own?")
    return spine


def _copy(scan: Scan, stem: Path, spine: Spine) -> tuple[Path, Spine]:
    ending = next((e for e in _WHOLE_FILES if scan.path.is_file() and scan.path.name.lower().endswith(e)), None)
    if ending is not None:
        place = stem.with_name(stem.name + ending)
        if not place.exists() or not place.samefile(scan.path):
            write_bytes(place, scan.path.read_bytes())
        return place, spine
    place = stem.with_name(f"{stem.name}.nii.gz")
    write_nifti(place, scan.array, scan.grid)
    return place, replace(spine, grid=scan.grid)


def _names(entries: Sequence[Entry], ending: str) -> list[str]:
    """A name for each scan; those of one name get a number, and so does one that would be the manifest's."""
    names: list[str] = []
    for entry in entries:
        name, number = case_of_scan(entry.scan), 1
        while name in names or f"{name}{ending}" == MANIFEST:
            number += 1
            name = f"{case_of_scan(entry.scan)}-{number}"
        names.append(name)
    return names


def _with_splits(entries: Sequence[Entry], validation: float, test: float, seed: int) -> list[Entry]:
    known = {entry.patient: entry.split for entry in entries if entry.split}
    free = sorted({entry.patient for entry in entries} - known.keys())
    n_test, n_validation = round(test * len(free)), round(validation * len(free))
    for place, index in enumerate(np.random.default_rng(seed).permutation(len(free))):
        split = "test" if place < n_test else "validation" if place < n_test + n_validation else "train"
        known[free[int(index)]] = split
    return [replace(entry, split=entry.split or known[entry.patient]) for entry in entries]
