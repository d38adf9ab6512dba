# SPDX-License-Identifier: Apache-2.0
from itertools import pairwise

import pytest

from spinefinder_fast import anatomy


def test_labels_are_the_papers():
    assert anatomy.N_LABELS == 26
    assert [anatomy.label_of(n) for n in ("C1", "C7", "T1", "T12", "L1", "L5", "S1", "S2")] == [
        1,
        7,
        8,
        19,
        20,
        24,
        25,
        26,
    ]
    assert all(anatomy.name_of(anatomy.label_of(name)) == name for name in anatomy.NAMES)


@pytest.mark.parametrize("label", [0, -1, 27])
def test_a_label_outside_the_spine_has_no_name(label):
    with pytest.raises(KeyError):
        anatomy.name_of(label)


def test_verse_numbers_differ_from_labels_below_l5():
    assert anatomy.VERSE_NAMES[24] == "L5"
    assert anatomy.VERSE_NAMES[26] == "S1"
    assert anatomy.VERSE_NUMBERS["T13"] == 28
    assert all(anatomy.VERSE_NUMBERS[name] == number for number, name in anatomy.VERSE_NAMES.items())


def test_sizes_cover_every_vertebra_and_gap():
    assert list(anatomy.DIAMETERS_MM) == list(anatomy.NAMES)
    assert list(anatomy.GAPS_MM) == list(anatomy.NAMES[:-1])
    assert anatomy.height_mm(1) == anatomy.GAPS_MM["C1"]
    assert anatomy.height_mm(2) == pytest.approx((anatomy.GAPS_MM["C1"] + anatomy.GAPS_MM["C2"]) / 2)
    assert anatomy.height_mm(26) == anatomy.GAPS_MM["S1"]


def test_the_dens_is_what_sets_c2_apart():
    gaps = list(anatomy.BODY_GAPS_MM.values())
    assert list(anatomy.BODY_GAPS_MM) == list(anatomy.GAPS_MM)
    assert anatomy.GAPS_MM["C2"] - anatomy.BODY_GAPS_MM["C2"] == anatomy.DENS_MM
    # Between bodies, neighbouring gaps differ by less than a fifth.
    assert max(abs(a - b) / a for a, b in pairwise(gaps)) < 0.2
