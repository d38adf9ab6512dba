# SPDX-License-Identifier: Apache-2.0
"""The two losses of the paper, and one that paints no more than there is."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

BACKGROUND_WEIGHT, VERTEBRA_WEIGHT = 0.1, 0.9
"""Class weights of Eq. 1: vertebrae are rare in a scan."""


def detection_loss(logits: Tensor, vertebra: Tensor) -> Tensor:
    """Weighted cross entropy (Eq. 1, with the minus sign that the paper drops), mean over voxels.

    Each voxel's term counts with its own class weight and the sum is divided by the number of voxels, as Eq. 1 is
    written, and not by the sum of the weights, as `torch.nn.functional.cross_entropy` would by itself.

    Args:
        logits: (N, 2, X, Y, Z) float, background and vertebra.
        vertebra: (N, X, Y, Z) integer or bool, not 0 where the voxel belongs to a vertebra.
    """
    truth = vertebra != 0
    entropy = torch.nn.functional.cross_entropy(logits.float(), truth.long(), reduction="none")
    weight = torch.where(truth, VERTEBRA_WEIGHT, BACKGROUND_WEIGHT)
    return (weight * entropy).mean()


def dice_loss(logits: Tensor, vertebra: Tensor) -> Tensor:
    """Plain cross entropy, mean over voxels, plus one minus the soft Dice coefficient of the whole batch.

    Eq. 1 counts a missed vertebra voxel nine times as much as an invented one, and so a network trained by it paints
    too much: it says "vertebra" wherever the chance is above one in ten. This one has no such leaning.

    Args:
        logits: (N, 2, X, Y, Z) float, background and vertebra.
        vertebra: (N, X, Y, Z) integer or bool, not 0 where the voxel belongs to a vertebra.
    """
    truth = vertebra != 0
    entropy = torch.nn.functional.cross_entropy(logits.float(), truth.long())
    found = torch.softmax(logits.float(), 1)[:, 1]
    dice = (2 * (found * truth).sum() + 1) / (found.sum() + truth.sum() + 1)
    return entropy + 1 - dice


def identification_loss(predicted: Tensor, labels: Tensor, count: Tensor | None = None) -> Tensor:
    """Mean absolute error of the label over pixels that have one (Eq. 2); 0 where no pixel has.

    Args:
        predicted: (N, 1, Y, Z) float, the regressed label.
        labels: (N, Y, Z) integer, 1..26, and 0 for background, which does not count.
        count: what the sum is divided by instead of the number of labelled pixels: where several processes share a
            batch, the mean number per process, so that the mean of their losses is that of the batch.
    """
    labelled = labels != 0
    error = (predicted[:, 0].float() - labels.float()).abs()
    return (error * labelled).sum() / (labelled.sum() if count is None else count).clamp(min=1)


def loss_of(
    kind: Literal["coarse", "detection", "identification"],
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    half: bool,
    count: Tensor | None = None,
    by: Literal["paper", "dice"] = "paper",
) -> tuple[Tensor, Tensor]:
    """Loss of a batch, and the network's answer.

    Args:
        kind: of the network.
        network: is called in bfloat16 where that is precise enough, if `half`.
        images, labels: a batch, as the losses describe it.
        half: compute in bfloat16; the loss is float32 all the same.
        count: see `identification_loss`.
        by: the detection's loss: Eq. 1, or `dice_loss`.
    """
    with torch.autocast(images.device.type, torch.bfloat16, enabled=half):
        answer = network(images)
    if kind == "identification":
        return identification_loss(answer, labels, count), answer
    return (dice_loss if by == "dice" else detection_loss)(answer, labels), answer
