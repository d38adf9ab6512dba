# SPDX-License-Identifier: Apache-2.0
"""From a tissue map to a CT-like image: values, texture, partial volume, kernel and noise.

Hounsfield units are drawn per scan around real values, wider than life where scanners and contrast media differ.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from spinefinder_fast.phantom.anatomy import WALL_VOXELS, Tissue

Image = NDArray[np.float32]

HU_RANGE: Final = (-1024, 3071)

# Mean, spread over scans, and texture within a scan, HU.
_HU: Final[dict[Tissue, tuple[float, float, float]]] = {
    Tissue.AIR: (-1000, 0, 0),
    Tissue.LUNG: (-850, 35, 45),
    Tissue.FAT: (-103, 8, 8),
    Tissue.MUSCLE: (55, 8, 12),
    Tissue.SKIN: (20, 25, 5),
    Tissue.MESENTERY: (-80, 20, 30),
    Tissue.ORGAN: (45, 12, 6),
    Tissue.LIVER: (62, 12, 5),
    Tissue.SPLEEN: (52, 8, 4),
    Tissue.KIDNEY: (38, 6, 8),
    Tissue.BLOOD: (42, 6, 3),
    Tissue.HEART: (42, 6, 6),
    Tissue.BOWEL: (25, 25, 25),
    Tissue.GAS: (-980, 12, 0),
    Tissue.DISC: (80, 18, 8),
    Tissue.CANAL: (12, 8, 5),
    Tissue.CORD: (35, 6, 3),
    Tissue.TRABECULAR: (165, 15, 55),
    Tissue.CORTICAL: (850, 180, 110),
    Tissue.ENDPLATE: (620, 120, 80),
    Tissue.CARTILAGE: (110, 30, 25),
    Tissue.BRAIN: (34, 4, 4),
    Tissue.TOOTH: (1900, 300, 200),
    Tissue.TABLE: (-350, 250, 20),
    Tissue.METAL: (6000, 2000, 0),
}

_CONTRAST: Final = {
    Tissue.BLOOD: 1.0,
    Tissue.HEART: 0.8,
    Tissue.KIDNEY: 0.8,
    Tissue.SPLEEN: 0.4,
    Tissue.LIVER: 0.3,
    Tissue.ORGAN: 0.25,
    Tissue.MUSCLE: 0.04,
}


_CEMENT_HU: Final = (1500.0, 3000.0)

# Streaks are made on pixels of about this size, from so many views, for so many slices at once; the last is chosen.
_STREAK_MM: Final = 2.0
_VIEWS: Final = 60
_STREAKED_AT_ONCE: Final = 32
_STREAK_HU: Final = 14000.0


@dataclass(frozen=True)
class Look:
    """How a scan looks.

    Attributes:
        bone_density: relative HU of trabecular bone.
        contrast_hu: enhancement of the blood by contrast medium.
        bowel_contrast_hu: enhancement of the bowel.
        myelogram_hu: enhancement of the fluid of the spinal canal.
        blur_mm: standard deviation of the in-plane point spread.
        slice_mm: slice thickness; 0 is as thin as the voxels.
        noise_hu: standard deviation of the noise where the body is of middling width.
        grain_mm: correlation length of the noise.
        sharpen: edge enhancement of the kernel; 0 is none, 1 is a lung or bone kernel.
        streaks_hu: horizontal streaks where shoulders or hips are wide.
        marbling: how much fat runs between the muscles; 0 is none.
        wall: relative thickness of dense bone. 1 is that of the shafts of long bones; vertebral bodies have less.
        metal_streaks: strength of the streaks that metal casts; 0 is none, 1 is usual.
        spread: how far tissues stray from their usual HU from scan to scan; 0 is not at all, 1 is usual.
        texture: strength of the texture within a tissue; 0 is none, 1 is usual.
    """

    bone_density: float = 1.0
    contrast_hu: float = 0.0
    bowel_contrast_hu: float = 0.0
    myelogram_hu: float = 0.0
    blur_mm: float = 0.6
    slice_mm: float = 0.0
    noise_hu: float = 14.0
    grain_mm: float = 0.8
    sharpen: float = 0.0
    streaks_hu: float = 0.0
    marbling: float = 0.07
    wall: float = 1.0
    metal_streaks: float = 1.0
    spread: float = 1.0
    texture: float = 1.0


WITHOUT: Final[Mapping[str, Mapping[str, Any]]] = {
    "HU spread": {"spread": 0.0, "bone_density": 1.0},
    "texture": {"texture": 0.0, "marbling": 0.0},
    "contrast medium": {"contrast_hu": 0.0, "bowel_contrast_hu": 0.0, "myelogram_hu": 0.0},
    "kernels": {"blur_mm": 0.6, "slice_mm": 0.0, "sharpen": 0.0},
    "noise": {"noise_hu": 0.0, "streaks_hu": 0.0},
    "metal streaks": {"metal_streaks": 0.0},
}
"""What an image can be drawn without, to learn what it is worth, and how the scan looks then."""


def draw_look(rng: np.random.Generator, bone_density: float = 1.0, without: Collection[str] = ()) -> Look:
    """Draws how a scan looks, from smooth and quiet to sharp, noisy and streaked, but `without` some of `WITHOUT`."""
    look = Look(
        bone_density=bone_density,
        contrast_hu=rng.uniform(60, 280) if rng.random() < 0.5 else 0.0,
        bowel_contrast_hu=rng.uniform(100, 400) if rng.random() < 0.15 else 0.0,
        myelogram_hu=rng.uniform(150, 900) if rng.random() < 0.04 else 0.0,
        blur_mm=rng.uniform(0.4, 1.0),
        slice_mm=rng.uniform(0.6, 5.0) if rng.random() < 0.6 else 0.0,
        noise_hu=float(np.clip(rng.lognormal(2.7, 0.6), 3, 90)),
        grain_mm=rng.uniform(0.4, 1.3),
        sharpen=rng.uniform(0.2, 1.0) if rng.random() < 0.3 else 0.0,
        streaks_hu=rng.uniform(5, 60) if rng.random() < 0.4 else 0.0,
        marbling=rng.uniform(0, 0.2),
        wall=rng.uniform(0.4, 1.1),
        metal_streaks=rng.uniform(0.2, 1.5),
    )
    for ingredient in WITHOUT.keys() & set(without):
        look = replace(look, **WITHOUT[ingredient])
    return look


def shell(bone: NDArray[np.bool_], spacing_mm: tuple[float, float, float], wall_mm: float = 1.3) -> NDArray[np.uint8]:
    """Splits solid bone into its dense wall and its spongy inside.

    Args:
        bone: mask, shape (x, y, z).
        spacing_mm: distance of voxel centres along x, y, z.
        wall_mm: thickness of the wall; one voxel at least.

    Returns:
        uint8, shape (x, y, z): `Tissue.CORTICAL`, `Tissue.TRABECULAR`, and 0 outside of the bone.
    """
    inside = np.asarray(bone, bool).copy()
    for axis, step in enumerate(spacing_mm):
        line = np.moveaxis(inside, axis, 0)
        kept = line.copy()
        for shift in range(1, max(1, round(wall_mm / step)) + 1):
            # Bone that the border of the map cuts has no wall there.
            kept[shift:] &= line[:-shift]
            kept[:-shift] &= line[shift:]
        inside = inside & np.moveaxis(kept, 0, axis)
    return np.where(inside, np.uint8(Tissue.TRABECULAR), np.uint8(Tissue.CORTICAL)) * np.asarray(bone, np.uint8)


def render(
    tissue: NDArray[np.uint8],
    spacing_mm: tuple[float, float, float],
    rng: np.random.Generator,
    look: Look | None = None,
    bone_gain: ArrayLike = 1.0,
) -> NDArray[np.int16]:
    """A CT-like image of a tissue map.

    Args:
        tissue: `Tissue` values, shape (x, y, z); `Tissue.BONE` is split by `shell` first.
        spacing_mm: distance of voxel centres along x, y, z.
        rng: source of randomness.
        look: how the scan looks; None draws it.
        bone_gain: relative density of trabecular bone per slice, shape (z,) or a number: cervical bone is denser.

    Returns:
        HU, int16, shape (x, y, z), within -1024 ... 3071.
    """
    look = draw_look(rng) if look is None else look
    solid = tissue == Tissue.BONE
    if solid.any():
        tissue = np.where(solid, shell(solid, spacing_mm), tissue)
    step = np.asarray(spacing_mm, np.float64)
    values, texture = _lookup(rng, look, step)
    image = values[tissue]
    filled = tissue == Tissue.CEMENT
    if filled.any():
        # Drawn only here: scans without cement stay what they were.
        image[filled] = rng.uniform(*_CEMENT_HU) + 150 * rng.standard_normal(int(filled.sum()))
    gain = np.broadcast_to(np.asarray(bone_gain, np.float32) * np.float32(look.bone_density), tissue.shape[2:])
    grain = _noise(rng, tissue.shape, 0.7 / step)
    image += texture[tissue] * grain
    cloud = _clouds(rng, tissue.shape, step)
    spongy = tissue == Tissue.TRABECULAR
    dense = (tissue == Tissue.CORTICAL) | (tissue == Tissue.ENDPLATE)
    image += np.where(spongy, image * (gain - 1 + 0.12 * look.texture * cloud), 0.5 * texture[tissue] * cloud)
    image[dense] *= 1 + 0.22 * look.texture * cloud[dense]
    # Where clouds change sign are thin curved sheets, like the fat between muscles; lungs hold small vessels.
    image[(tissue == Tissue.MUSCLE) & (np.abs(cloud) < look.marbling)] -= 90
    lung = tissue == Tissue.LUNG
    image[lung] += 350 * look.texture * np.maximum(grain[lung] - 1.6, 0)
    if look.metal_streaks:
        slices = np.flatnonzero((tissue == Tissue.METAL).any(axis=(0, 1)))
        for first in range(0, len(slices), _STREAKED_AT_ONCE):
            some = slices[first : first + _STREAKED_AT_ONCE]
            image[:, :, some] += look.metal_streaks * _streaks(tissue[:, :, some] == Tissue.METAL, step, rng)
    return _acquire(image, step, rng, look)


def _lookup(rng: np.random.Generator, look: Look, step: NDArray[np.float64]) -> tuple[Image, Image]:
    values, texture = np.zeros(256, np.float32), np.zeros(256, np.float32)
    for tissue, (mean, spread, rough) in _HU.items():
        values[tissue] = mean + look.spread * spread * np.clip(rng.standard_normal(), -2.5, 2.5)
        texture[tissue] = look.texture * rough
    for tissue, share in _CONTRAST.items():
        values[tissue] += share * look.contrast_hu * rng.uniform(0.8, 1.2)
    values[Tissue.BOWEL] += look.bowel_contrast_hu
    values[Tissue.CANAL] += look.myelogram_hu
    # Walls thinner than a voxel are painted as thick as one: their value is that of the mixture.
    for tissue, true_mm, painted_mm in (
        (Tissue.CORTICAL, 1.3, WALL_VOXELS * step[:2].min()),
        (Tissue.ENDPLATE, 0.9, WALL_VOXELS * step[2]),
    ):
        share = min(1.0, look.wall * true_mm / painted_mm)
        values[tissue] = share * values[tissue] + (1 - share) * 180
    return values, texture


def _noise(rng: np.random.Generator, shape: tuple[int, ...], sigma: NDArray[np.float64]) -> Image:
    # Gaussian noise of unit variance, correlated over `sigma` voxels.
    noise = rng.standard_normal(shape, np.float32)
    for axis, width in enumerate(sigma):
        if width > 0.2:
            noise = ndimage.gaussian_filter1d(noise, width, axis=axis, mode="nearest", truncate=3.0)
    return np.asarray(noise / max(float(noise[:: max(1, shape[0] // 32)].std()), 1e-6), np.float32)


def _streaks(metal: NDArray[np.bool_], step: NDArray[np.float64], rng: np.random.Generator) -> Image:
    # (x, y, z) HU. What a scanner gets wrong about rays through metal grows faster than the way they go in it: too
    # little is measured, with much noise. That error, filtered and projected back, is dark along the lines that join
    # two screws, bright beside them, and runs out in thin rays.
    nx, ny, nz = metal.shape
    fold = np.maximum(np.round(_STREAK_MM / step[:2]), 1).astype(int)
    cell = step[:2] * fold
    place = [np.arange(-(-n // f)) * c for n, f, c in zip((nx, ny), fold, cell, strict=True)]
    bin_mm = float(cell.max())
    n_bins = int(np.hypot(place[0][-1], place[1][-1]) / bin_mm) * 2 + 5
    i, j, k = np.nonzero(metal)
    share = float(np.prod(step[:2])) / bin_mm
    out = np.zeros((len(place[0]), len(place[1]), nz), np.float32)
    frequency = np.fft.rfftfreq(n_bins)[:, None]
    ramp = frequency * np.cos(np.pi * frequency)
    for angle in (np.arange(_VIEWS) + rng.random()) * np.pi / _VIEWS:
        cos, sin = np.cos(angle) / bin_mm, np.sin(angle) / bin_mm
        at = np.rint(i * step[0] * cos + j * step[1] * sin).astype(int) + n_bins // 2
        way = share * np.bincount(at * nz + k, minlength=n_bins * nz).reshape(n_bins, nz)
        error = -((way / 10) ** 2.5) * (1 + 0.1 * rng.standard_normal(way.shape))
        filtered = np.fft.irfft(np.fft.rfft(error, axis=0) * ramp, n_bins, axis=0).astype(np.float32)
        seen = np.rint(place[0][:, None] * cos + place[1][None, :] * sin).astype(int) + n_bins // 2
        out += filtered[seen]
    # Much metal would blacken its slice: strength grows with the root of it.
    out /= np.sqrt(1 + out.std(axis=(0, 1)) / 0.4)
    out *= np.float32(_STREAK_HU / _VIEWS)
    streaks = out.repeat(fold[0], axis=0)[:nx].repeat(fold[1], axis=1)[:, :ny]
    # Metal itself is brighter than the scale's end whatever else happens.
    return np.where(metal, np.float32(0), streaks)


def _clouds(
    rng: np.random.Generator, shape: tuple[int, ...], step: NDArray[np.float64], size_mm: float = 14.0
) -> Image:
    # Smooth noise of about unit variance: random values on a coarse grid, linear in between.
    cells = [int(n * d / size_mm) + 2 for n, d in zip(shape, step, strict=True)]
    cloud = 1.7 * rng.standard_normal(cells, np.float32)
    for axis in range(3):
        place = np.arange(shape[axis]) * step[axis] / size_mm
        lower = place.astype(int)
        share = (place - lower).astype(np.float32)
        matrix = np.zeros((shape[axis], cells[axis]), np.float32)
        matrix[np.arange(len(place)), lower] = 1 - share
        matrix[np.arange(len(place)), lower + 1] = share
        cloud = np.moveaxis(np.tensordot(matrix, cloud, (1, axis)), 0, axis)
    return np.ascontiguousarray(cloud)


def _acquire(image: Image, step: NDArray[np.float64], rng: np.random.Generator, look: Look) -> NDArray[np.int16]:
    # A box of the slice's thickness has the standard deviation thickness / sqrt(12); voxels blur by themselves.
    sigma_mm = np.array([look.blur_mm, look.blur_mm, look.slice_mm / 12**0.5])
    sigma_mm = np.sqrt(sigma_mm**2 + (0.35 * step) ** 2)
    for axis, width in enumerate(sigma_mm / step):
        image = ndimage.gaussian_filter1d(image, width, axis=axis, mode="nearest", truncate=3.0)
    if look.sharpen:
        smooth = image
        for axis, width in enumerate((1.2 / step[0], 1.2 / step[1])):
            smooth = ndimage.gaussian_filter1d(smooth, width, axis=axis, mode="nearest", truncate=2.5)
        image = image + np.float32(1.2 * look.sharpen) * (image - smooth)
    # Wide slices swallow more rays: noise and streaks grow with the width of the body.
    width_mm = step[0] * (image[:, ::4] > -400).sum(axis=0).max(axis=0)
    hard = np.clip(width_mm / 350, 0.4, 1.6).astype(np.float32) ** 2
    noise = _noise(rng, image.shape, look.grain_mm / step)
    image += noise * (np.float32(look.noise_hu * (1 + 1.5 * look.sharpen)) * hard)
    if look.streaks_hu:
        streaks = rng.standard_normal(image.shape[1:], dtype=np.float32) * hard**2 * np.float32(look.streaks_hu / 2)
        image += ndimage.gaussian_filter1d(streaks, 1.0, axis=0)[None] * (image > -700)
    return np.clip(np.rint(image), *HU_RANGE).astype(np.int16)
