# SPDX-License-Identifier: Apache-2.0
"""Training crops, drawn on the fly from scans and centroids (paper, sections 2.1 and 2.2).

No dense label volume exists: the discs of the spine are rasterised straight into each crop.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from spinefinder_fast import anatomy
from spinefinder_fast.discs import DenseAnnotation
from spinefinder_fast.kernels import Normalisation, deform_random_grid, extract_patches
from spinefinder_fast.networks.identification import SLICES, TARGET
from spinefinder_fast.training.augment import change_look, narrow_view
from spinefinder_fast.training.settings import TrainingSettings
from spinefinder_fast.training.volumes import TrainingScan
from spinefinder_fast.volume import normalisation, padding_value

ATTEMPTS: Final = 100
"""Crops tried until one holds vertebrae, as in the published code."""

LABELLED_MM2: Final = 500.0
"""Labelled area that an identification slab needs in its target slice: the published code's 500 pixels of 1 mm."""

ZSCORE_PADDING: Final = -5.0
"""What the published code puts outside of the scan in training crops."""

Crop = tuple[torch.Tensor, torch.Tensor]
Key = tuple[int, int]
"""Epoch and index of a crop."""


@dataclass(frozen=True)
class _Source:
    """What a crop is cut from: a scan, or its mirror image.

    Attributes:
        array: (X, Y, Z), HU.
        points_vox: label -> centroid.
        annotation: its dense labels, to be painted into crops.
        bounds: first voxel and the one behind the last of a box that holds all labelled voxels of the scan.
        ramp: from HU to what the network sees.
    """

    array: NDArray[Any]
    points_vox: dict[int, NDArray[np.float64]]
    annotation: DenseAnnotation
    bounds: tuple[NDArray[np.int64], NDArray[np.int64]]
    ramp: Normalisation


class CropDataset(Dataset[Crop]):
    """``samples_per_scan`` random crops of every scan; other crops in every epoch.

    The crop ``(epoch, i)`` depends on the seed, the epoch and ``i`` alone: so a resumed run, one with another number of
    workers, and one that is spread over several processes, see the same crops.

    Crops are (image, labels): detection (1, x, y, z) float32 and (x, y, z) uint8, identification (8, y, z) float32,
    every ``slice_step``-th slice, and (y, z) uint8 of the target slice.

    Args:
        scans: where crops come from.
        settings: crop size, sampling and augmentation.
        augment: False leaves deformation, mirroring, other looks, narrower views and jitter out, as validation wants.
    """

    def __init__(self, scans: Sequence[TrainingScan], settings: TrainingSettings, augment: bool = True) -> None:
        self.scans = scans
        self.settings = settings
        self.augment = augment
        self._outside = padding_value(settings.intensity) if settings.intensity == "window" else ZSCORE_PADDING
        self._sources: dict[tuple[int, bool], _Source] = {}
        # The scans that show a level, for every level that any shows.
        self._showing = {
            label: [i for i, scan in enumerate(scans) if label in scan.labels]
            for label in range(1, anatomy.N_LABELS + 1)
            if any(label in scan.labels for scan in scans)
        }

    def __len__(self) -> int:
        return len(self.scans) * self.settings.samples_per_scan

    def __getitem__(self, key: Key) -> Crop:
        epoch, index = key
        settings = self.settings
        rng = np.random.default_rng((settings.seed, epoch, index))
        number, turn = divmod(index, settings.samples_per_scan)
        wanted = settings.kind == "identification" or turn < settings.with_vertebrae
        about = None
        if wanted and settings.sampling == "even" and self._showing:
            about = int(rng.choice(list(self._showing)))
            number = int(rng.choice(self._showing[about]))
        mirrored = self.augment and settings.flip and rng.random() < 0.5
        if (number, mirrored) not in self._sources:
            self._sources[number, mirrored] = self._source(self.scans[number], mirrored)
        source = self._sources[number, mirrored]
        if settings.kind == "identification":
            image, labels = self._identification_slab(source, about, rng)
        else:
            image, labels = self._detection_crop(source, wanted, about, rng)
        if self.augment:
            image, labels = self._seen_otherwise(image, labels, rng)
        if self.augment and settings.hu_jitter:
            gain, offset = rng.normal((1.0, 0.0), settings.hu_jitter)
            image = image * np.float32(gain) + np.float32(offset)
        return torch.from_numpy(np.ascontiguousarray(image)), torch.from_numpy(np.ascontiguousarray(labels))

    def _source(self, scan: TrainingScan, mirrored: bool) -> _Source:
        array, points = scan.array, scan.centroids_vox
        ramp = normalisation(array, self.settings.intensity)
        if mirrored:
            # The scan is mirrored, not the crop: the labelled slice of a slab is not its middle.
            array, points = array[::-1], points * (-1, 1, 1) + (array.shape[0] - 1, 0, 0)
        spacing = (self.settings.spacing_mm,) * 3
        annotation = DenseAnnotation.of(scan.labels, points, spacing, self.settings.dense)
        low, high = annotation.bounds_vox()
        bounds = np.maximum(low, 0), np.minimum(high, array.shape)
        return _Source(array, dict(zip(scan.labels.tolist(), points, strict=True)), annotation, bounds, ramp)

    def _seen_otherwise(
        self, image: NDArray[np.float32], labels: NDArray[np.uint8], rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        settings, spacing = self.settings, self.settings.spacing_mm
        if settings.other_looks and rng.random() < settings.other_looks:
            image = change_look(image, spacing, self._outside, rng)
        if settings.narrow_views and rng.random() < settings.narrow_views:
            if settings.kind == "identification":
                return narrow_view(image, labels, (spacing * settings.slice_step, spacing, spacing), self._outside, rng)
            seen, labels = narrow_view(image[0], labels, (spacing,) * 3, self._outside, rng)
            image = seen[None]
        return image, labels

    def _detection_crop(
        self, source: _Source, wanted: bool, about: int | None, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        shape = self.settings.crop
        wanted = wanted and bool(source.points_vox)
        for _ in range(ATTEMPTS if wanted else 1):
            origin = self._origin(source, shape, wanted, about, rng)
            labels = self._labels(source, origin, shape)
            if labels.any():
                break
        return self._image(source, origin, shape), labels

    def _identification_slab(
        self, source: _Source, about: int | None, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        # The slices are drawn so that the TARGET may be any slice of the scan; what the window lacks is padding.
        spacing, step = self.settings.spacing_mm, self.settings.slice_step
        enough = LABELLED_MM2 / spacing**2
        # A deformed crop needs what lies around it, or the padding would bleed in.
        halo = int(np.ceil(2 * self.settings.deform_sigma_mm / spacing)) if self.augment else 0
        rows, columns = self.settings.crop[1:]
        shape = (SLICES, rows + 2 * halo, columns + 2 * halo)
        best = -1
        wanted = bool(source.points_vox)
        for _ in range(ATTEMPTS if wanted else 1):
            x, y, z = self._origin(source, (1, rows, columns), wanted, about, rng)
            tried = self._labels(source, (x, y - halo, z - halo), (1, *shape[1:]))[0]
            labelled = int(np.count_nonzero(tried[halo : halo + rows, halo : halo + columns]))
            if labelled > best:
                best, origin, labels = labelled, (x - TARGET * step, y - halo, z - halo), tried
            if labelled > enough:
                break
        image = self._image(source, origin, shape, step)[0]
        if halo:
            return self._deform(image, labels, self.settings.deform_sigma_mm / spacing, halo, rng)
        return image, labels

    def _origin(
        self,
        source: _Source,
        shape: tuple[int, int, int],
        wanted: bool,
        about: int | None,
        rng: np.random.Generator,
    ) -> tuple[int, int, int]:
        """First voxel of a crop that lies inside the scan or, along a side where it is larger, around it.

        It lies anywhere; or, where a crop with vertebrae is wanted, where it meets the box that holds all labels: of
        all places those alone could be taken, so those that are taken are as likely as if any had been tried. Or it is
        about a vertebra: some point within the vertebra's radius of its centroid is in it.
        """
        sides = np.array(source.array.shape), np.array(shape)
        low, high = np.minimum(0, sides[0] - sides[1]), np.maximum(0, sides[0] - sides[1])
        if about is not None:
            radius = 0.5 * anatomy.DIAMETERS_MM[anatomy.name_of(about)] / self.settings.spacing_mm
            point = source.points_vox[about] + rng.uniform(-radius, radius, 3)
            first = np.rint(point - rng.uniform(0, 1, 3) * (sides[1] - 1)).astype(np.int64).clip(low, high)
        else:
            if wanted:
                met = np.maximum(low, source.bounds[0] - sides[1] + 1), np.minimum(high, source.bounds[1] - 1)
                if (met[0] <= met[1]).all():
                    low, high = met
            first = rng.integers(low, high + 1)
        x, y, z = first.tolist()
        return x, y, z

    def _labels(self, source: _Source, origin: tuple[int, int, int], shape: tuple[int, int, int]) -> NDArray[np.uint8]:
        first, last = np.maximum(origin, 0), np.minimum(np.add(origin, shape), source.array.shape)
        if (last - first == shape).all():
            return source.annotation.window(origin, shape)
        # Outside of the scan there is nothing to see, and so nothing to learn.
        labels = np.zeros(shape, np.uint8)
        if (last > first).all():
            window = tuple(slice(a - o, b - o) for a, b, o in zip(first, last, origin, strict=True))
            labels[window] = source.annotation.window(first.tolist(), (last - first).tolist())
        return labels

    def _image(
        self, source: _Source, origin: tuple[int, int, int], shape: tuple[int, int, int], step: int = 1
    ) -> NDArray[np.float32]:
        # Of every `step`-th slice, those among which the first is.
        place, phase = divmod(origin[0], step)
        patch: NDArray[np.float32] = extract_patches(
            # One thread: crops are made side by side, and beside the network.
            source.array[phase::step],
            np.array([(place, *origin[1:])], np.int64),
            shape,
            self._outside,
            normalisation=source.ramp,
            threads=1,
        )
        return patch

    def _deform(
        self,
        image: NDArray[np.float32],
        labels: NDArray[np.uint8],
        sigma: float,
        halo: int,
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """One elastic deformation, on a 3x3 grid of points, of the slices (linear) and of the labels (nearest)."""
        image, slab = deform_random_grid(
            [image, labels[None]],
            sigma,
            rng=rng,
            axis=(1, 2),
            order=[1, 0],
            mode="nearest",
            crop=[slice(halo, n - halo) for n in labels.shape],
            threads=1,
        )
        return image, slab[0]


def steps_per_epoch(crops: CropDataset) -> int:
    """Whole batches in an epoch; a set smaller than one batch makes one of what there is."""
    return max(1, len(crops) // crops.settings.batch)


class BatchOrder:
    """Which crops make which step: each epoch a random order of its own, cut into batches.

    Args:
        crops: all crops of an epoch.
        first: step to begin with, counted from 0.
        last: step to end before.
        rank, size: the share of a process: of each batch every `size`-th crop from `rank` on.
    """

    def __init__(self, crops: CropDataset, first: int, last: int, rank: int = 0, size: int = 1) -> None:
        self._crops, self._first, self._last, self._rank, self._size = crops, first, last, rank, size

    def __len__(self) -> int:
        return self._last - self._first

    def __iter__(self) -> Iterator[list[Key]]:
        settings, per_epoch = self._crops.settings, steps_per_epoch(self._crops)
        order: NDArray[np.int64] | None = None
        for step in range(self._first, self._last):
            epoch, turn = divmod(step, per_epoch)
            if order is None or turn == 0:
                # No crop has this number, so none shares the random stream.
                order = np.random.default_rng((settings.seed, epoch, len(self._crops))).permutation(len(self._crops))
            batch = order[turn * settings.batch : (turn + 1) * settings.batch]
            yield [(epoch, int(i)) for i in batch[self._rank :: self._size]]


def batches(crops: CropDataset, order: BatchOrder, device: str) -> DataLoader[Crop]:
    """The crops of `order`, batch by batch, prepared ahead by ``settings.workers`` processes."""
    workers = crops.settings.workers
    if workers < 0:
        workers = min(12, max(1, len(os.sched_getaffinity(0)) - 1)) if device.startswith("cuda") else 0
    return DataLoader(
        crops,
        batch_sampler=order,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        pin_memory=device.startswith("cuda"),
    )
