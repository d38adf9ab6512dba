# SPDX-License-Identifier: Apache-2.0
"""The detection network: a 3-D U-Net that separates vertebrae from everything else (paper, section 2.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spinefinder_fast.networks.blocks import ConvBlock, scaled

FILTERS = (16, 32, 64, 128, 256)
"""Filters of the five levels in the paper; `width` scales them."""


class DetectionNetwork(nn.Module):
    """3-D U-Net of five levels with two 3x3x3 convolutions each; 5.89 million parameters at width 1.

    Args:
        width: factor on the number of filters of every level; 1 is the paper's network.

    Raises:
        ValueError: the width leaves a level without a filter.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        filters = scaled(FILTERS, width)
        self.down = nn.ModuleList(
            ConvBlock(3, inputs, outputs, 3) for inputs, outputs in zip((1, *filters[:-2]), filters[:-1], strict=True)
        )
        self.bottom = ConvBlock(3, filters[-2], filters[-1], 3)
        self.up = nn.ModuleList(
            ConvBlock(3, deep + skip, skip, 3) for deep, skip in zip(filters[:0:-1], filters[-2::-1], strict=True)
        )
        self.last = nn.Conv3d(filters[0], 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised intensities, (N, 1, X, Y, Z) -> logits of background and vertebra, (N, 2, X, Y, Z).

        Each side must be a multiple of 16. The softmax of the paper is left to the loss and to the argmax, neither of
        which needs it spelled out.
        """
        skips: list[Tensor] = []
        for block in self.down:
            x = block(x)
            skips.append(x)
            x = nn.functional.max_pool3d(x, 2)
        x = self.bottom(x)
        for block in self.up:
            x = nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(torch.cat([x, skips.pop()], dim=1))
        return self.last(x)  # type: ignore[no-any-return]
