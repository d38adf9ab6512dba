# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spinefinder_fast import anatomy
from spinefinder_fast.annotations import find_centroids, read_centroids
from spinefinder_fast.errors import AnnotationError
from spinefinder_fast.geometry import Grid
from spinefinder_fast.report import write_csv, write_lml, write_markups, write_verse_json
from spinefinder_fast.spine import Spine, Vertebra

# A scan stored to the back, downwards and to the right: VerSe's usual P, I, R.
PIR = Grid(
    (200, 400, 60), np.array([[0, 0, -3.0, 50.0], [0.8, 0, 0, -120.0], [0, -0.9, 0, 700.0], [0, 0, 0, 1.0]], np.float64)
)
POINTS = {"T12": (10.0, -60.0, 500.0), "L1": (8.0, -62.0, 470.0), "L6": (0.0, -50.0, 380.0), "S2": (-1.0, -30.0, 350.0)}
SPINE = Spine(tuple(Vertebra(name, lps) for name, lps in POINTS.items()), PIR, "case")


def assert_same(found: Spine, expected: Spine, atol: float = 1e-3) -> None:
    assert found.names == expected.names
    np.testing.assert_allclose(found.lps(), expected.lps(), atol=atol)


def test_lml_is_mm_along_the_array_axes(tmp_path: Path) -> None:
    path = tmp_path / "case.lml"
    # 10 voxels of 0.8 mm to the back, 20 of 0.9 mm downwards, 5 of 3 mm to the right, whatever origin and direction.
    path.write_text("any header, kept as it is\n1\tC2_center\t8\t18\t15\n\n2 T12_x_y 9.6 18.0 15.0\n")
    spine = read_centroids(path, PIR)
    assert spine.names == ["C2", "T12"]
    assert spine.source == "case"
    np.testing.assert_allclose(spine["C2"].lps, (50 - 15, -120 + 8, 700 - 18))
    write_lml(tmp_path / "again.lml", spine)
    again = (tmp_path / "again.lml").read_text().splitlines()
    assert again[0] == "any header, kept as it is"
    assert again[1].split() == ["1", "C2_center", "8.0000", "18.0000", "15.0000"]
    with pytest.raises(AnnotationError, match="E_NEEDS_SCAN"):
        read_centroids(path)


def test_verse_is_voxels_of_the_stated_axes(tmp_path: Path) -> None:
    path = tmp_path / "sub-verse005_seg-subreg_ctd.json"
    path.write_text(
        json.dumps(
            [
                {"direction": ["P", "I", "R"]},
                {"label": 20, "X": 10, "Y": 20.5, "Z": 5},
                {"label": 28, "X": 9, "Y": 1, "Z": 5},
            ]
        )
    )
    spine = read_centroids(path, PIR)
    assert spine.names == ["T13", "L1"]
    np.testing.assert_allclose(spine["L1"].lps, (50 - 15, -120 + 8, 700 - 20.5 * 0.9))
    for other in (None, PIR.canonical()):
        with pytest.raises(AnnotationError, match="E_NEEDS_SCAN" if other is None else "E_FRAME"):
            read_centroids(path, other)


def test_verse_2020_is_mm_of_the_turned_image(tmp_path: Path) -> None:
    path = tmp_path / "GL017_CT_ax_iso-ctd.json"
    path.write_text(json.dumps([{"label": 8, "X": 30.0, "Y": 100.0, "Z": 40.0}]))
    spine = read_centroids(path, PIR)
    assert spine.source == "GL017_CT_ax"
    # From the voxel that is furthest back, down and right, 30 mm to the front, 100 mm up, 40 mm to the left.
    back, low, right = -120 + 0.8 * 199, 700 - 0.9 * 399, 50 - 3.0 * 59
    np.testing.assert_allclose(spine["T1"].lps, (right + 40, back - 30, low + 100))
    path.rename(tmp_path / "GL017_ctd.json")
    with pytest.raises(AnnotationError, match="E_FRAME"):
        read_centroids(tmp_path / "GL017_ctd.json", PIR)


def test_verse_leaves_out_what_has_no_position(tmp_path: Path) -> None:
    path = tmp_path / "a_ctd.json"
    path.write_text(
        '[{"direction": ["P", "I", "R"]}, {"label": 1, "X": NaN, "Y": NaN, "Z": NaN},'
        ' {"label": 2, "X": 1, "Y": 2, "Z": 3}]'
    )
    spine = read_centroids(path, PIR)
    assert spine.names == ["C2"]
    assert spine.warnings[0].startswith("W_NAN")


def test_slicer_points_in_both_systems(tmp_path: Path) -> None:
    for system, sign in (("LPS", 1), ("RAS", -1)):
        points = [{"label": "C3", "position": [sign * 1.0, sign * 2.0, 3.0], "positionStatus": "defined"}]
        points.append({"label": "C4", "position": [0, 0, 0], "positionStatus": "undefined"})
        path = tmp_path / f"{system}.mrk.json"
        path.write_text(
            json.dumps({"markups": [{"type": "Fiducial", "coordinateSystem": system, "controlPoints": points}]})
        )
        spine = read_centroids(path)
        assert spine.names == ["C3"]
        assert spine["C3"].lps == (1.0, 2.0, 3.0)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.sets(st.sampled_from([*anatomy.NAMES, "T13", "L6"])),
    seed=st.integers(0, 2**20),
    codes=st.permutations(range(3)),
    signs=st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3),
)
def test_every_writer_is_read_back(tmp_path: Path, names, seed, codes, signs) -> None:
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(np.eye(3) + 0.2 * rng.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = (turn * np.array(signs))[:, codes] * rng.uniform(0.3, 5.0, 3)
    affine[:3, 3] = rng.normal(0, 300, 3)
    grid = Grid((300, 200, 100), affine)
    spine = Spine(
        tuple(
            Vertebra(
                name,
                tuple(grid.to_lps(rng.uniform(0, 1, 3) * (299, 199, 99)).tolist()),
                int(rng.integers(0, 9000)),
                tuple(rng.uniform(0, 20, 3).tolist()),
                bool(rng.integers(2)),
            )
            for name in sorted(names)
        ),
        grid,
        "case",
    )
    for write, ending in (
        (write_lml, ".lml"),
        (write_verse_json, "_ctd.json"),
        (write_markups, ".mrk.json"),
        (write_csv, ".csv"),
    ):
        path = tmp_path / f"case{ending}"
        write(path, spine)
        found = read_centroids(path, grid)
        assert_same(found, spine)
        assert found.source == "case"
        if ending != ".lml":
            assert_same(read_centroids(path), spine)  # what we write needs no scan
    for vertebra, original in zip(read_centroids(tmp_path / "case.csv"), spine, strict=True):
        assert (vertebra.votes, vertebra.truncated) == (original.votes, original.truncated)
        np.testing.assert_allclose(vertebra.spread_mm, original.spread_mm, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "text", "code", "place"),
    [
        ("a.lml", "header\n1\tX9_center\t1\t2\t3\n", "E_LABELS", "line 2"),
        ("a.lml", "header\n1 C1_c 1 2 3\n2 C1_c 1 2 3\n", "E_DUPLICATE", "line 3: C1 occurs twice, first in line 2"),
        ("a.lml", "header\n1 C1_c 1 2\n", "E_LABELS", "line 2"),
        ("a.lml", "header\n1 C1_c 1 2 nan\n", "E_LABELS", "line 2"),
        ("a.lml", "header\n1 c1_c 1 2 3\n", "E_LABELS", "line 2"),
        ("a_ctd.json", '[{"direction": ["P","I","R"]}, {"label": 29, "X": 1, "Y": 1, "Z": 1}]', "E_LABELS", "entry 2"),
        ("a_ctd.json", '[{"direction": ["P","I","R"]}, {"label": 1, "X": 1, "Y": 1}]', "E_LABELS", "entry 2"),
        ("a_ctd.json", '[{"direction": ["P","P","R"]}]', "E_FRAME", "axes"),
        ("a_ctd.json", '{"label": 1}', "E_FORMAT", "list"),
        ("a_ctd.json", "[{", "E_FORMAT", "a_ctd.json"),
        ("a.mrk.json", "[]", "E_FORMAT", "Slicer"),
        (
            "a.mrk.json",
            '{"markups": [{"controlPoints": [{"label": "Z1", "position": [1, 2, 3]}]}]}',
            "E_LABELS",
            "control point 1",
        ),
        ("a.mrk.json", '{"markups": [{"coordinateSystem": "IJK", "controlPoints": []}]}', "E_FRAME", "IJK"),
        ("a.csv", "name,x_lps_mm\nC1,2\n", "E_FORMAT", "y_lps_mm"),
        ("a.csv", "name,x_lps_mm,y_lps_mm,z_lps_mm\nC1,1,2,3\nC1,1,2,3\n", "E_DUPLICATE", "line 3"),
        ("a.txt", "", "E_FORMAT", "ends in none"),
    ],
)
def test_errors_name_the_place(tmp_path: Path, name: str, text: str, code: str, place: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(AnnotationError) as caught:
        read_centroids(tmp_path / name, PIR)
    assert caught.value.code == code
    assert place in str(caught.value)
    assert name in str(caught.value)


def test_points_outside_the_scan(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", SPINE)
    small = Grid.from_spacing((50, 50, 50), 1.0, (-10.0, -80.0, 460.0))
    spine = read_centroids(tmp_path / "a.csv", small)
    assert spine.warnings == ("W_OUTSIDE: L6, S2 outside the scan",)
    with pytest.raises(AnnotationError, match="E_OUTSIDE"):
        read_centroids(tmp_path / "a.csv", Grid.from_spacing((5, 5, 5)))


def test_finding_centroids(tmp_path: Path) -> None:
    for name in ("b.lml", "a/c_ctd.json", "a/GL1_iso-ctd.json", "a/notes.json", "a/d.mrk.json", "a/x.nii.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [str(p.relative_to(tmp_path)) for p in find_centroids(tmp_path)]
    assert found == ["a/GL1_iso-ctd.json", "a/c_ctd.json", "a/d.mrk.json", "b.lml"]
