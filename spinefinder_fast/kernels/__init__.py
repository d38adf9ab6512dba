# SPDX-License-Identifier: Apache-2.0
"""The compiled kernels with checked arguments: discs, patches, medians, deformation and resampling.

Each takes NumPy arrays or, for what is large, tensors of torch in host or CUDA memory, and has a readable twin of the
same name and arguments in `spinefinder_fast.kernels.reference`. Misuse raises ``TypeError`` or ``ValueError``, looked
for in the order type, shape, dtype, device, values; nothing is cast silently. Answers are the same bits at any number
of threads. CUDA forms work on the current stream and return without waiting for it.
"""

from spinefinder_fast.kernels.deform import deform_grid, deform_random_grid
from spinefinder_fast.kernels.discs import (
    rasterize_disc_crops,
    rasterize_discs,
    rasterize_sphere_crops,
    rasterize_spheres,
)
from spinefinder_fast.kernels.medians import LabelMedians, LabelVotes, label_medians
from spinefinder_fast.kernels.resample import SlabResampler, resample_grid
from spinefinder_fast.kernels.stitch import (
    Normalisation,
    blend_patches,
    extract_patches,
    gaussian_window,
    patch_origins,
    stitch_mask,
    stitch_patches,
    stitch_probability,
)

__all__ = [
    "LabelMedians",
    "LabelVotes",
    "Normalisation",
    "SlabResampler",
    "blend_patches",
    "deform_grid",
    "deform_random_grid",
    "extract_patches",
    "gaussian_window",
    "label_medians",
    "patch_origins",
    "rasterize_disc_crops",
    "rasterize_discs",
    "rasterize_sphere_crops",
    "rasterize_spheres",
    "resample_grid",
    "stitch_mask",
    "stitch_patches",
    "stitch_probability",
]
