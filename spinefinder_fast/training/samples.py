# SPDX-License-Identifier: Apache-2.0
"""Training crops, drawn on the fly from scans and centroids (paper, sections 2.1 and 2.2).

No dense label volume exists: the discs of the spine are rasterised straight into each crop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from spinefinder_fast import anatomy
from spinefinder_fast.annotations import ENDINGS, read_centroids
from spinefinder_fast.discs import dense_labels
from spinefinder_fast.errors import AnnotationError
from spinefinder_fast.kernels import deform_random_grid, extract_patches
from spinefinder_fast.networks.identification import SLICES, TARGET
from spinefinder_fast.scan import find_scans, read_scan, scan_name
from spinefinder_fast.training.settings import TrainingSettings
from spinefinder_fast.volume import normalise, padding_value, resample

ATTEMPTS = 100
"""Crops tried until one holds vertebrae, as in the published code."""

LABELLED_MM2 = 500.0
"""Labelled area that an identification slab needs in its target slice: the published code's 500 pixels of 1 mm."""

MASK_ENDINGS = ("_seg", "_msk", "_seg-vert_msk")
"""Of the names of VerSe's masks, which lie beside its scans."""

ZSCORE_PADDING = -5.0
"""What the published code puts outside of the scan in training crops."""


@dataclass(frozen=True)
class TrainingScan:
    """A scan on the training grid, with its points.

    Attributes:
        name: of the scan.
        path: of its file.
        array: (X, Y, Z) float32, canonical axes, normalised intensities.
        labels: (n,) int64, 1..26.
        centroids_vox: (n, 3) float64, voxels of `array`.
    """

    name: str
    path: Path
    array: NDArray[np.float32]
    labels: NDArray[np.int64]
    centroids_vox: NDArray[np.float64]


def load_training_scans(folders: Sequence[Path], settings: TrainingSettings) -> list[TrainingScan]:
    """Every scan below `folders` that has a file of centroids beside it, resampled and normalised.

    T13 and L6 have no label and are left out. A scan whose annotation is empty teaches what is not a vertebra.

    Raises:
        AnnotationError: a scan without annotation, or no scan at all.
        ScanError: a scan that cannot be read.
    """
    scans = []
    for path in find_scans(list(folders)):
        if scan_name(path).endswith(MASK_ENDINGS):
            continue
        scan = read_scan(path)
        spine = read_centroids(annotation_of(path), scan.file_grid)
        volume = resample(scan, settings.spacing_mm)
        known = [v for v in spine if v.name in anatomy.LABELS]
        points = np.array([v.lps for v in known]).reshape(-1, 3)
        scans.append(
            TrainingScan(
                name=scan.name,
                path=path.resolve(),
                array=normalise(volume.array, settings.intensity),
                labels=np.array([v.label for v in known], np.int64),
                centroids_vox=volume.grid.to_voxel(points),
            )
        )
    if not scans:
        raise AnnotationError("E_NO_SCAN", f"no scan below {', '.join(map(str, folders))}; give a folder of scans")
    return scans


def annotation_of(scan: Path) -> Path:
    """The file of centroids beside a scan: ``NAME.lml`` and so on, where VerSe's NAME ends before ``_ct`` and may go on
    with ``_seg-...``.

    Raises:
        AnnotationError: there is none.
    """
    name = scan_name(scan)
    case = name.removesuffix("_ct")
    beside = [scan.parent / (n + ending) for n in (name, case) for ending in ENDINGS]
    for path in (*beside, *sorted(scan.parent.glob(f"{case}_seg-*_ctd.json"))):
        if path.is_file():
            return path
    raise AnnotationError(
        "E_NO_ANNOTATION", f"{scan} has no centroids beside it; {beside[0].name} or another is needed"
    )


class CropDataset(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """``samples_per_scan`` random crops of every scan; other crops in every epoch.

    Item ``i`` of an epoch depends on the seed, the epoch and ``i`` alone: so a resumed run, or one with another number
    of workers, sees the same crops.

    Items are (image, labels): detection (1, x, y, z) float32 and (x, y, z) uint8, identification (8, y, z) float32 and
    (y, z) uint8 of the target slice.

    Args:
        scans: where crops come from.
        settings: crop size, sampling and augmentation.
        augment: False leaves deformation, mirroring and jitter out, as validation wants.
    """

    def __init__(self, scans: Sequence[TrainingScan], settings: TrainingSettings, augment: bool = True) -> None:
        self.scans = scans
        self.settings = settings
        self.augment = augment
        self.epoch = 0
        self._outside = padding_value(settings.intensity) if settings.intensity == "window" else ZSCORE_PADDING

    def __len__(self) -> int:
        return len(self.scans) * self.settings.samples_per_scan

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        rng = np.random.default_rng((self.settings.seed, self.epoch, index))
        scan = self.scans[index // self.settings.samples_per_scan]
        if self.augment and self.settings.flip and rng.random() < 0.5:
            # The scan is mirrored, not the crop: the labelled slice of a slab is not its middle.
            points = scan.centroids_vox * (-1, 1, 1) + (scan.array.shape[0] - 1, 0, 0)
            scan = replace(scan, array=scan.array[::-1], centroids_vox=points)
        wanted = index % self.settings.samples_per_scan < self.settings.with_vertebrae
        if self.settings.kind == "detection":
            image, labels = self._detection_crop(scan, wanted, rng)
        else:
            image, labels = self._identification_slab(scan, rng)
        if self.augment and self.settings.hu_jitter:
            gain, offset = rng.normal((1.0, 0.0), self.settings.hu_jitter)
            image = image * np.float32(gain) + np.float32(offset)
        return torch.from_numpy(np.ascontiguousarray(image)), torch.from_numpy(np.ascontiguousarray(labels))

    def _detection_crop(
        self, scan: TrainingScan, wanted: bool, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        shape = self.settings.crop
        for _ in range(ATTEMPTS if wanted and len(scan.labels) else 1):
            origin = _random_origin(rng, scan.array.shape, shape)
            labels = self._labels(scan, origin, shape)
            if labels.any():
                break
        return self._image(scan, origin, shape), labels

    def _identification_slab(
        self, scan: TrainingScan, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        # The slices are drawn so that the TARGET may be any slice of the scan; what the window lacks is padding.
        enough = LABELLED_MM2 / self.settings.spacing_mm**2
        # A deformed crop needs what lies around it, or the padding would bleed in.
        halo = int(np.ceil(2 * self.settings.deform_sigma_mm / self.settings.spacing_mm)) if self.augment else 0
        rows, columns = self.settings.crop[1:]
        shape = (SLICES, rows + 2 * halo, columns + 2 * halo)
        best = -1
        for _ in range(ATTEMPTS if len(scan.labels) else 1):
            x = int(rng.integers(scan.array.shape[0]))
            _, y, z = _random_origin(rng, scan.array.shape, (1, rows, columns))
            tried = self._labels(scan, (x, y - halo, z - halo), (1, *shape[1:]))[0]
            labelled = int(np.count_nonzero(tried[halo : halo + rows, halo : halo + columns]))
            if labelled > best:
                best, origin, labels = labelled, (x - TARGET, y - halo, z - halo), tried
            if labelled > enough:
                break
        image = self._image(scan, origin, shape)[0]
        if halo:
            return _deform(image, labels, self.settings.deform_sigma_mm / self.settings.spacing_mm, halo, rng)
        return image, labels

    def _labels(
        self, scan: TrainingScan, origin: tuple[int, int, int], shape: tuple[int, int, int]
    ) -> NDArray[np.uint8]:
        spacing = (self.settings.spacing_mm,) * 3
        return dense_labels(scan.labels, scan.centroids_vox, shape, spacing, dense=self.settings.dense, origin=origin)

    def _image(
        self, scan: TrainingScan, origin: tuple[int, int, int], shape: tuple[int, int, int]
    ) -> NDArray[np.float32]:
        patch: NDArray[np.float32] = extract_patches(scan.array, np.array([origin], np.int64), shape, self._outside)
        return patch


def _random_origin(
    rng: np.random.Generator, volume: tuple[int, ...], crop: tuple[int, int, int]
) -> tuple[int, int, int]:
    """First voxel of a crop that lies inside the volume or, along a side where it is larger, around it."""
    x, y, z = (int(rng.integers(min(0, n - c), max(0, n - c) + 1)) for n, c in zip(volume, crop, strict=True))
    return x, y, z


def _deform(
    image: NDArray[np.float32], labels: NDArray[np.uint8], sigma: float, halo: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """One elastic deformation, on a 3x3 grid of control points, of the slices (linear) and of the labels (nearest)."""
    inside = [slice(halo, n - halo) for n in labels.shape]
    image, slab = deform_random_grid(
        # One thread: crops are made side by side, and beside the network.
        [image, labels[None]],
        sigma,
        rng=rng,
        axis=(1, 2),
        order=[1, 0],
        mode="nearest",
        crop=inside,
        threads=1,
    )
    return image, slab[0]
