# SPDX-License-Identifier: Apache-2.0
"""The detection network: a 3-D U-Net that separates vertebrae from everything else (paper, section 2.1)."""

from __future__ import annotations

from torch import Tensor, nn

from spinefinder_fast.networks.unet import UNet, scaled

FILTERS = (16, 32, 64, 128, 256)
"""Filters of the five levels in the paper; `width` scales them."""


class DetectionNetwork(nn.Module):
    """3-D U-Net with two 3x3x3 convolutions per level; 5.89 million parameters at width 1.

    Args:
        width: factor on the number of filters of every level; 1 is the paper's network.

    Raises:
        ValueError: the width leaves a level without a filter.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        self.unet = UNet(3, inputs=1, outputs=2, filters=scaled(FILTERS, width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalised intensities, (N, 1, X, Y, Z) -> logits of background and vertebra, (N, 2, X, Y, Z).

        Each side must be a multiple of 16. The softmax of the paper is left to the loss and to the argmax, neither of
        which needs it spelled out.
        """
        return self.unet(x)  # type: ignore[no-any-return]
