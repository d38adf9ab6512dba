# SPDX-License-Identifier: Apache-2.0
import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from spinefinder_fast import make_phantom
from spinefinder_fast.errors import WeightsError
from spinefinder_fast.networks.weights import load_network, read_manifest
from spinefinder_fast.training.loop import CHECKPOINT, LOG, train
from spinefinder_fast.training.samples import TrainingScan
from spinefinder_fast.training.settings import PAPER
from spinefinder_fast.volume import normalise

SETTINGS = {
    "detection": replace(
        PAPER["detection"],
        width=0.125,
        spacing_mm=4.0,
        crop=(16, 16, 32),
        batch=4,
        epochs=4,
        learning_rate=1e-2,
        norm_momentum=0.2,
        precision="float32",
    ),
    "identification": replace(
        PAPER["identification"],
        width=0.0625,
        spacing_mm=4.0,
        crop=(8, 32, 48),
        samples_per_scan=6,
        batch=4,
        epochs=4,
        learning_rate=1e-2,
        norm_momentum=0.2,
        precision="float32",
    ),
}


@pytest.fixture(scope="module")
def scans():
    made = []
    for seed in (1, 2):
        phantom = make_phantom("T9", "L2", spacing_mm=4.0, seed=seed)
        made.append(
            TrainingScan(
                f"phantom{seed}",
                Path(f"phantom{seed}.nii.gz"),
                normalise(phantom.array.astype(np.float32)),
                np.array([v.label for v in phantom.spine], np.int64),
                phantom.grid.to_voxel(phantom.spine.lps()),
            )
        )
    return made


@pytest.mark.parametrize("kind", SETTINGS)
def test_the_loss_falls_and_the_weights_are_a_model(tmp_path, scans, kind):
    reports = []
    settings = replace(SETTINGS[kind], epochs=8, learning_rate={"detection": 0.01, "identification": 0.1}[kind])
    train(scans, settings, tmp_path, scans[:1], {"trained_on": "phantoms"}, on_epoch=reports.append)
    assert [r.epoch for r in reports] == list(range(1, 9))
    assert reports[-1].loss < 0.9 * reports[0].loss
    assert np.isfinite([r.validation_loss for r in reports]).all()
    _, spec = load_network(kind, tmp_path)
    assert spec == settings.spec
    assert read_manifest(tmp_path)["networks"][kind]["provenance"]["trained_on"] == "phantoms"
    with (tmp_path / LOG.format(kind)).open() as file:
        assert [int(row["epoch"]) for row in csv.DictReader(file)] == list(range(1, 9))


@pytest.mark.parametrize("kind", SETTINGS)
def test_stopping_and_resuming_gives_the_same_weights(tmp_path, scans, kind):
    whole = train(scans, SETTINGS[kind], tmp_path / "whole")
    for _ in range(4):
        train(scans, SETTINGS[kind], tmp_path / "parts", minutes=0)  # one epoch each time
    parts = train(scans, SETTINGS[kind], tmp_path / "parts")  # nothing is left to do
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, parts.state_dict()[name]), name


def test_a_checkpoint_of_other_settings_or_scans_is_refused(tmp_path, scans):
    settings = replace(SETTINGS["detection"], epochs=1)
    train(scans, settings, tmp_path)
    assert (tmp_path / CHECKPOINT.format("detection")).exists()
    with pytest.raises(WeightsError, match="learning_rate"):
        train(scans, replace(settings, learning_rate=1.0), tmp_path)
    with pytest.raises(WeightsError, match="other scans"):
        train(scans[:1], settings, tmp_path)


def test_bfloat16_trains_too(tmp_path, scans):
    settings = replace(SETTINGS["detection"], epochs=1, precision="bfloat16")
    reports = []
    train(scans, settings, tmp_path, on_epoch=reports.append)
    assert np.isfinite(reports[0].loss)
