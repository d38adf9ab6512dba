# SPDX-License-Identifier: Apache-2.0
"""Real necks of people nobody here trained on: ``python -m benchmarks.necks.openkbp OPENKBP OUT``.

OPENKBP is a clone of https://github.com/ababier/open-kbp (Babier et al. 2021, MIT licence): CTs of 340 patients before
radiotherapy of head and neck, from several hospitals, on voxels of about 3.9 x 3.9 x 2.5 mm, cut to the slices and the
body that were irradiated. OUT gets two folders of scans with centroids as VerSe writes them: ``looked_at``, patients 1
to 240, by which the package was improved, and ``test``, those from 241 on, which judge what is released. Then

    spinefinder predict OUT/test -o RESULTS; spinefinder evaluate RESULTS OUT/test

`levels.json` beside this file has C2 to C7 of those patients whose levels could be told: the places are those at which
this package found bodies, the names were read from the images, from the dens down. So what this measures is names and
no distances; nor does it ask for C1, for vertebrae of the chest, or for any that was never found. No weights of the
package were trained on these scans: their patients come from collections of several licences.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spinefinder_fast.geometry import Grid
from spinefinder_fast.report import write_verse_json
from spinefinder_fast.scan import write_nifti
from spinefinder_fast.spine import Spine, Vertebra

SHAPE: Final = (128, 128, 128)
"""Of every array there: to the back, to the left, to the feet."""

HU_OF_ZERO: Final = -1024

BODY_CM2: Final = 70.0
"""Slices that show less than this were not irradiated: in them only single organs are left."""

AIR_VOXELS: Final = 3
"""So many are kept beside the body."""

LAST_LOOKED_AT: Final = 240

LEVELS: Final = Path(__file__).with_name("levels.json")


def read_patient(folder: Path) -> tuple[NDArray[np.int16], Grid]:
    """HU, (X, Y, Z) canonical, of the longest run of slices that show the body, and their grid; the first voxel at 0.

    Args:
        folder: of one patient, with ``ct.csv`` (index in the flattened array, value from 0 = air) and
            ``voxel_dimensions.csv`` (mm).

    Raises:
        ValueError: no slice shows a body.
    """
    rows = np.genfromtxt(folder / "ct.csv", delimiter=",", skip_header=1)
    flat = np.zeros(np.prod(SHAPE))
    flat[rows[:, 0].astype(int)] = np.nan_to_num(rows[:, 1], nan=1.0)
    back, left, down = np.loadtxt(folder / "voxel_dimensions.csv").tolist()
    values = flat.reshape(SHAPE)
    shown = (values > 0).sum(axis=(0, 1)) * back * left / 100 > BODY_CM2
    steps = np.flatnonzero(np.diff(np.concatenate([[0], shown, [0]]).astype(int)))
    if not len(steps):
        raise ValueError(f"{folder}: no slice shows {BODY_CM2:g} cm2 of a body; is it a patient of OpenKBP?")
    start, stop = max(zip(steps[::2], steps[1::2], strict=True), key=lambda run: run[1] - run[0])
    hu = np.clip(values[:, :, start:stop], 0, 4095).astype(np.int16) + np.int16(HU_OF_ZERO)
    hu = np.ascontiguousarray(hu.transpose(1, 0, 2)[:, :, ::-1])
    inside = hu > HU_OF_ZERO + 24
    for axis in (0, 1):
        seen = np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {axis})))
        kept = np.arange(max(seen[0] - AIR_VOXELS, 0), min(seen[-1] + AIR_VOXELS + 1, hu.shape[axis]))
        hu = hu.take(kept, axis=axis)
    return hu, Grid.from_spacing((hu.shape[0], hu.shape[1], hu.shape[2]), (left, back, down))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("openkbp", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args(argv)
    found = {
        folder.name: folder for folder in args.openkbp.glob("provided-data/*/pt_*") if (folder / "ct.csv").exists()
    }
    levels: dict[str, dict[str, tuple[float, float, float]]] = json.loads(LEVELS.read_text())
    if not found.keys() & levels.keys():
        parser.error(f"no patient of OpenKBP under {args.openkbp}/provided-data; name a clone of its repository")
    for name, places in levels.items():
        if name not in found:
            print(f"{name}: not there, left out")
            continue
        hu, grid = read_patient(found[name])
        side = args.out / ("looked_at" if int(name.removeprefix("pt_")) <= LAST_LOOKED_AT else "test")
        side.mkdir(parents=True, exist_ok=True)
        write_nifti(side / f"{name}_ct.nii.gz", hu, grid)
        spine = Spine(tuple(Vertebra(level, place) for level, place in places.items()), grid, name)
        write_verse_json(side / f"{name}_ctd.json", spine)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
