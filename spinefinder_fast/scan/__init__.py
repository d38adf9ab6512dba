# SPDX-License-Identifier: Apache-2.0
"""The front door: files of CT scans -> arrays of HU in the canonical frame, and the checks in between."""

from spinefinder_fast.scan.find import LABELMAP_SUFFIX, SEGMENTATIONS, find_scans, is_mask
from spinefinder_fast.scan.nifti import write_nifti
from spinefinder_fast.scan.read import LARGE_VOXELS, Scan, ScanFile, Slab, open_scan, read_grid, read_scan, scan_name

__all__ = [
    "LABELMAP_SUFFIX",
    "LARGE_VOXELS",
    "SEGMENTATIONS",
    "Scan",
    "ScanFile",
    "Slab",
    "find_scans",
    "is_mask",
    "open_scan",
    "read_grid",
    "read_scan",
    "scan_name",
    "write_nifti",
]
