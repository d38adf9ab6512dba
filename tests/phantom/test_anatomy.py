# SPDX-License-Identifier: Apache-2.0
"""What tells levels apart is attached to the right ones."""

from __future__ import annotations

import numpy as np
import pytest

from spinefinder_fast import anatomy
from spinefinder_fast.phantom.anatomy import Tissue, paint_person, rib_curves
from spinefinder_fast.phantom.canvas import Canvas
from spinefinder_fast.phantom.person import Person, draw_person

BONE = (Tissue.TRABECULAR, Tissue.CORTICAL, Tissue.ENDPLATE)


@pytest.fixture(scope="module", params=range(3))
def person(request: pytest.FixtureRequest) -> Person:
    return draw_person(np.random.default_rng(request.param), arms="none")


@pytest.fixture(scope="module")
def canvas(person: Person) -> Canvas:
    low = person.centroids.min(axis=0) - np.array([170, 190, 10])
    high = person.centroids.max(axis=0) + np.array([170, 60, 30])
    shape = np.round((high - low) / 3).astype(int)
    canvas = Canvas((shape[0], shape[1], shape[2]), (3.0, 3.0, 3.0), low, np.random.default_rng(0), bend_mm=0)
    paint_person(canvas, person)
    return canvas


def tissue_at(canvas: Canvas, points: np.ndarray) -> np.ndarray:
    voxels = np.round((points - canvas.origin) / canvas.spacing_mm).astype(int)
    return canvas.tissue[tuple(voxels.clip(0, np.array(canvas.tissue.shape) - 1).T)]


def test_twelve_pairs_of_ribs_start_at_their_own_thoracic_vertebrae(person: Person) -> None:
    curves = rib_curves(person)
    assert sorted(curves) == sorted((rib, side) for rib in range(1, 13) for side in (-1, 1))
    for (rib, side), curve in curves.items():
        nearest = np.linalg.norm(person.centroids - curve[0], axis=1).argsort()[:2]
        # Ribs 2-9 lie on the disc between their own vertebra and the one above.
        assert anatomy.LABELS[f"T{rib}"] - 1 in nearest
        assert side * (curve[-1, 0] - curve[0, 0]) > 0


def test_ribs_are_bone_and_come_from_thoracic_vertebrae_only(person: Person, canvas: Canvas) -> None:
    for curve in rib_curves(person).values():
        assert np.isin(tissue_at(canvas, curve[2:20]), BONE).mean() > 0.8
    for name, has in (("C5", False), ("T8", True), ("L2", False), ("L4", False)):
        i = anatomy.LABELS[name] - 1
        # Beside the tips of the transverse processes runs a rib at its own level, and nothing else does.
        beside = person.centroids[i] + person.size * np.array(
            [(x, y, z) for x in (52, 58) for y in range(30, 60, 4) for z in range(-14, 15, 4)]
        )
        assert np.isin(tissue_at(canvas, beside), BONE).any() == has, name


def test_lungs_end_and_the_pelvis_begins_where_they_do_in_people(person: Person, canvas: Canvas) -> None:
    heights = canvas.origin[2] + 3 * np.arange(canvas.tissue.shape[2])
    lung = heights[(canvas.tissue == Tissue.LUNG).any(axis=(0, 1))]
    t1, t10, l2 = (person.centroids[anatomy.LABELS[name] - 1, 2] for name in ("T1", "T10", "L2"))
    assert l2 < lung.min() < t10
    assert abs(lung.max() - t1) < 35
    kidneys = heights[(canvas.tissue == Tissue.KIDNEY).any(axis=(0, 1))]
    t11, l4 = (person.centroids[anatomy.LABELS[name] - 1, 2] for name in ("T11", "L4"))
    assert l4 - 10 < kidneys.min() < kidneys.max() < t11 + 15
    s1 = person.centroids[anatomy.LABELS["S1"] - 1]
    for side in (-1, 1):
        line = s1 + person.size * np.array([(side * x, y, 0) for x in range(70, 130, 2) for y in range(-60, 20, 4)])
        assert np.isin(tissue_at(canvas, line), BONE).any()


def test_canal_and_cord_run_through_the_whole_spine(canvas: Canvas, person: Person) -> None:
    heights = canvas.origin[2] + 3 * np.arange(canvas.tissue.shape[2])
    within = (heights > person.centroids[25, 2]) & (heights < person.centroids[0, 2])
    fluid = np.isin(canvas.tissue, (Tissue.CANAL, Tissue.CORD)).any(axis=(0, 1))
    assert fluid[within].all()


def test_bending_is_undone() -> None:
    canvas = Canvas((40, 40, 40), (2.0, 2.0, 2.0), (-40.0, -40.0, -40.0), np.random.default_rng(1), bend_mm=1.5)
    seen = canvas.image_of([(5.0, -7.0, 11.0)])
    canvas.paint(canvas.ellipsoid((5.0, -7.0, 11.0), (12.0, 9.0, 15.0)), Tissue.ORGAN)
    centre = np.argwhere(canvas.tissue == Tissue.ORGAN).mean(axis=0) * 2.0 - 40.0
    assert np.linalg.norm(seen - (5.0, -7.0, 11.0)) > 0.1
    assert centre == pytest.approx(seen[0], abs=1.0)


def test_a_solid_outside_of_the_field_of_view_costs_and_paints_nothing() -> None:
    canvas = Canvas((8, 8, 8), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0), np.random.default_rng(1))
    assert canvas.ellipsoid((500.0, 0.0, 0.0), (5.0, 5.0, 5.0)) is None
    canvas.paint(None, Tissue.ORGAN)
    assert not canvas.tissue.any()


@pytest.fixture(scope="module")
def head(person: Person) -> Canvas:
    low, high = person.centroids[0] - np.array([70, 120, 60]), person.centroids[0] + np.array([70, 110, 100])
    shape = np.round(high - low).astype(int)
    canvas = Canvas((shape[0], shape[1], shape[2]), (1.0, 1.0, 1.0), low, np.random.default_rng(0), bend_mm=0)
    paint_person(canvas, person)
    return canvas


def beside_the_atlas(person: Person, *points: tuple[float, float, float]) -> np.ndarray:
    return person.centroids[0] + person.size * np.array(points) @ person.frames[0].T


def test_the_dens_stands_in_the_ring_of_the_atlas_before_the_canal(person: Person, head: Canvas) -> None:
    dens, arches = (0, -7.5, 0), [(0, -14.5, 0), (0, 20.5, 0)]
    assert np.isin(tissue_at(head, beside_the_atlas(person, dens, *arches)), BONE).all()
    canal = tissue_at(head, beside_the_atlas(person, *((0, y, 0) for y in range(2, 14, 2))))
    assert np.isin(canal, (Tissue.CANAL, Tissue.CORD)).all()


def test_the_skull_ends_above_the_dens_and_is_open_to_the_canal(person: Person, head: Canvas) -> None:
    # Between the tip of the dens and the clivus there is no bone: what joined them would make one vertebra of both.
    above = tissue_at(head, beside_the_atlas(person, *((0, -7.5, z) for z in np.arange(7.0, 40.0))))
    bone = np.isin(above, BONE)
    assert not bone[1:4].any()
    # The cord comes through the foramen magnum, behind the clivus.
    through = tissue_at(head, beside_the_atlas(person, *((0, 6, z) for z in np.arange(0.0, 40.0))))
    assert not np.isin(through, BONE).any()
    assert through[-1] == Tissue.BRAIN
    clivus = tissue_at(head, beside_the_atlas(person, *((0, y, z) for y in range(-45, -5) for z in range(20, 45))))
    assert np.isin(clivus, BONE).mean() > 0.05
