# SPDX-License-Identifier: Apache-2.0
"""One writer per format; every file is written whole or not at all.

``annotations.read_centroids`` reads each of them back.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spinefinder_fast import anatomy
from spinefinder_fast.files import write_bytes
from spinefinder_fast.geometry import Grid
from spinefinder_fast.scan import write_nifti
from spinefinder_fast.spine import Spine, Vertebra

CSV_COLUMNS: Final = (
    "scan", "label", "name", "x_lps_mm", "y_lps_mm", "z_lps_mm", "i", "j", "k",
    "votes", "spread_x_mm", "spread_y_mm", "spread_z_mm", "truncated", "confidence",
)  # fmt: skip
_LML_HEADER: Final = "index\tlabel\tx\ty\tz"
_SLICER_SCHEMA: Final = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)


def write_verse_json(path: Path, spine: Spine) -> None:
    """Write VerSe's list of points: voxels of the scan file, VerSe's numbers, S2 as 27.

    The first entry states the image's axes as VerSe does, and beside them its ``shape`` and ``affine_lps`` (voxel ->
    LPS mm), so that this file alone says where the points are, and the ``weights`` that found them; readers of VerSe
    files look at the axes only.

    Raises:
        ValueError: the spine has no grid.
        OutputError: the file cannot be written.
    """
    voxels = spine.voxels()
    grid = _grid(spine)
    entries: list[dict[str, Any]] = [
        {"direction": list(grid.axcodes), "shape": list(grid.shape), "affine_lps": grid.affine.tolist()}
    ]
    if "weights" in spine.details:
        entries[0]["weights"] = spine.details["weights"]
    for vertebra, (x, y, z) in zip(spine, voxels.round(4).tolist(), strict=True):
        entries.append({"label": anatomy.VERSE_NUMBERS[vertebra.name], "X": x, "Y": y, "Z": z})
    write_bytes(path, ("[\n" + ",\n".join(json.dumps(entry) for entry in entries) + "\n]\n").encode())


def write_csv(path: Path, spine: Spine) -> None:
    """Write one line per vertebra, with the columns `CSV_COLUMNS`.

    ``label`` is empty for T13 and L6; ``i``, ``j``, ``k`` (voxels of the scan file) where the spine has no grid; the
    spread and the confidence where they are unknown.

    Raises:
        OutputError: the file cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    voxels = spine.voxels().round(3).tolist() if spine.grid else [("", "", "")] * len(spine)
    for vertebra, voxel in zip(spine, voxels, strict=True):
        spread = ("", "", "") if vertebra.spread_mm is None else [round(s, 3) for s in vertebra.spread_mm]
        writer.writerow(
            [
                spine.source,
                anatomy.LABELS.get(vertebra.name, ""),
                vertebra.name,
                *(round(c, 3) for c in vertebra.lps),
                *voxel,
                vertebra.votes,
                *spread,
                str(vertebra.truncated).lower(),
                "" if vertebra.confidence is None else round(vertebra.confidence, 4),
            ]
        )
    write_bytes(path, text.getvalue().encode())


def write_markups(path: Path, spine: Spine) -> None:
    """Write a 3D Slicer markups file (schema 1.0.3): fiducials in LPS mm, one per vertebra.

    Raises:
        OutputError: the file cannot be written.
    """
    points = [
        {
            "id": str(number),
            "label": vertebra.name,
            "description": _description(vertebra),
            "position": [round(c, 4) for c in vertebra.lps],
            "orientation": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
            "selected": True,
            "locked": False,
            "visibility": True,
            "positionStatus": "defined",
        }
        for number, vertebra in enumerate(spine, start=1)
    ]
    markup = {
        "type": "Fiducial",
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "locked": False,
        "labelFormat": "%N-%d",
        "controlPoints": points,
    }
    document = {"@schema": _SLICER_SCHEMA, "markups": [markup]}
    write_bytes(path, (json.dumps(document, indent=1) + "\n").encode())


def write_lml(path: Path, spine: Spine) -> None:
    """Write a BioMedia ``.lml`` file: mm from the first voxel along the axes of the scan file.

    A header line that came with the annotations (``details["lml_header"]``) is kept as it was.

    Raises:
        ValueError: the spine has no grid.
        OutputError: the file cannot be written.
    """
    positions = spine.voxels() * _grid(spine).spacing_mm
    lines = [str(spine.details.get("lml_header", _LML_HEADER))]
    for number, (vertebra, (x, y, z)) in enumerate(zip(spine, positions, strict=True), start=1):
        lines.append(f"{number}\t{vertebra.name}_center\t{x:.4f}\t{y:.4f}\t{z:.4f}")
    write_bytes(path, ("\n".join(lines) + "\n").encode())


def write_labelmap(path: Path, labels: NDArray[Any], grid: Grid) -> None:
    """Write dense labels as NIfTI.

    Args:
        path: file to write; `scan.find_scans` passes over names that end in `scan.LABELMAP_SUFFIX`.
        labels: (i, j, k) integers, 0 = background, 1..26 = C1..S2, in the axes of `grid`.
        grid: grid of the scan file.

    Raises:
        ValueError: `labels` does not have the shape of `grid`, or holds other numbers.
        OutputError: the file cannot be written.
    """
    if labels.size and not 0 <= labels.min() <= labels.max() <= anatomy.N_LABELS:
        raise ValueError(f"labels must be 0..{anatomy.N_LABELS}, found {labels.min()}..{labels.max()}")
    write_nifti(path, labels.astype(np.uint8), grid)


def _grid(spine: Spine) -> Grid:
    if spine.grid is None:
        raise ValueError("this spine has no grid: its centroids are known in LPS mm only")
    return spine.grid


def _description(vertebra: Vertebra) -> str:
    parts = [f"{vertebra.votes} votes"] if vertebra.votes else []
    parts += ["inferred, not detected"] if vertebra.inferred else []
    parts += ["cut by the field of view"] if vertebra.truncated else []
    return ", ".join(parts)
