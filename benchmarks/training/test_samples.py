# SPDX-License-Identifier: Apache-2.0
"""Training crops per second of the paper's two samplings, from a scan of 1 mm: ours against the same crops cut with
NumPy from dense volumes that were made beforehand, and deformed with elasticdeform; both behind PyTorch's DataLoader.

The plain way is given the places of the crops and the crop of the deformation, and does not pay for its dense labels
and its normalised float32 copy of the scan, which ours never makes.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
import torch

from spinefinder_fast import make_phantom
from spinefinder_fast.discs import dense_labels
from spinefinder_fast.training.samples import BatchOrder, CropDataset, batches
from spinefinder_fast.training.settings import PAPER
from spinefinder_fast.training.volumes import TrainingScan
from spinefinder_fast.volume import normalisation, normalise

STEPS = 4


class PlainDataset(CropDataset):
    """The same crops, the usual way."""

    def __init__(self, scans, settings):
        super().__init__(scans, settings)
        (scan,) = scans
        array = scan.volume().array
        self._whole = normalise(array, normalisation(array, settings.intensity))
        spacing = (settings.spacing_mm,) * 3
        self._dense = dense_labels(scan.labels, scan.centroids_vox, scan.array.shape, spacing)

    def _labels(self, source, origin, shape):
        return cut(self._dense, origin, shape, 0)

    def _image(self, source, origin, shape, step=1):
        assert step == 1  # the paper's neighbouring slices
        return cut(self._whole, origin, shape, self._outside)[None]

    def _deform(self, image, labels, sigma, halo, rng):
        import elasticdeform

        inside = [slice(halo, n - halo) for n in labels.shape]
        displacement = rng.standard_normal((2, 3, 3)) * sigma
        how = {"axis": (1, 2), "order": [1, 0], "mode": "nearest", "crop": inside}
        image, slab = elasticdeform.deform_grid([image, labels[None]], displacement, **how)
        return image, slab[0]


def cut(volume, origin, shape, outside):
    first, last = np.maximum(origin, 0), np.minimum(np.add(origin, shape), volume.shape)
    crop = np.full(shape, outside, volume.dtype)
    if (last > first).all():
        there = tuple(slice(a - o, b - o) for a, b, o in zip(first, last, origin, strict=True))
        crop[there] = volume[tuple(slice(a, b) for a, b in zip(first, last, strict=True))]
    return crop


@cache
def scan() -> TrainingScan:
    phantom = make_phantom("T4", "L5", spacing_mm=1.0, fov_mm=(300, 300))
    stored = Path(mkdtemp()) / "scan.npy"
    np.save(stored, phantom.array.astype(np.int16))
    return TrainingScan("phantom", stored, stored, phantom.grid, phantom.spine)


@cache
def crops(way, kind: str, workers: int) -> CropDataset:
    # As many crops as make the steps, from the one scan.
    settings = PAPER[kind]
    many = STEPS * settings.batch
    return way([scan()], replace(settings, samples_per_scan=many, with_vertebrae=4 * many // 5, workers=workers))


def epoch(dataset: CropDataset) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(batches(dataset, BatchOrder(dataset, 0, STEPS), "cpu"))


@cache
def expected(kind: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return epoch(crops(PlainDataset, kind, 0))


@pytest.mark.benchmark(min_rounds=3, max_time=1.0)
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("way", [CropDataset, PlainDataset], ids=["ours", "plain"])
@pytest.mark.parametrize("kind", PAPER)
def test_crops(benchmark, speeds, kind, way, workers):
    benchmark.group = f"{STEPS} batches of {kind} crops"
    dataset = crops(way, kind, workers)
    found = benchmark(epoch, dataset)
    for (image, labels), (expected_image, expected_labels) in zip(found, expected(kind), strict=True):
        assert torch.equal(labels, expected_labels)
        np.testing.assert_allclose(image, expected_image, rtol=0, atol=3e-6)
    if benchmark.enabled:
        name = "plain" if way is PlainDataset else "ours"
        speeds.setdefault((kind, workers), {})[name] = len(dataset) / benchmark.stats.stats.median
