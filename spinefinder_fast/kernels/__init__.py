# SPDX-License-Identifier: Apache-2.0
"""The compiled kernels with checked arguments: discs, patches and medians.

Each takes NumPy arrays, or CUDA tensors of torch for the volumes, and has a readable twin of the same name and
arguments in `spinefinder_fast.kernels.reference`. Misuse raises ``TypeError`` or ``ValueError``, looked for in the
order type, shape, dtype, device, values; nothing is cast silently. Answers are the same bits at any number of
threads. CUDA forms work on the current stream and return without waiting for it.
"""

from spinefinder_fast.kernels.discs import rasterize_discs, rasterize_spheres
from spinefinder_fast.kernels.medians import LabelMedians, label_medians
from spinefinder_fast.kernels.stitch import extract_patches, patch_origins, stitch_mask, stitch_patches

__all__ = [
    "LabelMedians",
    "extract_patches",
    "label_medians",
    "patch_origins",
    "rasterize_discs",
    "rasterize_spheres",
    "stitch_mask",
    "stitch_patches",
]
