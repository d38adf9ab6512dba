# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a data set: one finding per fault, with the file and the line where it stands.

``E_`` is an error, which spoils a training or its measurement; ``W_`` a warning, which a person should look at.

==================  ==========================================================================================
code                what was found
==================  ==========================================================================================
``E_MANIFEST``      a line of ``dataset.csv`` that cannot be used: an empty field, an unknown split, a scan twice
``E_NO_SCAN`` ...   the scan cannot be read, or the front door refuses it: the codes of `scan.read_scan`
``W_NOT_HU`` ...    the scan was read with a warning
``E_LABELS``        a name or number that no vertebra has, or no position
``E_DUPLICATE``     a vertebra occurs twice in a file
``E_FORMAT`` ...    the file of centroids cannot be used at all: the codes of `annotations.read_points`
``E_NO_CENTROIDS``  a file of centroids holds none
``W_NO_CENTROIDS``  a scan has no file of centroids
``W_STRAY``         a file of centroids belongs to no scan
``E_OUTSIDE``       a centroid lies outside the scan
``W_OUTSIDE``       it lies outside by less than half a vertebra, as one that the border cuts may
``E_AIR``           a centroid lies in air
``E_MIRRORED``      the centroids fit bone when mirrored along an axis, or read in the other frame, and not as they are
``E_ORDER``         of two neighbours the lower one lies higher, or the whole spine stands on its head
``W_GAP``           a vertebra between two others is not annotated, and there is room for it
``E_GAP``           the distance of two centroids fits more, or fewer, vertebrae between them than their names say
``W_COUNT``         the same next to T12 or L5, where people have one more or one fewer
``E_DISTANCE``      two centroids are too close to be two vertebrae, or one does not fit between two that fit each other
``W_DISTANCE``      they are closer, or further apart, than vertebrae are in this person
``W_SIZE``          all distances are those of a very small or very large person: is the voxel size right?
``E_SPLIT_OVERLAP`` a patient is in two splits
``E_SAME_IMAGE``    one image is there as two patients or in two splits
``W_SAME_IMAGE``    one image is there twice
==================  ==========================================================================================
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from spinefinder_fast import anatomy
from spinefinder_fast.annotations import Point
from spinefinder_fast.dataset.layouts import case_of_scan, find_entries, read_any, with_patients
from spinefinder_fast.dataset.manifest import Entry, Manifest, is_dataset, read_lines
from spinefinder_fast.errors import AnnotationError, GeometryError, ScanError, SpinefinderError
from spinefinder_fast.files import write_bytes
from spinefinder_fast.geometry import ras_from_lps
from spinefinder_fast.scan import Scan, read_scan
from spinefinder_fast.spine import Spine

_GAPS_MM: Final = {**anatomy.GAPS_MM, "T13": anatomy.GAPS_MM["T12"], "L6": anatomy.GAPS_MM["L5"]}

_PLAUSIBLE: Final = (0.65, 1.4)
"""Distances of neighbours in a person, relative to what is usual at that level and in that person. Chosen on
the public keypoints of Buergin et al. 2023, where few lie outside, most of them at fractures or wrong labels."""
_PLAUSIBLE_NECK: Final = (0.6, 1.65)
"""The same for C1-C2 and C2-C3: annotators differ in where the centre of the atlas, or of the axis, is."""
_TOO_CLOSE: Final = 0.4
_SIZES: Final = (0.75, 1.3)
"""Size of a person relative to the mean adult, with a margin beyond those of these keypoints."""
_VARIABLE: Final = {("T11", "L1"): "T12", ("L4", "S1"): "L5", ("T12", "L1"): "T13", ("L5", "S1"): "L6"}
"""Neighbours between which people have a vertebra or not."""

_PROBE_MM: Final = 5.0
_AIR_HU: Final = -200.0
_NO_BONE_HU: Final = 20.0
_HU: Final = (-1000.0, 1500.0)
# The simplest explanation comes first.
_FLIPS: Final[dict[str, tuple[bool, bool, bool]]] = {
    "mirrored left-right": (True, False, False),
    "mirrored front-back": (False, True, False),
    "mirrored up-down": (False, False, True),
    "turned by 180 degrees about the long axis": (True, True, False),
    "turned by 180 degrees about the left-right axis": (False, True, True),
    "turned by 180 degrees about the front-back axis": (True, False, True),
}


@dataclass(frozen=True)
class Finding:
    """One fault of a data set.

    Attributes:
        code: stable word, see the table of this module.
        file: where the fault stands: a file of centroids, a manifest, or a scan.
        line: of the file, counted from 1; 0 where it has no lines or the whole file is meant.
        scan: name of the scan, empty where the fault is not one scan's.
        message: one line.
    """

    code: str
    file: Path
    line: int
    scan: str
    message: str

    @property
    def severity(self) -> Literal["error", "warning"]:
        """How bad it is."""
        return "error" if self.code.startswith("E_") else "warning"

    def __str__(self) -> str:
        return f"{self.file}{f':{self.line}' if self.line else ''}: {self.code} {self.message}"


@dataclass(frozen=True)
class Audit:
    """What `audit` found.

    Attributes:
        findings: sorted by file and line.
        scans: number of scans with centroids.
        vertebrae: number of centroids that could be read.
    """

    findings: tuple[Finding, ...]
    scans: int
    vertebrae: int

    @property
    def errors(self) -> int:
        """Number of errors among the findings."""
        return sum(finding.severity == "error" for finding in self.findings)


def audit(
    folders: Iterable[Path],
    patient_pattern: str | None = None,
    track: Callable[[Sequence[Entry]], Iterable[Entry]] = iter,
) -> Audit:
    """Look for everything that is wrong with a data set.

    Args:
        folders: of any layout, or manifests; together they are one data set.
        patient_pattern: as `find_entries`.
        track: goes through the scans, and may show how far it is.

    Raises:
        ScanError: ``E_NO_SCAN``, a folder does not exist.
    """
    findings: list[Finding] = []
    entries: list[Entry] = []
    places: dict[Path, tuple[Path, int]] = {}
    for folder in folders:
        found, faults, manifest = _list(folder, patient_pattern)
        findings += faults
        for entry in found:
            if entry.scan in places:
                file, line = places[entry.scan]
                where = (manifest or entry.scan, entry.line)
                message = f"{entry.scan} stands in {file}{f', line {line},' if line else ''} already"
                findings.append(Finding("E_MANIFEST", *where, case_of_scan(entry.scan), message))
                continue
            places[entry.scan] = (manifest or entry.scan, entry.line)
            entries.append(entry)
    findings += _patients(entries, places)
    vertebrae = 0
    images: dict[str, Entry] = {}
    for entry in track(entries):
        points: tuple[Point, ...] = ()
        try:
            scan = read_scan(entry.scan)
        except (ScanError, GeometryError) as error:
            message = f"{entry.scan}: {error.message}"
            findings.append(Finding(error.code, *places[entry.scan], case_of_scan(entry.scan), message))
        else:
            findings += _scan(entry, scan, images, places)
            points, faults = _read(entry, scan, places[entry.scan])
            findings += faults
            findings += check_points(entry.centroids, points, scan)
        vertebrae += len(points)
    return Audit(tuple(sorted(findings, key=lambda f: (str(f.file), f.line))), len(entries), vertebrae)


def write_findings(path: Path, findings: Iterable[Finding]) -> None:
    """Write findings as CSV.

    Raises:
        OutputError: the file cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["severity", "code", "file", "line", "scan", "message"])
    writer.writerows([f.severity, f.code, f.file, f.line or "", f.scan, f.message] for f in findings)
    write_bytes(path, text.getvalue().encode())


def _list(folder: Path, pattern: str | None) -> tuple[tuple[Entry, ...], list[Finding], Path | None]:
    if not is_dataset(folder):
        found = find_entries(folder, pattern)
        faults = [
            Finding("W_NO_CENTROIDS", scan, 0, case_of_scan(scan), "no file of centroids belongs to this scan")
            for scan in found.without
        ]
        faults += [Finding("W_STRAY", file, 0, "", "belongs to no scan in this folder") for file in found.strays]
        return found.entries, faults, None
    try:
        manifest, problems = read_lines(folder)
    except AnnotationError as error:
        return (), [Finding(error.code, folder, 0, "", _bare(error.message, folder))], folder
    path = manifest.path or folder
    faults = [Finding(problem.code, path, problem.line, "", _bare(problem.message, path)) for problem in problems]
    return with_patients(manifest.entries, pattern), faults, path


def _patients(entries: Sequence[Entry], places: dict[Path, tuple[Path, int]]) -> Iterator[Finding]:
    # A folder that is named after no split leaves the choice open.
    placed = Manifest(tuple(entry for entry in entries if entry.split))
    for patient, scans in placed.shared_patients().items():
        for entry in scans:
            others = ", ".join(f"{e.split} ({case_of_scan(e.scan)})" for e in scans if e.split != entry.split)
            message = f"patient {patient} is in {entry.split} here, and in {others}; keep a patient's scans together"
            yield Finding("E_SPLIT_OVERLAP", *places[entry.scan], case_of_scan(entry.scan), message)


def _scan(
    entry: Entry, scan: Scan, images: dict[str, Entry], places: dict[Path, tuple[Path, int]]
) -> Iterator[Finding]:
    name, place = case_of_scan(entry.scan), places[entry.scan]
    for warning in scan.warnings:
        code, _, message = warning.partition(": ")
        yield Finding(code, *place, name, f"{entry.scan}: {message}")
    voxels = np.ascontiguousarray(scan.array)
    image = f"{voxels.dtype} {voxels.shape} {hashlib.blake2b(voxels.tobytes()).hexdigest()}"
    other = images.setdefault(image, entry)
    if other is not entry:
        apart = [f"patient {e.patient}{f', {e.split}' if e.split else ''}" for e in (entry, other)]
        code = "W_SAME_IMAGE" if apart[0] == apart[1] else "E_SAME_IMAGE"
        message = f"{entry.scan} ({apart[0]}) holds the same image as {other.scan} ({apart[1]})"
        yield Finding(code, *place, name, message)


def _read(entry: Entry, scan: Scan, place: tuple[Path, int]) -> tuple[tuple[Point, ...], list[Finding]]:
    file, name = entry.centroids, case_of_scan(entry.scan)
    if not file.exists():
        return (), [Finding("E_UNREADABLE", *place, name, f"{file}: there is no such file of centroids")]
    try:
        points = read_any(file, scan.file_grid)
    except SpinefinderError as error:
        return (), [Finding(error.code, file, 0, name, _bare(error.message, file))]
    faults = [Finding(p.code, file, p.line, name, _bare(p.message, file)) for p in points.problems]
    for warning in points.warnings:
        code, _, message = warning.partition(": ")
        faults.append(Finding(code, file, 0, name, message))
    if not points.points and not faults:
        faults.append(Finding("E_NO_CENTROIDS", file, 0, name, "no centroid in it"))
    return points.points, faults


def _bare(message: str, file: Path) -> str:
    """A message without the file and the line that stand before it anyway."""
    return re.sub(rf"^{re.escape(str(file))}(, line \d+)?(: |, )", "", message)


def check_points(file: Path, points: Sequence[Point], scan: Scan) -> list[Finding]:
    """What is wrong with the places of labelled points in their scan.

    Args:
        file: where they stand.
        points: each name once.
        scan: theirs.
    """
    if not points:
        return []
    spine = Spine(tuple(point.vertebra for point in points))
    lines = {point.vertebra.name: point.line for point in points}
    mirrored = _mirrored(spine, scan)
    faults = [("E_MIRRORED", *mirrored)] if mirrored else list(_places(spine, scan))
    # Distances to what lies in a wrong place anyway say nothing.
    misplaced = set() if mirrored else {name for code, name, _ in faults if code.startswith("E_")}
    at = {name: f"{name} (line {line})" if line else name for name, line in lines.items()}
    faults += _course(spine, at, misplaced)
    return [Finding(code, file, lines[name], case_of_scan(scan.path), message) for code, name, message in faults]


Fault = tuple[str, str, str]
"""Code, vertebra at whose line it stands, message."""


def _places(spine: Spine, scan: Scan) -> Iterator[Fault]:
    inside = scan.grid.contains(spine.lps())
    if not inside.any():
        yield "E_OUTSIDE", spine.names[0], "every centroid lies outside the scan; is it its own?"
        return
    for vertebra, fits in zip(spine, inside, strict=True):
        if not fits:
            voxel = scan.grid.to_voxel(vertebra.lps)
            edge = np.clip(voxel, -0.5, np.array(scan.grid.shape) - 0.5)
            far = float(np.linalg.norm((voxel - edge) * scan.grid.spacing_mm))
            near = far <= 0.5 * anatomy.GAPS_MM["L1"]
            if not (near and vertebra.truncated):
                yield (
                    "W_OUTSIDE" if near else "E_OUTSIDE",
                    vertebra.name,
                    f"{vertebra.name} lies {far:.0f} mm outside the scan",
                )
        elif not vertebra.truncated and (hu := _hu(scan, vertebra.lps)) < _AIR_HU:
            yield "E_AIR", vertebra.name, f"{vertebra.name} lies in air: {hu:.0f} HU within {_PROBE_MM:g} mm"


def _hu(scan: Scan, lps: Sequence[float] | NDArray[np.float64]) -> float:
    """Mean HU within `_PROBE_MM` of a point; that of air where this is outside the scan."""
    voxel, spacing = scan.grid.to_voxel(lps), np.array(scan.grid.spacing_mm)
    low = np.maximum(np.ceil(voxel - _PROBE_MM / spacing), 0).astype(int)
    high = np.minimum(np.floor(voxel + _PROBE_MM / spacing) + 1, scan.grid.shape).astype(int)
    if (high <= low).any():
        # Thick slices may have no voxel so near.
        nearest = np.rint(voxel).astype(int)
        fits = ((nearest >= 0) & (nearest < scan.grid.shape)).all()
        return float(np.clip(scan.array[tuple(nearest)], *_HU)) if fits else _HU[0]
    part = scan.array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    away = [((np.arange(a, b) - v) * s) ** 2 for a, b, v, s in zip(low, high, voxel, spacing, strict=True)]
    ball = away[0][:, None, None] + away[1][None, :, None] + away[2][None, None, :] <= _PROBE_MM**2
    return float(np.clip(part[ball] if ball.any() else part, *_HU).mean())


def _mirrored(spine: Spine, scan: Scan) -> tuple[str, str] | None:
    """Whether the points would have to be mirrored to lie in bone: where to say so, and how.

    In a column of bones the HU vary little from one to the next; a mirrored line of points crosses bone, fat and air.
    Where the scan lies symmetrically around the spine nothing can be said.
    """
    as_given = [_hu(scan, lps) for lps in spine.lps()]
    if len(spine) < 4 or _misfits(as_given) < 0.3:
        return None
    voxels = scan.grid.to_voxel(spine.lps())
    last = np.array(scan.grid.shape) - 1
    ways = {how: scan.grid.to_lps(np.where(flip, last - voxels, voxels)) for how, flip in _FLIPS.items()}
    ways["read in the other frame, RAS for LPS"] = ras_from_lps(spine.lps())
    for how, points in ways.items():
        hu = [_hu(scan, lps) for lps in points]
        # Brain and muscle are as even as bone, but darker.
        if _misfits(hu) <= 0.1 and np.median(hu) >= 0.6 * np.median(as_given):
            return spine.names[0], f"the centroids fit bone when {how}, and not as they are"
    return None


def _misfits(values: Sequence[float]) -> float:
    """Share of mean HU that are not those of a bone in a column of them."""
    hu = np.array(values)
    usual = float(np.median(hu))
    return float(((hu < _NO_BONE_HU) | (np.abs(hu - usual) > max(60.0, 0.5 * usual))).mean())


def _course(spine: Spine, at: dict[str, str], misplaced: set[str]) -> Iterator[Fault]:
    """Order and distances of the vertebrae."""
    points, names = spine.lps(), spine.names
    if len(points) < 2:
        return
    # How far down the spine of a mean adult each vertebra is. T13 and L6 take room where there is one.
    levels = [level for level in anatomy.EVERY_NAME if level not in anatomy.UNPREDICTED or level in spine]
    depth = dict(zip(levels, np.cumsum([0.0, *(_GAPS_MM[level] for level in levels[:-1])]), strict=True))
    line = np.array([depth[name] for name in names])
    # The course of most pairs is that of the spine, however it lies; one wrong label does not change it.
    courses = [(points[j] - points[i]) / (line[j] - line[i]) for i, j in combinations(range(len(line)), 2)]
    down = np.median(courses, axis=0)
    if down[2] > 0:
        yield "E_ORDER", names[0], f"the spine stands on its head: {names[-1]} lies above {names[0]}"
        return
    steps = np.diff(points, axis=0)
    ordered = steps @ down > 0
    relative = np.linalg.norm(steps, axis=1) / np.diff(line)
    # A median with two mean adults beside the person's own pairs: one wrong pair alone does not make a giant.
    size = float(np.median([*relative[ordered], 1.0, 1.0]))
    if ordered.sum() >= 3 and not _SIZES[0] <= (own := float(np.median(relative[ordered]))) <= _SIZES[1]:
        apart = f"the vertebrae are {own:.2f} times as far apart as an adult's"
        yield "W_SIZE", names[0], f"{apart}; is the voxel size right?"

    def step(upper: int, lower: int) -> _Step:
        between = levels[levels.index(names[upper]) + 1 : levels.index(names[lower])]
        mm = float(np.linalg.norm(points[lower] - points[upper]))
        return _Step(names[upper], names[lower], between, mm, mm / (size * float(line[lower] - line[upper])))

    fits = [bool(ordered[i]) and step(i, i + 1).fits for i in range(len(steps))]
    told = [names[i] in misplaced or names[i + 1] in misplaced for i in range(len(steps))]
    for i in range(1, len(steps)):
        if not (fits[i - 1] or fits[i] or told[i - 1] or told[i]) and step(i - 1, i + 1).fits:
            near, far = (f"{step(j, j + 1).mm:.0f} mm from {at[names[k]]}" for j, k in ((i - 1, i - 1), (i, i + 1)))
            yield (
                "E_DISTANCE",
                names[i],
                f"{names[i]} is {near} and {far}, which fit each other; it is in a wrong place",
            )
            told[i - 1] = told[i] = True
    for i, (upper, lower) in enumerate(pairwise(names)):
        if told[i]:
            continue
        if not ordered[i]:
            yield "E_ORDER", lower, f"{lower} lies above {at[upper]}; is one of them named wrongly?"
        elif ordered[max(i - 1, 0) : i + 2].all():
            cut = spine[upper].truncated or spine[lower].truncated
            yield from _distance(step(i, i + 1), at[upper], cut)


@dataclass(frozen=True)
class _Step:
    """From a vertebra to the next that is annotated.

    Attributes:
        upper, lower: their names.
        between: the names between those two.
        mm: their distance.
        relative: the same, relative to what it should be in this person.
    """

    upper: str
    lower: str
    between: Sequence[str]
    mm: float
    relative: float

    @property
    def usual(self) -> bool:
        low, high = _PLAUSIBLE_NECK if self.upper in ("C1", "C2") else _PLAUSIBLE
        return low <= self.relative <= high

    @property
    def room(self) -> int:
        """How many vertebrae fit between the two."""
        absent = len(self.between)
        return 0 if not absent and self.usual else max(0, round(self.relative * (absent + 1)) - 1)

    @property
    def fits(self) -> bool:
        return self.room == len(self.between) and self.usual


def _distance(step: _Step, at: str, cut: bool) -> Iterator[Fault]:
    """What is wrong with a distance; `at` says where the upper vertebra stands."""
    upper, lower, between = step.upper, step.lower, step.between
    far = f"{lower} is {step.mm:.0f} mm from {at}"
    names = "none is"
    if between:
        names = f"{between[0]} is" if len(between) == 1 else f"{between[0]} to {between[-1]} are"
    if step.relative * (len(between) + 1) < _TOO_CLOSE:
        yield "E_DISTANCE", lower, f"{far}, too close for two vertebrae"
    elif step.room != len(between):
        message = f"{far}: {names} missing between them, but there is room for {step.room}"
        if (upper, lower) in _VARIABLE and abs(step.room - len(between)) == 1:
            someone = f"someone {'without' if between else 'with'} {_VARIABLE[upper, lower]}"
            yield "W_COUNT", lower, f"{message}; is a name wrong, or is this {someone}?"
        else:
            yield "E_GAP", lower, f"{message}; is one named wrongly?"
    elif between:
        yield "W_GAP", lower, f"{names} not annotated between {at} and {lower}, {step.mm:.0f} mm apart, which fits"
    elif not step.usual and not cut:
        yield "W_DISTANCE", lower, f"{far}, {step.relative:.2f} times the usual for this person"
