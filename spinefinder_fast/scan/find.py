# SPDX-License-Identifier: Apache-2.0
"""The work list of a batch: which files and folders are scans."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from spinefinder_fast.errors import ScanError
from spinefinder_fast.scan.dicom import is_dicom, series_in
from spinefinder_fast.scan.read import ITK_ENDINGS, NIFTI_ENDINGS, scan_name

LABELMAP_SUFFIX: Final = "_labels.nii.gz"
"""Ending of the label maps this package writes beside its results; they are never taken for scans."""


SEGMENTATIONS: Final = "segmentations"
"""The folder in which TotalSegmentator keeps its masks."""

_MASK: Final = re.compile(r"(_seg(-[a-z]+)?|_msk|_mask|_labels?)$|^vertebrae_[CTLS]\d+$")


def is_mask(path: Path) -> bool:
    """Whether a file is named as data sets name their masks, beside the scans."""
    return bool(_MASK.search(scan_name(path))) or path.parent.name == SEGMENTATIONS


def find_scans(inputs: Iterable[str | Path], masks: bool = False) -> list[Path]:
    """Everything `read_scan` should be given for `inputs`, sorted and without repetition.

    A file stands for itself. A folder is searched with its sub-folders for scan files, but not for masks
    (`is_mask`); a folder with DICOM files gives itself if it holds one CT series, and the first file of each series if
    it holds more.

    Args:
        inputs: files and folders.
        masks: of folders give masks, too.

    Raises:
        ScanError: ``E_NO_SCAN``, an input does not exist.
    """
    found: set[Path] = set()
    for path in map(Path, inputs):
        if not path.exists():
            raise ScanError("E_NO_SCAN", f"there is no such file or folder: {path}")
        if not path.is_dir():
            found.add(path)
            continue
        for folder in (path, *sorted(p for p in path.rglob("*") if p.is_dir())):
            found.update(_scans_in(folder, masks))
    return sorted(found)


def _scans_in(folder: Path, masks: bool) -> list[Path]:
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    scans = [p for p in files if p.name.lower().endswith(NIFTI_ENDINGS + ITK_ENDINGS)]
    scans = [p for p in scans if not p.name.endswith(LABELMAP_SUFFIX) and (masks or not is_mask(p))]
    if any(is_dicom(p) for p in files if p not in scans):
        try:
            series = series_in(folder)
        except ScanError:
            # Whoever reads it is told what is wrong with it; what lies beside it is found.
            return [*scans, folder]
        scans += [folder] if len(series) == 1 else [s[0] for s in series]
    return scans
