# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from spinefinder_fast import make_phantom
from spinefinder_fast.discs import dense_labels
from spinefinder_fast.errors import AnnotationError
from spinefinder_fast.networks.identification import SLICES, TARGET
from spinefinder_fast.report import write_lml, write_verse_json
from spinefinder_fast.scan import write_nifti
from spinefinder_fast.training.samples import CropDataset, TrainingScan, annotation_of, load_training_scans
from spinefinder_fast.training.settings import PAPER

DETECTION = replace(PAPER["detection"], crop=(16, 16, 32), spacing_mm=4.0)
IDENTIFICATION = replace(PAPER["identification"], crop=(8, 32, 48), spacing_mm=4.0, samples_per_scan=6)


@pytest.fixture(scope="module")
def scan():
    phantom = make_phantom("T8", "L2", spacing_mm=4.0, seed=1)
    spine = phantom.spine
    return TrainingScan(
        "phantom",
        Path("phantom.nii.gz"),
        # Each voxel's value is its own number, so that a crop says where it was taken.
        np.arange(phantom.array.size, dtype=np.float32).reshape(phantom.array.shape),
        np.array([v.label for v in spine], np.int64),
        phantom.grid.to_voxel(spine.lps()),
    )


def whole_labels(scan):
    return dense_labels(scan.labels, scan.centroids_vox, scan.array.shape, (4.0,) * 3)


def test_a_detection_crop_carries_the_labels_of_its_place(scan):
    crops = CropDataset([scan], DETECTION)
    truth = whole_labels(scan)
    places = set()
    for i in range(len(crops)):
        image, labels = crops[i]
        assert image.shape == (1, 16, 16, 32)
        x, y, z = np.unravel_index(int(image[0, 0, 0, 0]), scan.array.shape)
        places.add((x, y, z))
        assert (labels.numpy() == truth[x : x + 16, y : y + 16, z : z + 32]).all()
    assert len(places) > 1


def test_four_of_five_detection_crops_hold_vertebrae(scan):
    crops = CropDataset([scan], DETECTION)
    assert len(crops) == 5
    for epoch in range(5):
        crops.epoch = epoch
        assert all(crops[i][1].any() for i in range(4))


def test_an_identification_slab_is_labelled_at_its_target_slice(scan):
    crops = CropDataset([scan], replace(IDENTIFICATION, deform_sigma_mm=0.0))
    truth = whole_labels(scan)
    for i in range(len(crops)):
        image, labels = crops[i]
        assert image.shape == (SLICES, 32, 48)
        x = np.unravel_index(int(image[TARGET].max()), scan.array.shape)[0]
        inside = image[TARGET] >= 0
        first = np.argwhere(inside.numpy())[0]
        y0, z0 = np.unravel_index(int(image[TARGET][tuple(first)]), scan.array.shape)[1:] - first
        assert (image[TARGET][inside] // (scan.array.shape[1] * scan.array.shape[2]) == x).all()
        for (r, c), value in np.ndenumerate(labels.numpy()):
            if inside[r, c]:
                assert value == truth[x, y0 + r, z0 + c]
        assert (labels > 0).sum() * 16 > 500


def test_deformation_moves_image_and_labels_together(scan):
    # An image that shows its own labels: after the deformation it still must, but for pixels between two labels.
    shown = replace(scan, array=whole_labels(scan).astype(np.float32))
    still = CropDataset([shown], replace(IDENTIFICATION, deform_sigma_mm=0.0))
    moved = CropDataset([shown], replace(IDENTIFICATION, deform_sigma_mm=14.0))
    differs = False
    for i in range(len(moved)):
        image, labels = moved[i]
        agree = (image[TARGET].round() == labels)[labels > 0].float().mean()
        assert agree > 0.7
        differs = differs or not torch.equal(labels, still[i][1])
    assert differs


def test_crops_depend_on_seed_epoch_and_index_alone(scan):
    settings = replace(IDENTIFICATION, flip=True, hu_jitter=0.1)
    a, b = CropDataset([scan], settings), CropDataset([scan], settings)
    _ = [b[i] for i in (3, 1)]
    assert all(torch.equal(x, y) for i in range(6) for x, y in zip(a[i], b[i], strict=True))
    b.epoch = 1
    assert not torch.equal(a[0][0], b[0][0])


def test_mirroring_keeps_image_and_labels_together(scan):
    shown = replace(scan, array=whole_labels(scan).astype(np.float32))
    for i in range(5):
        image, labels = CropDataset([shown], replace(DETECTION, flip=True))[i]
        assert (image[0].clamp(min=0) == labels).all()


def test_a_mirrored_slab_is_still_labelled_at_its_target_slice(scan):
    # Each voxel's value is its x, and so is its label: whichever way the slab is turned, they agree at the target.
    width = scan.array.shape[0]
    shown = replace(scan, array=np.broadcast_to(np.arange(width, dtype=np.float32)[:, None, None], scan.array.shape))
    settings = replace(IDENTIFICATION, flip=True, deform_sigma_mm=0.0, samples_per_scan=30)
    truth = whole_labels(scan)
    steps = set()
    for image, labels in (CropDataset([shown], settings)[i] for i in range(30)):
        x = int(image[TARGET].max())
        before, after = image[TARGET - 1].max(), image[TARGET + 1].max()
        if min(before, after) >= 0:
            steps.add(int(after - x))
        assert set(np.unique(labels)) <= set(np.unique(truth[x]))
        assert (labels > 0).any()
    assert steps == {1, -1}


def test_verse_names_are_found_and_masks_passed_over(tmp_path):
    phantom = make_phantom("L1", "L2", spacing_mm=6.0)
    write_nifti(tmp_path / "sub-a_ct.nii.gz", phantom.array, phantom.grid)
    write_nifti(tmp_path / "sub-a_seg-vert_msk.nii.gz", phantom.tissue, phantom.grid)
    write_verse_json(tmp_path / "sub-a_seg-subreg_ctd.json", phantom.spine)
    (loaded,) = load_training_scans([tmp_path], DETECTION)
    assert loaded.name == "sub-a_ct"


def test_a_scan_smaller_than_the_crop_is_padded(scan):
    small = replace(scan, array=scan.array[:5, :6, :7])
    image, _ = CropDataset([small], DETECTION)[4]
    assert image.shape == (1, 16, 16, 32)
    assert (image == -2).sum() == 16 * 16 * 32 - 5 * 6 * 7


def test_scans_without_vertebrae_teach_background(scan):
    empty = replace(scan, labels=np.empty(0, np.int64), centroids_vox=np.empty((0, 3)))
    for settings in (DETECTION, IDENTIFICATION):
        assert not CropDataset([empty], settings)[0][1].any()


@pytest.mark.parametrize("write", [write_verse_json, write_lml])
def test_scans_are_loaded_with_the_centroids_beside_them(tmp_path, write):
    phantom = make_phantom("L1", "L3", spacing_mm=4.0)
    write_nifti(tmp_path / "a_ct.nii.gz", phantom.array, phantom.grid)
    write(tmp_path / ("a_ctd.json" if write is write_verse_json else "a_ct.lml"), phantom.spine)
    (loaded,) = load_training_scans([tmp_path], DETECTION)
    assert loaded.labels.tolist() == [20, 21, 22]
    assert loaded.centroids_vox == pytest.approx(phantom.grid.to_voxel(phantom.spine.lps()), abs=0.01)
    assert loaded.array.min() >= -2
    assert loaded.array.max() <= 3


def test_a_scan_without_centroids_is_named(tmp_path):
    phantom = make_phantom("L1", "L2", spacing_mm=6.0)
    write_nifti(tmp_path / "lonely.nii.gz", phantom.array, phantom.grid)
    with pytest.raises(AnnotationError, match=r"lonely.nii.gz has no centroids"):
        annotation_of(tmp_path / "lonely.nii.gz")
    with pytest.raises(AnnotationError, match="E_NO_SCAN"):
        load_training_scans([tmp_path / "lonely.nii.gz"][:0], DETECTION)
