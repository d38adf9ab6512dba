# SPDX-License-Identifier: Apache-2.0
"""The stages on a scan of 2 mm, with networks that only read the truth off: what all else costs.

Resampling starts from the same scan at 1 mm; blended labels are no labels, so its answer goes no further.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from stubs import labelled_scan, true_model

from spinefinder_fast import Scan, Spine, locate, make_phantom
from spinefinder_fast.centroids import aggregate
from spinefinder_fast.detection import detect
from spinefinder_fast.identification import identify
from spinefinder_fast.volume import Volume, resample

SPACING = 2.0
MODEL = true_model(SPACING)


@cache
def truth(spacing_mm: float = SPACING) -> tuple[Scan, Spine]:
    phantom = make_phantom("T8", "L5", spacing_mm=spacing_mm)
    return labelled_scan(phantom.spine, phantom.grid), phantom.spine


@cache
def stages() -> tuple[Volume, np.ndarray, list[tuple[int, np.ndarray]]]:
    volume = resample(truth()[0], SPACING)
    mask = detect(volume, MODEL)
    return volume, mask, list(identify(volume, mask, MODEL))


STAGES = {
    "resample": lambda: resample(truth(1.0)[0], SPACING),
    "detect": lambda: detect(stages()[0], MODEL),
    "identify": lambda: list(identify(*stages()[:2], MODEL)),
    "aggregate": lambda: aggregate(stages()[2], stages()[1], stages()[0].grid),
    "all": lambda: locate(truth()[0], MODEL),
}


@pytest.mark.benchmark(min_rounds=3, max_time=0.5)
@pytest.mark.parametrize("stage", STAGES)
def test_pipeline(benchmark, stage):
    benchmark.group = "pipeline without networks"
    stages()
    truth(1.0)
    answer = benchmark(STAGES[stage])
    volume, mask, _ = stages()
    spine = truth(1.0 if stage == "resample" else SPACING)[1]
    if stage == "resample":
        assert answer.grid.spacing_mm == pytest.approx((SPACING,) * 3)
        # Every centroid lies in bone that bears its label: 40 HU each.
        i, j, k = np.rint(answer.grid.to_voxel(spine.lps())).astype(int).T
        assert answer.array[i, j, k] == pytest.approx([40.0 * v.label for v in spine], abs=20)
    elif stage == "detect":
        np.testing.assert_array_equal(answer, volume.array > 20)  # half of a label's step
    elif stage == "identify":
        shown, labels = zip(*answer, strict=True)
        assert list(shown) == np.flatnonzero(mask.any(axis=(1, 2))).tolist()
        np.testing.assert_allclose(labels, volume.array[list(shown)] / 40, atol=1e-3)
    else:
        assert [vertebra.name for vertebra in answer] == spine.names
        errors = np.linalg.norm([np.subtract(v.lps, spine[v.name].lps) for v in answer], axis=1)
        assert errors.max() < 4
