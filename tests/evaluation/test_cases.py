# SPDX-License-Identifier: Apache-2.0
"""Every number here was worked out by hand."""

from __future__ import annotations

import pytest

from spinefinder_fast.evaluation import Case, Outcome
from spinefinder_fast.spine import Spine, Vertebra


def spine(**heights: float) -> Spine:
    """Centroids on the z axis, mm."""
    return Spine(tuple(Vertebra(name, (0.0, 0.0, float(z))) for name, z in heights.items()))


def test_each_vertebra_has_one_fate() -> None:
    case = Case(
        "a",
        prediction=spine(T11=128, L1=70, L2=33, L4=-60),
        truth=spine(T11=130, T12=100, L1=71, L2=36, L3=0),
    )
    assert case.outcomes == (
        Outcome("T11", "identified", 2.0, "T11", 2.0, 0),
        Outcome("T12", "missed", None, "T11", 28.0),
        Outcome("L1", "identified", 1.0, "L1", 1.0, 0),
        Outcome("L2", "identified", 3.0, "L2", 3.0, 0),
        Outcome("L3", "missed", None, "L2", 33.0),
        Outcome("L4", "extra", None, "L3", 60.0),
    )
    assert not case.all_right
    assert case.shift == 0  # of those that were found


def test_one_of_two_predictions_near_a_vertebra_names_it() -> None:
    case = Case("a", spine(T8=106, T9=96), spine(T8=100))
    assert [(o.name, o.fate, o.nearest) for o in case.outcomes] == [("T8", "misnamed", "T9"), ("T9", "extra", "T8")]
    assert [o.step for o in case.outcomes] == [1, None]


@pytest.mark.parametrize(("off", "fate"), [(20.0, "identified"), (20.001, "missed")])
def test_exactly_twenty_millimetres_is_found(off: float, fate: str) -> None:
    assert Case("a", spine(T5=50 + off), spine(T5=50)).outcomes[0].fate == fate


def test_a_scan_shifted_by_one_level() -> None:
    low = Case("a", spine(T11=70, T12=45, L1=20), spine(T10=70, T11=45, T12=20))
    assert low.shift == 1
    assert Case("a", spine(T9=70, T10=45), spine(T10=70, T11=45)).shift == -1
    assert Case("a", spine(T12=70, L1=45), spine(T10=70, T11=45)).shift == 2
    # One right among them, and it is no shift.
    assert Case("a", spine(T11=70, L1=45), spine(T10=70, L1=45)).shift is None
    # What was not found does not say otherwise.
    assert Case("a", spine(T11=70), spine(T10=70, T11=45)).shift == 1
    assert Case("a", Spine(()), spine(T10=70)).shift is None


def test_l6_and_t13_have_a_place_in_the_row_of_the_scans_that_show_them() -> None:
    low = Case("a", spine(L4=70, L5=35, L6=0), spine(L3=70, L4=35, L5=0))
    assert [o.step for o in low.outcomes] == [1, 1, 1, None]  # L6 is extra
    assert low.shift == 1
    high = Case("a", spine(L3=105, L4=70, L5=35, L6=0), spine(L4=105, L5=70, L6=35, S1=0))
    assert high.shift == -1
    # Without an L6 in the scan, S1 is next to L5.
    assert Case("a", spine(S1=0), spine(L5=0)).shift == 1
    assert Case("a", spine(L1=0), spine(T13=0)).shift == 1


def test_all_right_means_nothing_missing_extra_or_wrong() -> None:
    truth = spine(L1=100, L2=65)
    assert Case("a", spine(L1=101, L2=66), truth).all_right
    assert not Case("a", spine(L1=101), truth).all_right
    assert not Case("a", spine(L1=101, L2=66, L3=30), truth).all_right
    assert not Case("a", spine(L1=101, L2=30), truth).all_right


def test_nothing_annotated() -> None:
    case = Case("a", spine(L1=0), Spine(()))
    assert case.outcomes == (Outcome("L1", "extra", None, None, None),)
    assert not case.all_right
    assert Case("a", Spine(()), Spine(())).outcomes == ()
