# SPDX-License-Identifier: Apache-2.0
"""Where is a vertebra? The detection network over overlapping patches, as the paper runs it (section 2.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from spinefinder_fast.kernels import extract_patches, patch_origins, stitch_mask
from spinefinder_fast.volume import normalisation, padding_value

if TYPE_CHECKING:
    from spinefinder_fast.networks.weights import Model
    from spinefinder_fast.volume import Volume

PATCH = (64, 64, 80)
MARGIN = (16, 16, 20)
"""Of each 64x64x80 output the inner 32x32x40 is kept, so every voxel is decided with this much context around it."""

BATCH = 4


def detect(volume: Volume, model: Model) -> NDArray[np.uint8]:
    """The voxels that belong to a vertebra: (X, Y, Z) uint8, 1 on vertebrae and 0 elsewhere.

    The volume, padded all around, is cut into patches of 64x64x80 in steps of 32x32x40; the network sees each patch and
    the inner 32x32x40 of its answer is kept.

    Args:
        volume: HU on the grid of the model.
        model: its detection network is run.
    """
    ramp = normalisation(volume.array, model.intensity)
    outside = padding_value(model.intensity)
    mask = np.zeros(volume.array.shape, np.uint8)
    origins = patch_origins(volume.array.shape, PATCH, MARGIN)
    with torch.inference_mode():
        for start in range(0, len(origins), BATCH):
            batch = origins[start : start + BATCH]
            patches = extract_patches(volume.array, batch, PATCH, outside, normalisation=ramp)
            logits = model.detection(torch.from_numpy(patches[:, None]).to(model.device))
            stitch_mask(logits.float().cpu().contiguous().numpy(), batch, MARGIN, mask)
    return mask
