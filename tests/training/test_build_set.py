# SPDX-License-Identifier: Apache-2.0
import json
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spinefinder_fast import Grid, Spine, Vertebra, anatomy, make_phantom, read_centroids, read_scan
from spinefinder_fast.phantom import Tissue
from spinefinder_fast.scan import write_nifti
from spinefinder_fast.training import build_set
from spinefinder_fast.training.build_set import build, check_split, label_map, random_box, whole_scans, with_ends
from spinefinder_fast.training.labelmaps import reposed, tissue_map

RECIPES = Path(build_set.__file__).with_name("recipes")


def column(*labels, gap=30.0):
    return Spine(tuple(Vertebra(anatomy.name_of(v), (40.0, 60.0, 200.0 - gap * i)) for i, v in enumerate(labels)))


def test_an_end_goes_on_at_its_typical_ratio():
    spine = with_ends(column(20, 21, 22))
    assert spine.names == ["T12", "L1", "L2", "L3", "L4"]
    above = spine["T12"].lps[2] - spine["L1"].lps[2]
    assert above == pytest.approx(30 * anatomy.GAPS_MM["T12"] / anatomy.GAPS_MM["L1"])
    below = spine["L3"].lps[2] - spine["L4"].lps[2]
    assert below == pytest.approx(30 * anatomy.GAPS_MM["L3"] / anatomy.GAPS_MM["L2"])


def test_below_l6_lies_s1():
    l4, l5, l6 = column(23, 24, 25)
    spine = with_ends(Spine((l4, l5, replace(l6, name="L6"))))
    assert spine.names == ["L3", "L4", "L5", "L6", "S1"]
    below = spine["L6"].lps[2] - spine["S1"].lps[2]
    assert below == pytest.approx(30 * anatomy.GAPS_MM["L5"] / anatomy.GAPS_MM["L5"])


def test_the_sacrum_turns_to_the_back():
    s1, s2 = (np.array(v.lps) for v in with_ends(column(23, 24, 25)).vertebrae[-2:])
    across, back, up = s2 - s1
    assert across == 0
    assert np.degrees(np.arctan2(back, -up)) == pytest.approx(28)


def test_no_recipe_calls_unseen_what_it_trains_on():
    recipes = {path.stem: tomllib.loads(path.read_text()) for path in RECIPES.glob("*.toml")}
    table = recipes["synthetic"]["set"]
    check_split(table)
    for name in ("real", "settle"):
        unseen = recipes[name]["provenance"]["never_seen"]
        assert set(unseen) == set(table["held_out"])
        assert not set(unseen) & set(table["real"])


def test_nothing_lies_above_c1_or_below_s2():
    assert with_ends(column(*range(1, 27), gap=25.0)).names == list(anatomy.NAMES)


def test_a_field_of_view_holds_two_vertebrae_and_lies_in_the_scan():
    grid, spine = Grid.from_spacing((60, 60, 120), 2.0), column(18, 19, 20, 21, 22)
    rng = np.random.default_rng(0)
    sizes = set()
    for _ in range(50):
        box = random_box(grid, spine, rng)
        assert all(0 <= s.start < s.stop <= n for s, n in zip(box, grid.shape, strict=True))
        z = grid.to_voxel(spine.lps())[:, 2]
        assert ((z >= box[2].start - 0.5) & (z <= box[2].stop)).sum() >= 2
        sizes.add(tuple(s.stop - s.start for s in box))
    assert len(sizes) > 10


def test_above_c1_a_field_of_view_shows_more_of_the_head():
    grid, spine = Grid.from_spacing((60, 60, 200), 2.0), column(1, 2, 3, 4, 5)
    rng = np.random.default_rng(0)
    top = grid.to_voxel(spine.lps())[0, 2]
    above = [2.0 * (random_box(grid, spine, rng)[2].stop - top) for _ in range(60)]
    assert max(above) > 100
    # And a column that does not reach C1 shows no more than the next vertebra or two.
    spine = column(3, 4, 5, 6, 7)
    top = grid.to_voxel(spine.lps())[0, 2]
    assert max(2.0 * (random_box(grid, spine, rng)[2].stop - top) for _ in range(60)) < 45


def test_a_label_map_gets_discs_and_a_body_around_it():
    grid = Grid.from_spacing((60, 60, 60), 2.0)
    labels = np.zeros(grid.shape, np.uint8)
    labels[25:35, 25:35, 10:20] = 1
    labels[25:35, 25:35, 26:36] = 2
    labels[30, 40, 10:36] = 3
    names = {"vertebrae_L2": 1, "vertebrae_L1": 2, "vertebral_artery_left": 3}
    points = grid.to_lps([[29.5, 29.5, 30.5], [29.5, 29.5, 14.5]])
    spine = Spine((Vertebra("L1", tuple(points[0])), Vertebra("L2", tuple(points[1]))))
    tissue = tissue_map(labels, names, spine, grid, np.random.default_rng(0))
    assert (tissue[labels == 1] == Tissue.BONE).all()
    assert (tissue[labels == 3] == Tissue.BLOOD).all()
    assert tissue[30, 30, 23] == Tissue.DISC
    assert tissue[30, 22, 30] in (Tissue.FAT, Tissue.MUSCLE, Tissue.DISC)
    assert tissue[0, 0, 30] == Tissue.AIR


def test_a_mask_of_vertebrae_ends_before_the_vertebrae_that_it_does_not_show(tmp_path):
    # In VerSe's numbers, 0.4 mm wide from side to side: thinned to every second voxel there.
    grid = Grid.from_spacing((60, 40, 80), (0.4, 1.0, 1.0))
    labels = np.zeros(grid.shape, np.uint8)
    points = {}
    for name, low in (("T12", 45), ("L1", 20)):
        labels[20:40, 10:30, low : low + 18] = anatomy.VERSE_NUMBERS[name]
        x, y, z = grid.to_lps([29.5, 19.5, low + 8.5])
        points[name] = [-x, -y, z]
    write_nifti(tmp_path / "m.nii.gz", labels, grid)
    (tmp_path / "index.json").write_text(json.dumps({"m": {"centroids_ras": points, "touch_border": []}}))
    thin, names, spine, its_grid = label_map(tmp_path, "m", 0.8)
    assert its_grid.spacing_mm == pytest.approx((0.8, 1, 1))
    # T11 and L2 are not shown, and their places lie outside.
    assert spine.names == ["T11", "T12", "L1", "L2"]
    assert list(its_grid.contains(spine.lps())) == [False, True, True, False]
    for name in ("T12", "L1"):
        x, y, z = np.rint(its_grid.to_voxel(np.array([spine[name].lps])))[0].astype(int)
        assert thin[x, y, z] == names[f"vertebrae_{name}"]


@pytest.mark.parametrize(("names", "head"), [(["C1", "C2", "C3"], True), (["C2", "C3", "C4"], False)])
def test_a_mask_gets_room_for_a_body_and_above_c1_for_a_head(tmp_path, names, head):
    grid = Grid.from_spacing((60, 60, 80), (1.0, 1.0, 1.0))
    labels = np.zeros(grid.shape, np.uint8)
    points = {}
    for i, name in enumerate(names):
        labels[25:36, 25:36, 60 - 20 * i : 66 - 20 * i] = anatomy.VERSE_NUMBERS[name]
        x, y, z = grid.to_lps([30, 30, 62.5 - 20 * i])
        points[name] = [-x, -y, z]
    write_nifti(tmp_path / "m.nii.gz", labels, grid)
    (tmp_path / "index.json").write_text(json.dumps({"m": {"centroids_ras": points, "touch_border": []}}))
    wide, _, spine, its_grid = label_map(tmp_path, "m", 1.0)
    at = its_grid.to_voxel(spine[names[1]].lps)
    # To the right, in front; to the left, behind.
    assert at[:2] == pytest.approx([200, 180], abs=1)
    assert wide.shape[:2] == pytest.approx((401, 291), abs=1)
    above = wide.shape[2] - 1 - its_grid.to_voxel(spine[names[0]].lps)[2]
    assert above == pytest.approx(120 if head else 7.5, abs=3)
    assert wide[tuple(np.rint(at).astype(int))] == anatomy.VERSE_NUMBERS[names[1]]


def test_the_number_of_processes_changes_nothing(tmp_path):
    table = {"seed": 1, "spacing_mm": 4.0, "real": [], "labelmaps": [], "phantoms": 2}
    for processes in (1, 2):
        build({"set": table}, tmp_path, tmp_path / str(processes), processes)
    a, b = ([read_scan(p).array for p in sorted((tmp_path / n).rglob("*.nii.gz"))] for n in "12")
    assert len(a) == 2
    assert all((x == y).all() for x, y in zip(a, b, strict=True))


def test_an_ingredient_is_left_out_of_phantoms(tmp_path):
    table = {"seed": 1, "spacing_mm": 4.0, "real": [], "labelmaps": [], "phantoms": 3}
    build({"set": table}, tmp_path, tmp_path / "with")
    build({"set": {**table, "without": ["noise", "narrow fields of view"]}}, tmp_path, tmp_path / "without")
    noisy, quiet = ([read_scan(p) for p in sorted((tmp_path / n).rglob("*.nii.gz"))] for n in ("with", "without"))
    assert all(np.ptp(s.grid.to_lps([[0, 0, 0], s.grid.shape])[:, 0]) > 200 for s in quiet)
    assert min(np.ptp(s.grid.to_lps([[0, 0, 0], s.grid.shape])[:, 0]) for s in noisy) < 200
    with pytest.raises(ValueError, match=r"without is \['ribs'\]; postures, narrow"):
        build({"set": {**table, "without": ["ribs"]}}, tmp_path, tmp_path / "unknown")


def test_heads_are_phantoms_with_their_head_in_view(tmp_path):
    build(
        {"set": {"seed": 1, "spacing_mm": 4.0, "real": [], "labelmaps": [], "phantoms": 1, "heads": 2}},
        tmp_path,
        tmp_path / "set",
    )
    for i in range(2):
        path = tmp_path / "set" / "synthetic" / f"head_{i:03}"
        grid = read_scan(f"{path}_ct.nii.gz").grid
        truth = read_centroids(f"{path}_ctd.json")
        assert truth.names[0] == "C1"
        assert grid.contains(truth.lps()[:1]).all()
        assert not grid.contains(truth.lps()[8:9]).any()
    # And another person than the phantom of that number.
    phantom = read_centroids(tmp_path / "set" / "synthetic" / "phantom_000_ctd.json")
    head = read_centroids(tmp_path / "set" / "synthetic" / "head_000_ctd.json")
    gaps = [np.linalg.norm(np.diff(spine.lps()[:7], axis=0), axis=1) for spine in (phantom, head)]
    assert np.abs(gaps[0] - gaps[1]).max() > 0.1


def test_a_set_that_judges_asks_only_for_what_is_in_view(tmp_path):
    table = {"seed": 1, "spacing_mm": 4.0, "real": [], "labelmaps": [], "phantoms": 1}
    for beyond in (True, False):
        build({"set": {**table, "beyond": beyond}}, tmp_path, tmp_path / str(beyond))
    every, seen = (read_centroids(tmp_path / str(b) / "synthetic" / "phantom_000_ctd.json") for b in (True, False))
    grid = read_scan(tmp_path / "True" / "synthetic" / "phantom_000_ct.nii.gz").grid
    assert len(every) >= 25
    assert 2 <= len(seen) < len(every)
    assert seen.names == [v.name for v, inside in zip(every, grid.contains(every.lps()), strict=True) if inside]


def test_a_set_is_built_from_scans_label_maps_and_phantoms(tmp_path):
    data = tmp_path / "data"
    for name, seed in (("a", 1), ("b", 2)):
        phantom = make_phantom("T12", "L3", spacing_mm=4.0, seed=seed)
        (data / "scans" / name).mkdir(parents=True)
        write_nifti(data / "scans" / name / "ct.nii.gz", phantom.array, phantom.grid)
        centroids = {v.name: {"lps_mm": v.lps, "truncated": v.truncated} for v in phantom.spine}
        (data / "scans" / name / "centroids.json").write_text(json.dumps({"centroids": centroids}))
    (data / "labelmaps").mkdir()
    write_nifti(data / "labelmaps" / "m.nii.gz", (phantom.tissue == Tissue.TRABECULAR).astype(np.uint8), phantom.grid)
    (data / "labelmaps" / "m.json").write_text(json.dumps({"vertebrae_L1": 1}))
    ras = {v.name: [-v.lps[0], -v.lps[1], v.lps[2]] for v in phantom.spine}
    (data / "labelmaps" / "index.json").write_text(json.dumps({"m": {"centroids_ras": ras, "touch_border": ["T12"]}}))
    table = {
        "seed": 1, "spacing_mm": 4.0, "real": ["a", "b"], "labelmaps": ["m"],
        "crops_per_scan": 2, "renders_per_labelmap": 3, "renders": {"m": 2}, "phantoms": 1,
    }  # fmt: skip
    build({"set": table}, data, tmp_path / "set")
    names = sorted(str(p.relative_to(tmp_path / "set")) for p in (tmp_path / "set").rglob("*_ct.nii.gz"))
    assert [name.removesuffix("_ct.nii.gz") for name in names] == [
        "real/a/a_00", "real/a/a_01", "real/b/b_00", "real/b/b_01",
        "synthetic/map_m_00", "synthetic/map_m_01", "synthetic/phantom_000",
    ]  # fmt: skip
    # The whole scan comes first, and keeps all of its vertebrae.
    scan = read_scan(tmp_path / "set" / "real" / "b" / "b_00_ct.nii.gz")
    truth = read_centroids(tmp_path / "set" / "real" / "b" / "b_00_ctd.json", scan.file_grid)
    assert truth.lps() == pytest.approx(phantom.spine.lps(), abs=0.01)
    # The map's T12 is cut by its border: it stands where the gaps below it say.
    drawn = read_centroids(tmp_path / "set" / "synthetic" / "map_m_00_ctd.json")
    assert drawn.names[:3] == ["T12", "L1", "L2"]
    # What is rendered from the label map of a patient lies with that patient's scan.
    build({"set": {**table, "phantoms": 0, "patients": {"m": "b"}}}, data, tmp_path / "patients")
    assert not (tmp_path / "patients" / "synthetic").exists()
    assert sorted(p.parent.name for p in (tmp_path / "patients").rglob("map_m_*_ct.nii.gz")) == ["b", "b"]
    # So does another scan of his.
    build({"set": {**table, "phantoms": 0, "patients": {"m": "p", "a": "p", "b": "p"}}}, data, tmp_path / "one")
    assert [p.name for p in (tmp_path / "one" / "real").iterdir()] == ["a"]
    assert whole_scans(tmp_path / "one" / "real" / "a") == ["a", "b"]


def test_vertebrae_move_with_the_body_that_is_posed_anew():
    grid = Grid.from_spacing((80, 70, 120), (2.0, 2.0, 1.5))
    centres = np.array([[40.0, 35, 20], [42, 33, 60], [38, 36, 100]])
    tissue = np.zeros(grid.shape, np.uint8)
    indices = np.stack(np.indices(grid.shape), axis=-1)
    for i, centre in enumerate(centres, 1):
        tissue[
            ((indices - centre) * grid.spacing_mm / 7.0 <= 1).all(-1) & (np.abs(indices - centre) * 2 < 7).all(-1)
        ] = i
    spine = Spine(tuple(Vertebra(f"L{i}", tuple(p)) for i, p in enumerate(grid.to_lps(centres), 1)), grid)
    posed, moved = reposed(tissue, spine, grid, np.random.default_rng(2))
    far = np.linalg.norm(moved.lps() - spine.lps(), axis=1)
    assert far.max() > 5
    for i, vertebra in enumerate(moved, 1):
        where = grid.to_lps(np.argwhere(posed == i).mean(axis=0)[None])[0]
        assert np.linalg.norm(where - vertebra.lps) < 1.0
