# SPDX-License-Identifier: Apache-2.0
"""Reading labelled centroids: annotations of the public data sets, Slicer's markups, and our own results.

Each format has its own frame; all become LPS mm here. The writers are in `spinefinder_fast.report`.

`read_centroids` refuses a file with anything wrong in it. `read_points` reads what can be read and lists what cannot,
with the line: an audit wants all of it.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from spinefinder_fast import anatomy
from spinefinder_fast.errors import AnnotationError, GeometryError
from spinefinder_fast.geometry import Grid, ras_from_lps
from spinefinder_fast.spine import Spine, Vertebra

ENDINGS: Final = ("_ctd.json", "-ctd.json", ".mrk.json", ".lml", ".csv", "centroids.json")
"""How the names of files of centroids end."""

_TABLES: Final = ("summary.csv", "evaluation.csv", "scans.csv", "vertebrae.csv", "dataset.csv")
"""Tables that the package writes beside centroids."""

_NAMES: Final = frozenset(anatomy.NAMES) | anatomy.UNPREDICTED
_VERSE_NAMES: Final = anatomy.VERSE_NAMES | {anatomy.VERSE_NUMBERS["S2"]: "S2"}
_ISO_AXES: Final = "ASL"
_SAME_GRID_MM: Final = 0.5
"""Headers hold float32; half a millimetre at the far corner is still the same image."""
_WORLD_AXIS: Final = {"L": 0, "R": 0, "P": 1, "A": 1, "S": 2, "I": 2}


@dataclass(frozen=True)
class Point:
    """One labelled point of a file.

    Attributes:
        vertebra: its name and place in LPS mm.
        place: where in the file it stands, in words: ``line 3``, ``entry 2``.
        line: of the file, counted from 1.
    """

    vertebra: Vertebra
    place: str
    line: int


@dataclass(frozen=True)
class Problem:
    """One thing in a file that cannot be used.

    Attributes:
        code: as of the `AnnotationError` that `read_centroids` raises for it.
        message: one line, with the file and the place.
        line: of the file, counted from 1.
    """

    code: str
    message: str
    line: int


@dataclass(frozen=True)
class Points:
    """What a file of centroids holds.

    Attributes:
        points: what could be read, in the file's order, each name once, wherever it lies.
        problems: what could not.
        grid: of the scan file, if one was given or the file states it.
        warnings: one line each.
        details: ``lml_header``, the first line of a ``.lml`` file; ``meta``, what a ``centroids.json`` states of its
            scan; ``weights``, those that found what our own VerSe files hold.
    """

    points: tuple[Point, ...]
    problems: tuple[Problem, ...] = ()
    grid: Grid | None = None
    warnings: tuple[str, ...] = ()
    details: dict[str, object] = field(default_factory=dict)


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
    ``centroids.json``        ``{"centroids": {"L1": {"lps_mm": [x, y, z]}}}``, LPS mm,      checked if given
                              and, if known, ``truncated`` beside it
    ========================  =============================================================  ===================

    Args:
        path: the file.
        grid: the grid of the scan FILE (`Scan.file_grid`), which the result then carries.

    Returns:
        the centroids, `source` being the scan's name as far as the file's name tells. Points outside the grid are
        kept, with a warning.

    Raises:
        AnnotationError: ``E_LABELS``, an unknown name or no number, and ``E_DUPLICATE``, a repeated name, with the line
            or entry; ``E_FORMAT``, the file is none of these; ``E_NEEDS_SCAN``, its positions mean nothing without
            `grid`; ``E_FRAME``, it belongs to another image, or its positions fit the frame of another format;
            ``E_OUTSIDE``, every point lies outside the scan; ``E_UNREADABLE``, it cannot be opened.
    """
    path = Path(path)
    read = read_points(path, grid)
    if read.problems:
        raise AnnotationError(read.problems[0].code, read.problems[0].message)
    vertebrae = tuple(point.vertebra for point in read.points)
    return _within(Spine(vertebrae, read.grid, centroids_source(path), read.warnings, read.details), path)


def read_points(path: str | Path, grid: Grid | None = None) -> Points:
    """Read what can be read of a file of labelled centroids.

    Args:
        path: the file; see `read_centroids` for the formats.
        grid: the grid of the scan file.

    Raises:
        AnnotationError: nothing of the file can be used; the codes are those of `read_centroids`.
    """
    path = Path(path)
    try:
        return _reader(path)(path, grid)
    except OSError as error:
        raise AnnotationError("E_UNREADABLE", f"{path}: cannot be opened: {error.strerror or error}") from error
    except (UnicodeDecodeError, json.JSONDecodeError, csv.Error) as error:
        raise AnnotationError("E_FORMAT", f"{path}: not a file of centroids: {error}") from error


def _reader(path: Path) -> Callable[[Path, Grid | None], Points]:
    name = path.name.lower()
    for ending, reader in (
        (".lml", _read_lml),
        (".csv", _read_csv),
        (".mrk.json", _read_markups),
        ("centroids.json", _read_plain),
        (".json", _read_verse),
    ):
        if name.endswith(ending):
            return reader
    raise AnnotationError("E_FORMAT", f"{path}: the name ends in none of {', '.join(ENDINGS)}")


def folder_name(path: Path) -> str:
    """The name of a file's folder, by the path as it is given: what a link points to may lie anywhere."""
    parent = path.absolute().parent
    return (parent.resolve() if parent.name == ".." else parent).name


def centroids_source(path: Path) -> str:
    """The name of the scan to which a file of centroids belongs, as far as its name, or its folder's, tells."""
    for ending in ("_iso-ctd.json", *ENDINGS):
        if path.name.lower().endswith(ending):
            return path.name[: -len(ending)].rstrip("_") or folder_name(path)
    return path.stem


class _Collector:
    """Gathers points and problems; knows where in which file it is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.place = ""
        self.points: list[Point] = []
        self.problems: list[Problem] = []
        self.warnings: list[str] = []
        self._line = 0
        self._names: dict[str, str] = {}

    @contextmanager
    def at(self, place: str, line: int) -> Iterator[None]:
        """What is raised inside is wrong with this place only."""
        self.place, self._line = place, line
        try:
            yield
        except AnnotationError as error:
            self.problems.append(Problem(error.code, error.message, line))

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

    def number(self, column: str, value: str) -> float:
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise self.error("E_LABELS", f"{column} must be a number, found {_short(value)}")
        return number

    def add(self, vertebra: Vertebra) -> None:
        if vertebra.name not in _NAMES:
            raise self.error("E_LABELS", f"unknown vertebra {_short(vertebra.name)}; known are C1 ... L6, S1, S2")
        if vertebra.name in self._names:
            raise self.error("E_DUPLICATE", f"{vertebra.name} occurs twice, first in {self._names[vertebra.name]}")
        self._names[vertebra.name] = self.place
        self.points.append(Point(vertebra, self.place, self._line))

    def done(self, grid: Grid | None, **details: object) -> Points:
        return Points(tuple(self.points), tuple(self.problems), grid, tuple(self.warnings), details)


class _Object(dict[str, Any]):
    """An object of a JSON file that knows on which line it begins and which of its keys stand in it twice."""

    line: int
    repeated: list[str]


def _load_json(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    begun: list[int] = []
    lines: list[int] = []
    line = 1
    # The decoder makes its objects in the order in which they end; so do their first lines come here.
    for token in re.findall(r'"(?:[^"\\]|\\.)*"|[{}\n]', text):
        if token == "\n":
            line += 1
        elif token == "{":
            begun.append(line)
        elif token == "}" and begun:
            lines.append(begun.pop())
    ended = iter(lines)

    def hook(pairs: list[tuple[str, Any]]) -> _Object:
        found = _Object(pairs)
        found.line = next(ended)
        keys = [key for key, _ in pairs]
        found.repeated = sorted({key for key in keys if keys.count(key) > 1})
        return found

    return json.loads(text, object_pairs_hook=hook)


def _read_lml(path: Path, grid: Grid | None) -> Points:
    if grid is None:
        raise AnnotationError("E_NEEDS_SCAN", f"{path}: .lml positions are relative to the scan; give its grid")
    collector = _Collector(path)
    header, *lines = path.read_text(encoding="utf-8").splitlines() or [""]
    for number, line in enumerate(lines, start=2):
        if not (words := line.split()):
            continue
        with collector.at(f"line {number}", number):
            if len(words) != 5:
                raise collector.error("E_LABELS", f"index, label, x, y, z are needed, found {_short(line)}")
            voxel = np.array(collector.point(words[2:])) / grid.spacing_mm
            collector.add(Vertebra(words[1].split("_")[0], _triple(grid.to_lps(voxel))))
    return collector.done(grid, lml_header=header)


def _read_verse(path: Path, grid: Grid | None) -> Points:
    entries = _load_json(path)
    if not isinstance(entries, list) or not all(isinstance(entry, _Object) for entry in entries):
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
    if own is not None and not _same_grid(own, grid):
        raise AnnotationError(
            "E_FRAME", f"{path}: made for an image of {_extent(own)}, but the scan has {_extent(grid)}; find its own"
        )
    frame = _turned(grid, axes, collector)
    positions = []
    for number, entry in enumerate(entries, start=1):
        if entry is head:
            continue
        with collector.at(f"entry {number}", entry.line):
            try:
                label, x, y, z = (entry[key] for key in ("label", "X", "Y", "Z"))
            except KeyError as error:
                raise collector.error("E_LABELS", f"has no {error}") from None
            if any(isinstance(value, float) and math.isnan(value) for value in (label, x, y, z)):
                # Published files mark an absent vertebra so.
                collector.warnings.append(f"W_NAN: entry {number} has no position and was left out")
                continue
            name = None if isinstance(label, list | dict) else _VERSE_NAMES.get(label)
            if name is None:
                raise collector.error("E_LABELS", f"unknown VerSe label {_short(label)}")
            position = collector.point((x, y, z))
            voxel = np.array(position) / (frame.spacing_mm if isotropic else 1.0)
            collector.add(Vertebra(name, _triple(frame.to_lps(voxel))))
            positions.append(position)
    if own is None:
        _check_frame(path, grid, collector, np.array(positions).reshape(-1, 3), isotropic)
    named = {"weights": head["weights"]} if "weights" in head else {}
    return collector.done(grid, **named)


def _check_frame(path: Path, grid: Grid, collector: _Collector, positions: Any, isotropic: bool) -> None:
    """Refuse positions most of which lie outside the scan but would all fit VerSe's other frame."""
    if not len(positions) or grid.contains([p.vertebra.lps for p in collector.points]).mean() > 0.5:
        return
    mm, voxels = "mm of the image turned to A, S, L (iso-ctd.json)", f"voxels of the scan ({grid.axcodes})"
    turned = _turned(grid, _ISO_AXES, collector)
    other = grid.to_lps(positions) if isotropic else turned.to_lps(positions / turned.spacing_mm)
    if grid.contains(other).all():
        read, fits = (mm, voxels) if isotropic else (voxels, mm)
        raise AnnotationError(
            "E_FRAME", f"{path}: read as {read} the points miss the scan, as {fits} they fit; is the file's name right?"
        )


def _same_grid(one: Grid, other: Grid) -> bool:
    if one.shape != other.shape:
        return False
    corners = np.indices((2, 2, 2)).reshape(3, 8).T * (np.array(one.shape) - 1)
    return bool(np.linalg.norm(one.to_lps(corners) - other.to_lps(corners), axis=1).max() < _SAME_GRID_MM)


def _extent(grid: Grid) -> str:
    size = "x".join(map(str, grid.shape))
    return f"{size} voxels from ({', '.join(f'{x:.1f}' for x in grid.to_lps((0, 0, 0)))}) mm"


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


def _read_markups(path: Path, grid: Grid | None) -> Points:
    document = _load_json(path)
    collector = _Collector(path)
    try:
        for markup in document["markups"]:
            system = markup.get("coordinateSystem", "LPS")
            if system not in ("LPS", "RAS"):
                raise AnnotationError("E_FRAME", f"{path}: coordinate system {_short(system)}; LPS or RAS is needed")
            for number, point in enumerate(markup["controlPoints"], start=1):
                with collector.at(f"control point {number}", point.line):
                    if point.get("positionStatus", "defined") == "defined":
                        position = collector.point(point["position"])
                        lps = position if system == "LPS" else _triple(ras_from_lps(position))
                        collector.add(Vertebra(str(point["label"]), lps))
    except (KeyError, TypeError, AttributeError) as error:
        raise AnnotationError("E_FORMAT", f"{path}: not Slicer markups: {error}") from error
    return collector.done(grid)


def _read_plain(path: Path, grid: Grid | None) -> Points:
    document = _load_json(path)
    centroids = document.get("centroids") if isinstance(document, _Object) else None
    if not isinstance(centroids, _Object):
        raise AnnotationError("E_FORMAT", f'{path}: {{"centroids": {{"L1": {{"lps_mm": [x, y, z]}}}}}} is needed')
    collector = _Collector(path)
    for name, entry in centroids.items():
        with collector.at(name, entry.line if isinstance(entry, _Object) else centroids.line):
            if not isinstance(entry, _Object) or "lps_mm" not in entry:
                raise collector.error("E_LABELS", f"has no lps_mm, found {_short(entry)}")
            if name in centroids.repeated:
                raise collector.error("E_DUPLICATE", f"{name} occurs twice; the last one stands here")
            collector.add(Vertebra(name, collector.point(entry["lps_mm"]), truncated=bool(entry.get("truncated"))))
    meta = document.get("meta")
    return collector.done(grid, meta=dict(meta) if isinstance(meta, _Object) else {})


def _read_csv(path: Path, grid: Grid | None) -> Points:
    collector = _Collector(path)
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        needed = ("name", "x_lps_mm", "y_lps_mm", "z_lps_mm")
        if missing := [column for column in needed if column not in (rows.fieldnames or ())]:
            raise AnnotationError("E_FORMAT", f"{path}: has no column {', '.join(missing)}")
        for row in rows:
            with collector.at(f"line {rows.line_num}", rows.line_num):
                sure = row.get("confidence")
                spread = [row.get(f"spread_{axis}_mm") for axis in "xyz"]
                collector.add(
                    Vertebra(
                        name=row["name"] or "",
                        lps=collector.point([row[column] for column in needed[1:]]),
                        votes=int(collector.number("votes", row.get("votes") or "0")),
                        spread_mm=collector.point(spread) if all(spread) else None,
                        truncated=(row.get("truncated") or "").strip().lower() == "true",
                        confidence=collector.number("confidence", sure) if sure else None,
                    )
                )
    return collector.done(grid)


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
