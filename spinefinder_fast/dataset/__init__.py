# SPDX-License-Identifier: Apache-2.0
"""Data sets: which scans there are, where their centroids stand, whose they are, and what they may be used for."""

from spinefinder_fast.dataset.manifest import (
    MANIFEST,
    SPLITS,
    Entry,
    Manifest,
    is_dataset,
    read_manifest,
    write_manifest,
)

__all__ = ["MANIFEST", "SPLITS", "Entry", "Manifest", "is_dataset", "read_manifest", "write_manifest"]
