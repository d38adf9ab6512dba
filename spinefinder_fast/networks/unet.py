# SPDX-License-Identifier: Apache-2.0
"""The U-Net of five levels that both networks are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

KERAS_MOMENTUM = 0.1
"""Weight of the OLD running statistics in the published code's batch normalisation; PyTorch wants the new one's."""


class UNet(nn.Module):
    """Pooled by 2 after every level but the lowest; back up by nearest neighbour, beside the skip of the same level.

    Args:
        dimensions: 2 or 3.
        inputs: channels that come in.
        outputs: channels that go out.
        filters: of the five levels, from the finest to the lowest.
        bottom_kernel: size of the lowest level's kernels; all others are 3.
        last_kernel: size of the last convolution's kernel.
    """

    def __init__(
        self,
        dimensions: int,
        inputs: int,
        outputs: int,
        filters: Sequence[int],
        bottom_kernel: int | tuple[int, ...] = 3,
        last_kernel: int = 3,
    ) -> None:
        super().__init__()
        *upper, lowest = filters
        conv = nn.Conv3d if dimensions == 3 else nn.Conv2d
        self.down = nn.ModuleList(
            ConvBlock(dimensions, before, after, 3) for before, after in zip((inputs, *upper[:-1]), upper, strict=True)
        )
        self.pool = nn.MaxPool3d(2) if dimensions == 3 else nn.MaxPool2d(2)
        self.bottom = ConvBlock(dimensions, upper[-1], lowest, bottom_kernel)
        self.grow = nn.Upsample(scale_factor=2.0, mode="nearest")
        self.up = nn.ModuleList(
            ConvBlock(dimensions, deep + skip, skip, 3) for deep, skip in zip(filters[:0:-1], upper[::-1], strict=True)
        )
        self.last = conv(upper[0], outputs, last_kernel, padding=last_kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for block in self.down:
            x = block(x)
            skips.append(x)
            x = self.pool(x)
        x = self.bottom(x)
        for block in self.up:
            x = block(torch.cat([self.grow(x), skips.pop()], dim=1))
        return self.last(x)  # type: ignore[no-any-return]


class ConvBlock(nn.Module):
    """Two convolutions of one size ("same" padding), each followed by batch normalisation and ReLU.

    Args:
        dimensions: 2 or 3.
        inputs: channels that come in.
        outputs: channels that go out of both convolutions.
        kernel: size of both kernels, one number or one per dimension; even sizes in 2-D alone.
    """

    def __init__(self, dimensions: int, inputs: int, outputs: int, kernel: int | tuple[int, ...]) -> None:
        super().__init__()
        conv = nn.Conv3d if dimensions == 3 else nn.Conv2d
        norm = nn.BatchNorm3d if dimensions == 3 else nn.BatchNorm2d
        sizes = (kernel,) * dimensions if isinstance(kernel, int) else kernel
        before, after = [(n - 1) // 2 for n in sizes], [n // 2 for n in sizes]
        layers: list[nn.Module] = []
        for channels in (inputs, outputs):
            if before != after:
                # An even kernel has no centre; as in the published code the odd zero goes behind.
                layers.append(nn.ZeroPad2d((before[1], after[1], before[0], after[0])))
            # The batch normalisation has a bias of its own; the paper's parameter count includes both.
            layers += [
                conv(channels, outputs, sizes, padding=tuple(before) if before == after else 0),  # type: ignore[arg-type]
                norm(outputs, eps=1e-3, momentum=1 - KERAS_MOMENTUM),
                nn.ReLU(inplace=True),
            ]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)  # type: ignore[no-any-return]


def scaled(filters: Sequence[int], width: float) -> list[int]:
    """Filter counts times `width`, rounded.

    Raises:
        ValueError: a level would be left without a filter.
    """
    result = [round(f * width) for f in filters]
    if min(result) < 1:
        raise ValueError(f"width {width} leaves a level of {list(filters)} filters empty; choose a larger width")
    return result
