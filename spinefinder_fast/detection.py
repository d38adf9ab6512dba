# SPDX-License-Identifier: Apache-2.0
"""Where is a vertebra? The detection network over overlapping patches, as the paper runs it (section 2.1)."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from spinefinder_fast.kernels import extract_patches, patch_origins, stitch_mask
from spinefinder_fast.memory import free_bytes
from spinefinder_fast.volume import normalisation, padding_value

if TYPE_CHECKING:
    from torch import nn

    from spinefinder_fast.coarse import Box
    from spinefinder_fast.networks.weights import Model
    from spinefinder_fast.procedure import Tiling
    from spinefinder_fast.volume import Volume

Shape: TypeAlias = tuple[int, int, int]

PATCH = (64, 64, 80)
MARGIN = (16, 16, 20)
"""Of each 64x64x80 output the inner 32x32x40 is kept, so every voxel is decided with this much context around it."""

BOX_MARGIN = (8, 8, 16)
"""Of the tiles of a box: what was suspected lies well inside of it, so across the body half as much is enough."""

LARGEST_TILE = (128, 128, 160)
"""Within the same margins it keeps 42 % of itself, where a patch of the paper keeps an eighth."""

SMALLER_TILES = ((96, 96, 128), PATCH)
"""Where memory is short."""

BYTES_PER_VOXEL = 600
"""What a network of the paper's width takes while it sees a voxel, float32: 460 to 480 were measured, of narrower ones
somewhat more for their width."""

MEMORY_SHARE = 0.25
"""Of what is free, so much may be taken: two scans may be located at once, and a third is read meanwhile."""

MULTIPLE = 16
"""Four times pooled: the sides of the network's input are multiples of this."""

BATCH = 4
"""Patches of the paper that the network sees at once; of larger tiles fewer, down to one."""

GPU_BATCH = 128
"""The same on a GPU, where its memory allows: the larger the batch, the less often it waits."""


def detect(
    volume: Volume,
    model: Model,
    tiling: Tiling = "faithful",
    boxes: Sequence[Box] | None = None,
    largest: Shape = LARGEST_TILE,
) -> NDArray[np.uint8]:
    """The voxels that belong to a vertebra: (X, Y, Z) uint8, 1 on vertebrae and 0 elsewhere.

    The volume, padded all around, is cut into patches of 64x64x80 in steps of 32x32x40; the network sees each patch and
    the inner 32x32x40 of its answer is kept. So every voxel goes through the network eight times.

    ``"large"`` cuts it into as few tiles as there may be of up to 128x128x160, less where memory is short, and keeps
    all but the same margin: every voxel has at least the context that it has in the paper's patches, and goes through
    the network some 2.5 times. An answer can differ only by what lies further away than the margin, and by where the
    network's pooling begins. In boxes the margin is `BOX_MARGIN`.

    Args:
        volume: HU on the grid of the model.
        model: its detection network is run.
        tiling: ``"faithful"`` (the paper) or ``"large"``.
        boxes: parts of the volume outside of which nothing is looked for (`coarse.search`), each tiled by itself; None
            is the whole of it.
        largest: no tile of ``"large"`` is larger (`largest_tile`).

    Raises:
        ValueError: another tiling.
    """
    if boxes is None:
        tile = tile_shape(volume.array.shape, tiling, MARGIN, largest)
        return run_tiles(model.detection, volume, tile, MARGIN, model)
    margin = MARGIN if tiling == "faithful" else BOX_MARGIN
    mask = np.zeros(volume.array.shape, np.uint8)
    for box in boxes:
        tile = tile_shape(box.shape, tiling, margin, largest)
        run_tiles(model.detection, volume, tile, margin, model, mask=mask, box=box)
    return mask


def run_tiles(
    network: nn.Module,
    volume: Volume,
    tile: tuple[int, int, int],
    margin: tuple[int, int, int],
    model: Model,
    *,
    bias: float = 0.0,
    mask: NDArray[np.uint8] | None = None,
    box: Box | None = None,
) -> NDArray[np.uint8]:
    """A network of two channels over a volume, tile after tile -> (X, Y, Z) uint8 of where the second one wins.

    Args:
        network: the detection network of `model`, or its coarse one.
        volume: HU on the grid of that network.
        tile: voxels that it sees at once, margins included.
        margin: at either end of each axis of a tile, voxels that are seen and not decided.
        model: what it says of intensities and of the device holds.
        bias: added to the second channel.
        mask: where to write; made if None.
        box: what is to be decided of the volume; all around it, too, the network sees what is there.
    """
    at_once = tiles_at_once(tile, model)
    ramp = normalisation(volume.array, model.intensity)
    outside = padding_value(model.intensity)
    if mask is None:
        mask = np.zeros(volume.array.shape, np.uint8)
    origins = patch_origins(volume.array.shape if box is None else box.shape, tile, margin)
    if box is not None:
        origins = origins + np.array(box.low)
        # The last tiles may reach beyond the box.
        mask = mask[tuple(slice(a, b) for a, b in zip(box.low, box.high, strict=True))]
    with torch.inference_mode():
        for start in range(0, len(origins), at_once):
            batch = origins[start : start + at_once]
            patches = extract_patches(volume.array, batch, tile, outside, normalisation=ramp)
            inputs = torch.from_numpy(patches[:, None]).to(model.device, model.dtype)
            logits = network(inputs).float().cpu().contiguous()
            if bias:
                logits[:, 1] += bias
            stitch_mask(logits.numpy(), batch if box is None else batch - np.array(box.low), margin, mask)
    return mask


def largest_tile(model: Model) -> Shape:
    """The largest tile of ``"large"`` tiling that the free memory of the model's device has room for."""
    room = _room_bytes(model)
    tiles = (LARGEST_TILE, *SMALLER_TILES)
    return next((tile for tile in tiles if room is None or prod(tile) * _bytes_per_voxel(model) <= room), PATCH)


def tiles_at_once(tile: tuple[int, int, int], model: Model) -> int:
    """How many tiles of a shape the network sees at once; answers do not depend on it."""
    wanted = (GPU_BATCH if model.device.startswith("cuda") else BATCH) * prod(PATCH)
    room = _room_bytes(model)
    if room is not None:
        wanted = min(wanted, int(room / _bytes_per_voxel(model)))
    return max(1, wanted // prod(tile))


def _room_bytes(model: Model) -> float | None:
    free = free_bytes(model.device)
    return None if free is None else MEMORY_SHARE * free


def _bytes_per_voxel(model: Model) -> float:
    return BYTES_PER_VOXEL * model.detection_width * model.dtype.itemsize / 4


def tile_shape(
    shape: tuple[int, ...],
    tiling: Tiling,
    margin: tuple[int, int, int] = MARGIN,
    largest: Shape = LARGEST_TILE,
) -> Shape:
    """Voxels of the tiles, margins included, that cover a volume of `shape`, all along x, y, z.

    Raises:
        ValueError: another tiling.
    """
    if tiling == "faithful":
        return PATCH
    if tiling != "large":
        raise ValueError(f"tiling is {tiling!r}; faithful or large is needed")
    x, y, z = (
        # So many tiles as the largest would take; then none larger than they need to be.
        MULTIPLE * ceil((ceil(n / max(1, ceil(n / (most - 2 * m)))) + 2 * m) / MULTIPLE)
        for n, most, m in zip(shape, largest, margin, strict=True)
    )
    return x, y, z
