# SPDX-License-Identifier: Apache-2.0
"""The one list of a data set: a CSV file that a person can read, sort and mend."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from spinefinder_fast.annotations import Problem
from spinefinder_fast.errors import AnnotationError
from spinefinder_fast.files import write_bytes

MANIFEST: Final = "dataset.csv"
"""Name of the manifest in the folder of a data set."""

SPLITS: Final = ("train", "validation", "test")

_COLUMNS: Final = ("scan", "centroids", "patient", "split", "source", "licence")


@dataclass(frozen=True)
class Entry:
    """One scan of a data set: one line of its manifest.

    Attributes:
        scan: the scan, a file or the folder of a DICOM series.
        centroids: its file of centroids, in any format of `annotations.read_centroids`.
        patient: whose it is. All scans of a patient belong in one split.
        split: ``train``, ``validation`` or ``test``.
        source: where the scan comes from, in words.
        licence: under which terms, in words.
        line: of the manifest, counted from 1; 0 where it was never in one.
    """

    scan: Path
    centroids: Path
    patient: str
    split: str = "train"
    source: str = ""
    licence: str = ""
    line: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Manifest:
    """The scans of a data set.

    Attributes:
        entries: in the order of the file.
        path: the manifest's file, or None where it has none yet.
    """

    entries: tuple[Entry, ...]
    path: Path | None = None

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def of_split(self, split: str) -> list[Entry]:
        """The scans of one split.

        Raises:
            ValueError: there is no split of that name.
        """
        if split not in SPLITS:
            raise ValueError(f"split is {split!r}; {', '.join(SPLITS)} are known")
        return [entry for entry in self.entries if entry.split == split]

    def shared_patients(self) -> dict[str, list[Entry]]:
        """The patients who are in more than one split, and all of their scans."""
        by_patient: dict[str, list[Entry]] = {}
        for entry in self.entries:
            by_patient.setdefault(entry.patient, []).append(entry)
        return {p: entries for p, entries in by_patient.items() if len({e.split for e in entries}) > 1}

    def check_split(self) -> None:
        """Refuse a patient in two splits: what is measured on a patient who was trained on means nothing.

        Raises:
            AnnotationError: ``E_SPLIT_OVERLAP``, with the patient and the lines.
        """
        for patient, entries in self.shared_patients().items():
            lines = ", ".join(f"{e.split} (line {e.line})" if e.line else e.split for e in entries)
            raise AnnotationError(
                "E_SPLIT_OVERLAP",
                f"{self.path or 'the data set'}: patient {patient} is in {lines}; keep all scans of a patient together",
            )


def is_dataset(path: Path) -> bool:
    """Whether a path is a manifest or a folder with one."""
    return path.name.endswith(".csv") or (path / MANIFEST).is_file()


def read_manifest(path: str | Path) -> Manifest:
    """Read a manifest; relative paths in it start at its folder.

    Args:
        path: the file, or a folder with a ``dataset.csv``.

    Raises:
        AnnotationError: ``E_NO_MANIFEST``, there is none; ``E_MANIFEST``, a column is missing, a split unknown, a
            needed field empty, or a scan listed twice, with the line.
    """
    manifest, problems = read_lines(path)
    if problems:
        raise AnnotationError(problems[0].code, problems[0].message)
    return manifest


def read_lines(path: str | Path) -> tuple[Manifest, tuple[Problem, ...]]:
    """Read the lines of a manifest that can be used, and what is wrong with the others.

    Args:
        path: the file, or a folder with a ``dataset.csv``.

    Raises:
        AnnotationError: ``E_NO_MANIFEST``, there is none; ``E_MANIFEST``, a column is missing.
    """
    path = Path(path)
    path = path / MANIFEST if path.is_dir() else path
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise AnnotationError("E_NO_MANIFEST", f"{path}: cannot be opened: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise AnnotationError("E_MANIFEST", f"{path}: not a CSV file: {error}") from error
    rows = csv.DictReader(io.StringIO(text, newline=""))
    if missing := [column for column in _COLUMNS[:4] if column not in (rows.fieldnames or ())]:
        raise AnnotationError("E_MANIFEST", f"{path}: has no column {', '.join(missing)}; needed are {_COLUMNS[:4]}")
    entries: list[Entry] = []
    problems: list[Problem] = []
    seen: dict[Path, int] = {}

    def wrong(message: str) -> None:
        problems.append(Problem("E_MANIFEST", f"{path}, line {rows.line_num}: {message}", rows.line_num))

    for row in rows:
        values = {column: (row.get(column) or "").strip() for column in _COLUMNS}
        if empty := [column for column in _COLUMNS[:4] if not values[column]]:
            wrong(f"{', '.join(empty)} is empty")
            continue
        if values["split"] not in SPLITS:
            wrong(f"split is {values['split']!r}; {', '.join(SPLITS)} are known")
            continue
        scan, centroids = (Path(os.path.normpath(path.parent / values[column])) for column in _COLUMNS[:2])
        if scan in seen:
            wrong(f"{scan} stands in line {seen[scan]} already")
            continue
        seen[scan] = rows.line_num
        patient, split, source, licence = (values[column] for column in _COLUMNS[2:])
        entries.append(Entry(scan, centroids, patient, split, source, licence, rows.line_num))
    return Manifest(tuple(entries), path), tuple(problems)


def write_manifest(path: Path, entries: Sequence[Entry]) -> Manifest:
    """Write a manifest; paths become relative to its folder.

    Returns:
        What `read_manifest` would read from it.

    Raises:
        OutputError: the file cannot be written.
        AnnotationError: as `read_manifest`.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for e in entries:
        files = (Path(os.path.relpath(p, path.parent)).as_posix() for p in (e.scan, e.centroids))
        writer.writerow([*files, e.patient, e.split, e.source, e.licence])
    write_bytes(path, text.getvalue().encode())
    return read_manifest(path)
