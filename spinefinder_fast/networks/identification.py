# SPDX-License-Identifier: Apache-2.0
"""The identification network: a 2-D U-Net over sagittal slices that regresses the label of each pixel (paper, 2.2)."""

from __future__ import annotations

from torch import Tensor, nn

from spinefinder_fast.networks.unet import UNet, scaled

FILTERS = (32, 64, 128, 256, 512)
"""Filters of the five levels in the paper; `width` scales them."""

SLICES = 8
"""Sagittal slices that enter as channels: neighbours in the paper, every k-th slice with a slice step of k."""

TARGET = 4
"""Which of them is labelled: the window of slice i is i-4 .. i+3, or i-4k, i-3k .. i+3k."""

BOTTOM_KERNEL = (5, 20)
"""Kernel of the lowest level: front-back, along the body. Half of the crop's 40 columns there: this is the context
by which a vertebra is named."""


class IdentificationNetwork(nn.Module):
    """2-D U-Net whose lowest level sees half of the spine; 43.6 million parameters at width 1.

    Args:
        width: factor on the number of filters of every level; 1 is the paper's network.
        slice_step: from one slice of its input to the next, in slices; kept for whoever feeds it.

    Raises:
        ValueError: the width leaves a level without a filter.
    """

    def __init__(self, width: float = 1.0, slice_step: int = 1) -> None:
        super().__init__()
        self.slice_step = slice_step
        self.unet = UNet(2, SLICES, 1, scaled(FILTERS, width), BOTTOM_KERNEL, last_kernel=1)
        # Begun near 0, the last ReLU can be born dead and never learn; the middle of the spine is far from its kink.
        nn.init.constant_(self.unet.last.bias, 13.0)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Normalised intensities, (N, 8, Y, Z) -> label of every pixel as a real number >= 0, (N, 1, Y, Z).

        Both sides must be multiples of 16.
        """
        return nn.functional.relu(self.unet(x))
