# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spinefinder_fast.batch import result_names
from spinefinder_fast.dataset import Entry, write_manifest
from spinefinder_fast.errors import AnnotationError
from spinefinder_fast.evaluation import read_cases, score_cases
from spinefinder_fast.geometry import Grid
from spinefinder_fast.report import ScanResult, write_batch_csv, write_csv, write_lml, write_markups, write_verse_json
from spinefinder_fast.scan import write_nifti
from spinefinder_fast.spine import Spine, Vertebra

GRID = Grid.from_spacing((10, 12, 14), 3.0, (-5.0, 8.0, 100.0))


def spine(*heights: float) -> Spine:
    names = ("L1", "L2", "L3")
    return Spine(tuple(Vertebra(n, (0.0, 20.0, z)) for n, z in zip(names, heights, strict=False)), GRID)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    predictions, truth = tmp_path / "out", tmp_path / "truth"
    (truth / "sub").mkdir(parents=True)
    predictions.mkdir()
    return predictions, truth


def test_files_are_paired_by_the_scan(folders: tuple[Path, Path]) -> None:
    predictions, truth = folders
    # All formats of one prediction, as the batch writes them, beside its summary.
    write_verse_json(predictions / "verse1_ct_ctd.json", spine(135, 110))
    write_markups(predictions / "verse1_ct.mrk.json", spine(135, 110))
    write_csv(predictions / "verse1_ct.csv", spine(135, 110))
    write_batch_csv(predictions / "batch.csv", [ScanResult("verse1_ct", "ok")])
    write_csv(predictions / "case2.csv", spine(130))
    write_csv(truth / "sub" / "verse1_seg-subreg.csv", spine(136, 110))
    write_lml(truth / "case2.lml", spine(130, 105))
    write_nifti(truth / "case2.nii.gz", np.zeros(GRID.shape, np.int16), GRID)
    write_csv(truth / "case3.csv", spine(120, 105, 101))
    found = read_cases(predictions, truth)
    assert found.unpredicted == ["case3"]
    assert found.unannotated == ["batch"]
    assert [(c.prediction.names, c.truth.names) for c in found.cases] == [
        (["L1"], ["L1", "L2"]),
        ([], ["L1", "L2", "L3"]),
        (["L1", "L2"], ["L1", "L2"]),
    ]
    assert [c.scan and c.scan.name for c in found.cases] == ["case2.nii.gz", None, None]
    score = score_cases(found.cases)["All"]
    assert (score.annotated, score.identified, score.missing) == (7, 3, 4)  # case3 is all missing, and counts
    assert score.mean_mm == pytest.approx(1 / 3, abs=1e-3)


def test_the_scan_of_a_relative_format_must_be_there(folders: tuple[Path, Path]) -> None:
    predictions, truth = folders
    write_lml(truth / "case.lml", spine(130))
    with pytest.raises(AnnotationError, match=r"E_NEEDS_SCAN.*0 scans named case"):
        read_cases(predictions, truth)


def test_a_mask_beside_the_scan_is_not_taken_for_it(folders: tuple[Path, Path]) -> None:
    predictions, truth = folders
    for name in ("verse5", "verse5_seg"):
        write_nifti(truth / f"{name}.nii.gz", np.zeros(GRID.shape, np.int16), GRID)
    write_lml(truth / "verse5.lml", spine(135, 110))
    write_csv(predictions / "verse5.csv", spine(135, 110))
    (case,) = read_cases(predictions, truth).cases
    assert case.scan == truth / "verse5.nii.gz"


def test_no_ground_truth(folders: tuple[Path, Path]) -> None:
    with pytest.raises(AnnotationError, match="E_NO_CENTROIDS"):
        read_cases(*folders)


def test_two_scans_of_one_name(folders: tuple[Path, Path]) -> None:
    predictions, truth = folders
    write_csv(truth / "a.csv", spine(130))
    write_csv(truth / "sub" / "a.csv", spine(120))
    with pytest.raises(AnnotationError, match="E_NAME_CLASH"):
        read_cases(predictions, truth)


def scan_and_truth(folder: Path, *heights: float) -> Entry:
    folder.mkdir(parents=True)
    write_nifti(folder / "ct.nii.gz", np.zeros(GRID.shape, np.int16), GRID)
    write_verse_json(folder / "ct_ctd.json", spine(*heights))
    return Entry(folder / "ct.nii.gz", folder / "ct_ctd.json", folder.name, "test")


def test_a_data_set_is_evaluated_by_split_and_by_the_names_that_predict_gives(folders: tuple[Path, Path]) -> None:
    predictions, truth = folders
    ann, bob, eve = (scan_and_truth(truth / name, 130, 105) for name in ("ann", "bob", "eve"))
    write_manifest(truth / "dataset.csv", [ann, bob, replace(eve, split="train")])
    # Three scans called ct: run together, their folders come before the name.
    assert result_names([ann.scan, bob.scan]) == ["ann_ct", "bob_ct"]
    write_verse_json(predictions / "ann_ct_ctd.json", spine(130, 105))
    write_verse_json(predictions / "eve_ct_ctd.json", spine(130, 105))
    found = read_cases(predictions, truth)
    assert [(c.name, c.patient, len(c.prediction)) for c in found.cases] == [("ann", "ann", 2), ("bob", "bob", 0)]
    assert found.unpredicted == ["bob"]
    assert found.unannotated == ["eve"]
    # Of one scan alone the name is its own; its result is found under the longer one all the same.
    (only,) = read_cases(predictions, truth / "dataset.csv", "train").cases
    assert len(only.prediction) == 2
    with pytest.raises(
        AnnotationError, match=r"E_NO_CENTROIDS.*no scan in split validation; it has train \(1 scans\), test"
    ):
        read_cases(predictions, truth, "validation")
