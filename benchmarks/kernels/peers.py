# SPDX-License-Identifier: Apache-2.0
"""How MONAI and TorchIO put patches together, fed with logits that are there already: no network is timed.

Both pad the volume by the margin, so they have the paper's patches, but for the last along an axis: where ours
reaches beyond the volume theirs moves inwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch


def monai_gaussian(logits: np.ndarray, shape: Sequence[int], margin: Sequence[int]) -> torch.Tensor:
    """MONAI's sliding window, blended with its Gaussian.

    That has costs besides blending: it crops and stacks the windows of the input, and as it weighs in place what the
    predictor returns, it must be handed a copy.

    Args:
        logits: (n, c, px, py, pz) float32, the answer to every batch of n patches.
        shape: (3,) voxels of the volume.
        margin: (3,) voxels, a quarter of the patch.

    Returns:
        (c, x, y, z) float32.
    """
    from monai.inferers import sliding_window_inference

    batch = torch.from_numpy(logits)
    handed_out = torch.empty_like(batch)
    padded = [n + 2 * m for n, m in zip(shape, margin, strict=True)]
    blended = sliding_window_inference(
        torch.zeros(1).expand(1, 1, *padded),  # no values, hence no memory
        roi_size=logits.shape[2:],
        sw_batch_size=len(batch),
        predictor=lambda windows: handed_out[: len(windows)].copy_(batch[: len(windows)]),
        overlap=0.5,
        mode="gaussian",
    )
    return blended[(0, slice(None), *(slice(m, m + n) for m, n in zip(margin, shape, strict=True)))]


@cache
def torchio_sampler(shape: tuple[int, ...], patch: tuple[int, ...], margin: tuple[int, ...]) -> Any:
    """TorchIO's patches of a volume; `locations` are the first and last voxels, counted from the padding's first."""
    tio = pytest.importorskip("torchio")
    subject = tio.Subject(image=tio.ScalarImage(tensor=torch.zeros(1, *shape, dtype=torch.uint8)))
    return tio.GridSampler(subject, patch, [2 * m for m in margin], padding_mode=0)


def torchio_grid(logits: np.ndarray, shape: tuple[int, ...], margin: tuple[int, ...], mode: str) -> torch.Tensor:
    """TorchIO's aggregation: the centres for the mode "crop", blended for "hann".

    Args and returns as of `monai_gaussian`.
    """
    import torchio as tio

    sampler = torchio_sampler(shape, logits.shape[2:], margin)
    aggregator = tio.GridAggregator(sampler, overlap_mode=mode)
    batch, locations = torch.from_numpy(logits), torch.from_numpy(sampler.locations)
    for some in locations.split(len(batch)):
        aggregator.add_batch(batch[: len(some)], some)
    return aggregator.get_output_tensor()
