# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from itertools import permutations, product
from threading import Event
from time import sleep

import numpy as np
import pytest
import torch
from stubs import labelled_scan, true_model

from spinefinder_fast import Grid, Scan, locate, make_phantom, pipeline
from spinefinder_fast.detection import detect
from spinefinder_fast.discs import dense_labels
from spinefinder_fast.identification import identify
from spinefinder_fast.networks.identification import SLICES, TARGET
from spinefinder_fast.ordering.numbering import CERTAIN
from spinefinder_fast.procedure import FAITHFUL, PRESETS
from spinefinder_fast.scan import ScanFile, open_scan, read, read_scan, write_nifti
from spinefinder_fast.volume import AIR_HU, WINDOW_SCALE_HU, Volume


@pytest.mark.parametrize(
    ("first", "last", "bound_mm"),
    [
        ("C4", "C7", 1.0),
        ("T3", "T9", 1.0),
        # Where the gaps above and below a vertebra differ (C2, T11) or the spine bends (L3 to S1), the middle of the
        # discs is not the centroid: the dense annotation's own error, which no network can mend.
        ("T8", "L1", 1.5),
        ("C1", "C7", 2.0),
        ("T11", "S2", 4.0),
    ],
)
def test_with_networks_that_know_the_truth_the_faithful_pipeline_finds_it(first, last, bound_mm):
    phantom = make_phantom(first, last, spacing_mm=1.0, seed=3, fov_mm=(90, 90))
    found = locate(labelled_scan(phantom.spine, phantom.grid), true_model(), procedure=FAITHFUL)
    assert found.names == phantom.spine.names
    errors = np.linalg.norm(found.lps() - phantom.spine.lps(), axis=1)
    # C2 lies in front of C1, where the spine bends most.
    assert (errors < np.where(np.array(found.names) == "C2", 2.5, bound_mm)).all()
    # What is wrong is the annotation alone: of its voxels the pipeline finds the very middle.
    grid, spine = phantom.grid, phantom.spine
    labels = np.array([v.label for v in spine])
    dense = dense_labels(labels, grid.to_voxel(spine.lps()), grid.shape, grid.spacing_mm)
    middles = [np.median(grid.to_lps(np.argwhere(dense == label)), axis=0) for label in labels]
    assert found.lps() == pytest.approx(np.array(middles), abs=0.01)


@pytest.mark.parametrize(("first", "last"), [("C4", "C7"), ("T3", "T9"), ("T8", "L1"), ("T11", "S2")])
def test_with_networks_that_know_the_truth_the_default_pipeline_finds_it(first, last):
    phantom = make_phantom(first, last, spacing_mm=1.0, seed=3, fov_mm=(90, 90))
    found = locate(labelled_scan(phantom.spine, phantom.grid), true_model())
    assert found.names == phantom.spine.names
    errors = np.linalg.norm(found.lps() - phantom.spine.lps(), axis=1)
    # A body at the end of the row has a neighbour on one side only to tell where it ends.
    assert errors[1:-1].max() < 3
    assert errors.max() < 5
    sure = min(v.confidence for v in found)
    assert found.details["numbering"].verdict == (
        "certain" if sure >= CERTAIN else "probable" if sure >= 0.8 else "ambiguous"
    )
    assert any("W_NUMBERING" in warning for warning in found.warnings) == (sure < CERTAIN)


@pytest.mark.parametrize("name", ["fast", "faithful"])
def test_detection_may_work_on_a_coarser_grid_than_identification(name):
    phantom = make_phantom("T11", "L4", spacing_mm=1.5, fov_mm=(100, 100), seed=3)
    scan = labelled_scan(phantom.spine, phantom.grid)
    one = locate(scan, true_model(2.0), procedure=PRESETS[name])
    two = locate(scan, replace(true_model(2.0), detection_spacing_mm=3.0), procedure=PRESETS[name])
    assert two.names == one.names
    assert np.linalg.norm(two.lps() - one.lps(), axis=1).max() < 1.5


def test_details_say_how_it_was_done():
    phantom = make_phantom("L1", "L3", spacing_mm=2.0, fov_mm=(80, 80))
    spine = locate(labelled_scan(phantom.spine, phantom.grid), true_model(2.0))
    assert spine.details["weights"] == "truth"
    assert list(spine.details["seconds"]) == ["load", "resample", "coarse", "detect", "identify", "aggregate"]


def test_the_networks_are_loaded_while_the_scan_is_read(monkeypatch, tmp_path):
    phantom = make_phantom("L1", "L3", spacing_mm=2.0, fov_mm=(80, 80))
    reading = Event()

    def opened(path):
        reading.set()
        return labelled_scan(phantom.spine, phantom.grid)

    def load(precision):
        assert reading.wait(20)
        wanted.append(precision)
        return true_model(2.0)

    wanted = []
    monkeypatch.setattr(pipeline, "open_scan", opened)
    monkeypatch.setattr(pipeline, "_default_model", load)
    assert locate(tmp_path / "any.nii").names == ["L1", "L2", "L3"]
    assert {"L1", "L2", "L3"} <= set(locate(tmp_path / "any.nii", procedure=FAITHFUL).names)
    assert wanted == ["auto", "float32"]


def test_a_scan_in_its_file_gives_what_the_scan_gives(tmp_path, monkeypatch):
    phantom = make_phantom("L1", "L3", spacing_mm=2.0, fov_mm=(80, 80))
    truth = labelled_scan(phantom.spine, phantom.grid)
    write_nifti(tmp_path / "a.nii.gz", truth.array, truth.grid)
    monkeypatch.setattr(read, "_SLAB_VOXELS", 20_000)
    model = true_model(2.0)
    whole = locate(read_scan(tmp_path / "a.nii.gz"), model)
    monkeypatch.setattr(ScanFile, "read", lambda self: pytest.fail("it was held"))
    for given in (tmp_path / "a.nii.gz", str(tmp_path / "a.nii.gz"), open_scan(tmp_path / "a.nii.gz")):
        found = locate(given, model)
        assert (found.vertebrae, found.warnings, found.source) == (whole.vertebrae, whole.warnings, whole.source)
        assert found.details["seconds"]["load"] > 0
    assert whole.names == ["L1", "L2", "L3"]


def test_the_networks_time_is_not_the_aggregations():
    class Slow(torch.nn.Module):
        def forward(self, x):
            sleep(0.05 * len(x))
            return x[:, :1] * 0

    shape = (24, 20, 20)  # of which every fourth slice is looked at
    scan = Scan(np.full(shape, 400, np.int16), Grid.from_spacing(shape), Grid.from_spacing(shape), "bone", None)
    seconds = locate(scan, replace(true_model(), identification=Slow())).details["seconds"]
    assert seconds["identify"] >= 6 * 0.05
    assert seconds["aggregate"] < 0.2


def test_all_48_orientations_of_a_file_give_the_same_world_centroids():
    phantom = make_phantom("L1", "L3", spacing_mm=(2.0, 2.5, 3.0), fov_mm=(70, 80))
    scan = labelled_scan(phantom.spine, phantom.grid)
    expected = locate(scan, true_model(2.0))
    assert {"L1", "L2", "L3"} <= set(expected.names)
    seen = set()
    for axes, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        # The same voxels stored with other axes, and the affine that says so.
        stored = scan.array.transpose(axes)[tuple(slice(None, None, s) for s in signs)]
        affine = np.eye(4)
        affine[:3, :3] = scan.grid.affine[:3, list(axes)] * signs
        first = [0 if signs[axes.index(a)] > 0 else scan.array.shape[a] - 1 for a in range(3)]
        affine[:3, 3] = scan.grid.to_lps(first)
        grid = Grid(stored.shape, affine)
        seen.add(grid.axcodes)
        turned = Scan(grid.reorientation().apply(stored), grid.canonical(), grid, "turned", None)
        found = locate(turned, true_model(2.0))
        assert found.names == expected.names
        assert found.lps() == pytest.approx(expected.lps(), abs=0.01)
        assert grid.to_lps(found.voxels()) == pytest.approx(expected.lps(), abs=0.01)
    assert len(seen) == 48


@pytest.mark.parametrize("shape", [(5, 5, 5), (40, 30, 100), (1, 1, 1)])
def test_a_scan_without_a_spine_has_no_vertebra(shape):
    scan = Scan(np.full(shape, -1000, np.int16), Grid.from_spacing(shape), Grid.from_spacing(shape), "air", None)
    spine = locate(scan, true_model())
    assert len(spine) == 0
    assert spine.voxels().shape == (0, 3)


def test_detection_sees_every_voxel_once_in_the_middle_of_a_patch():
    # A network that passes its input through: the mask must be the thresholded scan, borders included.
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (70, 33, 95))
    volume = Volume((labels * 400).astype(np.float32), Grid.from_spacing(labels.shape))
    assert (detect(volume, true_model()) == labels).all()


def test_identification_skips_slices_outside_of_the_detection():
    labels = np.random.default_rng(0).integers(0, 27, (9, 21, 50)).astype(np.float32)
    volume = Volume(labels * 40, Grid.from_spacing(labels.shape))
    mask = np.zeros(labels.shape, np.uint8)
    assert list(identify(volume, mask, true_model())) == []
    mask[2, 3, 4] = mask[6, 0, 0] = 1
    found = dict(identify(volume, mask, true_model()))
    assert list(found) == [2, 3, 4, 5, 6]
    assert all(found[i].dtype == np.float32 for i in found)
    assert np.stack(list(found.values())) == pytest.approx(labels[2:7], abs=1e-4)


@pytest.mark.parametrize("step", [1, 3])
def test_identification_is_fed_every_step_th_slice_around_its_target(step):
    class Seen(torch.nn.Module):
        def forward(self, x):
            windows.append((x[0].mean(dim=(1, 2)) * WINDOW_SCALE_HU).round().tolist())
            return x[:, :1]

    windows = []
    # A slice's HU are ten times its number; beside the scan there is air.
    volume = Volume(np.full((9, 16, 16), 10 * np.arange(9)[:, None, None], np.float32), Grid.from_spacing((9, 16, 16)))
    mask = np.ones(volume.array.shape, np.uint8)
    list(identify(volume, mask, replace(true_model(), identification=Seen(), slice_step=step)))
    shown = [[i + step * (k - TARGET) for k in range(SLICES)] for i in range(9)]
    assert windows == [[10 * s if 0 <= s < 9 else AIR_HU for s in slices] for slices in shown]


def test_who_takes_the_slices_keeps_recording_gradients():
    volume = Volume(np.full((3, 4, 5), 40, np.float32), Grid.from_spacing((3, 4, 5)))
    for _ in identify(volume, np.ones((3, 4, 5), np.uint8), true_model()):
        assert not torch.is_inference_mode_enabled()


def test_a_zscore_model_sees_zero_mean_and_unit_variance_over_the_scan():
    hu = np.random.default_rng(0).normal(100, 300, (40, 35, 50)).astype(np.float32)
    threshold = hu.mean() + 0.5 * hu.std()

    class Brighter(torch.nn.Module):
        def forward(self, x):
            return torch.cat([torch.full_like(x, 0.5), x], dim=1)

    model = replace(true_model(), detection=Brighter(), intensity="zscore")
    mask = detect(Volume(hu, Grid.from_spacing(hu.shape)), model)
    assert (mask == (hu > threshold)).mean() > 0.9999  # but for rounding at the threshold
