# SPDX-License-Identifier: Apache-2.0
"""Whoever follows docs/train.md from its first command to its last has a model that works."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from spinefinder_fast.dataset import read_manifest

PAGE = (Path(__file__).parent.parent / "docs" / "train.md").read_text()
BLOCKS = re.findall(r"```(sh|toml)\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """The folder in which every block of the page was done in its order: files are written, commands are run."""
    folder = tmp_path_factory.mktemp("page")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for kind, text in BLOCKS:
        if kind == "toml":
            (folder / "small.toml").write_text(text)
            continue
        done = subprocess.run(
            ["bash", "-euc", text], cwd=folder, env={**os.environ, "PATH": path, "COLUMNS": "160"},
            capture_output=True, text=True, timeout=900, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{text}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return folder


def test_the_data_set_is_whole_and_keeps_patients_apart(followed):
    manifest = read_manifest(followed / "data")
    assert [len(manifest.of_split(split)) for split in ("train", "validation", "test")] == [6, 2, 2]
    assert not manifest.shared_patients()
    assert all(entry.licence == "CC0" for entry in manifest)


def test_the_model_finds_vertebrae_of_people_it_never_saw(followed):
    found = json.loads((followed / "evaluation" / "evaluation.json").read_text())
    score = found["mccouat"][0]
    assert found["scans"] == 2
    assert found["patients"] == 2
    # T11 to L4 of both. Whoever guessed among these six names would be right once in six.
    assert score["annotated"] == 12
    assert score["id_rate"] >= 0.5
    assert score["mean_mm"] <= 12


@pytest.mark.parametrize("page", ["model/validation/evaluation.html", "evaluation/evaluation.html"])
def test_the_pages_are_there_and_load_nothing(followed, page):
    text = (followed / page).read_text()
    assert "McCouat protocol" in text
    assert not re.search(r'(?:src|href)\s*=\s*"(?!data:|#)', text)
