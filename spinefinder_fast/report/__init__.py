# SPDX-License-Identifier: Apache-2.0
"""The last step: a `Spine` as files, a picture and a table."""

from spinefinder_fast.report.picture import draw_spine
from spinefinder_fast.report.table import (
    ScanResult,
    batch_table,
    centroid_table,
    peak_memory_mb,
    profile_table,
    write_batch_csv,
)
from spinefinder_fast.report.writers import write_csv, write_labelmap, write_lml, write_markups, write_verse_json

__all__ = [
    "ScanResult",
    "batch_table",
    "centroid_table",
    "draw_spine",
    "peak_memory_mb",
    "profile_table",
    "write_batch_csv",
    "write_csv",
    "write_labelmap",
    "write_lml",
    "write_markups",
    "write_verse_json",
]
