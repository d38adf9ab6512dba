# SPDX-License-Identifier: Apache-2.0
"""People with a vertebra more or less, and spines that are broken, worn or operated."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from spinefinder_fast import anatomy
from spinefinder_fast.phantom import Look, Phantom, Tissue, make_phantom, random_phantom, render
from spinefinder_fast.phantom.anatomy import paint_person, rib_curves
from spinefinder_fast.phantom.canvas import Canvas
from spinefinder_fast.phantom.person import Findings, Fracture, Person, draw_person
from spinefinder_fast.phantom.variants import FINDINGS, NUMBERINGS, afflict, renumber, vary

BONE = (Tissue.TRABECULAR, Tissue.CORTICAL, Tissue.ENDPLATE)
T11, T12, L1, L2, L3, L5, S1 = (anatomy.LABELS[name] - 1 for name in ("T11", "T12", "L1", "L2", "L3", "L5", "S1"))
STEP_MM = 2.0


@pytest.fixture(scope="module", params=range(2))
def usual(request: pytest.FixtureRequest) -> Person:
    return draw_person(np.random.default_rng(request.param), arms="none")


def painted(person: Person, first: int, last: int, *, wide_mm: float = 60.0) -> Canvas:
    shown = person.centroids[first : last + 1]
    low, high = shown.min(axis=0) - [wide_mm, 60, 20], shown.max(axis=0) + np.array([wide_mm, 60, 20])
    x, y, z = np.round((high - low) / STEP_MM).astype(int).tolist()
    canvas = Canvas((x, y, z), (STEP_MM,) * 3, low, np.random.default_rng(0), bend_mm=0)
    paint_person(canvas, person)
    return canvas


def tissue_at(canvas: Canvas, points: np.ndarray) -> np.ndarray:
    voxels = np.round((points - canvas.origin) / canvas.spacing_mm).astype(int)
    return np.asarray(canvas.tissue[tuple(voxels.T)])


def test_phantoms_of_the_demo_know_no_variants() -> None:
    phantom = make_phantom("T12", "L2", spacing_mm=4.0, seed=1, fov_mm=(100, 100))
    digest = hashlib.sha256(phantom.tissue.tobytes()).hexdigest()
    assert digest[:16] == "445f98cf344a29e9"


@pytest.mark.parametrize(
    ("numbering", "count", "around"),
    [("L6", 27, ["L5", "L6", "S1"]), ("T13", 27, ["T12", "T13", "L1"]), ("four lumbar", 25, ["L3", "L4", "S1"])],
)
def test_a_vertebra_more_or_less_is_named_and_lies_in_order(
    usual: Person, numbering: str, count: int, around: list[str]
) -> None:
    person = renumber(usual, numbering)
    assert len(person.names) == len(person.heights) == count
    assert len(person.centroids) == len(person.frames) == len(person.kinds) == len(person.levels) == count + 4
    at = person.names.index(around[1])
    assert list(person.names[at - 1 : at + 2]) == around
    assert (np.diff(person.centroids[:count, 2]) < 0).all()
    assert (np.diff(person.levels) > 0).all()
    # Above nothing has moved, and the sacrum is whole.
    assert person.centroids[:T12] == pytest.approx(usual.centroids[:T12])
    assert person.names[person.index(S1)] == "S1"
    assert np.diff(person.centroids[count:], axis=0) == pytest.approx(np.diff(usual.centroids[26:], axis=0))
    gaps = np.linalg.norm(np.diff(person.centroids, axis=0), axis=1)[T11 : person.index(S1)]
    assert gaps.min() > 20
    assert gaps.max() < 50


@pytest.mark.parametrize("numbering", ["L6", "T13", "four lumbar"])
def test_every_body_of_a_variant_is_bone_and_discs_lie_between(usual: Person, numbering: str) -> None:
    person = renumber(usual, numbering)
    last = person.index(S1)
    canvas = painted(person, T11, last)
    shown = person.centroids[T11 : last + 1]
    assert (tissue_at(canvas, shown) == Tissue.TRABECULAR).all()
    for upper, lower in pairwise(shown):
        line = upper + np.linspace(0.2, 0.8, 40)[:, None] * (lower - upper)
        assert (tissue_at(canvas, line) == Tissue.DISC).any()


@pytest.mark.parametrize(
    ("numbering", "ribs", "lowest"), [("no 12th ribs", 11, "T11"), ("lumbar ribs", 13, "L1"), ("T13", 13, "T13")]
)
def test_ribs_are_missing_or_more(usual: Person, numbering: str, ribs: int, lowest: str) -> None:
    person = renumber(usual, numbering)
    curves = rib_curves(person)
    assert len(curves) == 2 * ribs
    for side in (-1, 1):
        heads = np.linalg.norm(person.centroids - curves[ribs, side][0], axis=1)
        assert person.names[int(heads.argmin())] == lowest
    if ribs == 13:
        # A 13th rib is a short one.
        def length(rib: int, side: int) -> float:
            return float(np.linalg.norm(np.diff(curves[rib, side], axis=0), axis=1).sum())

        assert all(length(13, side) < length(12, side) for side in (-1, 1))
        # What every other rib does is what it did.
        assert curves[8, 1] == pytest.approx(rib_curves(usual)[8, 1])


def test_an_unknown_numbering_is_refused(usual: Person) -> None:
    with pytest.raises(ValueError, match="four lumbar"):
        renumber(usual, "L7")


def _bone_height(canvas: Canvas, person: Person, i: int, v: float) -> float:
    # Of the body of vertebra i at v of its half depth, mm: voxels of bone along its axis.
    depth = 0.5 * person.size * 33
    along = np.arange(-24, 24.1, 0.5)
    centre = person.centroids[i] + person.frames[i][:, 1] * (v * depth)
    bone = np.isin(tissue_at(canvas, centre + along[:, None] * person.frames[i][:, 2]), BONE)
    run = [int(np.argmin([*half, False])) for half in (bone[len(along) // 2 :], bone[len(along) // 2 :: -1])]
    return 0.5 * (sum(run) - 1)


def test_a_wedge_fracture_lowers_the_front_of_its_body_and_of_no_other(usual: Person) -> None:
    broken = _with_fracture(usual, L1, front=0.5, back=0.95)
    before, after = painted(usual, T11, L3), painted(broken, T11, L3)
    front, back = (_bone_height(after, broken, L1, v) / _bone_height(before, usual, L1, v) for v in (-0.6, 0.5))
    assert front < 0.78
    assert back > 0.75
    assert front < back - 0.1
    for v in (-0.6, 0.5):
        assert _bone_height(after, broken, L3, v) == pytest.approx(_bone_height(before, usual, L3, v), abs=3.0)


def test_a_fracture_moves_the_truth_to_the_middle_of_what_is_left(usual: Person) -> None:
    broken = _with_fracture(usual, L1, front=0.5, back=0.95)
    shift = (broken.body_centres() - broken.centroids) @ broken.frames[L1][:, 1]
    assert 0.5 < shift[L1] < 4
    assert np.delete(shift, L1) == pytest.approx(0)
    # Neighbours have come nearer, and above the spine leans forwards.
    assert np.linalg.norm(broken.centroids[T12] - broken.centroids[L1]) < np.linalg.norm(
        usual.centroids[T12] - usual.centroids[L1]
    )
    lean = [
        (p.centroids[T11] - p.centroids[T12])[1] / (p.centroids[T11] - p.centroids[T12])[2] for p in (broken, usual)
    ]
    assert lean[0] < lean[1]
    assert (np.diff(broken.centroids[:, 2]) < 0).all()


def _with_fracture(person: Person, i: int, *, front: float, back: float) -> Person:
    from spinefinder_fast.phantom import variants

    fractures = {i: Fracture(front, back, 0.1)}
    return replace(variants._collapsed(person, fractures), findings=Findings(fractures=fractures))


def test_fused_bodies_have_bone_where_the_disc_was(usual: Person) -> None:
    fused = replace(usual, findings=Findings(fused=frozenset({L2})))
    middle = 0.5 * (usual.centroids[L2 : L2 + 1] + usual.centroids[L3 : L3 + 1])
    assert tissue_at(painted(usual, L1, L3), middle) == Tissue.DISC
    assert tissue_at(painted(fused, L1, L3), middle) == Tissue.TRABECULAR


def test_a_narrow_disc_brings_its_neighbours_together_and_leaves_their_bodies(usual: Person) -> None:
    narrow = afflict(usual, np.random.default_rng(0), ["narrow"])
    before, after = (np.linalg.norm(np.diff(p.centroids, axis=0), axis=1) for p in (usual, narrow))
    changed = np.flatnonzero(after < before - 0.5)
    assert 1 <= len(changed) <= 4
    assert np.delete(after, changed) == pytest.approx(np.delete(before, changed))
    bodies = 0.5 * (narrow.heights[changed] + narrow.heights[changed + 1])
    assert (after[changed] > bodies - 1e-6).all()
    assert (narrow.heights == usual.heights).all()


def test_spurs_cement_and_implants_are_seen(usual: Person) -> None:
    plain = painted(usual, T12, L5)
    for findings, tissue, at_least in (
        (Findings(spurs={L1: 6.0, L2: 6.0}, bridges=frozenset({L1})), BONE, 60),
        (Findings(cement=frozenset({L2})), (Tissue.CEMENT,), 60),
        (Findings(cages=frozenset({L2}), screws=(range(L2, L3 + 1),)), (Tissue.METAL,), 300),
        (Findings(plates=(range(L1, L3),)), (Tissue.METAL,), 60),
    ):
        canvas = painted(replace(usual, findings=findings), T12, L5)
        more = np.isin(canvas.tissue, tissue).sum() - np.isin(plain.tissue, tissue).sum()
        assert more > at_least, findings
        # They are where they are said to be: L5 is what it was.
        below = int((usual.centroids[L5, 2] - canvas.origin[2]) / STEP_MM)
        assert (canvas.tissue[:, :, :below] == plain.tissue[:, :, :below]).all()


def test_cement_is_brighter_than_bone() -> None:
    block = np.full((16, 16, 16), Tissue.CEMENT, np.uint8)
    hu = render(block, (1.0, 1.0, 1.0), np.random.default_rng(0), Look(noise_hu=0.0)).mean()
    assert 1400 < hu < 3071


def test_metal_casts_streaks_in_its_own_slices_only() -> None:
    block = np.full((60, 60, 12), Tissue.MUSCLE, np.uint8)
    block[15:19, 28:32, :6] = block[41:45, 28:32, :6] = Tissue.METAL
    quiet = Look(noise_hu=0.0, marbling=0.0, blur_mm=0.1)
    none, strong = (
        render(block, (2.0, 2.0, 2.0), np.random.default_rng(0), replace(quiet, metal_streaks=s)) for s in (0.0, 2.0)
    )
    change = strong.astype(float) - none
    between, beside = change[23:37, 28:32, 1:5], change[23:37, [22, 23, 36, 37], 1:5]
    assert between.mean() < -50
    assert between.mean() < beside.mean() - 50
    assert change[:10, :10, 1:5].std() > 5
    assert not change[:, :, 8:].any()


def test_variants_are_about_as_frequent_as_stated() -> None:
    seen: Counter[str] = Counter()
    person = draw_person(np.random.default_rng(0))
    n = 1500
    for i in range(n):
        drawn = vary(person, np.random.default_rng((7, i)))
        seen["L6"] += "L6" in drawn.names
        seen["T13"] += "T13" in drawn.names
        seen["four lumbar"] += "L5" not in drawn.names
        seen["no 12th ribs"] += drawn.ribs == 11
        seen["lumbar ribs"] += drawn.ribs == 13 and "T13" not in drawn.names
        f = drawn.findings
        seen["fractures"] += bool(f.fractures)
        seen["fused"] += bool(f.fused)
        seen["spurs"] += bool(f.spurs)
        seen["cement"] += bool(f.cement)
        seen["implants"] += bool(f.plates or f.screws)
        assert (np.diff(drawn.centroids[:, 2]) < 0).all()
        assert len(set(drawn.names)) == len(drawn.names)
    for name, share in (NUMBERINGS | FINDINGS).items():
        if name != "narrow":
            assert abs(seen[name] / n - share) < 4 * np.sqrt(share / n), name


def test_random_phantoms_tell_the_truth_of_variants() -> None:
    found: set[str] = set()
    for i in range(60):
        phantom: Phantom = random_phantom(np.random.default_rng((3, i)), 8.0, max_voxels=60_000)
        heights = phantom.person.lps()[:, 2]
        assert (np.diff(heights) < 0).all()
        found |= {n for n in ("L6", "T13") if n in phantom.person} | (set() if "L5" in phantom.person else {"four"})
    assert found >= {"L6", "T13"}
