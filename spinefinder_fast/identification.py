# SPDX-License-Identifier: Apache-2.0
"""Which vertebra is it? The identification network over whole sagittal slices (paper, section 2.2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from spinefinder_fast.networks.identification import SLICES, TARGET
from spinefinder_fast.volume import normalise, padding_value

if TYPE_CHECKING:
    from spinefinder_fast.networks.weights import Model
    from spinefinder_fast.volume import Volume

MULTIPLE = 16
"""Four times pooled: the sides of the network's input are multiples of this."""


def identify(volume: Volume, mask: NDArray[np.uint8], model: Model) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """The label of every voxel as the network regresses it, one sagittal slice after the other: no volume of labels
    is ever made.

    Whole slices, with their neighbours (every k-th slice around them, where the model has a slice step of k) as
    channels and padded to a multiple of 16, from the first to the last in which a vertebra was detected. Rounding and
    the product with the mask are left to the aggregation.

    Args:
        volume: HU on the grid of the model.
        mask: (X, Y, Z) uint8, the result of `detect`; with an empty one there is nothing to do.
        model: its identification network is run.

    Yields:
        The index of a slice along X and its labels, (Y, Z) float32, not rounded.
    """
    detected = np.flatnonzero(mask.any(axis=(1, 2)))
    if not len(detected):
        return
    rows, columns = volume.array.shape[1:]
    step = model.slice_step
    padding = ((TARGET * step, (SLICES - 1 - TARGET) * step), (0, -rows % MULTIPLE), (0, -columns % MULTIPLE))
    padded = np.pad(normalise(volume.array, model.intensity), padding, constant_values=padding_value(model.intensity))
    for i in range(int(detected[0]), int(detected[-1]) + 1):
        # Padded slice i + TARGET * step is slice i, so the window of slice i starts at padded slice i.
        window = torch.from_numpy(padded[None, i : i + SLICES * step : step]).to(model.device)
        with torch.inference_mode():  # here and not around the loop, or whoever takes the slices would run in it too
            labels = model.identification(window)[0, 0, :rows, :columns].float().cpu()
        yield i, labels.numpy()
