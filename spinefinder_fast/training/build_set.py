# SPDX-License-Identifier: Apache-2.0
"""Makes the training set of the shipped weights: scans rendered from real label maps, phantoms, and real scans.

    python -m spinefinder_fast.training.build_set RECIPE DATA OUTPUT

DATA holds ``scans/<id>/{ct.nii.gz, centroids.json}`` and ``labelmaps/`` with its ``index.json``; docs/weights.md says
what they are and where they come from. The recipe's ``[set]`` table names what is taken. OUTPUT gets the folder
``synthetic``, of scans that are rendered, and ``real/<id>`` for every patient with a real scan to train on, named
after the first, where his other scans and what is rendered from his label map lie too; all with centroids as VerSe
writes them. No patient is in both, and none of those that are held out in either: so networks that learnt from
``synthetic`` alone may be judged by any real scan.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tomllib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from spinefinder_fast import anatomy
from spinefinder_fast.annotations import read_centroids
from spinefinder_fast.dataset.masks import body_centroid
from spinefinder_fast.geometry import Grid
from spinefinder_fast.phantom import random_phantom, render
from spinefinder_fast.phantom.image import WITHOUT, draw_look
from spinefinder_fast.report import write_verse_json
from spinefinder_fast.scan import Scan, read_scan, write_nifti
from spinefinder_fast.scan.itk_image import read_itk
from spinefinder_fast.scan.nifti import read_nifti
from spinefinder_fast.spine import Spine, Vertebra
from spinefinder_fast.training.labelmaps import reposed, tissue_map
from spinefinder_fast.volume import resample_array

SPL = "spl_headneck"
EVERYTHING = (slice(None),) * 3
RENDERS_PER_BODY = 5
"""Images made of one tissue map: fat and muscle between the organs change less often than field of view and look."""

FINENESS: Final = 0.67
"""Label maps finer than this share of the set's voxels are thinned to it before they are rendered."""

PHANTOM_MM: Final = 2.0
"""Coarsest grid on which a phantom is painted."""

SYNTHETIC, REAL = "synthetic", "real"
"""Folders of the set."""

RENDERED: Final = "map_"
"""Begins the names of what is rendered from a label map."""

INGREDIENTS: Final = ("postures", "narrow fields of view", "variants", *WITHOUT)
"""What a recipe's ``without`` may leave out, to learn what it is worth. Of a real scan's crops none is left out."""

HEAD_MM: Final = 150.0
"""As far above C1 a field of view may go."""

SACRAL_BEND_DEG: Final = 28.0
"""Between the lines L5-S1 and S1-S2, seen from the side: of six people lying on their backs."""

BODY_MM: Final = np.array([[200.0, 180.0, 0.0], [200.0, 110.0, 120.0]])
"""Room for a body around the vertebrae of a mask: to the right, front and below, and to the left, back and above."""

MASK_NAMES: Final = {f"vertebrae_{name}": number for number, name in anatomy.VERSE_NAMES.items()}
"""Structures of a mask in VerSe's numbers."""


def build(recipe: dict[str, Any], data: Path, output: Path, processes: int = 1) -> None:
    """Write the whole set with so many processes; see the module's text."""
    table = recipe["set"]
    check_split(table)
    if unknown := set(table.get("without", ())) - set(INGREDIENTS):
        raise ValueError(f"without is {sorted(unknown)}; {', '.join(INGREDIENTS)} are known")
    # What an earlier recipe left there would be trained on, whichever side its patients are on now.
    if output.exists() and any(output.iterdir()):
        raise ValueError(f"{output} is not empty; name a new folder, or remove it")
    # The largest pieces first: at the end nobody waits for one of them.
    work: list[tuple[Callable[..., None], str | int]] = [(_write_renders, name) for name in table["labelmaps"]]
    work += [(_write_crops, name) for name in table["real"]]
    work += [(_write_phantom, i) for i in range(table["phantoms"])]
    work += [(_write_head, i) for i in range(table.get("heads", 0))]
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        for done in [pool.submit(write, item, table, data, output) for write, item in work]:
            done.result()


def whole_scans(folder: Path) -> list[str]:
    """The real scans of which a patient's folder of the set holds crops."""
    first = "_00_ct.nii.gz"
    names = (path.name.removesuffix(first) for path in sorted(folder.glob(f"*{first}")))
    return [name for name in names if not name.startswith(RENDERED)]


def _write_crops(name: str, table: dict[str, Any], data: Path, output: Path) -> None:
    """A real scan and random fields of view of it."""
    folder = output / REAL / (_scan_of(name, table) or name)
    rng = _rng_of(name, table)
    scan, spine = real_scan(data / "scans" / name)
    for i in range(table["crops_per_scan"]):
        box = random_box(scan.grid, spine, rng) if i else EVERYTHING
        _write_resampled(folder, f"{name}_{i:02}", scan.array, scan.grid, spine, box, table)


def _write_renders(name: str, table: dict[str, Any], data: Path, output: Path) -> None:
    """Images of a real label map, each of another body, posture and field of view."""
    owner = _scan_of(name, table)
    folder = output / REAL / owner if owner else output / SYNTHETIC
    rng = _rng_of(name, table)
    without = table.get("without", ())
    labels, names, original, grid = label_map(data / "labelmaps", name, FINENESS * table["spacing_mm"])
    for i in range(table.get("renders", {}).get(name, table["renders_per_labelmap"])):
        if i % RENDERS_PER_BODY == 0:
            tissue, spine = tissue_map(labels, names, original, grid, rng), original
            if "postures" not in without:
                tissue, spine = reposed(tissue, original, grid, rng)
        scaled = _scaled(grid, rng.normal(1, 0.07) * rng.normal(1, 0.04, 3))
        grown = _moved(spine, grid, scaled)
        box = random_box(scaled, grown, rng) if i else EVERYTHING
        if "narrow fields of view" in without:
            box = EVERYTHING[0], EVERYTHING[1], box[2]
        hu = render(tissue[box], scaled.spacing_mm, rng, draw_look(rng, without=without))
        _write_resampled(folder, f"{RENDERED}{name}_{i:02}", hu, _boxed(scaled, box), grown, EVERYTHING, table)


def _write_phantom(i: int, table: dict[str, Any], data: Path, output: Path) -> None:
    _write_random_phantom(f"phantom_{i:03}", np.random.default_rng((table["seed"], i)), None, table, output)


def _write_head(i: int, table: dict[str, Any], data: Path, output: Path) -> None:
    """One more phantom, with its head in view: few of the others show one."""
    _write_random_phantom(f"head_{i:03}", np.random.default_rng((table["seed"], i, 1)), "head", table, output)


def _write_random_phantom(
    name: str, rng: np.random.Generator, region: str | None, table: dict[str, Any], output: Path
) -> None:
    # Painted no coarser than this, or thin bone would be gravel.
    fine = min(PHANTOM_MM, table["spacing_mm"])
    phantom = random_phantom(rng, spacing_mm=fine, region=region, without=table.get("without", ()))
    _write_resampled(
        output / SYNTHETIC,
        name,
        phantom.array,
        phantom.grid,
        phantom.person,
        EVERYTHING,
        table,
    )


def _rng_of(name: str, table: dict[str, Any]) -> np.random.Generator:
    # Of each piece of work its own, so that the set does not depend on who makes what.
    return np.random.default_rng((table["seed"], crc32(name.encode())))


def _scan_of(name: str, table: dict[str, Any]) -> str | None:
    """The first real scan to train on of the patient whose label map or scan this is."""
    patients = table.get("patients", {})
    patient = patients.get(name, name)
    return next((scan for scan in table["real"] if patients.get(scan, scan) == patient), None)


def check_split(table: dict[str, Any]) -> None:
    """No patient is held out and trained on, be it by a scan or by renders of a label map.

    Raises:
        ValueError: a patient is on both sides, by name.
    """
    patients, sides = table.get("patients", {}), ("real", "labelmaps")
    held_out = {patients.get(name, name) for name in table.get("held_out", ())}
    for side in sides:
        if shared := held_out & {patients.get(name, name) for name in table.get(side, ())}:
            raise ValueError(f"{', '.join(sorted(shared))}: among {side} and held out; keep patients apart")


def real_scan(folder: Path) -> tuple[Scan, Spine]:
    """A real scan and its annotated centroids."""
    scan = read_scan(folder / "ct.nii.gz")
    return scan, read_centroids(folder / "centroids.json", scan.file_grid)


def label_map(folder: Path, name: str, finest_mm: float) -> tuple[NDArray[Any], dict[str, int], Spine, Grid]:
    """Canonical label array, structure names, spine and grid of a label map.

    One without a file of names is a mask in the numbers of VerSe: vertebrae alone, with room for a body around them.
    Voxels finer than `finest_mm` are thinned to it.
    """
    if name == SPL:
        return _spl(folder / SPL, finest_mm)
    about = json.loads((folder / "index.json").read_text())[name]
    scan = _read_labels(folder / f"{name}.nii.gz")
    labels, grid = _thinned(scan.array, scan.grid, finest_mm)
    file = folder / f"{name}.json"
    points = about["centroids_ras"]
    # Stray voxels of a vertebra that the border cuts put its centroid anywhere.
    whole = [v for v in points if v not in about["touch_border"]]
    vertebrae = [Vertebra(v, (-points[v][0], -points[v][1], points[v][2])) for v in whole]
    spine = with_ends(Spine(tuple(vertebrae), grid, name))
    if file.exists():
        names: dict[str, int] = json.loads(file.read_text())
        return labels, names, spine, grid
    # Beyond its ends a mask does not show the vertebrae that were there.
    z = grid.to_voxel(spine.lps())[:, 2]
    high = 0.5 * (z[0] + z[1]) if spine.vertebrae[0].truncated else grid.shape[2]
    low = 0.5 * (z[-1] + z[-2]) if spine.vertebrae[-1].truncated else 0
    box = slice(None), slice(None), slice(max(0, int(low)), min(grid.shape[2], int(high) + 1))
    labels, grid = _with_room(labels[box], _boxed(grid, box), spine)
    return labels, MASK_NAMES, replace(spine, grid=grid), grid


def _with_room(labels: NDArray[Any], grid: Grid, spine: Spine) -> tuple[NDArray[Any], Grid]:
    """A mask with room for a body around its vertebrae, and above C1 for a head."""
    points = grid.to_voxel(spine.lps())
    low, high = points.min(axis=0) - BODY_MM[0] / np.array(grid.spacing_mm), points.max(axis=0)
    high = high + BODY_MM[1] / np.array(grid.spacing_mm)
    before = np.maximum(0, np.ceil(-low)).astype(int)
    after = np.maximum(0, np.ceil(high - np.array(grid.shape) + 1)).astype(int)
    # Beyond other ends of a mask there are vertebrae that it does not show.
    before[2] = 0
    first = spine.vertebrae[0]
    after[2] *= first.name == "C1" and not first.truncated
    affine = grid.affine.copy()
    affine[:3, 3] = grid.to_lps(-before)
    wide = np.pad(labels, list(zip(before, after, strict=True)))
    return wide, Grid((wide.shape[0], wide.shape[1], wide.shape[2]), affine)


def _thinned(labels: NDArray[Any], grid: Grid, finest_mm: float) -> tuple[NDArray[Any], Grid]:
    """The nearest voxels to a grid that is coarser along the axes that are finer than so many mm."""
    step = np.maximum(1, finest_mm / np.array(grid.spacing_mm))
    x, y, z = (np.arange(0, n - 0.5, s).round().astype(int) for n, s in zip(labels.shape, step, strict=True))
    thin = labels[np.ix_(x, y, z)]
    affine = grid.affine.copy()
    affine[:3, :3] *= step
    return thin, Grid((thin.shape[0], thin.shape[1], thin.shape[2]), affine)


def with_ends(spine: Spine) -> Spine:
    """The spine with one vertebra more at each end, where the next would be if the last gap went on at its typical
    ratio: the field of view may show a part of it. The sacrum turns to the back on the way."""
    gaps = list(anatomy.GAPS_MM.values())
    first, second, *_ = spine
    *_, before_last, last_of_all = spine
    ends = []
    for last, before, step in ((first, second, -1), (last_of_all, before_last, 1)):
        # L6 is followed by what follows L5, at the same ratio.
        own, previous = (anatomy.label_of(anatomy.like(v.name)) for v in (last, before))
        label = own + step
        if 1 <= label <= anatomy.N_LABELS:
            gap = np.subtract(last.lps, before.lps)
            ratio = gaps[min(label, own) - 1] / gaps[min(own, previous) - 1]
            if anatomy.name_of(label) == "S2":
                bend = np.radians(SACRAL_BEND_DEG)
                gap = gap @ [[1, 0, 0], [0, np.cos(bend), np.sin(bend)], [0, -np.sin(bend), np.cos(bend)]]
            x, y, z = (float(c) for c in last.lps + ratio * gap)
            ends.append(Vertebra(anatomy.name_of(label), (x, y, z), truncated=True))
    return replace(spine, vertebrae=(*spine, *ends))


def _spl(folder: Path, finest_mm: float) -> tuple[NDArray[Any], dict[str, int], Spine, Grid]:
    scan = _read_labels(folder / "HN-Atlas-labels.nrrd")
    table = (folder / "HeadAndNeckAtlas-training-colors.ctbl").read_text().splitlines()
    names = {line.split()[1]: int(line.split()[0]) for line in table if line and not line.startswith("#")}
    vertebrae = []
    for structure, value in names.items():
        name = {"atlas": "C1", "axis": "C2"}.get(structure)
        if structure.startswith(("cervical", "thoracic")):
            name = structure[0].upper() + structure[-1]
        if name and (point := body_centroid(scan.array == value, scan.grid, name)):
            vertebrae.append(Vertebra(name, point))
    labels, grid = _thinned(scan.array, scan.grid, finest_mm)
    return labels, names, with_ends(Spine(tuple(vertebrae), grid, SPL)), grid


def _read_labels(path: Path) -> Scan:
    # The front door refuses what cannot be HU, and label maps cannot; what it builds on reads them.
    stored = read_nifti(path) if path.name.endswith(".nii.gz") else read_itk(path)
    array = stored.grid.reorientation().apply(stored.read())
    return Scan(array, stored.grid.canonical(), stored.grid, path.name, path)


def random_box(grid: Grid, spine: Spine, rng: np.random.Generator) -> tuple[slice, slice, slice]:
    """A field of view: two vertebrae or more along the body; around it the whole body or a window about the spine."""
    points = grid.to_voxel(spine.lps())
    z = np.sort(points[:, 2]) if len(points) else np.array([0.0, grid.shape[2] - 1.0])
    # Of three vertebrae the outer two: long fields of view, in which levels can be told, are as likely as short ones.
    drawn = np.sort(rng.choice(len(z), min(3, len(z)), replace=False))
    first, last = int(drawn[0]), int(drawn[-1])
    slack = rng.uniform(0, 40, 2)
    # Above C1 there is the head, and most scans of it show more than its base.
    if len(points) and spine.vertebrae[0].name == "C1" and last == len(z) - 1:
        slack[1] = rng.uniform(0, HEAD_MM)
    slack /= grid.spacing_mm[2]
    bounds = [(z[first] - slack[0], z[last] + slack[1])]
    for axis in (1, 0):
        if len(points) and rng.random() < 0.5:
            reach = rng.uniform(35, 120, 2) / grid.spacing_mm[axis]
            bounds.append((points[:, axis].min() - reach[0], points[:, axis].max() + reach[1]))
        else:
            bounds.append((0, grid.shape[axis]))
    x, y, z_box = (
        slice(max(0, int(lo)), min(n, int(hi) + 1)) for (lo, hi), n in zip(bounds[::-1], grid.shape, strict=True)
    )
    return x, y, z_box


def _boxed(grid: Grid, box: tuple[slice, slice, slice]) -> Grid:
    start = [s.start or 0 for s in box]
    shape = [len(range(n)[s]) for n, s in zip(grid.shape, box, strict=True)]
    affine = grid.affine.copy()
    affine[:3, 3] = grid.to_lps(start)
    return Grid((shape[0], shape[1], shape[2]), affine)


def _scaled(grid: Grid, size: NDArray[np.float64]) -> Grid:
    """Voxels so much larger along each of their axes."""
    affine = grid.affine.copy()
    affine[:3, :3] *= size
    return Grid(grid.shape, affine)


def _moved(spine: Spine, old: Grid, new: Grid) -> Spine:
    """The same voxels' spine on another grid."""
    points = new.to_lps(old.to_voxel(spine.lps()))
    return replace(
        spine, vertebrae=tuple(replace(v, lps=(x, y, z)) for v, (x, y, z) in zip(spine, points, strict=True)), grid=new
    )


def _write_resampled(
    folder: Path,
    name: str,
    array: NDArray[Any],
    grid: Grid,
    spine: Spine,
    box: tuple[slice, slice, slice],
    table: dict[str, Any],
) -> None:
    resampled, affine = resample_array(array[box], _boxed(grid, box), table["spacing_mm"])
    new = Grid(resampled.shape, affine)
    # To learn from, also the vertebrae beyond the field of view: what reaches into it is not background.
    if not table.get("beyond", True):
        spine = replace(spine, vertebrae=tuple(v for v in spine if new.contains(np.array([v.lps]))[0]))
    _write(folder, name, np.clip(np.rint(resampled), -1024, 32767).astype(np.int16), new, spine)


def _write(folder: Path, name: str, array: NDArray[Any], grid: Grid, spine: Spine) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_nifti(folder / f"{name}_ct.nii.gz", array, grid)
    write_verse_json(folder / f"{name}_ctd.json", replace(spine, grid=grid))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make the training set of the shipped weights.")
    for argument in ("recipe", "data", "output"):
        parser.add_argument(argument, type=Path)
    parser.add_argument("--processes", type=int, default=1)
    arguments = parser.parse_args()
    build(tomllib.loads(arguments.recipe.read_text()), arguments.data, arguments.output, arguments.processes)
