# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from spinefinder_fast.dataset import Entry, read_manifest, write_manifest
from spinefinder_fast.errors import AnnotationError

HEADER = "scan,centroids,patient,split,source,licence\n"


def entry(folder: Path, name: str, patient: str, split: str = "train") -> Entry:
    return Entry(folder / f"{name}.nii.gz", folder / f"{name}.lml", patient, split, "here, there", "CC BY 4.0")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    entries = (entry(tmp_path / "scans", "a", "p1"), entry(tmp_path / ".." / "elsewhere", "b", "p2", "test"))
    written = write_manifest(tmp_path / "dataset.csv", entries)
    read = read_manifest(tmp_path)
    assert read == written
    assert [e.line for e in read] == [2, 3]
    assert read.entries[0] == entries[0]
    assert read.entries[1].scan == tmp_path.parent / "elsewhere" / "b.nii.gz"
    assert "scans/a.nii.gz,scans/a.lml,p1,train" in (tmp_path / "dataset.csv").read_text()
    assert [e.patient for e in read.of_split("test")] == ["p2"]
    with pytest.raises(ValueError, match="'tests'"):
        read.of_split("tests")


def test_a_patient_in_two_splits_is_named_with_the_lines(tmp_path: Path) -> None:
    entries = [entry(tmp_path, "a", "p1"), entry(tmp_path, "b", "p2"), entry(tmp_path, "c", "p1", "test")]
    manifest = write_manifest(tmp_path / "dataset.csv", entries)
    assert list(manifest.shared_patients()) == ["p1"]
    with pytest.raises(AnnotationError, match=r"E_SPLIT_OVERLAP.*p1 is in train \(line 2\), test \(line 4\)"):
        manifest.check_split()
    write_manifest(tmp_path / "dataset.csv", entries[:2]).check_split()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("scan,patient\n", r"no column centroids, split"),
        (HEADER + "a.nii,a.lml,p,training,,\n", r"line 2: split is 'training'; train, validation, test"),
        (HEADER + "a.nii,a.lml,p,train,,\nb.nii,,p,train,,\n", r"line 3: centroids is empty"),
        (HEADER + "a.nii,a.lml,p,train,,\nx/../a.nii,b.lml,p,train,,\n", r"line 3: .*a.nii stands in line 2"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "dataset.csv").write_text(text)
    with pytest.raises(AnnotationError, match=says):
        read_manifest(tmp_path / "dataset.csv")


def test_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="E_NO_MANIFEST"):
        read_manifest(tmp_path)


def test_a_spreadsheet_s_byte_order_mark_is_no_column(tmp_path: Path) -> None:
    (tmp_path / "dataset.csv").write_text(HEADER + "a.nii,a.lml,p,train,,\n", encoding="utf-8-sig")
    assert len(read_manifest(tmp_path)) == 1
