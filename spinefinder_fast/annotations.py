# SPDX-License-Identifier: Apache-2.0
"""Reading labelled centroids: annotations of the public data sets, Slicer's markups, and our own results.

Each format has its own frame; all become LPS mm here. The writers are in `spinefinder_fast.report`.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from spinefinder_fast import anatomy
from spinefinder_fast.errors import AnnotationError, GeometryError
from spinefinder_fast.geometry import Grid, ras_from_lps
from spinefinder_fast.spine import Spine, Vertebra

ENDINGS: Final = ("_ctd.json", "-ctd.json", ".mrk.json", ".lml", ".csv")
"""How the names of files of centroids end."""

_TABLES: Final = ("summary.csv", "evaluation.csv", "scans.csv", "vertebrae.csv", "dataset.csv")
"""Tables that the package writes beside centroids."""

_NAMES: Final = frozenset(anatomy.NAMES) | anatomy.UNPREDICTED
_VERSE_NAMES: Final = anatomy.VERSE_NAMES | {anatomy.VERSE_NUMBERS["S2"]: "S2"}
_ISO_AXES: Final = "ASL"
_WORLD_AXIS: Final = {"L": 0, "R": 0, "P": 1, "A": 1, "S": 2, "I": 2}


def read_centroids(path: str | Path, grid: Grid | None = None) -> Spine:
    """Read a file of labelled centroids; its name says which format it has.

    ========================  =============================================================  ===================
    ending                    positions                                                      `grid`
    ========================  =============================================================  ===================
    ``.lml``                  BioMedia: mm from the first voxel along the array axes         needed
    ``_ctd.json``             VerSe: voxels of the image whose axes the file states          needed, except for
                                                                                             the files we write
    ``iso-ctd.json``          VerSe, MICCAI 2020: voxels of the image turned to A, S, L and  needed
                              resampled to 1 mm
    ``.mrk.json``             Slicer: LPS or RAS mm                                          checked if given
    ``.csv``                  the columns of `report.write_csv`, LPS mm                      checked if given
    ========================  =============================================================  ===================

    Args:
        path: the file.
        grid: the grid of the scan FILE (`Scan.file_grid`), which the result then carries.

    Returns:
        the centroids, `source` being the scan's name as far as the file's name tells. Points outside the grid are
        kept, with a warning.

    Raises:
        AnnotationError: ``E_LABELS``, an unknown or repeated name, or no number, with the line or entry;
            ``E_FORMAT``, the file is none of these; ``E_NEEDS_SCAN``, its positions mean nothing without `grid`;
            ``E_FRAME``, it belongs to another image; ``E_OUTSIDE``, every point lies outside the scan.
    """
    path = Path(path)
    try:
        spine = _reader(path)(path, grid)
    except OSError as error:
        raise AnnotationError("E_UNREADABLE", f"{path}: cannot be opened: {error.strerror or error}") from error
    except (UnicodeDecodeError, json.JSONDecodeError, csv.Error) as error:
        raise AnnotationError("E_FORMAT", f"{path}: not a file of centroids: {error}") from error
    return _within(replace(spine, source=centroids_source(path)), path)


def _reader(path: Path) -> Callable[[Path, Grid | None], Spine]:
    name = path.name.lower()
    if name.endswith(".lml"):
        return _read_lml
    if name.endswith(".csv"):
        return _read_csv
    if name.endswith(".mrk.json"):
        return _read_markups
    if name.endswith(".json"):
        return _read_verse
    raise AnnotationError("E_FORMAT", f"{path}: the name ends in none of {', '.join(ENDINGS)}")


def centroids_source(path: Path) -> str:
    """The name of the scan to which a file of centroids belongs, as far as the file's own name tells."""
    for ending in ("_iso-ctd.json", *ENDINGS):
        if path.name.lower().endswith(ending):
            return path.name[: -len(ending)]
    return path.stem


class _Collector:
    """Gathers vertebrae; knows where in which file it is, for its errors."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.place = ""
        self.found: dict[str, Vertebra] = {}

    def error(self, code: str, message: str) -> AnnotationError:
        return AnnotationError(code, f"{self.path}, {self.place}: {message}")

    def point(self, values: Any) -> tuple[float, float, float]:
        try:
            x, y, z = (float(value) for value in values)
        except (TypeError, ValueError):
            raise self.error("E_LABELS", f"three coordinates are needed, found {_short(values)}") from None
        if not all(map(math.isfinite, (x, y, z))):
            raise self.error("E_LABELS", f"three coordinates are needed, found {x}, {y}, {z}")
        return x, y, z

    def add(self, vertebra: Vertebra) -> None:
        if vertebra.name not in _NAMES:
            raise self.error("E_LABELS", f"unknown vertebra {_short(vertebra.name)}; known are C1 ... L6, S1, S2")
        if vertebra.name in self.found:
            raise self.error("E_LABELS", f"{vertebra.name} occurs twice")
        self.found[vertebra.name] = vertebra


def _read_lml(path: Path, grid: Grid | None) -> Spine:
    if grid is None:
        raise AnnotationError("E_NEEDS_SCAN", f"{path}: .lml positions are relative to the scan; give its grid")
    collector = _Collector(path)
    header, *lines = path.read_text(encoding="utf-8").splitlines() or [""]
    for number, line in enumerate(lines, start=2):
        collector.place = f"line {number}"
        if not (words := line.split()):
            continue
        if len(words) != 5:
            raise collector.error("E_LABELS", f"index, label, x, y, z are needed, found {_short(line)}")
        voxel = np.array(collector.point(words[2:])) / grid.spacing_mm
        collector.add(Vertebra(words[1].split("_")[0], _triple(grid.to_lps(voxel))))
    return Spine(tuple(collector.found.values()), grid, details={"lml_header": header})


def _read_verse(path: Path, grid: Grid | None) -> Spine:
    entries = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise AnnotationError("E_FORMAT", f"{path}: a VerSe file is a list of points, this is not")
    head: dict[str, Any] = next((entry for entry in entries if "direction" in entry), {})
    collector = _Collector(path)
    collector.place = "first entry"
    own = _own_grid(head, collector)
    if grid is None and (grid := own) is None:
        raise AnnotationError("E_NEEDS_SCAN", f"{path}: VerSe positions are voxels of the scan; give its grid")
    isotropic = path.name.lower().endswith("iso-ctd.json")
    if not head and not isotropic:
        raise AnnotationError(
            "E_FRAME", f"{path}: the file does not state its axes; only files named iso-ctd.json may leave them out"
        )
    axes = "".join(map(str, head.get("direction", _ISO_AXES))).upper()
    if not isotropic and axes != grid.axcodes:
        raise AnnotationError(
            "E_FRAME", f"{path}: made for an image with axes {_short(axes)}, but the scan's axes are {grid.axcodes}"
        )
    frame = _turned(grid, axes, collector)
    warnings = []
    for number, entry in enumerate(entries, start=1):
        collector.place = f"entry {number}"
        if entry is head:
            continue
        try:
            label, x, y, z = (entry[key] for key in ("label", "X", "Y", "Z"))
        except KeyError as error:
            raise collector.error("E_LABELS", f"has no {error}") from None
        if any(isinstance(value, float) and math.isnan(value) for value in (label, x, y, z)):
            # Published files mark an absent vertebra so.
            warnings.append(f"W_NAN: entry {number} has no position and was left out")
            continue
        if label not in _VERSE_NAMES:
            raise collector.error("E_LABELS", f"unknown VerSe label {_short(label)}")
        point = np.array(collector.point((x, y, z))) / (frame.spacing_mm if isotropic else 1.0)
        collector.add(Vertebra(_VERSE_NAMES[label], _triple(frame.to_lps(point))))
    details = {"weights": head["weights"]} if "weights" in head else {}
    return Spine(tuple(collector.found.values()), grid, warnings=tuple(warnings), details=details)


def _own_grid(head: dict[str, Any], collector: _Collector) -> Grid | None:
    """The grid that our own VerSe files carry beside the axes."""
    if "affine_lps" not in head:
        return None
    try:
        nx, ny, nz = head["shape"]
        return Grid((nx, ny, nz), np.array(head["affine_lps"], np.float64))
    except (KeyError, TypeError, ValueError, GeometryError):
        raise collector.error("E_FORMAT", "shape and affine_lps do not describe a grid") from None


def _turned(grid: Grid, axes: str, collector: _Collector) -> Grid:
    """The voxels of `grid` with array axes towards `axes`, e.g. ``"ASL"``."""
    world = [_WORLD_AXIS.get(letter, -1) for letter in axes]
    if sorted(world) != [0, 1, 2]:
        raise collector.error("E_FRAME", f"{_short(axes)} are no three patient axes")
    canonical = grid.canonical()
    affine = canonical.affine[:, [*world, 3]].copy()
    shape = [canonical.shape[w] for w in world]
    for axis, letter in enumerate(axes):
        if letter in "RAI":
            affine[:3, 3] += affine[:3, axis] * (shape[axis] - 1)
            affine[:3, axis] *= -1
    return Grid((shape[0], shape[1], shape[2]), affine)


def _read_markups(path: Path, grid: Grid | None) -> Spine:
    document = json.loads(path.read_text(encoding="utf-8"))
    collector = _Collector(path)
    try:
        for markup in document["markups"]:
            system = markup.get("coordinateSystem", "LPS")
            if system not in ("LPS", "RAS"):
                raise AnnotationError("E_FRAME", f"{path}: coordinate system {_short(system)}; LPS or RAS is needed")
            for number, point in enumerate(markup["controlPoints"], start=1):
                collector.place = f"control point {number}"
                if point.get("positionStatus", "defined") == "defined":
                    position = collector.point(point["position"])
                    lps = position if system == "LPS" else _triple(ras_from_lps(position))
                    collector.add(Vertebra(str(point["label"]), lps))
    except (KeyError, TypeError, AttributeError) as error:
        raise AnnotationError("E_FORMAT", f"{path}: not Slicer markups: {error}") from error
    return Spine(tuple(collector.found.values()), grid)


def _read_csv(path: Path, grid: Grid | None) -> Spine:
    collector = _Collector(path)
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        needed = ("name", "x_lps_mm", "y_lps_mm", "z_lps_mm")
        if missing := [column for column in needed if column not in (rows.fieldnames or ())]:
            raise AnnotationError("E_FORMAT", f"{path}: has no column {', '.join(missing)}")
        for row in rows:
            collector.place = f"line {rows.line_num}"
            spread = [row.get(f"spread_{axis}_mm") for axis in "xyz"]
            try:
                votes = int(row.get("votes") or 0)
            except ValueError:
                raise collector.error("E_LABELS", f"votes must be a number, found {_short(row['votes'])}") from None
            collector.add(
                Vertebra(
                    name=row["name"] or "",
                    lps=collector.point(row[column] for column in needed[1:]),
                    votes=votes,
                    spread_mm=collector.point(spread) if all(spread) else None,
                    truncated=row.get("truncated") == "true",
                )
            )
    return Spine(tuple(collector.found.values()), grid)


def _within(spine: Spine, path: Path) -> Spine:
    if spine.grid is None or not len(spine):
        return spine
    inside = spine.grid.contains(spine.lps())
    outside = [name for name, fits in zip(spine.names, inside, strict=True) if not fits]
    if len(outside) == len(spine):
        raise AnnotationError("E_OUTSIDE", f"{path}: every centroid lies outside the scan; does it belong to it?")
    if not outside:
        return spine
    return replace(spine, warnings=(*spine.warnings, f"W_OUTSIDE: {', '.join(outside)} outside the scan"))


def find_centroids(folder: Path) -> Iterator[Path]:
    """Files of centroids in a folder and its sub-folders, sorted; the package's own tables are none."""
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.name not in _TABLES)
    return (p for p in files if p.name.lower().endswith(ENDINGS))


def _triple(point: Any) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in point)
    return x, y, z


def _short(value: object) -> str:
    return repr(value)[:60]
