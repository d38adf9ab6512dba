# SPDX-License-Identifier: Apache-2.0
"""The decoder on spines made by hand: HU of bodies, end plates and discs, labels as a network would regress them."""

import numpy as np
import pytest

from spinefinder_fast import Grid, anatomy
from spinefinder_fast.anatomy import DENS_MM
from spinefinder_fast.centroids import aggregate
from spinefinder_fast.decoder import _above, _with_dens, decode
from spinefinder_fast.ordering.bodies import find_bodies, profile
from spinefinder_fast.ordering.numbering import PROBABLE, Numbering
from spinefinder_fast.volume import Volume

GAPS = np.array(list(anatomy.BODY_GAPS_MM.values()))
SPACING = 2.0


def column(first, last, margin_mm=(15.0, 15.0), seed=0):
    """A straight column: the volume, its mask, the ideal labels, and the true centres, LPS mm from head to foot."""
    rng = np.random.default_rng(seed)
    a, b = anatomy.LABELS[first], anatomy.LABELS[last]
    labels = np.arange(a, b + 1)
    gaps = GAPS[a - 1 : b - 1]
    down = np.concatenate([[0.0], gaps.cumsum()]) + margin_mm[0]
    height = down[-1] + margin_mm[1]
    shape = (40, 40, round(height / SPACING))
    grid = Grid.from_spacing(shape, SPACING, (10.0, -20.0, 300.0))
    depth = height - (np.arange(shape[2]) + 0.5) * SPACING
    half = 0.5 * np.array([anatomy.height_mm(v) for v in labels])
    nearest = np.abs(depth[:, None] - down).argmin(axis=1)
    off = np.abs(depth - down[nearest]) / half[nearest]
    x, y = np.indices(shape[:2]) * SPACING
    radius = 0.5 * np.array([anatomy.DIAMETERS_MM[anatomy.name_of(v)] for v in labels])[nearest]
    mask = (np.hypot(x - 40.0, y - 40.0)[..., None] <= radius) & (off <= 1.1)
    hu = np.where(off < 0.6, 150.0, np.where(off < 0.85, 450.0, 70.0))
    array = np.where(mask, hu, 40.0) + rng.normal(0, 15, shape)
    # Steps between the plateaus, as wide as a voxel or two.
    ramp = np.interp(depth, np.stack([down - 0.8 * half, down + 0.8 * half], 1).ravel(), labels.repeat(2))
    dense = np.broadcast_to(ramp, shape).astype(np.float32) + rng.normal(0, 0.1, shape).astype(np.float32)
    top = grid.shape[2] - 0.5 - down / SPACING
    centres = grid.to_lps(np.column_stack([np.full((len(down), 2), 20.0), top]))
    centres = _with_dens(centres, names(first, last))
    return Volume(array.astype(np.float32), grid), mask.astype(np.uint8), dense, centres


def names(first, last):
    return list(anatomy.NAMES[anatomy.LABELS[first] - 1 : anatomy.LABELS[last]])


def furthest_mm(vertebrae, centres):
    return np.linalg.norm(np.array([v.lps for v in vertebrae]) - centres, axis=1).max()


@pytest.mark.parametrize(("first", "last"), [("C2", "T3"), ("T3", "T12"), ("T10", "S1"), ("C1", "S2")])
def test_a_column_is_found_and_named(first, last):
    volume, mask, labels, centres = column(first, last)
    vertebrae, numbering = decode(enumerate(labels), mask, volume)
    assert [v.name for v in vertebrae] == names(first, last)
    assert numbering.names == tuple(names(first, last))
    assert len(numbering.confidence) == len(vertebrae)
    assert furthest_mm(vertebrae, centres) < 4
    assert all(v.votes > 0 and v.spread_mm[0] > 0 for v in vertebrae)


def test_what_is_not_certain_is_never_told_as_sure_at_100():
    numbering = Numbering(("L1",), np.array([0.9979]), 6.0, (), "probable", 1.0)
    assert "the least sure at 99.7 %" in numbering.doubt()


def test_a_column_that_shows_neither_end_is_not_certain():
    # All of its labels may be a level off, and nothing in it says no.
    volume, mask, labels, _ = column("T3", "T12")
    _, numbering = decode(enumerate(labels), mask, volume)
    assert numbering.verdict == "probable"
    volume, mask, labels, _ = column("C1", "S2", margin_mm=(80.0, 60.0))
    assert decode(enumerate(labels), mask, volume)[1].verdict == "certain"


def test_the_skull_speaks_against_a_whole_neck_that_is_off():
    # Above C1 there is nothing more to find, however far one sees.
    volume, mask, labels, _ = column("C1", "T2", margin_mm=(90.0, 15.0))
    vertebrae, numbering = decode(enumerate(labels + np.float32(0.7)), mask, volume)
    assert [v.name for v in vertebrae] == names("C1", "T2")
    assert numbering.verdict != "certain"


def test_where_the_scan_is_padded_nothing_is_in_view():
    volume, mask, labels, _ = column("C2", "T2", margin_mm=(90.0, 15.0))
    seen = decode(enumerate(labels), mask, volume)[1]
    top = int(np.flatnonzero(mask.any(axis=(0, 1)))[-1])
    volume.array[:, :, top + 3 :] = -1000.0
    padded = decode(enumerate(labels), mask, volume)[1]
    assert padded.names == tuple(names("C2", "T2"))
    assert padded.confidence.min() > seen.confidence.min()


def test_labels_half_a_level_off_do_not_move_the_bodies():
    volume, mask, labels, centres = column("T8", "L3")
    labels += 0.4
    vertebrae, _ = decode(enumerate(labels), mask, volume)
    assert [v.name for v in vertebrae] == names("T8", "L3")
    assert furthest_mm(vertebrae, centres) < 4


def test_a_level_that_is_skipped_and_one_that_is_given_twice_are_put_in_order():
    volume, mask, labels, centres = column("T6", "L2")
    middle = labels > 12.5
    labels[middle & (labels < 16.5)] += 0.8  # T6 is followed by what looks like T8, and T11 comes twice
    median = [v.name for v in aggregate(enumerate(labels), mask, volume.grid)]
    assert median != names("T6", "L2")
    vertebrae, _ = decode(enumerate(labels), mask, volume)
    assert [v.name for v in vertebrae] == names("T6", "L2")
    assert furthest_mm(vertebrae, centres) < 4


def test_a_speck_elsewhere_is_no_vertebra():
    volume, mask, labels, _ = column("T8", "L3", margin_mm=(90.0, 15.0))
    mask[2:10, 2:10, -6:-2] = 1
    labels[2:10, 2:10, -6:-2] = 3.0
    vertebrae, _ = decode(enumerate(labels), mask, volume)
    assert [v.name for v in vertebrae] == names("T8", "L3")


def with_room_beside(volume, mask, labels, label):
    """The same with 120 mm of soft tissue beside it, all of one label."""
    wide = ((0, 60), (0, 0), (0, 0))
    array = np.pad(volume.array, wide, constant_values=40.0)
    return (
        Volume(array, Grid(array.shape, volume.grid.affine)),
        np.pad(mask, wide),
        np.pad(labels, wide, constant_values=label),
    )


@pytest.mark.parametrize("rows", [slice(100, 150), slice(0, 45)], ids=["a shoulder", "a hip"])
def test_a_large_piece_beside_the_spine_is_none_of_it(rows):
    volume, mask, labels, centres = column("T3", "L5")
    volume, mask, labels = with_room_beside(volume, mask, labels, 9.0)
    mask[70:90, 8:32, rows] = 1
    assert mask[70:90, :, rows].sum() > mask[:40, :, rows].sum()
    vertebrae, _ = decode(enumerate(labels), mask, volume)
    assert [v.name for v in vertebrae] == names("T3", "L5")
    assert furthest_mm(vertebrae, centres) < 4


def test_a_raised_arm_is_no_spine_however_large():
    volume, mask, labels, centres = column("C3", "T3")
    volume, mask, labels = with_room_beside(volume, mask, labels, 0.0)
    mask[70:90, 8:32, :70] = 1
    labels[60:] = 20.0 + 2.0 * np.cos(np.arange(labels.shape[2]) / 10.0)
    assert mask[60:].sum() > 2 * mask[:60].sum()
    vertebrae, _ = decode(enumerate(labels), mask, volume)
    assert [v.name for v in vertebrae] == names("C3", "T3")
    assert furthest_mm(vertebrae, centres) < 4


def test_a_spine_with_wild_labels_at_its_end_is_still_one_beside_a_hip():
    volume, mask, labels, centres = column("T12", "S1")
    volume, mask, labels = with_room_beside(volume, mask, labels, 22.0)
    labels[:60, :, :12] = 8.0  # with these, rows and labels hardly correlate
    mask[75:85, 10:30, :20] = 1
    vertebrae, _ = decode(enumerate(labels), mask, volume)
    assert [v.name for v in vertebrae][:5] == names("T12", "L4")
    assert furthest_mm(vertebrae[:5], centres[:5]) < 6


def test_pieces_of_a_leaning_spine_are_one():
    volume, mask, labels, _ = column("T6", "L4")
    # A third of the column, moved 20 mm to the left, overlaps with the rest in a few rows.
    n = mask.shape[2]
    z = np.arange(n)
    for array in (volume.array, mask, labels):
        array[:, :, z < n // 3] = np.roll(array[:, :, z < n // 3], 10, axis=0)
    kept = mask.copy()
    kept[:, :, n // 3 - 1 : n // 3 + 1] = 0
    vertebrae, _ = decode(enumerate(labels), kept, volume)
    assert [v.name for v in vertebrae] == names("T6", "L4")


def test_what_the_field_of_view_cuts_is_marked():
    volume, mask, labels, _ = column("T9", "L3", margin_mm=(4.0, 30.0))
    vertebrae, _ = decode(enumerate(labels), mask, volume)
    assert vertebrae[0].truncated
    assert not any(v.truncated for v in vertebrae[1:])


def test_without_any_label_the_numbering_is_ambiguous():
    volume, mask, labels, _ = column("T4", "T9")
    labels[:] = np.random.default_rng(0).uniform(10, 16, labels.shape)
    vertebrae, numbering = decode(enumerate(labels), mask, volume)
    assert numbering.verdict == "ambiguous"
    assert numbering.alternatives
    assert all(other.names != numbering.names and other.worse > 0 for other in numbering.alternatives)
    assert len(vertebrae) == len(numbering.names)


def hole(centres, mask, grid, first, last, top="C1"):
    """The mask without those levels."""
    z = grid.to_voxel(centres)[:, 2]
    a, b = (anatomy.LABELS[name] - anatomy.LABELS[top] for name in (first, last))
    mask = mask.copy()
    mask[:, :, round(0.5 * (z[b] + z[b + 1])) : round(0.5 * (z[a - 1] + z[a]))] = 0
    return mask


@pytest.mark.parametrize(("first", "last"), [("T3", "T4"), ("T3", "T9"), ("T3", "L1")])
def test_a_hole_in_the_mask_costs_what_it_hides_and_nothing_else(first, last):
    volume, mask, labels, centres = column("C1", "L5")
    vertebrae, numbering = decode(enumerate(labels), hole(centres, mask, volume.grid, first, last), volume)
    found = [v.name for v in vertebrae]
    assert {*names("C1", "T1"), *names("L3", "L5")} <= set(found)
    assert set(found) <= {*names("C1", first), *names(last, "L5")}  # an edge of the hole may show a little
    assert numbering.names == tuple(found)
    assert all(v.votes for v in vertebrae)


def without_atlas(centres, mask, grid):
    """The mask down from half way between C1 and C2."""
    z = grid.to_voxel(centres)[:, 2]
    mask = mask.copy()
    mask[:, :, round(0.5 * (z[0] + z[1])) :] = 0
    return mask


def test_an_atlas_that_is_not_detected_lies_above_the_axis():
    volume, mask, labels, centres = column("C1", "T3", margin_mm=(80.0, 15.0))
    vertebrae, numbering = decode(enumerate(labels), without_atlas(centres, mask, volume.grid), volume)
    assert [v.name for v in vertebrae] == names("C1", "T3")
    atlas, axis = vertebrae[:2]
    assert atlas.votes == 0
    assert atlas.spread_mm is None
    assert atlas.confidence == axis.confidence
    assert np.linalg.norm(np.array(atlas.lps) - centres[0]) < 5
    assert numbering.names == tuple(names("C1", "T3"))
    assert len(numbering.confidence) == len(vertebrae)
    for other in numbering.alternatives:
        assert len(other.names) == len(vertebrae)
        first, second = other.names[:2]
        assert (first is None) == (second in (None, "C1"))
        assert first is None or anatomy.label_of(second) == anatomy.label_of(first) + 1


def test_no_atlas_is_put_where_it_is_not_in_view_or_the_names_are_not_sure():
    volume, mask, labels, centres = column("C1", "T3", margin_mm=(80.0, 15.0))
    cut = without_atlas(centres, mask, volume.grid)
    volume.array[:, :, int(volume.grid.to_voxel(centres)[0, 2]) + 2 :] = -1000.0
    assert decode(enumerate(labels), cut, volume)[0][0].name == "C2"
    volume, mask, labels, centres = column("C1", "T3", margin_mm=(80.0, 15.0))
    vertebrae, _ = decode(enumerate(labels + np.float32(0.7)), without_atlas(centres, mask, volume.grid), volume)
    assert vertebrae[0].name == "C2"
    assert vertebrae[0].confidence < PROBABLE


def test_no_atlas_is_put_where_bodies_above_have_no_name():
    volume, mask, labels, centres = column("C1", "T3", margin_mm=(110.0, 15.0))
    cut = without_atlas(centres, mask, volume.grid)
    top = int(volume.grid.to_voxel(centres)[0, 2])
    # Something like two or three more vertebrae in the skull, and labels of a loin.
    cut[14:26, 14:26, top + 12 : top + 40] = 1
    labels[:, :, top + 6 :] = 22.0
    vertebrae, numbering = decode(enumerate(labels), cut, volume)
    assert numbering.unnamed
    assert numbering.verdict == "ambiguous"
    assert all(v.votes for v in vertebrae)


@pytest.mark.parametrize(
    ("name", "above"),
    [("C2", "C1"), ("T1", "C7"), ("T13", "T12"), ("L1", "T12"), ("L6", "L5"), ("S1", "L5"), ("C1", None), (None, None)],
)
def test_what_stands_above(name, above):
    assert _above(name) == above


def test_labels_that_are_no_numbers_do_not_vote():
    volume, mask, labels, _ = column("T10", "L3")
    labels[20, 18:22] = np.nan
    vertebrae, _ = decode(enumerate(labels), mask, volume)
    assert [v.name for v in vertebrae] == names("T10", "L3")
    assert decode(enumerate(np.full_like(labels, np.nan)), mask, volume)[0] == []


def test_bodies_without_a_place_in_the_numbering_are_told_of():
    volume, mask, labels, _ = column("T1", "L5")
    # The upper half bears names that belong below the lower half's.
    half = labels.shape[2] // 2
    labels[:, :, half:] = np.where(mask[:, :, half:] > 0, 25.0, 0.0)
    vertebrae, numbering = decode(enumerate(labels), mask, volume)
    assert numbering.verdict == "ambiguous"
    assert numbering.unnamed >= 5
    assert len(vertebrae) + numbering.unnamed <= len(names("T1", "L5"))
    assert f"{numbering.unnamed} more that look like vertebrae got no name" in numbering.doubt()


def test_nothing_detected_gives_nothing():
    volume, mask, labels, _ = column("L1", "L3")
    vertebrae, numbering = decode(enumerate(labels), np.zeros_like(mask), volume)
    assert vertebrae == []
    assert "ambiguous" in numbering.doubt()
    assert numbering.names == ()
    assert decode(iter(()), mask, volume)[0] == []


def test_the_order_of_the_slices_does_not_matter():
    volume, mask, labels, _ = column("T8", "L3")
    one, first = decode(enumerate(labels), mask, volume)
    two, second = decode(reversed(list(enumerate(labels))), mask, volume)
    assert one == two
    assert (first.confidence == second.confidence).all()


def test_bodies_lie_between_the_discs_even_where_labels_rise_evenly():
    volume, mask, labels, centres = column("T10", "L4")
    along = np.interp(np.arange(labels.shape[2])[::-1], [0, labels.shape[2] - 1], [16.5, 23.5])
    labels[:] = along.astype(np.float32)
    bodies = find_bodies(profile(enumerate(labels), mask, volume), volume.grid)
    assert len(bodies.points) == len(centres)
    assert np.linalg.norm(bodies.points - centres, axis=1).max() < 0.3 * GAPS[16]


def test_the_dens_raises_c2_and_with_it_c1():
    points = np.array([[0.0, 0, 90], [0, 0, 75], [0, 4, 55], [0, 8, 40]])
    raised = _with_dens(points, ["C1", "C2", "C3", None])
    assert raised[0] == pytest.approx([0, 0, 95])
    assert np.linalg.norm(raised[1] - points[1]) == pytest.approx(DENS_MM)
    assert raised[1, 2] > 79
    assert raised[1, 1] < 0  # along the spine, which leans
    assert (raised[2:] == points[2:]).all()
    assert _with_dens(points[1:2], ["C2"])[0] == pytest.approx([0, 0, 80])
