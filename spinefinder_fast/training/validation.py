# SPDX-License-Identifier: Apache-2.0
"""How a network in training fares on scans of other patients: on crops, and as a stage of the whole pipeline."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader

from spinefinder_fast.centroids import aggregate
from spinefinder_fast.detection import detect
from spinefinder_fast.discs import dense_labels
from spinefinder_fast.evaluation import evaluate
from spinefinder_fast.identification import identify
from spinefinder_fast.networks.losses import loss_of
from spinefinder_fast.networks.weights import Kind, Model
from spinefinder_fast.spine import Spine
from spinefinder_fast.training.samples import CropDataset
from spinefinder_fast.training.settings import TrainingSettings
from spinefinder_fast.training.volumes import TrainingScan


@dataclass(frozen=True)
class CropScore:
    """Of the validation crops, which are the same in every epoch and not augmented.

    Attributes:
        loss: mean over batches.
        dice: of the vertebra voxels, over all crops together (detection); NaN for identification.
        accuracy: share of all voxels that are classified right (detection), or of the labelled pixels whose rounded
            label is right (identification), the classification rate of the published code.
    """

    loss: float = math.nan
    dice: float = math.nan
    accuracy: float = math.nan


def score_crops(
    network: nn.Module, scans: Sequence[TrainingScan], settings: TrainingSettings, device: str
) -> CropScore:
    """Loss, Dice and accuracy of a network on crops of some scans."""
    if not scans:
        return CropScore()
    crops = CropDataset(scans, settings, augment=False)
    keys = [(0, i) for i in range(len(crops))]
    loader = DataLoader(crops, settings.batch, sampler=keys)
    losses, right, counted, both, either = [], 0, 0, 0, 0
    network.eval()
    with torch.inference_mode():
        for images, labels in loader:
            truth = labels.to(device)
            half = settings.half(device)
            loss, answer = loss_of(settings.kind, network, images.to(device), truth, half, by=settings.loss)
            losses.append(float(loss))
            if settings.kind != "identification":
                found, vertebra = answer[:, 1] > answer[:, 0], truth != 0
                right += int((found == vertebra).sum())
                counted += truth.numel()
                both += int((found & vertebra).sum())
                either += int(found.sum()) + int(vertebra.sum())
            else:
                labelled = truth != 0
                right += int(((answer[:, 0].float().round() == truth) & labelled).sum())
                counted += int(labelled.sum())
    dice = (2 * both / either if either else 1.0) if settings.kind != "identification" else math.nan
    return CropScore(sum(losses) / len(losses), dice, right / max(counted, 1))


@dataclass(frozen=True)
class PipelineScore:
    """Of the whole method on whole validation scans, by the McCouat protocol.

    Attributes:
        id_rate: share of the annotated vertebrae that are identified, 0 to 1.
        mean_mm: distance of the found centroids to those of their name; NaN where none has a partner.
        missing: annotated vertebrae whose name was not found.
        extra: found vertebrae whose name is not annotated.
    """

    id_rate: float = math.nan
    mean_mm: float = math.nan
    missing: int = 0
    extra: int = 0


def score_pipeline(
    networks: Mapping[Kind, nn.Module], scans: Sequence[TrainingScan], settings: TrainingSettings, device: str
) -> PipelineScore:
    """Run the pipeline on whole scans, with the paper's medians.

    The stage of a network that is not there yet is played by the truth: the dense labels of the annotation as its mask
    or as its labels.

    Args:
        networks: by kind, one or both, on `device`.
        scans: validation scans on the grid of `settings`.
        settings: say how intensities become input.
        device: where the networks are.
    """
    nothing = nn.Identity()
    for network in networks.values():
        network.eval()
    model = Model(
        networks.get("detection", nothing),
        networks.get("identification", nothing),
        settings.spacing_mm,
        settings.intensity,
        device,
        # The network's, not the settings': these may be of the detection.
        slice_step=getattr(networks.get("identification"), "slice_step", 1),
    )
    pairs = []
    with torch.autocast(device.split(":")[0], torch.bfloat16, enabled=settings.half(device)):
        for scan in scans:
            volume = scan.volume()
            spacing = (settings.spacing_mm,) * 3
            dense = dense_labels(scan.labels, scan.centroids_vox, volume.array.shape, spacing, settings.dense)
            mask = detect(volume, model) if "detection" in networks else (dense > 0).astype(np.uint8)
            labels = identify(volume, mask, model) if "identification" in networks else _slices(dense)
            pairs.append((Spine(tuple(aggregate(labels, mask, volume.grid))), scan.truth))
    score = evaluate(pairs)["All"]
    return PipelineScore(
        math.nan if score.id_rate is None else score.id_rate,
        math.nan if score.mean_mm is None else score.mean_mm,
        score.missing,
        score.extra,
    )


def _slices(dense: NDArray[np.uint8]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    for i, labels in enumerate(dense):
        yield i, labels.astype(np.float32)
