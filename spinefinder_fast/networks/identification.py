# SPDX-License-Identifier: Apache-2.0
"""The identification network: a 2-D U-Net over sagittal slices that regresses the label of each pixel (paper, 2.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spinefinder_fast.networks.blocks import ConvBlock, scaled

FILTERS = (32, 64, 128, 256, 512)
"""Filters of the five levels in the paper; `width` scales them."""

SLICES = 8
"""Neighbouring sagittal slices that enter as channels."""

TARGET = 4
"""Which of them is labelled: the window of slice i is i-4 .. i+3."""

BOTTOM_KERNEL = (5, 20)
"""Kernel of the lowest level: front-back, along the body. Half of the crop's 40 columns there: this is the context
by which a vertebra is named."""


class IdentificationNetwork(nn.Module):
    """2-D U-Net of five levels whose lowest one sees half of the spine; 43.6 million parameters at width 1.

    Args:
        width: factor on the number of filters of every level; 1 is the paper's network.

    Raises:
        ValueError: the width leaves a level without a filter.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        filters = scaled(FILTERS, width)
        self.down = nn.ModuleList(
            ConvBlock(2, inputs, outputs, 3)
            for inputs, outputs in zip((SLICES, *filters[:-2]), filters[:-1], strict=True)
        )
        self.bottom = ConvBlock(2, filters[-2], filters[-1], BOTTOM_KERNEL)
        self.up = nn.ModuleList(
            ConvBlock(2, deep + skip, skip, 3) for deep, skip in zip(filters[:0:-1], filters[-2::-1], strict=True)
        )
        self.last = nn.Conv2d(filters[0], 1, 1)
        # Begun near 0, the last ReLU can be born dead and never learn; the middle of the spine is far from its kink.
        nn.init.constant_(self.last.bias, 13.0)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Normalised intensities, (N, 8, Y, Z) -> label of every pixel as a real number >= 0, (N, 1, Y, Z).

        Both sides must be multiples of 16.
        """
        skips: list[Tensor] = []
        for block in self.down:
            x = block(x)
            skips.append(x)
            x = nn.functional.max_pool2d(x, 2)
        x = self.bottom(x)
        for block in self.up:
            x = nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(torch.cat([x, skips.pop()], dim=1))
        return nn.functional.relu(self.last(x))
