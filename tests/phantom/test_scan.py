# SPDX-License-Identifier: Apache-2.0
"""Phantoms: the truth lies in the bone it names, and what is asked for is what is shown."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinefinder_fast import anatomy
from spinefinder_fast.phantom import Phantom, Tissue, make_phantom, random_phantom

BONE = (Tissue.TRABECULAR, Tissue.CORTICAL, Tissue.ENDPLATE)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 26), st.integers(1, 26), st.integers(0, 1000))
def test_shows_the_vertebrae_asked_for_and_no_other(one: int, other: int, seed: int) -> None:
    top, bottom = sorted((one, other))
    first, last = anatomy.name_of(top), anatomy.name_of(bottom)
    phantom = make_phantom(first, last, spacing_mm=4.0, seed=seed, fov_mm=(120, 120))
    assert phantom.spine.names == list(anatomy.NAMES[top - 1 : bottom])
    assert phantom.array.shape == phantom.tissue.shape == phantom.grid.shape
    assert phantom.array.dtype == np.int16
    assert (np.diff(phantom.spine.lps()[:, 2]) < 0).all()
    assert phantom.grid.contains(phantom.spine.lps()).all()


@pytest.fixture(scope="module", params=range(3))
def whole(request: pytest.FixtureRequest) -> Phantom:
    return make_phantom("C1", "S2", spacing_mm=2.0, seed=request.param, fov_mm=(100, 100))


def test_a_centroid_lies_in_its_body(whole: Phantom) -> None:
    for vertebra, voxel in zip(whole.spine, np.round(whole.spine.voxels()).astype(int), strict=True):
        around = whole.tissue[tuple(slice(v - 1, v + 2) for v in voxel)]
        wanted = (Tissue.CANAL, Tissue.CORD, *BONE) if vertebra.name == "C1" else (Tissue.TRABECULAR,)
        assert np.isin(around, wanted).mean() > 0.5, vertebra.name


def test_a_centroid_is_the_centre_of_its_body(whole: Phantom) -> None:
    # From the centroid along the spine to the end plates, up and down alike.
    lps = whole.spine.lps()
    for i in range(2, 25):
        up = (lps[i - 1] - lps[i + 1]) / np.linalg.norm(lps[i - 1] - lps[i + 1])
        reach = []
        for sign in (1, -1):
            line = lps[i] + sign * up * np.arange(0, 40, 0.5)[:, None]
            inside = whole.grid.contains(line)
            voxels = np.round(whole.grid.to_voxel(line[inside])).astype(int)
            spongy = whole.tissue[tuple(voxels.T)] == Tissue.TRABECULAR
            reach.append(0.5 * (len(spongy) if spongy.all() else int(np.argmin(spongy))))
        assert abs(reach[0] - reach[1]) <= 4.5, (whole.spine.names[i], reach)


def test_gaps_between_centroids_are_those_of_people(whole: Phantom) -> None:
    gaps = np.linalg.norm(np.diff(whole.spine.lps(), axis=0), axis=1)
    expected = np.array(list(anatomy.GAPS_MM.values()))
    assert (gaps > 0.7 * expected).all()
    assert (gaps < 1.4 * expected).all()


def test_between_bodies_lie_discs(whole: Phantom) -> None:
    lps = whole.spine.lps()
    for i in range(2, 24):
        line = lps[i] + np.linspace(0.2, 0.8, 40)[:, None] * (lps[i + 1] - lps[i])
        met = whole.tissue[tuple(np.round(whole.grid.to_voxel(line)).astype(int).T)]
        assert (met == Tissue.DISC).any(), whole.spine.names[i]


def test_same_seed_same_bits_and_another_seed_another_scan() -> None:
    a, b, c = (make_phantom("L1", "L3", spacing_mm=3.0, seed=seed) for seed in (5, 5, 6))
    assert np.array_equal(a.array, b.array)
    assert a.spine.lps().tolist() == b.spine.lps().tolist()
    assert not np.array_equal(a.spine.lps(), c.spine.lps())


def test_truth_does_not_depend_on_spacing_nor_on_the_field_of_view() -> None:
    coarse = make_phantom("L1", "L3", spacing_mm=(1.5, 1.5, 4.0), seed=2, fov_mm=(90, 100))
    fine = make_phantom("T12", "L4", spacing_mm=3.0, seed=2, fov_mm=(150, 150))
    for vertebra in coarse.spine:
        assert vertebra.lps == pytest.approx(fine.spine[vertebra.name].lps, abs=1e-3)


def test_field_of_view_and_spacing_are_those_asked_for() -> None:
    phantom = make_phantom("T12", "L3", spacing_mm=(2.0, 1.0, 3.0), seed=0, fov_mm=(180, 150))
    assert phantom.grid.spacing_mm == pytest.approx((2.0, 1.0, 3.0))
    assert phantom.array.shape[:2] == (90, 150)
    assert phantom.grid.axcodes == "LPS"


def test_a_narrow_field_of_view_cuts_vertebrae_and_a_wide_one_does_not() -> None:
    narrow = make_phantom("L1", "L4", spacing_mm=3.0, seed=0, fov_mm=(60, 120))
    wide = make_phantom("L1", "L4", spacing_mm=3.0, seed=0, fov_mm=(160, 200))
    assert all(v.truncated for v in narrow.spine)
    assert not any(v.truncated for v in wide.spine if v.name in ("L2", "L3"))


def test_random_phantoms_hold_vertebrae_and_differ() -> None:
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(12):
        phantom = random_phantom(rng, 5.0, max_voxels=300_000)
        assert len(phantom.spine) >= 1
        assert phantom.grid.contains(phantom.spine.lps()).all()
        assert phantom.array.size <= 1.1 * 300_000
        seen.add((phantom.spine.names[0], phantom.spine.names[-1]))
    assert len(seen) > 6
    # Two vertebrae of the chest, close together.
    assert len(random_phantom(np.random.default_rng((19, 106))).spine)


def test_a_region_may_be_asked_for() -> None:
    rng = np.random.default_rng(0)
    assert {random_phantom(rng, 5.0, region="head").spine.names[0] for _ in range(4)} == {"C1"}
    with pytest.raises(ValueError, match="region is 'foot'; head, neck"):
        random_phantom(rng, 5.0, region="foot")


@pytest.mark.parametrize("names", [("L5", "L1"), ("C0", "C3"), ("T12", "L6")])
def test_levels_that_make_no_sense_are_refused(names: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match=r"above|no vertebra"):
        make_phantom(*names)


@pytest.mark.parametrize("bad", [{"spacing_mm": 0.0}, {"fov_mm": (0.0, 100.0)}])
def test_lengths_must_be_positive(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="positive"):
        make_phantom("L1", "L2", **bad)  # type: ignore[arg-type]
