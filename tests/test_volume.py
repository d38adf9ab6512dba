# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spinefinder_fast.geometry import Grid
from spinefinder_fast.volume import AIR_HU, mask_onto, normalisation, normalise, padding_value, resample_array


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(*[st.integers(1, 24)] * 3),
    st.tuples(*[st.floats(0.4, 3.5)] * 3),
    st.floats(0.7, 3.0),
)
@example((1, 3, 1), (1.0, 1.333147866610572, 1.0), 1.0)  # all but four new voxels: three
def test_the_spacing_is_exact_and_the_result_lies_in_the_field_of_view(shape, spacing, wanted):
    grid = Grid.from_spacing(shape, spacing, (-5, 6, 7))
    result, affine = resample_array(np.zeros(shape, np.int16), grid, wanted)
    new = Grid(result.shape, affine)
    assert new.spacing_mm == pytest.approx((wanted,) * 3)
    for n, step, m, old_n in zip(result.shape, spacing, new.shape, shape, strict=True):
        field = old_n * step
        assert n == m
        # What is left out is less than one new voxel; a field thinner than that keeps one voxel.
        assert n * wanted <= field * (1 + 1e-5) or n == 1
        assert field - n * wanted < wanted
    corner = new.to_lps([-0.5] * 3)
    assert corner == pytest.approx(grid.to_lps([-0.5] * 3))


@pytest.mark.parametrize("spacing", [0.7, 0.9765625, 1.1, 0.1 + 0.2])
def test_what_a_float32_header_rounds_costs_no_voxel(spacing):
    grid = Grid.from_spacing((64, 37, 1900), (float(np.float32(spacing)),) * 3)
    result, _ = resample_array(np.zeros(grid.shape, np.int16), grid, spacing)
    assert result.shape == grid.shape


@pytest.mark.parametrize("wanted", [0.7, 1.0, 2.0])
def test_a_linear_ramp_keeps_its_place_in_the_world(wanted):
    grid = Grid.from_spacing((40, 30, 36), (0.8, 0.9, 1.25), (10, 20, 30))
    slope = np.array([1.0, 2.0, 3.0])
    ramp = (grid.to_lps(np.indices(grid.shape).reshape(3, -1).T) @ slope).reshape(grid.shape)
    result, affine = resample_array(ramp, grid, wanted)
    new = Grid(result.shape, affine)
    expected = (new.to_lps(np.indices(new.shape).reshape(3, -1).T) @ slope).reshape(new.shape)
    error = np.abs(result - expected)[3:-3, 3:-3, 3:-3]
    # The slope is 3 HU/mm along the body: this holds positions within a sixth of a millimetre.
    assert error.max() < 0.5


def test_a_blob_keeps_its_centre_through_coarse_and_fine():
    grid = Grid.from_spacing((60, 60, 60), (0.7, 0.7, 0.9))
    centre = np.array([20.3, 21.1, 26.2])
    distance = np.linalg.norm(grid.to_lps(np.indices(grid.shape).reshape(3, -1).T) - centre, axis=1)
    blob = np.exp(-((distance / 6) ** 2)).reshape(grid.shape).astype(np.float32)
    for wanted in (1.0, 2.0, 3.0):
        result, affine = resample_array(blob, grid, wanted)
        where = Grid(result.shape, affine).to_lps(np.indices(result.shape).reshape(3, -1).T)
        found = (where * result.reshape(-1, 1)).sum(axis=0) / result.sum()
        assert found == pytest.approx(centre, abs=0.05)


def test_window_depends_on_hu_alone():
    hu = np.array([[[-3000.0, -1000.0, 0.0, 1500.0, 30000.0]]], np.float32)
    expected = [-2, -2, 0, 3, 3]
    assert normalise(hu, normalisation(hu)).dtype == np.float32
    assert normalise(hu, normalisation(hu))[0, 0] == pytest.approx(expected)
    assert normalise(hu[..., 1:3], normalisation(hu))[0, 0] == pytest.approx(expected[1:3])
    assert padding_value("window") == normalise(np.full((1, 1, 1), AIR_HU, np.float32), normalisation(hu)).item()


def test_zscore_is_the_published_codes():
    hu = np.random.default_rng(0).normal(100, 300, (5, 6, 7)).astype(np.float32)
    result = normalise(hu, normalisation(hu, "zscore"))
    assert result.dtype == np.float32
    assert result.mean() == pytest.approx(0, abs=1e-5)
    assert result.std() == pytest.approx(1, abs=1e-5)
    assert padding_value("zscore") == 0
    flat = np.full((2, 2, 2), 5.0, np.float32)
    assert np.isfinite(normalise(flat, normalisation(flat, "zscore"))).all()


def test_a_mask_on_another_grid_is_the_same_body():
    scan = Grid.from_spacing((70, 61, 90), (0.9, 1.1, 0.7), (-5, 6, 7))
    indices = np.stack(np.indices(scan.shape), axis=-1)
    ball = (np.linalg.norm((indices - (35, 30, 45)) * scan.spacing_mm, axis=-1) < 15).astype(np.uint8)
    grids, masks = [], []
    for spacing in (3.0, 2.0):
        resampled, affine = resample_array(ball, scan, spacing)
        grids.append(Grid(resampled.shape, affine))
        masks.append((resampled >= 0.5).astype(np.uint8))
    found = mask_onto(masks[0], *grids)
    assert found.shape == masks[1].shape
    assert found.dtype == np.uint8
    assert 2 * (found & masks[1]).sum() / (found.sum() + masks[1].sum()) > 0.93
    centre = grids[1].to_lps(np.argwhere(found).mean(axis=0)[None])
    assert centre == pytest.approx(scan.to_lps([[35, 30, 45]]), abs=0.3)
    assert mask_onto(masks[0], grids[0], grids[0]) is masks[0]
