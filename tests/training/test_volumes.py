# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest

from spinefinder_fast import make_phantom
from spinefinder_fast.dataset import Entry, write_manifest
from spinefinder_fast.discs import dense_labels
from spinefinder_fast.errors import AnnotationError
from spinefinder_fast.report import write_lml, write_verse_json
from spinefinder_fast.scan import write_nifti
from spinefinder_fast.training import volumes
from spinefinder_fast.training.volumes import entries_of, load_training_scans


@pytest.fixture(scope="module")
def phantom():
    return make_phantom("L1", "L3", spacing_mm=4.0, seed=3)


def entry(folder, phantom, name="a", write=write_verse_json, ending="_ctd.json", **others):
    folder.mkdir(exist_ok=True)
    write_nifti(folder / f"{name}.nii.gz", phantom.array, phantom.grid)
    write(folder / f"{name}{ending}", phantom.spine)
    return Entry(folder / f"{name}.nii.gz", folder / f"{name}{ending}", others.pop("patient", name), **others)


@pytest.mark.parametrize(("write", "ending"), [(write_verse_json, "_ctd.json"), (write_lml, ".lml")])
def test_scans_are_resampled_and_mapped_with_their_centroids(tmp_path, phantom, write, ending):
    of_scan = entry(tmp_path / "scans", phantom, write=write, ending=ending, patient="p7")
    (scan,) = load_training_scans([of_scan], 4.0, tmp_path / "store")
    assert (scan.name, scan.patient, scan.truth.source) == ("a", "p7", "a")
    assert isinstance(scan.array, np.memmap)
    assert scan.array.dtype == np.int16
    # Same spacing and already canonical: the voxels are those of the phantom.
    assert (scan.array == phantom.array).all()
    assert scan.labels.tolist() == [20, 21, 22]
    assert scan.centroids_vox == pytest.approx(phantom.grid.to_voxel(phantom.spine.lps()), abs=0.01)
    assert scan.volume().array.dtype == np.float32
    (coarse,) = load_training_scans([of_scan], 8.0, tmp_path / "store")
    assert coarse.array.shape == tuple(n // 2 for n in phantom.array.shape)
    assert coarse.grid.to_lps(coarse.centroids_vox) == pytest.approx(phantom.spine.lps(), abs=0.05)


def test_a_scan_is_read_once_and_again_when_it_changes(tmp_path, phantom, monkeypatch):
    of_scan = entry(tmp_path / "scans", phantom)
    read = []
    monkeypatch.setattr(volumes, "resample", lambda *a, r=volumes.resample: read.append(a) or r(*a))
    for _ in range(3):
        load_training_scans([of_scan], 4.0, tmp_path / "store")
    assert len(read) == 1
    status = of_scan.scan.stat()
    os.utime(of_scan.scan, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    load_training_scans([of_scan], 4.0, tmp_path / "store")
    assert len(read) == 2


def test_a_death_while_storing_leaves_nothing_half_done(tmp_path, phantom, monkeypatch):
    of_scan = entry(tmp_path / "scans", phantom)
    save = volumes._save

    def die(path, write):
        if path.suffix == ".npz":
            raise KeyboardInterrupt
        save(path, write)

    monkeypatch.setattr(volumes, "_save", die)
    with pytest.raises(KeyboardInterrupt):
        load_training_scans([of_scan], 4.0, tmp_path / "store")
    monkeypatch.setattr(volumes, "_save", save)
    (scan,) = load_training_scans([of_scan], 4.0, tmp_path / "store")
    assert (scan.array == phantom.array).all()
    assert len(list((tmp_path / "store").iterdir())) == 2


def test_t13_is_one_more_t12_and_l6_one_more_l5(tmp_path, phantom):
    names = dict(zip(("L1", "L2", "L3"), ("T12", "T13", "L1"), strict=True))
    spine = replace(phantom.spine, vertebrae=tuple(replace(v, name=names[v.name]) for v in phantom.spine))
    (scan,) = load_training_scans([entry(tmp_path, replace(phantom, spine=spine))], 4.0, tmp_path / "store")
    assert scan.truth.names == ["T12", "T13", "L1"]
    assert scan.labels.tolist() == [19, 19, 20]
    dense = dense_labels(scan.labels, scan.centroids_vox, scan.array.shape, (4.0,) * 3)
    i, j, k = np.rint(scan.centroids_vox).astype(int).T
    assert dense[i, j, k].tolist() == [19, 19, 20]
    # Between T12 and T13 there is no hole.
    assert (dense[i[0], j[0], k[1] : k[0]] == 19).mean() > 0.9


def test_a_data_set_gives_the_scans_of_a_split_and_a_folder_all(tmp_path, phantom):
    entries = [entry(tmp_path / "a", phantom, n, split=s) for n, s in (("a", "train"), ("b", "validation"))]
    write_manifest(tmp_path / "dataset.csv", entries)
    assert [e.patient for e in entries_of([tmp_path], "train")] == ["a"]
    assert [e.patient for e in entries_of([tmp_path / "dataset.csv"], "validation")] == ["b"]
    # The folder of the scans has no manifest.
    assert [e.scan.name for e in entries_of([tmp_path / "a"], "train")] == ["a.nii.gz", "b.nii.gz"]


def test_a_patient_in_two_splits_is_refused(tmp_path, phantom):
    entries = [entry(tmp_path, phantom, n, patient="p", split=s) for n, s in (("a", "train"), ("b", "test"))]
    write_manifest(tmp_path / "dataset.csv", entries)
    with pytest.raises(AnnotationError, match="E_SPLIT_OVERLAP"):
        entries_of([tmp_path], "train")


def test_verse_names_are_found_and_masks_passed_over(tmp_path, phantom):
    write_nifti(tmp_path / "sub-a_ct.nii.gz", phantom.array, phantom.grid)
    write_nifti(tmp_path / "sub-a_seg-vert_msk.nii.gz", phantom.tissue, phantom.grid)
    write_verse_json(tmp_path / "sub-a_seg-subreg_ctd.json", phantom.spine)
    (found,) = entries_of([tmp_path], "train")
    assert (found.scan.name, found.centroids.name) == ("sub-a_ct.nii.gz", "sub-a_seg-subreg_ctd.json")


def test_folders_named_after_splits_are_kept_apart(tmp_path, phantom):
    for split, name in (("train", "a"), ("test", "b"), ("validation", "c")):
        entry(tmp_path / split, phantom, name)
    assert [e.patient for e in entries_of([tmp_path], "train")] == ["a"]
    assert [e.patient for e in entries_of([tmp_path], "validation")] == ["c"]
    # Whoever names one of them means it.
    assert [(e.patient, e.split) for e in entries_of([tmp_path / "test"], "validation")] == [("b", "validation")]


def test_a_scan_without_centroids_is_named(tmp_path, phantom):
    write_nifti(tmp_path / "lonely.nii.gz", phantom.array, phantom.grid)
    with pytest.raises(AnnotationError, match=r"lonely.nii.gz has no centroids"):
        entries_of([tmp_path], "train")
    write_nifti(tmp_path / "lonely_seg-vert_msk.nii.gz", phantom.tissue, phantom.grid)
    with pytest.raises(AnnotationError, match=r"lonely.nii.gz has masks alone.*dataset import"):
        entries_of([tmp_path], "train")
    with pytest.raises(AnnotationError, match="E_NO_SCAN"):
        load_training_scans([], 4.0, tmp_path / "store")
