# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from spinefinder_fast import make_phantom
from spinefinder_fast.annotations import Point
from spinefinder_fast.dataset import Entry, write_manifest
from spinefinder_fast.dataset.audit import Audit, audit, check_points, write_findings
from spinefinder_fast.errors import ScanError
from spinefinder_fast.geometry import Grid
from spinefinder_fast.phantom import Phantom
from spinefinder_fast.report import write_csv
from spinefinder_fast.scan import Scan, write_nifti
from spinefinder_fast.spine import Vertebra

PATIENTS = {"ann": ("T9", "L4"), "bob": ("L1", "S1"), "eve": ("C1", "T3")}
SPLITS = {"ann": "train", "bob": "validation", "eve": "test"}
# ann.csv: line 1 is the header, then T9 (2), T10 (3), T11 (4), T12 (5), L1 (6), L2 (7), L3 (8), L4 (9).
LINE = {name: line for line, name in enumerate(("T9", "T10", "T11", "T12", "L1", "L2", "L3", "L4"), start=2)}


@pytest.fixture(scope="module")
def phantoms() -> dict[str, Phantom]:
    return {
        name: make_phantom(first, last, spacing_mm=3.0, seed=seed)
        for seed, (name, (first, last)) in enumerate(PATIENTS.items())
    }


@pytest.fixture(scope="module")
def clean(phantoms: dict[str, Phantom], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three scans, their centroids as CSV and a manifest; nothing is wrong with them."""
    folder = tmp_path_factory.mktemp("clean")
    for name, phantom in phantoms.items():
        write_nifti(folder / f"{name}.nii.gz", phantom.array, phantom.grid)
        write_csv(folder / f"{name}.csv", phantom.spine)
    write_manifest(
        folder / "dataset.csv",
        [Entry(folder / f"{n}.nii.gz", folder / f"{n}.csv", n, split, "code", "CC0") for n, split in SPLITS.items()],
    )
    return folder


@pytest.fixture
def data(clean: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(clean, tmp_path / "data"))


def found(result: Audit) -> list[tuple[str, str, int]]:
    return [(f.code, f.file.name, f.line) for f in result.findings]


def move(data: Path, name: str, change: Callable[[np.ndarray], Sequence[float]], who: str = "ann") -> None:
    """Moves one centroid of a patient, or all (``"*"``)."""
    rows = [line.split(",") for line in (data / f"{who}.csv").read_text().splitlines()]
    for row in rows[1:]:
        if name in ("*", row[2]):
            row[3:6] = [f"{c:.3f}" for c in change(np.array(row[3:6], np.float64))]
    (data / f"{who}.csv").write_text("\n".join(",".join(row) for row in rows) + "\n")


def rename(data: Path, names: dict[str, str | None], who: str = "ann") -> None:
    """Gives vertebrae other names, or takes them out."""
    lines = []
    for line in (data / f"{who}.csv").read_text().splitlines():
        row = line.split(",")
        row[2] = names.get(row[2], row[2])
        if row[2] is not None:
            lines.append(",".join(row))
    (data / f"{who}.csv").write_text("\n".join(lines) + "\n")


def replace_line(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_nothing_is_found_where_nothing_is_wrong(data: Path) -> None:
    result = audit([data])
    assert (result.findings, result.scans, result.vertebrae, result.errors) == ((), 3, 8 + 6 + 10, 0)
    (data / "dataset.csv").unlink()
    assert audit([data]).findings == ()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("first", "last"), [("C1", "S2"), ("T3", "T12"), ("L5", "S2")])
def test_nothing_is_found_in_anyone(tmp_path: Path, seed: int, first: str, last: str) -> None:
    phantom = make_phantom(first, last, spacing_mm=4.0, seed=10 + seed)
    scan = Scan(phantom.array, phantom.grid, phantom.grid, "p", tmp_path / "p.nii.gz")
    assert check_points(tmp_path, [Point(v, "", 1) for v in phantom.spine], scan) == []


def test_a_name_that_no_vertebra_has(data: Path) -> None:
    rename(data, {"L2": "L8", "T9": "t9"})
    assert ("E_LABELS", "ann.csv", LINE["L2"]) in found(audit([data]))
    assert ("E_LABELS", "ann.csv", LINE["T9"]) in found(audit([data]))


def test_a_vertebra_twice(data: Path) -> None:
    rename(data, {"L4": "L3"})
    assert found(audit([data])) == [("E_DUPLICATE", "ann.csv", LINE["L4"])]
    (finding,) = audit([data]).findings
    assert finding.severity == "error"
    assert finding.scan == "ann"
    assert str(finding) == f"{data / 'ann.csv'}:9: E_DUPLICATE L3 occurs twice, first in line 8"


def test_a_centroid_outside(data: Path) -> None:
    move(data, "L2", lambda p: p + np.array([400, 0, 0]))
    assert found(audit([data])) == [("E_OUTSIDE", "ann.csv", LINE["L2"])]


def test_centroids_of_another_scan(data: Path) -> None:
    move(data, "*", lambda p: p + np.array([0, 0, 5000]))
    assert found(audit([data])) == [("E_OUTSIDE", "ann.csv", LINE["T9"])]


def test_a_vertebra_that_the_border_cuts_may_lie_outside_of_it(tmp_path: Path, phantoms: dict[str, Phantom]) -> None:
    phantom = phantoms["ann"]
    vertebrae = {v.name: v for v in phantom.spine}
    # The lowest slices are taken away, up to 5 mm above the centroid of L4.
    k = round(float(phantom.grid.to_voxel(vertebrae["L4"].lps)[2] + 5 / 3))
    grid = Grid.from_spacing(
        (*phantom.grid.shape[:2], phantom.grid.shape[2] - k), 3.0, tuple(phantom.grid.to_lps((0, 0, k)).tolist())
    )
    scan = Scan(phantom.array[:, :, k:], grid, grid, "p", tmp_path / "p.nii.gz")
    for truncated, codes in ((True, []), (False, ["W_OUTSIDE"])):
        points = [Point(v, "", 1) for v in phantom.spine if v.name != "L4"]
        points.append(Point(Vertebra("L4", vertebrae["L4"].lps, truncated=truncated), "", 7))
        findings = check_points(tmp_path, points, scan)
        assert [f.code for f in findings] == codes
        assert [f.line for f in findings] == [7] * len(codes)


def test_a_centroid_in_air(data: Path, phantoms: dict[str, Phantom]) -> None:
    phantom = phantoms["ann"]
    height = round(float(phantom.grid.to_voxel(phantom.spine["L2"].lps)[2]))
    column = np.unravel_index(phantom.array[:, :, height].argmin(), phantom.array.shape[:2])
    x, y, _ = phantom.grid.to_lps((*column, height))
    move(data, "L2", lambda p: (x, y, p[2]))
    assert found(audit([data])) == [("E_AIR", "ann.csv", LINE["L2"])]


@pytest.mark.parametrize(
    ("flip", "says"),
    [
        ((True, False, False), "mirrored left-right"),
        ((False, True, False), "mirrored front-back"),
        ((False, False, True), "mirrored up-down"),
        ((True, True, False), "turned by 180 degrees about the long axis"),
    ],
)
def test_centroids_that_are_mirrored(tmp_path: Path, flip: tuple[bool, bool, bool], says: str) -> None:
    phantom = make_phantom("T8", "L4", spacing_mm=3.0, seed=1, fov_mm=(340, 300))
    cut = 20  # the spine is not in the middle between left and right
    grid = Grid.from_spacing(
        (phantom.grid.shape[0] - cut, *phantom.grid.shape[1:]), 3.0, tuple(phantom.grid.to_lps((cut, 0, 0)).tolist())
    )
    scan = Scan(phantom.array[cut:], grid, grid, "p", tmp_path / "p.nii.gz")
    last = np.array(grid.shape) - 1
    assert check_points(tmp_path, [Point(v, "", 1) for v in phantom.spine], scan) == []
    points = []
    for vertebra in phantom.spine:
        voxel = grid.to_voxel(vertebra.lps)
        place = grid.to_lps(np.where(flip, last - voxel, voxel))
        points.append(Point(Vertebra(vertebra.name, tuple(place.tolist())), "", 5))
    first = check_points(tmp_path / "p.csv", points, scan)[0]
    assert (first.code, first.line) == ("E_MIRRORED", 5)
    assert says in first.message


def test_centroids_in_the_other_frame(tmp_path: Path, phantoms: dict[str, Phantom]) -> None:
    phantom = phantoms["ann"]
    grid = Grid.from_spacing(phantom.grid.shape, 3.0, (100.0, -400.0, 700.0))
    scan = Scan(phantom.array, grid, grid, "p", tmp_path / "p.nii.gz")
    points = []
    for vertebra in phantom.spine:
        x, y, z = grid.to_lps(phantom.grid.to_voxel(vertebra.lps)).tolist()
        points.append(Point(Vertebra(vertebra.name, (-x, -y, z)), "", 6))
    (finding,) = check_points(tmp_path / "p.csv", points, scan)
    assert (finding.code, finding.line) == ("E_MIRRORED", 6)
    assert "RAS for LPS" in finding.message


def test_names_that_are_exchanged(data: Path) -> None:
    rename(data, {"L1": "L2", "L2": "L1"})
    assert found(audit([data])) == [("E_ORDER", "ann.csv", LINE["L1"])]
    (finding,) = audit([data]).findings
    assert finding.message == "L2 lies above L1 (line 7); is one of them named wrongly?"


def test_a_spine_on_its_head(tmp_path: Path, phantoms: dict[str, Phantom]) -> None:
    phantom = phantoms["ann"]
    names = phantom.spine.names[::-1]
    points = [Point(Vertebra(n, v.lps), "", 1) for n, v in zip(names, phantom.spine, strict=True)]
    scan = Scan(phantom.array, phantom.grid, phantom.grid, "p", tmp_path / "p.nii.gz")
    assert [f.code for f in check_points(tmp_path, points, scan)] == ["E_ORDER"]


def test_a_gap_that_fits(data: Path) -> None:
    rename(data, {"L2": None})
    (finding,) = audit([data]).findings
    assert (finding.code, finding.line, finding.severity) == ("W_GAP", LINE["L2"], "warning")
    assert finding.message.startswith("L2 is not annotated between L1 (line 6) and L3, ")
    assert audit([data]).errors == 0


def test_names_that_skip_one_where_no_vertebra_is(data: Path) -> None:
    rename(data, {"T9": "T8", "T10": "T9", "T11": "T10"})
    (finding,) = audit([data]).findings
    assert (finding.code, finding.file.name, finding.line) == ("E_GAP", "ann.csv", LINE["T12"])
    assert "T11 is missing between them, but there is room for 0" in finding.message


def test_a_vertebra_without_a_name(data: Path) -> None:
    rename(data, {"L1": None, "T12": "L1", "T11": "T12", "T10": "T11", "T9": "T10"})
    (finding,) = audit([data]).findings
    assert (finding.code, finding.line) == ("E_GAP", LINE["L2"] - 1)
    assert "none is missing between them, but there is room for 1" in finding.message


@pytest.mark.parametrize(
    ("who", "names", "line", "says"),
    [
        ("ann", {"T9": "T8", "T10": "T9", "T11": "T10", "T12": "T11"}, 6, "someone without T12"),
        ("bob", {"L1": "T12", "L2": "L1", "L3": "L2", "L4": "L3", "L5": "L4"}, 7, "someone without L5"),
        ("ann", {"T9": "T10", "T10": "T11", "T11": "T12", "T12": None}, 5, "someone with T13"),
        ("bob", {"L1": "L2", "L2": "L3", "L3": "L4", "L4": "L5", "L5": None}, 6, "someone with L6"),
    ],
)
def test_people_with_one_more_or_one_fewer(
    data: Path, who: str, names: dict[str, str | None], line: int, says: str
) -> None:
    rename(data, names, who)
    (finding,) = audit([data]).findings
    assert (finding.code, finding.file.name, finding.line) == ("W_COUNT", f"{who}.csv", line)
    assert says in finding.message


@pytest.mark.parametrize(
    ("who", "names"),
    [
        ("ann", {"T9": "T10", "T10": "T11", "T11": "T12", "T12": "T13"}),
        ("bob", {"L1": "L2", "L2": "L3", "L3": "L4", "L4": "L5", "L5": "L6"}),
        ("bob", {"L1": "L3", "L2": "L4", "L3": "L5", "L4": "L6", "L5": "S1", "S1": "S2"}),
    ],
)
def test_a_thirteenth_rib_and_a_sixth_lumbar_vertebra_are_no_faults(
    data: Path, who: str, names: dict[str, str | None]
) -> None:
    rename(data, names, who)
    assert audit([data]).findings == ()


def test_two_centroids_on_one_vertebra(data: Path) -> None:
    move(data, "L2", lambda p: p + np.array([0, 0, 26]))
    (finding,) = audit([data]).findings
    assert (finding.code, finding.line) == ("E_DISTANCE", LINE["L2"])
    assert "which fit each other; it is in a wrong place" in finding.message
    rename(data, {"L3": None, "L4": None})
    (finding,) = audit([data]).findings
    assert (finding.code, finding.line) == ("E_DISTANCE", LINE["L2"])
    assert "too close for two vertebrae" in finding.message


def test_a_distance_that_this_person_has_nowhere_else(data: Path) -> None:
    move(data, "L3", lambda p: p + np.array([0, 0, 14.5]))
    rename(data, {"L4": None})
    (finding,) = audit([data]).findings
    assert (finding.code, finding.line, finding.severity) == ("W_DISTANCE", LINE["L3"], "warning")


def test_a_wrong_voxel_size(tmp_path: Path, phantoms: dict[str, Phantom]) -> None:
    phantom = phantoms["ann"]
    grid = Grid.from_spacing(phantom.grid.shape, 1.5)
    points = [
        Point(Vertebra(v.name, tuple(grid.to_lps(phantom.grid.to_voxel(v.lps)).tolist())), "", 4) for v in phantom.spine
    ]
    scan = Scan(phantom.array, grid, grid, "p", tmp_path / "p.nii.gz")
    findings = check_points(tmp_path / "p.csv", points, scan)
    assert [(f.code, f.line) for f in findings] == [("W_SIZE", 4)]


def test_a_patient_in_two_splits(data: Path) -> None:
    replace_line(data / "dataset.csv", "bob,validation", "ann,validation")
    assert found(audit([data])) == [("E_SPLIT_OVERLAP", "dataset.csv", 2), ("E_SPLIT_OVERLAP", "dataset.csv", 3)]
    # Without a manifest the folders say it.
    (data / "dataset.csv").unlink()
    for name in ("ann", "bob"):
        folder = data / ("training" if name == "ann" else "test")
        folder.mkdir()
        for ending in (".nii.gz", ".csv"):
            (data / f"{name}{ending}").rename(folder / f"x_{name}{ending}")
    assert sorted(found(audit([data], "^x"))) == [
        ("E_SPLIT_OVERLAP", "x_ann.nii.gz", 0),
        ("E_SPLIT_OVERLAP", "x_bob.nii.gz", 0),
    ]


def test_one_image_under_two_names(data: Path) -> None:
    shutil.copy(data / "ann.nii.gz", data / "zoe.nii.gz")
    shutil.copy(data / "ann.csv", data / "zoe.csv")
    with (data / "dataset.csv").open("a") as file:
        file.write("zoe.nii.gz,zoe.csv,zoe,train,,\n")
    assert found(audit([data])) == [("E_SAME_IMAGE", "dataset.csv", 5)]
    assert "patient ann" in audit([data]).findings[0].message
    replace_line(data / "dataset.csv", "zoe.csv,zoe", "zoe.csv,ann")
    assert found(audit([data])) == [("W_SAME_IMAGE", "dataset.csv", 5)]


def test_lines_of_a_manifest_that_cannot_be_used(data: Path) -> None:
    with (data / "dataset.csv").open("a") as file:
        file.write(
            "./ann.nii.gz,ann.csv,ann,train,,\nx.nii.gz,,x,train,,\ny.nii.gz,y.csv,y,trial,,\nz.nii.gz,z.csv,z,test,,\n"
        )
    result = audit([data])
    assert found(result) == [
        ("E_MANIFEST", "dataset.csv", 5),
        ("E_MANIFEST", "dataset.csv", 6),
        ("E_MANIFEST", "dataset.csv", 7),
        ("E_NO_SCAN", "dataset.csv", 8),
    ]
    assert "stands in line 2 already" in result.findings[0].message
    assert result.scans == 4
    (data / "dataset.csv").write_text("scan,patient\n")
    assert found(audit([data])) == [("E_MANIFEST", data.name, 0)]


def test_a_scan_that_two_folders_list(data: Path) -> None:
    shutil.copy(data / "dataset.csv", data / "again.csv")
    result = audit([data, data / "again.csv"])
    assert found(result) == [("E_MANIFEST", "again.csv", line) for line in (2, 3, 4)]
    assert result.scans == 3


def test_files_that_are_missing_or_broken(data: Path) -> None:
    (data / "ann.nii.gz").write_bytes(b"not an image")
    (data / "bob.csv").unlink()
    (data / "eve.csv").write_text("name,x\n")
    result = audit([data])
    assert [(f.file.name, f.line) for f in result.findings] == [("dataset.csv", 2), ("dataset.csv", 3), ("eve.csv", 0)]
    assert result.errors == 3
    (data / "eve.csv").write_text("name,x_lps_mm,y_lps_mm,z_lps_mm\n")
    assert ("E_NO_CENTROIDS", "eve.csv", 0) in found(audit([data]))


def test_a_scan_that_the_front_door_doubts(data: Path, phantoms: dict[str, Phantom]) -> None:
    phantom = phantoms["bob"]
    write_nifti(data / "bob.nii.gz", phantom.array + np.int16(1024), phantom.grid)
    assert found(audit([data])) == [("W_NOT_HU", "dataset.csv", 3)]
    write_nifti(data / "bob.nii.gz", np.zeros(phantom.grid.shape, np.int16), phantom.grid)
    assert found(audit([data])) == [("E_CONSTANT", "dataset.csv", 3)]


def test_scans_and_centroids_that_are_alone(data: Path) -> None:
    (data / "dataset.csv").unlink()
    (data / "ann.csv").rename(data / "stray.csv")
    assert found(audit([data])) == [("W_NO_CENTROIDS", "ann.nii.gz", 0), ("W_STRAY", "stray.csv", 0)]


def test_nothing_to_check(tmp_path: Path) -> None:
    assert audit([tmp_path]) == Audit((), 0, 0)
    with pytest.raises(ScanError, match="E_NO_SCAN"):
        audit([tmp_path / "nowhere"])


def test_findings_as_a_table(data: Path, tmp_path: Path) -> None:
    rename(data, {"L4": "L3"})
    write_findings(tmp_path / "f.csv", audit([data]).findings)
    assert (tmp_path / "f.csv").read_text().splitlines() == [
        "severity,code,file,line,scan,message",
        f'error,E_DUPLICATE,{data / "ann.csv"},9,ann,"L3 occurs twice, first in line 8"',
    ]
