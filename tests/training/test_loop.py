# SPDX-License-Identifier: Apache-2.0
import csv
from dataclasses import replace

import numpy as np
import pytest
import torch

from spinefinder_fast.errors import WeightsError
from spinefinder_fast.networks.weights import load_network, read_manifest
from spinefinder_fast.training.loop import CHECKPOINT, LOG, train
from spinefinder_fast.training.settings import PAPER
from spinefinder_fast.training.validation import PipelineScore

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
def scans(make_scan):
    return [make_scan("T9", "L2", seed=seed) for seed in (1, 2)]


def same_weights(a, b):
    return all(torch.equal(tensor, b.state_dict()[name]) for name, tensor in a.state_dict().items())


@pytest.mark.parametrize("kind", SETTINGS)
def test_the_loss_falls_and_the_weights_are_a_model(tmp_path, scans, kind):
    reports = []
    settings = replace(
        SETTINGS[kind],
        epochs=12,
        samples_per_scan=20,
        with_vertebrae=16,
        learning_rate={"detection": 0.01, "identification": 0.1}[kind],
    )
    train(scans, settings, tmp_path, scans[:1], {"trained_on": "phantoms"}, on_epoch=reports.append)
    assert [r.epoch for r in reports] == list(range(1, 13))
    losses = [r.loss for r in reports]
    assert np.mean(losses[-2:]) < 0.8 * np.mean(losses[:2])
    assert np.isfinite([r.validation_loss for r in reports]).all()
    assert np.isfinite([r.accuracy for r in reports]).all()
    assert np.isfinite([r.dice for r in reports]).all() == (kind == "detection")
    # The whole pipeline in every fifth epoch and in the last.
    assert [r.epoch for r in reports if np.isfinite(r.id_rate)] == [5, 10, 12]
    _, spec = load_network(kind, tmp_path)
    assert spec == settings.spec
    assert read_manifest(tmp_path)["networks"][kind]["provenance"]["trained_on"] == "phantoms"
    with (tmp_path / LOG.format(kind)).open() as file:
        assert [int(row["epoch"]) for row in csv.DictReader(file)] == list(range(1, 13))


@pytest.mark.parametrize("kind", SETTINGS)
def test_stopping_and_resuming_gives_the_same_weights(tmp_path, scans, kind):
    whole = train(scans, SETTINGS[kind], tmp_path / "whole")
    for _ in range(4):
        train(scans, SETTINGS[kind], tmp_path / "parts", minutes=0)  # one epoch each time
    parts = train(scans, SETTINGS[kind], tmp_path / "parts")  # nothing is left to do
    assert same_weights(whole, parts)


def untimed(report):
    # As text, for a NaN is not itself.
    return str(replace(report, seconds=0, waiting=0, crops_per_second=0))


class Killed(BaseException):
    pass


@pytest.mark.parametrize("kind", SETTINGS)
def test_a_kill_inside_an_epoch_costs_nothing(tmp_path, scans, kind, monkeypatch):
    settings = replace(SETTINGS[kind], ema=0.9)
    reports, resumed = [], []
    whole = train(scans, settings, tmp_path / "whole", scans[:1], on_epoch=reports.append)
    # A checkpoint after each step, and a death a few steps later, which those steps do not survive.
    monkeypatch.setattr("spinefinder_fast.training.loop.CHECKPOINT_SECONDS", -1.0)

    def die(at):
        def on_step(step, steps):
            if step == at:
                raise Killed

        return on_step

    for at in (1, 2, 5, 6):
        with pytest.raises(Killed):
            train(scans, settings, tmp_path / "parts", scans[:1], on_step=die(at), on_epoch=resumed.append)
    parts = train(scans, settings, tmp_path / "parts", scans[:1], on_epoch=resumed.append)
    assert same_weights(whole, parts)
    assert [untimed(r) for r in resumed] == [untimed(r) for r in reports]


def test_a_checkpoint_from_before_a_setting_existed_goes_on(tmp_path, scans):
    settings = replace(SETTINGS["detection"], epochs=2)
    train(scans, settings, tmp_path, minutes=0)
    path = tmp_path / CHECKPOINT.format("detection")
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint["settings"]["other_looks"]
    torch.save(checkpoint, path)
    with pytest.raises(WeightsError, match="other_looks"):
        train(scans, replace(settings, other_looks=0.5), tmp_path)
    reports = []
    train(scans, settings, tmp_path, on_epoch=reports.append)
    assert [report.epoch for report in reports] == [2]


def test_a_checkpoint_of_other_settings_or_scans_is_refused(tmp_path, scans):
    settings = replace(SETTINGS["detection"], epochs=1)
    train(scans, settings, tmp_path)
    assert (tmp_path / CHECKPOINT.format("detection")).exists()
    with pytest.raises(WeightsError, match="learning_rate"):
        train(scans, replace(settings, learning_rate=1.0), tmp_path)
    with pytest.raises(WeightsError, match="other scans"):
        train(scans[:1], settings, tmp_path)
    # A corrected centroid and another order are other scans, too: a crop's number says of which scan it is.
    first, *others = scans
    moved = replace(first.truth.vertebrae[0], lps=(1.0, 2.0, 3.0))
    mended = replace(first, truth=replace(first.truth, vertebrae=(moved, *first.truth.vertebrae[1:])))
    for changed in ([mended, *others], scans[::-1]):
        with pytest.raises(WeightsError, match="other scans"):
            train(changed, settings, tmp_path)


def test_bfloat16_trains_too(tmp_path, scans):
    settings = replace(SETTINGS["detection"], epochs=1, precision="bfloat16")
    reports = []
    train(scans, settings, tmp_path, on_epoch=reports.append)
    assert np.isfinite(reports[0].loss)


def test_the_moving_average_follows_the_weights(tmp_path, scans):
    settings = replace(SETTINGS["detection"], epochs=2)
    last = train(scans, settings, tmp_path / "last")
    average = train(scans, replace(settings, ema=0.5), tmp_path / "average")
    at_once = train(scans, replace(settings, ema=1e-9), tmp_path / "at_once")
    assert same_weights(
        load_network("detection", tmp_path / "last")[0], load_network("detection", tmp_path / "at_once")[0]
    )
    assert not same_weights(last, average)
    # What is kept is the average.
    for name, tensor in average.half().state_dict().items():
        if tensor.ndim > 1:
            assert torch.equal(load_network("detection", tmp_path / "average")[0].half().state_dict()[name], tensor)
    assert len(list(at_once.parameters())) == len(list(last.parameters()))


def scored(monkeypatch, scores):
    """The pipeline's validations give these identification rates, one after the other."""
    rates = iter(scores)
    monkeypatch.setattr(
        "spinefinder_fast.training.loop.score_pipeline", lambda *_: PipelineScore(id_rate=next(rates), mean_mm=1.0)
    )


def test_training_stops_early_and_keeps_the_best(tmp_path, scans, monkeypatch):
    settings = replace(SETTINGS["detection"], epochs=9, validate_every=1, patience=2)
    scored(monkeypatch, [0.2, 0.5, 0.3, 0.5, 0.9])
    reports = []
    train(scans, settings, tmp_path, scans[:1], on_epoch=reports.append)
    # Epoch 2 was the best; epochs 3 and 4 brought nothing better.
    assert [r.epoch for r in reports] == [1, 2, 3, 4]
    assert read_manifest(tmp_path)["networks"]["detection"]["provenance"]["epochs"] == 2
    # And a further call finds nothing to do.
    train(scans, settings, tmp_path, scans[:1], on_epoch=reports.append)
    assert len(reports) == 4


def test_without_patience_the_last_weights_are_kept(tmp_path, scans, monkeypatch):
    settings = replace(SETTINGS["detection"], epochs=3, validate_every=1)
    scored(monkeypatch, [0.5, 0.4, 0.3])
    train(scans, settings, tmp_path, scans[:1])
    assert read_manifest(tmp_path)["networks"]["detection"]["provenance"]["epochs"] == 3


@pytest.mark.parametrize("kind", SETTINGS)
def test_training_begins_from_weights_that_are_lent(tmp_path, scans, kind):
    settings = replace(SETTINGS[kind], epochs=1)
    train(scans, settings, tmp_path / "a")
    # At a rate of nothing the kernels stay what they were.
    still = replace(settings, learning_rate=1e-12)
    train(scans, still, tmp_path / "b", start=tmp_path / "a")
    (a, _), (b, _) = (load_network(kind, tmp_path / name) for name in "ab")
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
    with pytest.raises(WeightsError, match="other start"):
        train(scans, still, tmp_path / "b")
    with pytest.raises(WeightsError, match=r"spacing_mm 4\.0 and not 3\.0, as the settings ask"):
        train(scans, replace(still, spacing_mm=3.0), tmp_path / "c", start=tmp_path / "a")
