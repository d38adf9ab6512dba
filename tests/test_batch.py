# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event, active_count

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stubs import labelled_scan, true_model

from spinefinder_fast import Spine, batch, make_phantom, read_scan
from spinefinder_fast.batch import predict_batch, result_names
from spinefinder_fast.errors import OutputError, ScanError, WeightsError
from spinefinder_fast.procedure import FAITHFUL
from spinefinder_fast.scan import ScanFile, open_scan, read, write_nifti


def names(*paths: str) -> list[str]:
    return result_names([Path(path) for path in paths])


def test_a_scan_is_called_like_its_file():
    assert names("/d/a.nii.gz", "/d/b.NII", "/d/c.mha", "/other/e.nrrd") == ["a", "b", "c", "e"]
    assert names() == []


def test_folders_go_before_names_that_clash_and_no_others():
    assert names("/d/p1/ct.nii.gz", "/d/p2/ct.nii.gz", "/d/p2/b.nii") == ["p1_ct", "p2_ct", "b"]


def test_as_many_folders_as_it_takes():
    assert names("/d/p1/day/ct.nii", "/d/p2/day/ct.nii", "/d/p2/night/ct.nii") == ["p1_day_ct", "p2_day_ct", "night_ct"]


def test_names_that_differ_in_case_alone_are_one_file_on_many_disks():
    assert names("/d/p1/CT.nii", "/d/p2/ct.nii") == ["p1_CT", "p2_ct"]


def test_folders_of_other_depths_and_the_root():
    assert names("/ct.nii", "/d/ct.nii") == ["ct", "d_ct"]
    assert names("/e/f/g/d/ct.nii", "/d/ct.nii") == ["g_d_ct", "d_ct"]


def test_a_name_made_with_a_folder_may_clash_too():
    assert names("/d/p/ct.nii", "/d/q/ct.nii", "/e/p_ct.nii") == ["d_p_ct", "q_ct", "e_p_ct"]


def test_relative_paths_are_told_apart_by_where_they_are(tmp_path, monkeypatch):
    (tmp_path / "p1").mkdir()
    monkeypatch.chdir(tmp_path / "p1")
    assert names("ct.nii", "../p2/ct.nii") == ["p1_ct", "p2_ct"]


def test_links_to_one_file_are_two_scans(tmp_path):
    # As data sets kept by git-annex are: all links into one store.
    for patient in ("p1", "p2"):
        (tmp_path / patient).mkdir()
        (tmp_path / patient / "ct.nii").symlink_to(tmp_path / "store.nii")
    assert result_names([tmp_path / "p1" / "ct.nii", tmp_path / "p2" / "ct.nii"]) == ["p1_ct", "p2_ct"]


def test_a_scan_that_is_just_called_ct_is_called_after_its_folder():
    # As `evaluate` calls it, and as it is called among others.
    assert names("/d/p1/ct.nii.gz") == ["p1_ct"]
    assert names("/d/p1/CT.nii.gz", "/d/b.nii") == ["p1_CT", "b"]
    assert names("/d/p1/ct.nii.gz", "/e/p1/ct.nii.gz") == ["d_p1_ct", "e_p1_ct"]
    assert names("/ct.nii.gz") == ["ct"]


def test_the_batch_table_keeps_its_name():
    assert names("/d/Summary.nii") == ["d_Summary"]


@pytest.mark.parametrize("paths", [("/d/a.nii", "/d/a.nii.gz"), ("/a.nii", "/a.nii.gz"), ("/d/a.nii", "/d/A.mha")])
def test_scans_that_cannot_be_told_apart(paths):
    with pytest.raises(OutputError, match=r"E_NAME_CLASH.*called .*[aA]; run them into separate folders"):
        names(*paths)


@given(st.lists(st.lists(st.sampled_from(["a", "b", "A", "a_b", "ct", "a_ct"]), min_size=1, max_size=4), max_size=8))
def test_no_two_scans_write_the_same_file(parts):
    paths = [Path("/", *part[:-1], f"{part[-1]}.nii") for part in parts]
    longest = {"_".join(path.with_suffix("").parts[1:]).casefold() for path in paths}
    try:
        found = result_names(paths)
    except OutputError:
        found = []
    if not found:
        assert len(longest) < len(paths) or not paths
        return
    assert len({name.casefold() for name in found}) == len(paths)
    for name, path in zip(found, paths, strict=True):
        assert "_".join(path.with_suffix("").parts[1:]).endswith(name)


@pytest.fixture
def scans(tmp_path):
    phantom = make_phantom("L1", "L2", spacing_mm=4.0, fov_mm=(80, 80))
    array = labelled_scan(phantom.spine, phantom.grid).array
    paths = [tmp_path / f"{name}.nii" for name in "abc"]
    for path in paths:
        write_nifti(path, np.where(array > 0, array, -1000).astype(np.int16), phantom.grid)
    return paths


def run(scans, folder):
    return list(predict_batch(scans, folder, true_model(4.0), procedure=FAITHFUL, picture=False))


def fail_for_b(monkeypatch, stage, error):
    """Lets a stage of the batch fail for the scan b."""
    import spinefinder_fast.batch as batch

    whole = getattr(batch, stage)

    def broken(first, *rest, **options):
        if "b" in (getattr(first, "name", None), getattr(first, "stem", None)):
            raise error
        return whole(first, *rest, **options)

    monkeypatch.setattr(batch, stage, broken)


@pytest.mark.parametrize("stage", ["open_scan", "locate"])
def test_a_bug_costs_one_scan(scans, tmp_path, monkeypatch, stage):
    fail_for_b(monkeypatch, stage, RuntimeError("first line\nsecond line"))
    results = run(scans, tmp_path / "out")
    assert [result.status for result, _ in results] == ["ok", "failed", "ok"]
    result, spine = results[1]
    assert result.message == "[E_INTERNAL] RuntimeError: first line"
    assert spine is None
    assert result.names == ()
    assert results[2][1].names == ["L1", "L2"]
    assert not list((tmp_path / "out").glob("b*"))


def test_a_refused_scan_costs_nobody_else(scans, tmp_path, monkeypatch):
    fail_for_b(monkeypatch, "open_scan", ScanError("E_GAP", "a slice is missing"))
    results = run(scans, tmp_path / "out")
    assert [(result.status, result.message) for result, _ in results] == [
        ("ok", ""),
        ("refused", "[E_GAP] a slice is missing"),
        ("ok", ""),
    ]


@pytest.mark.parametrize("label_map", [False, True])
def test_where_the_centroids_are_everything_else_is(scans, tmp_path, monkeypatch, label_map):
    fail_for_b(monkeypatch, "draw_spine", RuntimeError("no font"))
    results = list(predict_batch(scans[1:2], tmp_path / "out", true_model(4.0), label_map=label_map))
    assert [result.status for result, _ in results] == ["failed"]
    assert list((tmp_path / "out").iterdir()) == []


def test_a_full_disk_stops_the_batch(scans, tmp_path, monkeypatch):
    def full(path, spine):
        raise OutputError("E_WRITE", "No space left on device")

    monkeypatch.setattr("spinefinder_fast.batch.write_csv", full)
    batch = predict_batch(scans, tmp_path / "out", true_model(4.0), procedure=FAITHFUL, picture=False)
    with pytest.raises(OutputError, match="No space left"):
        next(batch)
    assert list(batch) == []


def test_each_result_comes_when_it_is_done(scans, tmp_path):
    batch = predict_batch(scans, tmp_path / "out", true_model(4.0), procedure=FAITHFUL, picture=False)
    result, spine = next(batch)
    assert (result.scan, result.names, result.seconds > 0) == ("a", spine.names, True)
    assert {path.name for path in (tmp_path / "out").glob("a*")} == {"a_ctd.json", "a.csv", "a.mrk.json"}
    assert list(result.stages) == ["load", "resample", "coarse", "detect", "identify", "aggregate", "write"]
    batch.close()


def test_reading_locating_and_writing_of_different_scans_overlap(scans, tmp_path, monkeypatch):
    import spinefinder_fast.batch as batch

    events = []
    stages = {stage: getattr(batch, stage) for stage in ("open_scan", "locate", "_write")}
    read_of_next = {name: Event() for name in "abcd"}

    def spy(stage):
        def spied(first, *rest, **options):
            name = getattr(first, "stem", None) or first.name
            if stage == "open_scan":
                read_of_next[name].set()
            elif stage == "locate" and name != "c":
                # Ends only when the next scan is being read meanwhile.
                assert read_of_next[chr(ord(name) + 1)].wait(30)
            events.append((stage, name))
            return stages[stage](first, *rest, **options)

        return spied

    for stage in stages:
        monkeypatch.setattr(batch, stage, spy(stage))
    results = run(scans, tmp_path / "out")
    assert [result.status for result, _ in results] == ["ok"] * 3
    assert [result.scan for result, _ in results] == ["a", "b", "c"]
    assert events.index(("open_scan", "b")) < events.index(("locate", "a"))


def test_a_caller_who_has_had_enough_stops_the_batch(scans, tmp_path):
    started = active_count()
    batch = predict_batch(scans, tmp_path / "out", true_model(4.0), procedure=FAITHFUL, picture=False)
    next(batch)
    batch.close()
    assert active_count() == started


def test_names_that_clash_are_found_out_before_the_work(scans, tmp_path):
    with pytest.raises(OutputError, match="E_NAME_CLASH"):
        next(predict_batch([scans[0], scans[0].with_suffix(".nii.gz")], tmp_path / "out", true_model(4.0)))
    assert not (tmp_path / "out").exists()


def test_two_scans_are_located_side_by_side(scans, tmp_path, monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    threads = set()
    meeting = Barrier(2)

    def locate(scan, model, procedure):
        if scan.name in "ab":
            meeting.wait(timeout=60)  # neither goes on before the other has come
        threads.add(torch.get_num_threads())
        return Spine((), scan.file_grid, scan.name, (), {"seconds": {}})

    monkeypatch.setattr(batch, "locate", locate)
    try:
        found = [result.scan for result, _ in predict_batch(scans, tmp_path / "out", true_model(), picture=False)]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert found == ["a", "b", "c"]
    assert threads == {1}


def test_a_large_scan_stays_in_its_file_and_its_results_are_the_same(scans, tmp_path, monkeypatch):
    def files(folder):
        found = list(predict_batch(scans[:1], tmp_path / folder, true_model(4.0), label_map=True))
        result, spine = found[0]
        assert spine.names
        assert result.stages["load"] > spine.details["seconds"]["load"]
        return {path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()}

    held = files("held")
    monkeypatch.setattr(batch, "LARGE_VOXELS", read_scan(scans[0]).array.size - 1)
    monkeypatch.setattr(read, "_SLAB_VOXELS", 1)
    monkeypatch.setattr(ScanFile, "read", lambda self: pytest.fail("it was held"))
    assert files("left") == held
    assert len(held) == len(batch.RESULT_ENDINGS) + 1


def test_the_first_scan_is_read_while_the_model_is_loaded(scans, tmp_path, monkeypatch):
    read = Event()

    def reading(path):
        read.set()
        return open_scan(path)

    def load():
        assert read.wait(20)
        return true_model(4.0)

    monkeypatch.setattr(batch, "open_scan", reading)
    with ThreadPoolExecutor(1) as pool:
        found = [spine for _, spine in predict_batch(scans, tmp_path / "out", pool.submit(load))]
    assert len(found) == len(scans)
    assert all(spine and spine.names for spine in found)


def test_without_a_model_earlier_results_stay(scans, tmp_path):
    list(predict_batch(scans, tmp_path / "out", true_model(4.0)))
    before = sorted(tmp_path.joinpath("out").iterdir())

    def load():
        raise WeightsError("E_WEIGHTS_HASH", "damaged")

    threads = active_count()
    with ThreadPoolExecutor(1) as pool, pytest.raises(WeightsError, match="damaged"):
        list(predict_batch(scans, tmp_path / "out", pool.submit(load)))
    assert sorted(tmp_path.joinpath("out").iterdir()) == before
    assert active_count() == threads
