# SPDX-License-Identifier: Apache-2.0
from itertools import pairwise, product

import numpy as np
import pytest

from spinefinder_fast import anatomy
from spinefinder_fast.ordering import numbering
from spinefinder_fast.ordering.levels import FIRST, GAP_SD, LEVELS, SEEN_AS, ways
from spinefinder_fast.ordering.numbering import number

GAPS = dict(anatomy.GAPS_MM)
RARE_GAPS = {("T12", "T13"): "T12", ("T13", "L1"): "T12", ("T11", "L1"): "T12", ("L5", "L6"): "L4", ("L6", "S1"): "L5"}
RARE_GAPS[("L4", "S1")] = "L5"


def spine(names, seed=0, size=1.0, noise=1.0):
    """Centres of a row of vertebrae, LPS mm, drawn from the typical gaps."""
    rng = np.random.default_rng(seed)
    z = [0.0]
    for a, b in pairwise(names):
        gap = (
            GAPS[RARE_GAPS[a, b]]
            if (a, b) in RARE_GAPS
            else sum(GAPS[name] for name in anatomy.NAMES[anatomy.LABELS[a] - 1 : anatomy.LABELS[b] - 1])
        )
        z.append(z[-1] - gap * size * np.exp(GAP_SD * rng.normal()))
    return np.column_stack([np.zeros((len(z), 2)), z]) + rng.normal(0, noise / 2, (len(z), 3))


def hints(names, strength=1.5, shift=0):
    """(n, 26) log probabilities: a hint that falls with the distance from each name's own label."""
    own = np.array([SEEN_AS[LEVELS.index(name)] for name in names]) + shift
    evidence = -strength * np.abs(np.arange(1, 27) - own[:, None])
    return evidence - np.logaddexp.reduce(evidence, axis=1, keepdims=True)


def names(first, last):
    return list(anatomy.NAMES[anatomy.LABELS[first] - 1 : anatomy.LABELS[last]])


def blind(n):
    return np.full((n, 26), -np.log(26))


def sure(n):
    return np.full(n, 3.0)


@pytest.mark.parametrize(("first", "last"), [("C1", "S2"), ("C1", "T4"), ("T8", "L5"), ("L1", "S1"), ("C4", "T12")])
@pytest.mark.parametrize("seed", range(3))
def test_a_plain_row_gets_its_levels(first, last, seed):
    expected = names(first, last)
    found = number(spine(expected, seed, size=0.9 + 0.1 * seed), hints(expected, 5.0), sure(len(expected)))
    assert list(found.names) == expected
    assert found.verdict == "certain"
    assert (found.confidence > 0.9).all()


def test_the_size_of_the_person_is_found():
    expected = names("T6", "L5")
    for size in (0.8, 1.0, 1.2):
        found = number(spine(expected, size=size, noise=0.0), hints(expected), sure(len(expected)))
        assert found.size == pytest.approx(size, rel=0.06)


def test_a_missed_vertebra_leaves_a_gap_in_the_names():
    expected = names("T8", "L5")
    kept = [i for i, name in enumerate(expected) if name not in ("T11", "L3")]
    points = spine(expected)[kept]
    found = number(points, hints(expected)[kept], sure(len(kept)))
    assert list(found.names) == [expected[i] for i in kept]


def test_a_false_candidate_is_left_out():
    expected = names("T8", "L5")
    points = spine(expected)
    between = np.insert(points, 4, 0.45 * points[3] + 0.55 * points[4], axis=0)
    evidence = np.insert(hints(expected), 4, hints(expected)[4], axis=0)
    found = number(between, evidence, sure(len(between)))
    assert found.names[4] is None
    assert found.confidence[4] == 0
    assert [name for name in found.names if name] == expected


@pytest.mark.parametrize(
    "variant",
    [
        [*names("T9", "T12"), "T13", *names("L1", "S1")],
        [*names("T9", "L5"), "L6", *names("S1", "S2")],
        [*names("T7", "T11"), *names("L1", "S1")],
        [*names("T9", "L4"), *names("S1", "S2")],
    ],
    ids=["T13", "L6", "no T12", "no L5"],
)
def test_a_level_more_or_less_is_recognised(variant):
    found = number(spine(variant, noise=0.5), hints(variant, 4.0), sure(len(variant)))
    assert list(found.names) == variant


def test_a_column_of_hints_shifted_by_one_is_outweighed_by_one_anchor():
    expected = names("T4", "L3")
    evidence = hints(expected, 0.3, shift=-1)
    evidence[-4:] = hints(expected[-4:], 4.0)
    assert list(number(spine(expected), evidence, sure(len(expected))).names) == expected


def test_a_piece_of_the_chest_without_hints_is_ambiguous_and_says_what_else_it_may_be():
    expected = names("T4", "T8")
    found = number(spine(expected), blind(5), sure(5))
    assert found.verdict == "ambiguous"
    assert len(found.alternatives) == 3
    assert found.margin == found.alternatives[0].worse
    assert found.margin < 1
    others = [other.names for other in found.alternatives]
    assert len({found.names, *others}) == 4
    assert [other.worse for other in found.alternatives] == sorted(other.worse for other in found.alternatives)


def test_distances_alone_number_a_long_row():
    expected = names("C3", "L4")
    assert list(number(spine(expected, noise=0.5), blind(len(expected)), sure(len(expected))).names) == expected


def test_where_the_field_of_view_goes_on_and_nothing_follows_the_spine_ends():
    expected = names("C1", "C6")
    points = spine(expected)
    # Hints that cannot tell C1 from C2 at the top.
    evidence = np.logaddexp(hints(expected, 6.0), hints(expected, 6.0, shift=1)) - np.log(2)
    assert number(points, evidence, sure(6), beyond_mm=(200.0, 0.0)).names[0] == "C1"
    assert number(points, evidence, sure(6)).margin < number(points, evidence, sure(6), beyond_mm=(200.0, 0.0)).margin


def test_one_vertebra():
    found = number([(0, 0, 0)], hints(["L2"], 9.0), [3.0])
    assert found.names == ("L2",)
    assert found.verdict == "certain"
    assert number([(0, 0, 0)], blind(1), [3.0]).verdict == "ambiguous"


def test_nothing_and_nothing_real():
    assert number(np.zeros((0, 3)), np.zeros((0, 26)), []).names == ()
    found = number(spine(names("L1", "L3")), hints(names("L1", "L3")), np.full(3, -9.0))
    assert found.names == (None, None, None)
    assert found.verdict == "ambiguous"


def test_a_fault_that_all_bodies_share_is_told_from_one_of_each():
    # All labels are nearly a level too low, and far above the first body the scan goes on without another.
    expected = names("C3", "T2")
    off = np.arange(4, 11)[:, None] - 0.1 - np.arange(1, 27)
    points, beyond = spine(expected, noise=0.5), {"beyond_mm": (100.0, 0.0), "missed_at_end": -3.0}
    shared = np.stack([-0.5 * ((off - common) / 0.3) ** 2 for common in (-1.0, 0.0, 1.0)])
    alone = number(points, -0.5 * (off / 0.8) ** 2, sure(7), **beyond)
    found = number(points, shared, sure(7), suppositions=(-2.0, -0.3, -2.0), **beyond)
    assert list(alone.names) == names("C4", "T3")
    assert list(found.names) == expected
    assert found.verdict != "certain"


@pytest.mark.parametrize(
    ("points", "evidence", "real", "message"),
    [
        (np.zeros((2, 2)), blind(2), sure(2), "points has shape"),
        (np.zeros((2, 3)), np.zeros((2, 24)), sure(2), "evidence has shape"),
        (np.zeros((2, 3)), blind(2), sure(3), "real has shape"),
        (np.full((2, 3), np.nan), blind(2), sure(2), "points holds NaN"),
    ],
)
def test_what_does_not_belong_together_is_refused(points, evidence, real, message):
    with pytest.raises(ValueError, match=message):
        number(points, evidence, real)


def all_paths(points, node, start, finish, levels):
    """(candidates and levels, score per size) of every path there is, one after the other."""
    down = ways(tuple(anatomy.GAPS_MM.values()))
    n = len(points)
    for chosen in product([-1, *levels], repeat=n):
        kept = [(i, v) for i, v in enumerate(chosen) if v >= 0]
        if not kept:
            continue
        scores = [start[kept[0][0], :, kept[0][1]] + finish[kept[-1][0], :, kept[-1][1]]]
        for (i, a), (j, b) in pairwise(kept):
            mm = np.linalg.norm(points[j] - points[i])
            steps = []
            for w in np.flatnonzero((down.origin == a) & (down.end == b)):
                spread = np.hypot(down.sd[w], numbering.NOISE_MM * np.sqrt(2) / mm)
                off = (np.log(mm) - numbering.SIZES - down.log_mm[w]) / spread
                steps.append(np.logaddexp(-0.5 * off**2, -numbering.OUTLIER) + down.prior[w])
            scores = [s + step for s in scores for step in steps]
        for s in scores:
            yield chosen, s + sum(node[i, v] for i, v in kept)


@pytest.mark.parametrize("supposed", [(0.0,), (-0.2, -1.7)], ids=["plain", "supposing"])
@pytest.mark.parametrize("true", [["T11", "T12", "L1"], ["L4", "L5", "S1"], ["C1", "C3", "C4"]], ids="-".join)
def test_against_every_path_there_is(true, supposed):
    rng = np.random.default_rng(len(true[0]))
    points = spine(true, 1)
    evidence = np.log(rng.dirichlet(np.ones(26), (len(supposed), 3))) / 4 + hints(true, 0.5)
    real = rng.normal(3, 1, 3)
    beyond = (30.0, 60.0)
    # Paths are tried through the levels around the true ones only, and no others are possible.
    near = [v for v in range(len(LEVELS)) if abs(v - LEVELS.index(true[1])) <= 4]
    evidence[..., [label - 1 for label in range(1, 27) if label not in SEEN_AS[near]]] = -60.0
    missed = np.log(np.linspace(0.1, 0.6, 26))
    found = number(points, evidence, real, suppositions=supposed, beyond_mm=beyond, missed_at_end=missed)

    nodes = (real[:, None] + evidence + np.log(26))[..., SEEN_AS - 1]
    above, below = numbering._beyond(points, beyond)
    gaps = np.array(list(anatomy.GAPS_MM.values()))
    size = -0.5 * (numbering.SIZES[:, None] / numbering.SIZE_SD) ** 2
    start = numbering._missed_beyond(above, gaps, missed, -1) + FIRST + size
    finish = numbering._missed_beyond(below, gaps, missed, 1)
    best, by_level = {}, np.full((3, len(LEVELS)), -np.inf)
    for node, prior in zip(nodes, supposed, strict=True):
        for chosen, scores in all_paths(points, node, start + prior, finish, near):
            best[chosen] = max(best.get(chosen, -np.inf), scores.max())
            for i, v in enumerate(chosen):
                if v >= 0:
                    by_level[i, v] = np.logaddexp(by_level[i, v], np.logaddexp.reduce(scores))
    top = max(best, key=best.get)
    assert best[top] > 0
    assert found.names == tuple(None if v < 0 else LEVELS[v] for v in top)
    others = [s for c, s in best.items() if any(v >= 0 and c[i] >= 0 and c[i] != v for i, v in enumerate(top))]
    assert found.margin == pytest.approx(best[top] - max(others))
    for i, v in enumerate(top):
        if v >= 0:
            assert found.confidence[i] == pytest.approx(np.exp(by_level[i, v] - np.logaddexp.reduce(by_level[i])))
