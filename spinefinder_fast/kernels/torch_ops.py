# SPDX-License-Identifier: Apache-2.0
"""The kernels as operators of torch, ``torch.ops.spinefinder_fast.*``, once this module has been imported.

So graphs may hold them: `torch.compile`, `torch.export` and TorchScript call them as any other operator. Arguments are
tensors throughout, the small ones (origins, segments) in host memory; names, shapes and errors are those of
`spinefinder_fast.kernels`. None has a gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from spinefinder_fast import kernels
from spinefinder_fast.anatomy import N_LABELS
from spinefinder_fast.kernels.deform import Mode

LIBRARY = torch.library.Library("spinefinder_fast", "DEF")  # type: ignore[no-untyped-call]


def _operator(schema: str, fake: Callable[..., Any] | None = None) -> Callable[[Callable[..., Any]], None]:
    """Registers a function for host and CUDA tensors. `fake` says what comes out for tensors without data; None is
    right for operators that only write to their arguments."""

    def register(function: Callable[..., Any]) -> None:
        name = LIBRARY.define(schema, tags=torch.Tag.pt2_compliant_tag)  # type: ignore[no-untyped-call]
        for key in ("CPU", "CUDA"):
            LIBRARY.impl(name, function, key)  # type: ignore[no-untyped-call]
        torch.library.register_fake(f"spinefinder_fast::{name}", fake or (lambda *args: None), lib=LIBRARY)

    return register


@_operator(
    "rasterize_discs(Tensor(a!) out, Tensor segments_vox, Tensor radii_mm, Tensor values, float[] spacing_mm) -> ()"
)
def _rasterize_discs(
    out: torch.Tensor, segments_vox: torch.Tensor, radii_mm: torch.Tensor, values: torch.Tensor, spacing_mm: list[float]
) -> None:
    kernels.rasterize_discs(out, segments_vox.numpy(), radii_mm.numpy(), values.numpy(), spacing_mm)


@_operator(
    "rasterize_spheres(Tensor(a!) out, Tensor centres_vox, Tensor radii_mm, Tensor values, float[] spacing_mm) -> ()"
)
def _rasterize_spheres(
    out: torch.Tensor, centres_vox: torch.Tensor, radii_mm: torch.Tensor, values: torch.Tensor, spacing_mm: list[float]
) -> None:
    kernels.rasterize_spheres(out, centres_vox.numpy(), radii_mm.numpy(), values.numpy(), spacing_mm)


@_operator(
    "rasterize_disc_crops(Tensor(a!) out, Tensor origins, Tensor segments_vox, Tensor radii_mm, Tensor values, "
    "float[] spacing_mm, Tensor? crop_of=None) -> ()"
)
def _rasterize_disc_crops(
    out: torch.Tensor,
    origins: torch.Tensor,
    segments_vox: torch.Tensor,
    radii_mm: torch.Tensor,
    values: torch.Tensor,
    spacing_mm: list[float],
    crop_of: torch.Tensor | None = None,
) -> None:
    shapes = segments_vox.numpy(), radii_mm.numpy(), values.numpy()
    crops = None if crop_of is None else crop_of.numpy()
    kernels.rasterize_disc_crops(out, origins.numpy(), *shapes, spacing_mm, crops)


@_operator(
    "rasterize_sphere_crops(Tensor(a!) out, Tensor origins, Tensor centres_vox, Tensor radii_mm, Tensor values, "
    "float[] spacing_mm, Tensor? crop_of=None) -> ()"
)
def _rasterize_sphere_crops(
    out: torch.Tensor,
    origins: torch.Tensor,
    centres_vox: torch.Tensor,
    radii_mm: torch.Tensor,
    values: torch.Tensor,
    spacing_mm: list[float],
    crop_of: torch.Tensor | None = None,
) -> None:
    shapes = centres_vox.numpy(), radii_mm.numpy(), values.numpy()
    crops = None if crop_of is None else crop_of.numpy()
    kernels.rasterize_sphere_crops(out, origins.numpy(), *shapes, spacing_mm, crops)


def _patches_without_data(
    volume: torch.Tensor,
    origins: torch.Tensor,
    patch_shape: list[int],
    pad_value: float,
    normalisation: list[float] | None = None,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    return volume.new_empty((origins.shape[0], *patch_shape), dtype=dtype)


@_operator(
    "extract_patches(Tensor volume, Tensor origins, int[] patch_shape, float pad_value, float[]? normalisation=None, "
    "ScalarType dtype=float) -> Tensor",
    _patches_without_data,
)
def _extract_patches(
    volume: torch.Tensor,
    origins: torch.Tensor,
    patch_shape: list[int],
    pad_value: float,
    normalisation: list[float] | None = None,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    patches = volume.new_empty((origins.shape[0], *patch_shape), dtype=dtype)
    ramp = kernels.Normalisation(*normalisation) if normalisation else kernels.Normalisation()
    kernels.extract_patches(volume, origins.numpy(), patch_shape, pad_value, normalisation=ramp, out=patches)
    return patches


@_operator("stitch_patches(Tensor patches, Tensor origins, int[] margin, Tensor(a!) out) -> ()")
def _stitch_patches(patches: torch.Tensor, origins: torch.Tensor, margin: list[int], out: torch.Tensor) -> None:
    kernels.stitch_patches(patches, origins.numpy(), margin, out)


@_operator("stitch_mask(Tensor patches, Tensor origins, int[] margin, Tensor(a!) out) -> ()")
def _stitch_mask(patches: torch.Tensor, origins: torch.Tensor, margin: list[int], out: torch.Tensor) -> None:
    kernels.stitch_mask(patches, origins.numpy(), margin, out)


@_operator("stitch_probability(Tensor patches, Tensor origins, int[] margin, Tensor(a!) out) -> ()")
def _stitch_probability(patches: torch.Tensor, origins: torch.Tensor, margin: list[int], out: torch.Tensor) -> None:
    kernels.stitch_probability(patches, origins.numpy(), margin, out)


@_operator("blend_patches(Tensor patches, Tensor origins, Tensor window, Tensor(a!) total, Tensor(b!) weight) -> ()")
def _blend_patches(
    patches: torch.Tensor, origins: torch.Tensor, window: torch.Tensor, total: torch.Tensor, weight: torch.Tensor
) -> None:
    kernels.blend_patches(patches, origins.numpy(), window, total, weight)


def _statistics_without_data(
    labels: torch.Tensor, mask: torch.Tensor | None = None, n_labels: int = N_LABELS
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    votes = labels.new_empty((n_labels,), dtype=torch.int64)
    quantiles = labels.new_empty((3, n_labels, 3), dtype=torch.float64)
    return votes, quantiles, labels.new_empty((2, n_labels, 3), dtype=torch.int64)


@_operator(
    f"label_medians(Tensor labels, Tensor? mask=None, int n_labels={N_LABELS}) -> "
    "(Tensor votes, Tensor quantiles, Tensor bounds)",
    _statistics_without_data,
)
def _label_medians(
    labels: torch.Tensor, mask: torch.Tensor | None = None, n_labels: int = N_LABELS
) -> tuple[Any, Any, Any]:
    # On the device, so that nobody waits for it: as `LabelVotes.statistics`.
    votes = kernels.LabelVotes(labels.shape, n_labels)
    votes.add(labels, mask)
    return votes.statistics()


def _deformed_without_data(
    image: torch.Tensor,
    displacement: torch.Tensor,
    axis: list[int],
    order: int = 3,
    mode: str = "constant",
    cval: float = 0.0,
    start: list[int] | None = None,
    stop: list[int] | None = None,
) -> torch.Tensor:
    shape = list(image.shape)
    for i, a in enumerate(axis):
        shape[a] = (stop[i] if stop else shape[a]) - (start[i] if start else 0)
    return image.new_empty(shape)


@_operator(
    "deform_grid(Tensor image, Tensor displacement, int[] axis, int order=3, str mode='constant', float cval=0., "
    "int[]? start=None, int[]? stop=None) -> Tensor",
    _deformed_without_data,
)
def _deform_grid(
    image: torch.Tensor,
    displacement: torch.Tensor,
    axis: list[int],
    order: int = 3,
    mode: Mode = "constant",
    cval: float = 0.0,
    start: list[int] | None = None,
    stop: list[int] | None = None,
) -> torch.Tensor:
    # A crop [start, stop) for each deformed axis: schemas know no slices.
    crop = [slice(start[i] if start else None, stop[i] if stop else None) for i in range(len(axis))]
    deformed: torch.Tensor = kernels.deform_grid(
        image, displacement.numpy(), axis=tuple(axis), order=order, mode=mode, cval=cval, crop=crop
    )
    return deformed
