# SPDX-License-Identifier: Apache-2.0
"""Phantoms: the truth lies in the bone it names, and what is asked for is what is shown."""

from __future__ import annotations

import numpy as np
import pytest

from spinefinder_fast import anatomy
from spinefinder_fast.phantom import Tissue, make_phantom, random_phantom

BONE = (Tissue.TRABECULAR, Tissue.CORTICAL, Tissue.ENDPLATE)


@pytest.mark.parametrize(("first", "last"), [("C1", "C4"), ("C7", "T3"), ("T4", "T12"), ("T11", "S2"), ("S2", "S2")])
def test_shows_the_vertebrae_asked_for_and_no_other(first: str, last: str) -> None:
    phantom = make_phantom(first, last, spacing_mm=2.0, seed=1, fov_mm=(120, 120))
    assert phantom.spine.names == list(anatomy.NAMES[anatomy.LABELS[first] - 1 : anatomy.LABELS[last]])
    assert phantom.array.shape == phantom.tissue.shape == phantom.grid.shape
    assert phantom.array.dtype == np.int16
    assert (np.diff(phantom.spine.lps()[:, 2]) < 0).all()


@pytest.mark.parametrize("seed", range(4))
def test_a_centroid_lies_in_its_body(seed: int) -> None:
    phantom = make_phantom("C1", "S2", spacing_mm=2.0, seed=seed, fov_mm=(100, 100))
    for vertebra, voxel in zip(phantom.spine, np.round(phantom.spine.voxels()).astype(int), strict=True):
        around = phantom.tissue[tuple(slice(v - 1, v + 2) for v in voxel)]
        wanted = (Tissue.CANAL, Tissue.CORD, *BONE) if vertebra.name == "C1" else (Tissue.TRABECULAR,)
        assert np.isin(around, wanted).mean() > 0.5, vertebra.name


def test_same_seed_same_bits_and_another_seed_another_scan() -> None:
    a, b, c = (make_phantom("L1", "L3", spacing_mm=3.0, seed=seed) for seed in (5, 5, 6))
    assert np.array_equal(a.array, b.array)
    assert a.spine.lps().tolist() == b.spine.lps().tolist()
    assert not np.array_equal(a.spine.lps(), c.spine.lps())


def test_random_phantoms_hold_vertebrae() -> None:
    rng = np.random.default_rng(0)
    for _ in range(4):
        phantom = random_phantom(rng, 4.0)
        assert len(phantom.spine) >= 1
        assert phantom.grid.contains(phantom.spine.lps()).all()
