# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from spinefinder_fast import anatomy
from spinefinder_fast.geometry import Grid
from spinefinder_fast.report import draw_spine
from spinefinder_fast.report.picture import _VIEWS, _curve, _plane, _spread
from spinefinder_fast.scan import Scan
from spinefinder_fast.scan.sample import sample
from spinefinder_fast.spine import Spine, Vertebra

GRID = Grid.from_spacing((40, 50, 60), (3.0, 2.5, 4.0), (-60.0, -60.0, 0.0))


def scan(name: str = "case", array: np.ndarray | None = None) -> Scan:
    if array is None:
        array = np.random.default_rng(0).integers(-1000, 1500, GRID.shape, np.int16)
    return Scan(array, GRID, GRID, name, Path("case.nii"))


def bent(names: tuple[str, ...] = ("T11", "T12", "L1", "L2", "L3")) -> Spine:
    heights = np.linspace(200, 40, len(names))
    return Spine(
        tuple(Vertebra(n, (10 * np.sin(z / 40), 20 * np.cos(z / 60), z)) for n, z in zip(names, heights, strict=True))
    )


@pytest.mark.parametrize(
    ("spine", "name"),
    [
        (bent(), "case"),
        (Spine(()), "no vertebra"),
        (bent(anatomy.NAMES), "every name in a short scan"),
        (Spine((Vertebra("S1", (0.0, 0.0, 100.0)),)), "$x^2$ \n ü 한글 " + 200 * "n"),
        (
            Spine((Vertebra("L6", (999.0, 0.0, 100.0)), Vertebra("T13", (0.0, 0.0, 100.0)))),
            "outside, and at one height",
        ),
    ],
)
def test_a_picture_is_drawn(tmp_path: Path, spine: Spine, name: str) -> None:
    draw_spine(scan(name), spine, tmp_path / "a.png", truth=bent())
    draw_spine(scan(name), spine, tmp_path / "b.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert min(picture.size) > 500
        assert np.asarray(picture).std() > 10
        assert not set(picture.info) - {"dpi"}  # nothing about who drew what, and when
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_the_curve_meets_the_centroids_and_goes_on_straight() -> None:
    spine = bent()
    points = spine.lps()
    np.testing.assert_allclose(_curve(spine, points[:, 2], np.zeros(3)), points, atol=1e-9)
    beyond = _curve(spine, np.array([210.0, 220.0, 230.0]), np.zeros(3))
    np.testing.assert_allclose(np.diff(beyond, axis=0)[0], np.diff(beyond, axis=0)[1])


@pytest.mark.parametrize("view", _VIEWS)
def test_the_reformat_shows_the_voxels_of_the_curve(view) -> None:
    # A rod of metal along the bent spine is seen at its full height, in both views, where the spine is.
    world = GRID.to_lps(np.stack(np.indices(GRID.shape), axis=-1))
    spine = bent()
    rod = _curve(spine, world[0, 0, :, 2], np.zeros(3))
    distance = np.linalg.norm(world[..., :2] - rod[:, :2], axis=-1)
    array = np.where(distance < 6, 2000, -1000).astype(np.int16)
    rod_scan = scan(array=array)
    points = _plane(rod_scan, view, spine, (-60.0, 58.0), (-2.0, 238.0), 2.0)
    image = sample(rod_scan, points).mean(axis=0)
    heights = -2.0 + (np.arange(image.shape[0]) + 0.5) * 240.0 / image.shape[0]
    columns = -60.0 + (np.arange(image.shape[1]) + 0.5) * 118.0 / image.shape[1]
    inside = (heights > 40) & (heights < 200)
    brightest = columns[image.argmax(axis=1)]
    expected = _curve(spine, heights, np.zeros(3))[:, view.across]
    assert np.abs(brightest - expected)[inside].max() < 6.5
    assert image.max(axis=1)[inside].min() > 1000


@given(wanted=st.lists(st.floats(0, 100), max_size=30).map(sorted), apart=st.floats(0.1, 3.3))
def test_names_never_touch(wanted: list[float], apart: float) -> None:
    found = _spread(wanted, apart, (0.0, 100.0))
    assert len(found) == len(wanted)
    assert all(b - a > apart - 1e-9 for a, b in pairwise(found))
    assert all(-1e-9 <= x <= 100 + 1e-9 for x in found)
    if all(b - a > apart for a, b in pairwise(wanted)):
        np.testing.assert_allclose(found, wanted)
