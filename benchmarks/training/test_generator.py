# SPDX-License-Identifier: Apache-2.0
"""Scans that the generator makes per second on one core (the column OPS): whole phantoms, and what a label map goes
through for each image that is made of it. A training set is made once, before the training, so it starves nothing."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from spinefinder_fast import Spine
from spinefinder_fast.geometry import Grid
from spinefinder_fast.phantom import Phantom, make_phantom, random_phantom, render
from spinefinder_fast.training.labelmaps import reposed

SPACING_MM = 2.0
ROUNDS = 5


@cache
def trunk() -> Phantom:
    """A body as a label map shows it, some three million voxels."""
    return make_phantom("T1", "S1", spacing_mm=SPACING_MM, seed=3, fov_mm=(360.0, 260.0))


def a_phantom(seed: int) -> np.ndarray:
    return random_phantom(np.random.default_rng(seed), SPACING_MM).array


def an_image(seed: int) -> np.ndarray:
    return render(trunk().tissue, (SPACING_MM,) * 3, np.random.default_rng(seed))


def a_posture(seed: int) -> np.ndarray:
    body: tuple[np.ndarray, Spine, Grid] = trunk().tissue, trunk().spine, trunk().grid
    return reposed(*body, np.random.default_rng(seed))[0]


@pytest.mark.parametrize("make", [a_phantom, an_image, a_posture])
def test_generator(benchmark, make):
    benchmark.group = "scans of the generator"
    seeds = iter(range(1000))
    trunk()
    made = []
    benchmark.pedantic(lambda: made.append(make(next(seeds))), rounds=ROUNDS)
    # Each seed its own scan, and the same seed the same one.
    assert (make(0) == made[0]).all()
    assert all(a.shape != b.shape or (a != b).any() for a, b in pairwise(made))
    benchmark.extra_info["million voxels"] = round(float(np.mean([a.size for a in made])) / 1e6, 1)
