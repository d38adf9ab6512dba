# SPDX-License-Identifier: Apache-2.0
import pytest
from stubs import labelled_scan, true_model

from spinefinder_fast import locate, make_phantom
from spinefinder_fast.procedure import FAITHFUL, Procedure


@pytest.mark.parametrize(
    ("choice", "says"),
    [
        ({"look": "away"}, "look is 'away'; everywhere or coarse_to_fine is needed"),
        ({"tiling": "huge"}, "tiling is 'huge'; faithful or large is needed"),
        ({"centre": "middle"}, "centre is 'middle'; median, mean, geometric_median or mean_shift is needed"),
        ({"threshold": 0.5}, "threshold is 0.5; in_view or paper is needed"),
        ({"decode": "mode"}, "decode is 'mode'; order or median is needed"),
        ({"centre": "mean"}, "centre is 'mean', for which decode 'order' has no use"),
        ({"threshold": "paper"}, "threshold is 'paper', for which decode 'order' has no use"),
    ],
)
def test_a_choice_that_there_is_not(choice, says):
    with pytest.raises(ValueError, match=says):
        Procedure(**choice)


def test_the_choices_reach_the_stages(monkeypatch):
    phantom = make_phantom("L1", "L3", spacing_mm=2.0, fov_mm=(80, 80))
    scan = labelled_scan(phantom.spine, phantom.grid)
    seen = {}
    for stage in ("detect", "aggregate"):
        stage_itself = getattr(__import__("spinefinder_fast.pipeline", fromlist=[stage]), stage)

        def spy(*arguments, stage=stage, stage_itself=stage_itself):
            seen[stage] = arguments
            return stage_itself(*arguments)

        monkeypatch.setattr(f"spinefinder_fast.pipeline.{stage}", spy)
    faithful = locate(scan, true_model(2.0), procedure=FAITHFUL)
    assert faithful.details["procedure"] == {
        "look": "everywhere", "tiling": "faithful", "centre": "median", "threshold": "in_view", "decode": "median",
    }  # fmt: skip
    assert (seen["detect"][2], *seen["aggregate"][3:]) == ("faithful", "in_view", "median")
    other = locate(scan, true_model(2.0), procedure=Procedure("everywhere", "large", "mean", "paper", "median"))
    assert (seen["detect"][2], *seen["aggregate"][3:]) == ("large", "paper", "mean")
    # Networks that know the truth see one voxel alone, so the tiling changes nothing, and the mean little.
    assert other.names == faithful.names
    assert abs(other.lps() - faithful.lps()).max() < 3
    seen.clear()
    ordered = locate(scan, true_model(2.0))
    assert ordered.details["procedure"]["decode"] == "order"
    assert set(seen) == {"detect"}
    assert ordered.names == faithful.names
    assert abs(ordered.lps() - faithful.lps()).max() < 4
    assert all(0 < v.confidence <= 1 for v in ordered)
    assert all(v.confidence is None for v in faithful)
