# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spinefinder_fast import Spine, Vertebra, make_phantom
from spinefinder_fast.anatomy import name_of
from spinefinder_fast.geometry import Grid
from spinefinder_fast.training.volumes import TrainingScan

MakeScan = Callable[..., TrainingScan]


@pytest.fixture(scope="session")
def make_scan(tmp_path_factory: pytest.TempPathFactory) -> MakeScan:
    """Makes a training scan of a phantom's spine at 4 mm, and of its voxels or of any array in their place."""
    folder = tmp_path_factory.mktemp("volumes")

    def make(
        first: str = "T8", last: str = "L2", *, seed: int = 1, array: np.ndarray | None = None, points: Any = None
    ) -> TrainingScan:
        phantom = make_phantom(first, last, spacing_mm=4.0, seed=seed)
        array = phantom.array.astype(np.int16) if array is None else array
        stored = folder / f"{len(list(folder.iterdir()))}.npy"
        np.save(stored, array)
        grid = Grid(array.shape, phantom.grid.affine)
        truth = phantom.spine if points is None else spine_of(points, grid)
        return TrainingScan(f"{first}-{last}-{seed}", Path(f"{stored.stem}.nii.gz"), stored, grid, truth, stored.stem)

    return make


def spine_of(points: dict[int, tuple[float, float, float]], grid: Grid) -> Spine:
    """Centroids given by label, in voxels of a grid."""
    return Spine(tuple(Vertebra(name_of(label), tuple(grid.to_lps(p))) for label, p in points.items()), grid)
