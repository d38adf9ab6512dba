# SPDX-License-Identifier: Apache-2.0
"""Compiled kernels, unchecked face: large arguments are NumPy arrays or, by DLPack, tensors in host or CUDA memory.

Every kernel ends with how to run: ``threads`` in host memory, ``stream`` (a CUDA handle) on a device.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

_F64 = NDArray[np.float64]
_I64 = NDArray[np.int64]
_U8 = NDArray[np.uint8]
_Int3 = tuple[int, int, int]
_Float3 = tuple[float, float, float]
_Float4 = tuple[float, float, float, float]

cuda: bool

def set_bytes_per_thread(bytes: int) -> None: ...
def rasterize_disc_crops(
    out: Any,
    origins: _I64,
    segments_vox: _F64,
    radii_mm: _F64,
    values: _U8,
    spacing_mm: _Float3,
    crop_of: _I64 | None,
    threads: int,
    stream: int,
) -> None: ...
def rasterize_sphere_crops(
    out: Any,
    origins: _I64,
    centres_vox: _F64,
    radii_mm: _F64,
    values: _U8,
    spacing_mm: _Float3,
    crop_of: _I64 | None,
    threads: int,
    stream: int,
) -> None: ...
def extract_patches(
    volume: Any, origins: _I64, normalisation: _Float4, pad_value: float, out: Any, threads: int, stream: int
) -> None: ...
def stitch_patches(patches: Any, origins: _I64, margin: _Int3, out: Any, threads: int, stream: int) -> None: ...
def stitch_mask(patches: Any, origins: _I64, margin: _Int3, out: Any, threads: int, stream: int) -> None: ...
def stitch_probability(patches: Any, origins: _I64, margin: _Int3, out: Any, threads: int, stream: int) -> None: ...
def blend_patches(
    patches: Any, origins: _I64, window: Any, total: Any, weight: Any, threads: int, stream: int
) -> None: ...
def count_votes(labels: Any, mask: Any, first: _Int3, shape: _Int3, counts: Any, threads: int, stream: int) -> None: ...
def vote_statistics(
    counts: Any, shape: _Int3, votes: Any, quantiles: Any, bounds: Any, threads: int, stream: int
) -> None: ...
def deform_grid(
    images: list[Any],
    outs: list[Any],
    order: list[int],
    border: list[int],
    cval: list[float],
    displacement: _F64,
    shape: tuple[int, ...],
    lo: tuple[int, ...],
    hi: tuple[int, ...],
    empty: Callable[[int], Any],
    threads: int,
    stream: int,
) -> None: ...
def resample(
    volume: Any,
    firsts: tuple[_I64, _I64, _I64],
    weights: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]],
    out: Any,
    threads: int,
) -> None: ...
