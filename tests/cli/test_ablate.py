# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
import subprocess
import sys
import time

import pytest

from spinefinder_fast import make_phantom
from spinefinder_fast.dataset import Entry, write_manifest
from spinefinder_fast.report import write_verse_json
from spinefinder_fast.scan import write_nifti

ABLATION = """
data = "set"

[train]
spacing_mm = 6.0
batch = 2
epochs = 3
precision = "float32"
validate_every = 0

[detection]
width = 0.0625
crop = [16, 16, 16]
samples_per_scan = 4
with_vertebrae = 2

[identification]
width = 0.03125
crop = [8, 16, 16]
samples_per_scan = 4
deform_sigma_mm = 0.0

[[variant]]
name = "discs"

[[variant]]
name = "spheres"
train = { dense = "spheres" }
predict = { tiling = "large", centre = "mean_shift", decode = "median" }
"""


@pytest.fixture
def file(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    entries = []
    for i, split in enumerate(("train", "train", "validation", "validation")):
        phantom = make_phantom("L1", "L3", spacing_mm=6.0, seed=i, fov_mm=(90, 90))
        files = folder / f"scan{i}.nii.gz", folder / f"scan{i}_ctd.json"
        write_nifti(files[0], phantom.array, phantom.grid)
        write_verse_json(files[1], phantom.spine)
        entries.append(Entry(*files, f"p{i}", split))
    write_manifest(folder / "dataset.csv", entries)
    (tmp_path / "ablation.toml").write_text(ABLATION)
    return tmp_path / "ablation.toml"


def table(folder):
    """The rows but for what the clock says."""
    with (folder / "ablation.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def test_one_file_gives_one_table_killed_at_any_moment(file, tmp_path):
    def start(folder):
        arguments = ("ablate", file, "-o", folder, "--device", "cpu")
        return subprocess.Popen(
            [sys.executable, "-m", "spinefinder_fast", *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    whole = start(tmp_path / "whole")
    out, errors = whole.communicate(timeout=300)
    assert whole.returncode == 0, errors
    assert "Δ against discs" in out
    assert "spheres" in out
    for sign in ("discs, seed 0: identification network", "discs: 2 scans to predict"):
        victim = start(tmp_path / "parts")
        assert any(sign in line for line in victim.stderr), sign
        time.sleep(0.1)
        victim.kill()
        victim.communicate(timeout=60)
    last = start(tmp_path / "parts")
    errors = last.communicate(timeout=300)[1]
    assert last.returncode == 0, errors
    assert table(tmp_path / "parts") == table(tmp_path / "whole")
    assert [row["name"] for row in table(tmp_path / "whole")] == ["discs", "spheres"]
    for variant in ("discs", "spheres"):
        assert (tmp_path / "whole" / "variants" / variant / "seed0" / "evaluation.html").is_file()
        for network in ("detection", "identification"):
            model = f"variants/{variant}/seed0/model/{network}.safetensors"
            assert (tmp_path / "parts" / model).read_bytes() == (tmp_path / "whole" / model).read_bytes()


def test_a_file_that_cannot_be_is_named_in_one_line(command, file, tmp_path):
    file.write_text(ABLATION.replace("centre", "center"))
    done = command("ablate", file, "-o", tmp_path / "run")
    assert done.code == 2
    assert done.err.startswith(f"spinefinder: {file}, variant 'spheres', predict: unknown keys ['center']; known are [")
    assert done.err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_without_a_file_or_a_data_set(command, file, tmp_path):
    done = command("ablate", tmp_path / "no.toml", "-o", tmp_path / "run")
    assert done.code == 2
    assert "no.toml" in done.err
    (tmp_path / "set" / "dataset.csv").unlink()
    done = command("ablate", file, "-o", tmp_path / "run")
    assert done.code == 5
    assert "[E_NO_MANIFEST]" in done.err
