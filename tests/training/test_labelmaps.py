# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from spinefinder_fast import Grid, Spine, Vertebra, anatomy
from spinefinder_fast.phantom import Tissue
from spinefinder_fast.phantom.person import draw_person, person_around
from spinefinder_fast.training.labelmaps import tissue_map

GRID = Grid.from_spacing((100, 90, 110), 3.0)
NECK = {"C1": 200.0, "C2": 183.0, "C3": 163.0, "C4": 146.0, "C5": 129.0}
MASK = {f"vertebrae_{name}": number for number, name in anatomy.VERSE_NAMES.items()}


def neck():
    """Blocks of bone at the places of a neck, and the spine that they are."""
    spine = Spine(tuple(Vertebra(name, (150.0, 160.0, z)) for name, z in NECK.items()), GRID)
    labels = np.zeros(GRID.shape, np.uint8)
    for i, (x, y, z) in enumerate(np.rint(GRID.to_voxel(spine.lps())).astype(int), 1):
        labels[x - 3 : x + 4, y - 3 : y + 4, z - 2 : z + 3] = i
    return labels, spine


def test_a_person_is_drawn_around_a_spine():
    drawn = draw_person(np.random.default_rng(4))
    known = {i: 1.1 * drawn.centroids[i] + [5, -7, 300] for i in (8, 9, 11, 12)}
    person = person_around(known, np.random.default_rng(9))
    assert person.centroids[list(known)] == pytest.approx(np.array(list(known.values())))
    assert person.size == pytest.approx(1.1 * drawn.size, rel=0.06)
    steps = -np.diff(person.centroids[:, 2])
    assert (steps > 5).all()
    # Between two that are known lies one that is not; beyond them the spine goes on as another person's does.
    assert person.centroids[10] == pytest.approx(0.5 * (known[9] + known[11]))
    assert person.frames.shape == (30, 3, 3)


def test_a_mask_of_vertebrae_gets_the_body_of_a_phantom():
    labels, spine = neck()
    tissue = tissue_map(labels, MASK, spine, GRID, np.random.default_rng(1))
    assert (tissue[labels > 0] == Tissue.BONE).all()
    found = {t: int((tissue == t).sum()) for t in (Tissue.GAS, Tissue.BRAIN, Tissue.MUSCLE, Tissue.FAT, Tissue.AIR)}
    assert min(found.values()) > 1000, found
    # The airway runs in front of the column, the brain lies above it.
    x, y, z = np.rint(GRID.to_voxel(np.array([spine["C3"].lps])))[0].astype(int)
    ahead = np.flatnonzero((tissue[x - 2 : x + 3, :y, z] == Tissue.GAS).any(axis=0))
    assert 10 < 3 * (y - ahead.max()) < 40
    assert np.argwhere(tissue == Tissue.BRAIN)[:, 2].mean() > GRID.to_voxel(np.array([spine["C1"].lps]))[0, 2]


def test_airways_and_brain_are_added_where_a_map_has_none():
    labels, spine = neck()
    # Muscle all around, as wide as a neck, but for a shaft in front of the column that nothing is known of.
    labels[25:75, 20:80][labels[25:75, 20:80] == 0] = 30
    shaft = np.zeros(labels.shape, bool)
    shaft[44:57, 36:50, 30:] = True
    labels[shaft & (labels == 30)] = 0
    names = {f"vertebrae_{name}": i for i, name in enumerate(NECK, 1)} | {"autochthon_left": 30, "trachea": 31}
    tissue = tissue_map(labels, names, spine, GRID, np.random.default_rng(1))
    gas = tissue == Tissue.GAS
    assert (gas & shaft).sum() > 50
    assert not (gas & (labels > 0)).any()
    assert (tissue[labels == 30] == Tissue.MUSCLE).all()
    # Where the trachea is labelled, and below its upper end, the map is believed.
    labels[50, 40, 30:45] = 31
    known = tissue_map(labels, names, spine, GRID, np.random.default_rng(1)) == Tissue.GAS
    assert known[:, :, :45].sum() == 15
    assert known[:, :, 45:].sum() > 50
