# SPDX-License-Identifier: Apache-2.0
"""Which vertebra is it? The identification network over whole sagittal slices (paper, section 2.2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from spinefinder_fast.networks.identification import SLICES, TARGET
from spinefinder_fast.volume import normalisation, normalise, padding_value

if TYPE_CHECKING:
    from spinefinder_fast.networks.weights import Model
    from spinefinder_fast.volume import Volume

MULTIPLE = 16
"""Four times pooled: the sides of the network's input are multiples of this."""


AROUND_MM = (48.0, 120.0)
"""A strip goes so far beyond the detected spine, to the front and to the back, and up and down: what the network saw of
it in training."""

APART_MM = 4.0
"""In the strip, slices are labelled so far apart, and lend their labels to those between: votes are counted by the
dozen, and neighbours hardly differ."""

BATCH_PIXELS = 400_000
"""Pixels of all slices that the network sees at once."""


def identify(
    volume: Volume, mask: NDArray[np.uint8], model: Model, strip: bool = False
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """The label of every voxel as the network regresses it, one sagittal slice after the other: no volume of labels
    is ever made.

    Whole slices, with their neighbours (every k-th slice around them, where the model has a slice step of k) as
    channels and padded to a multiple of 16, from the first to the last in which a vertebra was detected. Rounding and
    the product with the mask are left to the aggregation.

    Args:
        volume: HU on the grid of the model.
        mask: (X, Y, Z) uint8, the result of `detect`; with an empty one there is nothing to do.
        model: its identification network is run.
        strip: of each slice let the network see only the strip around the detected spine, several slices at once, and
            of slices nearer to each other than `APART_MM` only some; the labels elsewhere are 0.

    Yields:
        The index of a slice along X and its labels, (Y, Z) float32, not rounded.
    """
    detected = np.flatnonzero(mask.any(axis=(1, 2)))
    if not len(detected):
        return
    first, last = int(detected[0]), int(detected[-1])
    window = _strip(mask, volume.grid.spacing_mm) if strip else (slice(0, mask.shape[1]), slice(0, mask.shape[2]))
    rows, columns = window[0].stop - window[0].start, window[1].stop - window[1].start
    step = model.slice_step
    before, behind = TARGET * step, (SLICES - 1 - TARGET) * step
    # Of the volume only what some slice's window holds is normalised.
    low, high = max(0, first - before), min(mask.shape[0], last + behind + 1)
    outer = (low - (first - before), last + behind + 1 - high)
    padding = (outer, (0, -rows % MULTIPLE), (0, -columns % MULTIPLE))
    seen = normalise(volume.array[low:high, *window], normalisation(volume.array, model.intensity))
    padded = torch.from_numpy(np.pad(seen, padding, constant_values=padding_value(model.intensity)))
    at_once = max(1, BATCH_PIXELS // (padded.shape[1] * padded.shape[2])) if strip else 1
    stride = max(1, int(APART_MM / volume.grid.spacing_mm[0])) if strip else 1
    groups = [range(i, min(i + stride, last + 1)) for i in range(first, last + 1, stride)]
    for start in range(0, len(groups), at_once):
        batch = groups[start : start + at_once]
        # The middle of each group is seen. Padded slice 0 is slice `first - before`, where the first window begins.
        places = [group[(len(group) - 1) // 2] - first for group in batch]
        inputs = torch.stack([padded[k : k + SLICES * step : step] for k in places]).to(model.device)
        with torch.inference_mode():  # here and not around the loop, or whoever takes the slices would run in it too
            labels = model.identification(inputs)[:, 0, :rows, :columns].float().cpu().numpy()
        for group, of_slice in zip(batch, labels, strict=True):
            whole = of_slice
            if strip:
                whole = np.zeros(mask.shape[1:], np.float32)
                whole[window] = of_slice
            for i in group:
                yield i, whole


def _strip(mask: NDArray[np.uint8], spacing_mm: tuple[float, float, float]) -> tuple[slice, slice]:
    """The part of the sagittal slices around what is detected."""
    flat = np.asarray(mask.any(axis=0))
    bounds = []
    for axis, around in enumerate(AROUND_MM):
        where = np.flatnonzero(np.any(flat, axis=1 - axis))
        reach = int(np.ceil(around / spacing_mm[axis + 1]))
        bounds.append(slice(max(0, int(where[0]) - reach), min(flat.shape[axis], int(where[-1]) + reach + 1)))
    return bounds[0], bounds[1]
