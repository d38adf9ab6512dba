# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spinefinder_fast.errors import AnnotationError
from spinefinder_fast.evaluation import evaluate, read_pairs
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
    found = read_pairs(predictions, truth)
    assert found.unpredicted == ["case3"]
    assert found.unannotated == ["batch"]
    assert [(p.names, t.names) for p, t in found.pairs] == [
        (["L1"], ["L1", "L2"]),
        ([], ["L1", "L2", "L3"]),
        (["L1", "L2"], ["L1", "L2"]),
    ]
    score = evaluate(found.pairs)["All"]
    assert (score.annotated, score.identified, score.missing) == (7, 3, 4)  # case3 is all missing, and counts
    assert score.mean_mm == pytest.approx(1 / 3, abs=1e-3)


def test_the_scan_of_a_relative_format_must_be_there(folders: tuple[Path, Path]) -> None:
    predictions, truth = folders
    write_lml(truth / "case.lml", spine(130))
    with pytest.raises(AnnotationError, match=r"E_NEEDS_SCAN.*0 scans named case"):
        read_pairs(predictions, truth)


def test_no_ground_truth(folders: tuple[Path, Path]) -> None:
    with pytest.raises(AnnotationError, match="E_NO_CENTROIDS"):
        read_pairs(*folders)


def test_two_scans_of_one_name(folders: tuple[Path, Path]) -> None:
    predictions, truth = folders
    write_csv(truth / "a.csv", spine(130))
    write_csv(truth / "sub" / "a.csv", spine(120))
    with pytest.raises(AnnotationError, match="E_NAME_CLASH"):
        read_pairs(predictions, truth)
