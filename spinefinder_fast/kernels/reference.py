# SPDX-License-Identifier: Apache-2.0
"""What the kernels compute, in plain NumPy: to be read, and to test every compiled form against.

Names, arguments and answers are those of `spinefinder_fast.kernels`, to the last bit but for `stitch_probability` and
`deform_grid`; arguments are not checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinefinder_fast.anatomy import N_LABELS
from spinefinder_fast.kernels.deform import Axis, Mode, for_each
from spinefinder_fast.kernels.medians import LabelMedians
from spinefinder_fast.kernels.resample import taps_of
from spinefinder_fast.kernels.stitch import AS_IT_IS, Normalisation


def rasterize_discs(
    out: NDArray[np.uint8],
    segments_vox: NDArray[np.float64],
    radii_mm: NDArray[np.float64],
    values: NDArray[np.uint8],
    spacing_mm: Sequence[float] | NDArray[np.float64],
) -> NDArray[np.uint8]:
    """For each segment and each plane it meets: the voxels near the part of it inside the plane's slab."""
    return _discs(out, (0, 0, 0), segments_vox, radii_mm, values, spacing_mm)


def rasterize_spheres(
    out: NDArray[np.uint8],
    centres_vox: NDArray[np.float64],
    radii_mm: NDArray[np.float64],
    values: NDArray[np.uint8],
    spacing_mm: Sequence[float] | NDArray[np.float64],
) -> NDArray[np.uint8]:
    """The voxels within the radius of each centre."""
    return _spheres(out, (0, 0, 0), centres_vox, radii_mm, values, spacing_mm)


def rasterize_disc_crops(
    out: NDArray[np.uint8],
    origins: NDArray[np.int64],
    segments_vox: NDArray[np.float64],
    radii_mm: NDArray[np.float64],
    values: NDArray[np.uint8],
    spacing_mm: Sequence[float] | NDArray[np.float64],
    crop_of: NDArray[np.int64] | None = None,
) -> NDArray[np.uint8]:
    """`rasterize_discs` of each crop's voxels and discs."""
    for b, (crop, origin) in enumerate(zip(out, origins.tolist(), strict=True)):
        own = slice(None) if crop_of is None else crop_of == b
        _discs(crop, origin, segments_vox[own], radii_mm[own], values[own], spacing_mm)
    return out


def rasterize_sphere_crops(
    out: NDArray[np.uint8],
    origins: NDArray[np.int64],
    centres_vox: NDArray[np.float64],
    radii_mm: NDArray[np.float64],
    values: NDArray[np.uint8],
    spacing_mm: Sequence[float] | NDArray[np.float64],
    crop_of: NDArray[np.int64] | None = None,
) -> NDArray[np.uint8]:
    """`rasterize_spheres` of each crop's voxels and spheres."""
    for b, (crop, origin) in enumerate(zip(out, origins.tolist(), strict=True)):
        own = slice(None) if crop_of is None else crop_of == b
        _spheres(crop, origin, centres_vox[own], radii_mm[own], values[own], spacing_mm)
    return out


def _discs(
    out: NDArray[np.uint8],
    origin: Sequence[int],
    segments_vox: NDArray[np.float64],
    radii_mm: NDArray[np.float64],
    values: NDArray[np.uint8],
    spacing_mm: Sequence[float] | NDArray[np.float64],
) -> NDArray[np.uint8]:
    x_mm, y_mm, _ = _positions(out.shape, origin, spacing_mm)
    out[...] = 0
    for segment, radius, value in zip(segments_vox, radii_mm, values, strict=True):
        low, high = segment if segment[0, 2] <= segment[1, 2] else segment[::-1]
        ax, ay = low[0] * spacing_mm[0], low[1] * spacing_mm[1]
        dx, dy, dz = high[0] * spacing_mm[0] - ax, high[1] * spacing_mm[1] - ay, high[2] - low[2]
        # Plane k owns [k - 0.5, k + 0.5): the first plane is the one that owns the lower end, the last the upper.
        first, last = int(np.floor(low[2] + 0.5)), int(np.floor(high[2] + 0.5))
        for k in range(max(first, origin[2]), min(last + 1, origin[2] + out.shape[2])):
            t0, t1 = 0.0, 1.0
            if dz > 0:
                with np.errstate(over="ignore"):  # a flat segment's slope; the clip answers it
                    t0, t1 = np.clip([(k - 0.5 - low[2]) / dz, (k + 0.5 - low[2]) / dz], 0, 1)
            x0, y0 = ax + t0 * dx, ay + t0 * dy
            ex, ey = ax + t1 * dx - x0, ay + t1 * dy - y0
            length2 = ex * ex + ey * ey
            scale = 1 / length2 if length2 > 1e-30 else 0.0
            px, py = x_mm[..., 0] - x0, y_mm[..., 0] - y0
            t = np.clip((px * ex + py * ey) * scale, 0, 1)  # the nearest point of the chord
            rx, ry = px - t * ex, py - t * ey
            out[:, :, k - origin[2]][rx * rx + ry * ry <= radius * radius] = value
    return out


def _spheres(
    out: NDArray[np.uint8],
    origin: Sequence[int],
    centres_vox: NDArray[np.float64],
    radii_mm: NDArray[np.float64],
    values: NDArray[np.uint8],
    spacing_mm: Sequence[float] | NDArray[np.float64],
) -> NDArray[np.uint8]:
    grid = _positions(out.shape, origin, spacing_mm)
    out[...] = 0
    for centre, radius, value in zip(centres_vox, radii_mm, values, strict=True):
        x, y, z = (axis - c * s for axis, c, s in zip(grid, centre, spacing_mm, strict=True))
        out[x * x + y * y + z * z <= radius * radius] = value
    return out


def _positions(
    shape: Sequence[int], origin: Sequence[int], spacing_mm: Sequence[float] | NDArray[np.float64]
) -> list[NDArray[np.float64]]:
    """mm of the voxels from `origin` on, (x, 1, 1), (1, y, 1) and (1, 1, z)."""
    axes = [np.arange(o, o + n) * s for n, o, s in zip(shape, origin, spacing_mm, strict=True)]
    return list(np.meshgrid(*axes, indexing="ij", sparse=True))


def extract_patches(
    volume: NDArray[Any],
    origins: NDArray[np.int64],
    patch_shape: Sequence[int],
    pad_value: float,
    normalisation: Normalisation = AS_IT_IS,
    dtype: str = "float32",
) -> NDArray[Any]:
    """Each patch: a block of padding, and the part of the normalised volume that it meets."""
    subtract, multiply, low, high = map(np.float32, normalisation)
    intensities = np.clip((volume.astype(np.float32) - subtract) * multiply, low, high).astype(dtype)
    patches = np.full((len(origins), *patch_shape), pad_value, dtype)
    for patch, origin in zip(patches, origins, strict=True):
        first = np.maximum(origin, 0)
        end = np.minimum(origin + patch_shape, volume.shape)
        if (first < end).all():
            patch[_box(first - origin, end - origin)] = intensities[_box(first, end)]
    return patches


def stitch_patches(
    patches: NDArray[Any], origins: NDArray[np.int64], margin: Sequence[int], out: NDArray[Any]
) -> NDArray[Any]:
    """Each patch's centre, cut at the volume's border, assigned in order."""
    for patch, origin in zip(patches, origins, strict=True):
        low = np.maximum(origin + margin, 0)
        high = np.minimum(origin + patch.shape[1:] - margin, out.shape[1:])
        if (low < high).all():
            out[(slice(None), *_box(low, high))] = patch[(slice(None), *_box(low - origin, high - origin))]
    return out


def stitch_mask(
    patches: NDArray[Any], origins: NDArray[np.int64], margin: Sequence[int], out: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """`stitch_patches` of the argmax."""
    vertebra = patches[:, 1:] > patches[:, :1]
    stitch_patches(vertebra, origins, margin, out[None])
    return out


def stitch_probability(
    patches: NDArray[Any], origins: NDArray[np.int64], margin: Sequence[int], out: NDArray[np.float32]
) -> NDArray[np.float32]:
    """`stitch_patches` of the softmax, rounded once. Here alone the kernels may differ, in the last places."""
    logits = patches.astype(np.float64)
    with np.errstate(over="ignore"):  # exp(large) is infinite, and its share 0
        vertebra = 1 / (1 + np.exp(logits[:, :1] - logits[:, 1:]))
    stitch_patches(vertebra, origins, margin, out[None])
    return out


def blend_patches(
    patches: NDArray[Any],
    origins: NDArray[np.int64],
    window: NDArray[np.float32],
    total: NDArray[np.float32],
    weight: NDArray[np.float32],
) -> None:
    """Patch after patch added, times the window; and the window itself."""
    for patch, origin in zip(patches.astype(np.float32), origins, strict=True):
        low = np.maximum(origin, 0)
        high = np.minimum(origin + window.shape, weight.shape)
        if (low < high).all():
            to, of = _box(low, high), _box(low - origin, high - origin)
            weight[to] += window[of]
            total[(slice(None), *to)] += window[of] * patch[(slice(None), *of)]


class LabelVotes:
    """The indices of all voters of each label, and NumPy's own median and percentiles of them."""

    def __init__(self, shape: Sequence[int], n_labels: int = N_LABELS) -> None:
        self._voters = [np.empty((0, 3), np.int64) for _ in range(n_labels)]

    def add(
        self,
        labels: NDArray[np.uint8] | NDArray[np.float32],
        mask: NDArray[np.uint8] | None = None,
        first: Sequence[int] = (0, 0, 0),
    ) -> None:
        """Finds the voters of each label in a box, one label after the other."""
        votes = np.rint(labels) if mask is None else np.where(mask != 0, np.rint(labels), 0)
        for row, voters in enumerate(self._voters):
            self._voters[row] = np.concatenate([voters, np.argwhere(votes == row + 1) + first])

    def medians(self) -> LabelMedians:
        """One label after the other; without voters it keeps what says so."""
        n = len(self._voters)
        result = LabelMedians(
            votes=np.array([len(voters) for voters in self._voters], np.int64),
            median=np.full((n, 3), np.nan),
            q25=np.full((n, 3), np.nan),
            q75=np.full((n, 3), np.nan),
            lower=np.full((n, 3), -1, np.int64),
            upper=np.full((n, 3), -1, np.int64),
        )
        for row in np.flatnonzero(result.votes):
            voters = self._voters[row]
            result.median[row] = np.median(voters, axis=0)
            result.q25[row], result.q75[row] = np.percentile(voters, (25, 75), axis=0)
            result.lower[row], result.upper[row] = voters.min(axis=0), voters.max(axis=0)
        return result


def label_medians(
    labels: NDArray[np.uint8] | NDArray[np.float32],
    mask: NDArray[np.uint8] | None = None,
    n_labels: int = N_LABELS,
) -> LabelMedians:
    """`LabelVotes` of one box."""
    votes = LabelVotes(labels.shape, n_labels)
    votes.add(labels, mask)
    return votes.medians()


def deform_grid(
    images: Any,
    displacement: NDArray[np.float64],
    *,
    axis: Axis | list[Axis] = None,
    order: int | Sequence[int] = 3,
    mode: Mode | Sequence[Mode] = "constant",
    cval: float | Sequence[float] = 0.0,
    crop: Sequence[slice] | None = None,
    out: Any = None,
) -> Any:
    """Each image sampled in float64 at `deform_sources`, tap by tap, all voxels at once."""
    several = isinstance(images, list)
    inputs = images if several else [images]
    n = len(inputs)
    outs = []
    for image, to, ax, o, m, c in zip(
        inputs,
        for_each(out, n, "out", list),
        for_each(axis, n, "axis", list),
        for_each(order, n, "order"),
        for_each(mode, n, "mode"),
        for_each(cval, n, "cval"),
        strict=True,
    ):
        deformed = tuple(range(image.ndim)) if ax is None else ax if isinstance(ax, tuple) else (ax,)
        behind = tuple(range(-len(deformed), 0))
        carried_first = np.moveaxis(image, deformed, behind)
        sources = deform_sources(carried_first.shape[-len(deformed) :], displacement, crop)
        value = np.moveaxis(_sample(carried_first, sources, o, m, c), behind, deformed)
        if image.dtype == np.uint8:
            value = np.clip(np.floor(value + 0.5), 0, 255)
        to = np.empty(value.shape, image.dtype) if to is None else to
        to[...] = value
        outs.append(to)
    return outs if several else outs[0]


def resample_grid(volume: NDArray[Any], size: Sequence[int], step: Sequence[float]) -> NDArray[np.float32]:
    """One axis after the other, each new voxel the weighted sum of its old ones."""
    result = volume.astype(np.float32)
    for axis, (old, new, s) in enumerate(zip(volume.shape, size, step, strict=True)):
        matrix = np.zeros((new, old), np.float32)
        first, weight = taps_of(old, new, s)
        for k, of_tap in enumerate(weight.T):
            inside = of_tap > 0
            matrix[inside, (first + k)[inside]] = of_tap[inside]
        result = np.moveaxis(np.tensordot(matrix, result, (1, axis)), 0, axis)
    return np.ascontiguousarray(result)


def deform_sources(
    shape: Sequence[int], displacement: NDArray[np.float64], crop: Sequence[slice] | None = None
) -> NDArray[np.float64]:
    """Where each voxel of the crop comes from, (axes, crop...), voxels: its own index and the displacement there."""
    wanted = (
        [np.arange(n) for n in shape] if crop is None else [np.arange(n)[c] for n, c in zip(shape, crop, strict=True)]
    )
    spline = displacement
    for axis, (n, indices) in enumerate(zip(shape, wanted, strict=True), 1):
        points = displacement.shape[axis]
        at = indices * (points - 1) / max(n - 1, 1)
        spline = _along(_cubic(at, points) @ _to_coefficients(points), spline, axis)
    field: NDArray[np.float64] = np.stack(np.meshgrid(*wanted, indexing="ij")) + spline
    return field


def _sample(
    image: NDArray[Any], sources: NDArray[np.float64], order: int, mode: str, cval: float
) -> NDArray[np.float64]:
    """(carried..., n...) at sources (axes, crop...): (carried..., crop...)."""
    values = image.astype(np.float64)
    covered = np.ones(sources.shape[1:], bool)
    taps = []
    for axis, x in enumerate(sources, -len(sources)):
        n = values.shape[axis]
        if order == 3:
            values = _along(_to_coefficients(n), values, axis)
        if mode == "constant":
            covered &= (x >= 0) & (x <= n - 1)
        taps.append(list(zip(*_taps(_inside(x, n, mode), n, order), strict=True)))
    total = np.zeros((*values.shape[: values.ndim - len(sources)], *covered.shape))
    for corner in product(*taps):
        at: tuple[Any, ...] = (..., *(index for index, _ in corner))
        total += np.prod([weight for _, weight in corner], axis=0) * values[at]
    return np.where(covered, total, cval)


def _cubic(x: NDArray[Any], n: int) -> NDArray[np.float64]:
    """(len(x), n): the cubic B-spline at x is this times its n coefficients."""
    matrix = np.zeros((len(x), n))
    for index, weight in zip(*_taps(x, n, 3), strict=True):
        matrix[np.arange(len(x)), index] += weight
    return matrix


def _to_coefficients(n: int) -> NDArray[np.float64]:
    """(n, n): the coefficients of the cubic B-spline through n values are this times the values."""
    return np.linalg.inv(_cubic(np.arange(n), n)).astype(np.float64)


def _along(matrix: NDArray[np.float64], values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    product_first: NDArray[np.float64] = np.tensordot(matrix, values, (1, axis))
    return np.moveaxis(product_first, 0, axis)


def _taps(x: NDArray[Any], n: int, order: int) -> tuple[list[NDArray[np.int64]], list[NDArray[np.float64]]]:
    """The order + 1 neighbours of x among n samples, mirrored about the outermost ones, and their weights."""
    first = np.floor(x + 0.5 if order == 0 else x).astype(np.int64)
    f: NDArray[np.float64] = x - first
    if order == 3:
        cubic = [(1 - f) ** 3 / 6, 2 / 3 - f**2 * (2 - f) / 2, 2 / 3 - (1 - f) ** 2 * (1 + f) / 2, f**3 / 6]
        return [_mirrored(first + t, n) for t in (-1, 0, 1, 2)], cubic
    weights = [1 - f, f] if order == 1 else [np.ones_like(f)]
    return [_mirrored(first + t, n) for t in range(order + 1)], weights


def _mirrored(index: NDArray[Any], n: int) -> NDArray[Any]:
    period = max(2 * (n - 1), 1)
    index = index % period
    return np.minimum(index, period - index) if n > 1 else np.zeros_like(index)


def _inside(x: NDArray[np.float64], n: int, mode: str) -> NDArray[np.float64]:
    """What lies at x beyond the border lies here. With "reflect" the taps see to the next voxel."""
    beyond = (x < 0) | (x > n - 1)
    if mode in ("nearest", "constant") or n == 1:
        return np.clip(x, 0, n - 1)
    if mode == "mirror":
        return np.where(beyond, _mirrored(x, n), x)
    if mode == "wrap":
        return np.where(beyond, x % (n - 1), x)
    x = np.where(beyond, x % (2 * n), x)
    return np.where(beyond & (x >= n), 2 * n - 1 - x, x)


def _box(low: NDArray[np.int64], high: NDArray[np.int64]) -> tuple[slice, ...]:
    return tuple(slice(a, b) for a, b in zip(low, high, strict=True))
