# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
import signal
import subprocess
import sys
import time
from dataclasses import replace
from random import Random

import pytest

from spinefinder_fast import make_phantom
from spinefinder_fast.dataset import Entry, write_manifest
from spinefinder_fast.networks.weights import load_network, read_manifest
from spinefinder_fast.report import write_verse_json
from spinefinder_fast.scan import write_nifti

RECIPE = """
[provenance]
trained_on = "two phantoms"

[detection]
width = 0.0625
spacing_mm = 6.0
crop = [16, 16, 16]
samples_per_scan = 2
with_vertebrae = 1
batch = 2
epochs = 2
precision = "float32"
"""


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return tmp_path / "recipe.toml"


@pytest.fixture(scope="session")
def scans(tmp_path_factory):
    """Folders ``training`` (two scans), ``validation`` (one other) and ``mixed`` (one of the first two)."""
    root = tmp_path_factory.mktemp("scans")
    for folder, seed in (("training", 1), ("training", 2), ("validation", 3), ("mixed", 1)):
        phantom = make_phantom("L1", "L3", spacing_mm=6.0, seed=seed, fov_mm=(90, 90))
        (root / folder).mkdir(exist_ok=True)
        write_nifti(root / folder / f"phantom{seed}.nii.gz", phantom.array, phantom.grid)
        write_verse_json(root / folder / f"phantom{seed}_ctd.json", phantom.spine)
    return root


def epochs_logged(folder):
    with (folder / "detection.log.csv").open(newline="") as file:
        return [int(row["epoch"]) for row in csv.DictReader(file)]


def test_training_stops_goes_on_and_gives_weights(command, scans, recipe, tmp_path):
    arguments = (
        "train", scans / "training", "--network", "detection", "-o", tmp_path / "run",
        "--recipe", recipe, "--validation", scans / "validation", "--device", "cpu",
    )  # fmt: skip
    done = command(*arguments, "--minutes", "0")
    assert done.code == 0, done.err
    assert "2 scans, 4 crops per epoch in steps of 2, 2 epochs" in done.err
    assert epochs_logged(tmp_path / "run") == [1]
    done = command(*arguments)
    assert done.code == 0, done.err
    assert "epoch   2" in done.err
    assert "epoch   1" not in done.err
    assert epochs_logged(tmp_path / "run") == [1, 2]
    assert load_network("detection", tmp_path / "run")[1].spacing_mm == 6.0
    assert read_manifest(tmp_path / "run")["networks"]["detection"]["provenance"]["trained_on"] == "two phantoms"
    # More epochs are another schedule of the rate: not the same run.
    done = command(*arguments, "--epochs", "3")
    assert done.code == 7
    assert "[E_CHECKPOINT]" in done.err
    assert "epochs" in done.err


BOTH = (
    RECIPE.replace("epochs = 2", "epochs = 6")
    + """
[identification]
width = 0.03125
spacing_mm = 6.0
crop = [8, 16, 16]
samples_per_scan = 4
batch = 4
epochs = 6
precision = "float32"
"""
)


def test_killed_at_random_moments_it_ends_with_the_same_weights(scans, recipe, tmp_path):
    recipe.write_text(BOTH)

    def start(folder):
        arguments = ("train", scans / "training", "-o", folder, "--recipe", recipe, "--device", "cpu")
        return subprocess.Popen(
            [sys.executable, "-m", "spinefinder_fast", *map(str, arguments)], stderr=subprocess.PIPE, text=True
        )

    whole = start(tmp_path / "whole")
    errors = whole.communicate(timeout=120)[1]
    assert whole.returncode == 0, errors
    random, killed = Random(7), 0
    for _ in range(3):
        victim = start(tmp_path / "parts")
        # Until it trains, and then for some moments more: an epoch takes about 50 ms.
        assert any("epoch" in line or "steps to go" in line for line in victim.stderr)
        time.sleep(random.uniform(0, 0.2))
        victim.kill()
        victim.wait(timeout=30)
        victim.stderr.close()
        killed += victim.returncode == -signal.SIGKILL
    last = start(tmp_path / "parts")
    errors = last.communicate(timeout=120)[1]
    assert last.returncode == 0, errors
    assert killed >= 1
    for network in ("detection", "identification"):
        file = f"{network}.safetensors"
        assert (tmp_path / "parts" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    assert epochs_logged(tmp_path / "parts") == list(range(1, 7))


def test_a_data_set_gives_training_and_validation(command, scans, recipe, tmp_path):
    entries = [
        Entry(scans / folder / f"phantom{i}.nii.gz", scans / folder / f"phantom{i}_ctd.json", f"p{i}", split)
        for i, folder, split in ((1, "training", "train"), (2, "training", "test"), (3, "validation", "validation"))
    ]
    write_manifest(tmp_path / "dataset.csv", entries)
    done = command("train", tmp_path, "-o", tmp_path / "run", "--network", "detection", "--recipe", recipe)
    assert done.code == 0, done.err
    assert "1 scans, 2 crops per epoch" in done.err
    assert "1 validation scans" in done.err
    assert "Dice" in done.err
    assert "pipeline Id" in done.err
    # A patient on two sides, and one scan under two names.
    write_manifest(tmp_path / "dataset.csv", [entries[0], replace(entries[2], patient="p1")])
    done = command("train", tmp_path, "-o", tmp_path / "other", "--network", "detection", "--recipe", recipe)
    assert done.code == 5
    assert "[E_SPLIT_OVERLAP]" in done.err
    assert "p1" in done.err


def test_a_scan_in_training_and_validation_is_refused(command, scans, recipe, tmp_path):
    done = command(
        "train", scans / "training", "--network", "detection", "-o", tmp_path / "run",
        "--recipe", recipe, "--validation", scans / "mixed",
    )  # fmt: skip
    assert done.code == 5
    assert "[E_SPLIT_OVERLAP]" in done.err
    assert "phantom1" in done.err
    assert not (tmp_path / "run" / "detection.log.csv").exists()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [("batch", "bacth", "bacth"), ("0.0625", "0.001", "width"), ("batch = 2", "batch 2", "line 11")],
)
def test_a_recipe_that_cannot_be(command, scans, recipe, tmp_path, old, new, says):
    recipe.write_text(RECIPE.replace(old, new))
    done = command("train", scans / "training", "--network", "detection", "-o", tmp_path / "run", "--recipe", recipe)
    assert done.code == 2
    assert says in done.err
    assert not (tmp_path / "run").exists()


def test_an_unknown_network(command, scans, tmp_path):
    done = command("train", scans / "training", "-o", tmp_path / "run", "--network", "segmentation")
    assert done.code == 2
    assert "segmentation" in done.err


def test_a_scan_without_centroids(command, scans, recipe, tmp_path):
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "scan.nii.gz").write_bytes((scans / "training" / "phantom1.nii.gz").read_bytes())
    done = command("train", tmp_path / "bare", "--network", "detection", "-o", tmp_path / "run", "--recipe", recipe)
    assert done.code == 5
    assert "[E_NO_ANNOTATION]" in done.err


def test_a_run_without_a_place(command, scans, recipe, tmp_path):
    (tmp_path / "run").write_text("mine")
    done = command("train", scans / "training", "--network", "detection", "-o", tmp_path / "run", "--recipe", recipe)
    assert done.code == 6
    assert "[E_OUTPUT]" in done.err
