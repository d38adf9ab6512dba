# SPDX-License-Identifier: Apache-2.0
"""People whose spines are not the usual one: a vertebra or a pair of ribs more or less, and what has befallen them.

How often each is drawn is stated beside it. Numbering variants are about as common as in people, or a little more so:
a network that never met them would learn that counting is safe.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spinefinder_fast import anatomy
from spinefinder_fast.phantom import statistics as st
from spinefinder_fast.phantom.person import Findings, Fracture, Person, frames_along

Array = NDArray[np.float64]

C3, T1, T12, L1, L4, L5, S1 = (anatomy.LABELS[name] - 1 for name in ("C3", "T1", "T12", "L1", "L4", "L5", "S1"))

NUMBERINGS: Final[dict[str, float]] = {
    "L6": 0.05,
    "T13": 0.03,
    "four lumbar": 0.02,
    "no 12th ribs": 0.02,
    "lumbar ribs": 0.02,
}
"""Probability of each way in which vertebrae or ribs are more or fewer; nobody has two of them."""

FINDINGS: Final[dict[str, float]] = {
    "narrow": 0.15,
    "fractures": 0.12,
    "fused": 0.04,
    "spurs": 0.25,
    "cement": 0.02,
    "implants": 0.03,
}
"""Probability of each finding; one person may have several."""


def vary(person: Person, rng: np.random.Generator) -> Person:
    """A person whose numbering and findings are drawn; most have the usual numbering, and more than half no finding.

    Args:
        person: the usual one.
        rng: source of randomness.
    """
    number = rng.random()
    for name, share in NUMBERINGS.items():
        if number < share:
            person = renumber(person, name)
            break
        number -= share
    return afflict(person, rng, [name for name, share in FINDINGS.items() if rng.random() < share])


def renumber(person: Person, numbering: str) -> Person:
    """The same person with one of `NUMBERINGS`. What lies below a vertebra more moves down.

    Args:
        person: with the usual numbering.
        numbering: ``"L6"``, ``"T13"``, ``"four lumbar"`` (L4 lies on S1, shaped like an L5), ``"no 12th ribs"`` or
            ``"lumbar ribs"`` (short ones, on L1).

    Raises:
        ValueError: it is none of these.
    """
    if numbering == "no 12th ribs":
        return replace(person, ribs=11)
    if numbering == "lumbar ribs":
        return replace(person, ribs=13)
    usual = np.arange(len(person.centroids))
    steps = np.diff(person.centroids, axis=0)
    if numbering == "four lumbar":
        kinds, names = np.delete(usual, L4), [n for n in anatomy.NAMES if n != "L5"]
        # One step where there were two, as long as they were on average.
        both = steps[L4 - 1] + steps[L4]
        length = 0.5 * (np.linalg.norm(steps[L4 - 1]) + np.linalg.norm(steps[L4]))
        steps = np.delete(steps, L4, axis=0)
        steps[L4 - 1] = both * length / np.linalg.norm(both)
        start = L1
    elif numbering in ("L6", "T13"):
        doubled = L5 if numbering == "L6" else T12
        kinds = np.insert(usual, doubled, doubled)
        names = [n for n in anatomy.EVERY_NAME if n in anatomy.NAMES or n == numbering]
        between = steps[doubled - 1] + steps[doubled]
        between *= np.linalg.norm(steps[doubled - 1]) / np.linalg.norm(between)
        steps = np.insert(steps, doubled, between, axis=0)
        start = L1 if numbering == "L6" else T12
    else:
        raise ValueError(f"no numbering is called {numbering!r}; there are {', '.join(NUMBERINGS)}")
    # Organs hang from the ribs and the pelvis stands on the sacrum; what is between stretches.
    s1 = int(np.flatnonzero(kinds == S1)[0])
    levels = kinds.astype(np.float64)
    levels[start : s1 + 1] = np.linspace(start, S1, s1 + 1 - start)
    return replace(
        _moved(person, steps),
        heights=person.heights[kinds[: len(names)]],
        kinds=tuple(kinds.tolist()),
        levels=tuple(levels.tolist()),
        names=tuple(names),
        ribs=13 if numbering == "T13" else person.ribs,
    )


def afflict(person: Person, rng: np.random.Generator, findings: Sequence[str]) -> Person:
    """The same person with findings, each at levels where it is common.

    Args:
        person: without findings.
        rng: source of randomness.
        findings: any of `FINDINGS`.
    """
    last = person.index(S1)  # the disc below the last lumbar vertebra is last - 1
    if "narrow" in findings:
        discs = rng.choice(np.arange(C3, last), int(rng.integers(1, 5)), replace=False, p=_common(person, C3, last))
        person = _narrowed(person, {int(i): rng.uniform(0.2, 0.65) for i in discs})
    fractures: dict[int, Fracture] = {}
    if "fractures" in findings:
        bodies = np.arange(T1 + 3, last)
        near = 0.15 + np.exp(-0.5 * ((bodies - (T12 + 0.5)) / 1.8) ** 2)
        for i in rng.choice(bodies, int(rng.integers(1, 4)), replace=False, p=near / near.sum()).tolist():
            front, back = rng.uniform(0.4, 0.85), rng.uniform(0.85, 1.0)
            if rng.random() < 0.2:  # crushed as a whole
                back = min(back, front + rng.uniform(0.0, 0.15))
            fractures[i] = Fracture(front, max(front, back), rng.uniform(0.08, 0.3))
        person = _collapsed(person, fractures)
    fused: set[int] = set()
    if "fused" in findings:
        first = int(rng.integers(1 + 1, last - 2))
        fused = set(range(first, first + int(rng.integers(1, 3))))
        person = _narrowed(person, {i: rng.uniform(0.3, 0.9) for i in sorted(fused)})
    spurs: dict[int, float] = {}
    bridges: set[int] = set()
    if "spurs" in findings:
        count = int(rng.integers(2, 9))
        # One run or scattered: the first is what stiffens whole regions.
        first = int(rng.integers(C3, last - count))
        run = rng.random() < 0.5
        discs = np.arange(first, first + count) if run else rng.choice(np.arange(C3, last), count, replace=False)
        size, closed = rng.uniform(2.0, 9.0), rng.uniform(0, 1) if rng.random() < 0.5 else 0.0
        for i in sorted(discs.tolist()):
            spurs[i] = size * rng.uniform(0.5, 1.4) * (0.6 if i < T1 else 1.0)
            if rng.random() < closed:
                bridges.add(i)
    cement: set[int] = set()
    if "cement" in findings:
        cement = set(fractures) or {int(rng.integers(T1 + 5, last))}
    cages: set[int] = set()
    plates: tuple[range, ...] = ()
    screws: tuple[range, ...] = ()
    if "implants" in findings:
        count = int(rng.integers(1, 4))
        if rng.random() < 0.4:
            first = int(rng.integers(C3, T1 - count + 1))
            plates = (range(first, first + count + 1),)
        else:
            first = last - count - int(rng.integers(0, 3))
            screws = (range(first, first + count + 1),)
        cages = {i for i in range(first, first + count) if rng.random() < 0.8} - fused
    return replace(
        person,
        findings=Findings(
            fractures, frozenset(fused), spurs, frozenset(bridges), frozenset(cement), frozenset(cages), plates, screws
        ),
    )


def _common(person: Person, first: int, stop: int) -> Array:
    # Wear is commonest where the neck and the loins bend most.
    levels = np.array(person.kinds[first:stop], np.float64)
    weight = 0.25 + np.exp(-0.5 * ((levels - 4.5) / 1.2) ** 2) + 1.5 * np.exp(-0.5 * ((levels - 22.5) / 1.3) ** 2)
    return np.asarray(weight / weight.sum())


def _narrowed(person: Person, shares: dict[int, float]) -> Person:
    # Discs keep so much of their height, and what is below comes up.
    steps = np.diff(person.centroids, axis=0)
    for i, share in shares.items():
        length = float(np.linalg.norm(steps[i]))
        lost = (1 - share) * max(length - 0.5 * float(person.heights[i] + person.heights[i + 1]), 0.0)
        steps[i] *= 1 - lost / length
    return _moved(person, steps)


def _collapsed(person: Person, fractures: dict[int, Fracture]) -> Person:
    # What is above comes down and leans forwards, half as much as the body is wedged; neighbours make up for it.
    steps, heights = np.diff(person.centroids, axis=0), person.heights.copy()
    for i, fracture in fractures.items():
        lost = heights[i] * (1 - 0.5 * (fracture.front + fracture.back))
        depth = person.size * st.BODY_DEPTH_MM[person.kinds[i]]
        angle = 0.6 * np.arctan(heights[i] * (fracture.back - fracture.front) / depth)
        heights[i] -= lost
        for j, length in ((j, float(np.linalg.norm(steps[j]))) for j in (i - 1, i)):
            steps[j] *= 1 - 0.5 * lost / length
        for j in range(max(i - 6, 1), min(i + 6, len(steps) - 4)):
            share = 0.5 * (1 - (i - 1 - j) / 6) if j < i else -0.5 * (1 - (j - i) / 6)
            sin, cos = np.sin(share * angle), np.cos(share * angle)
            y, z = steps[j, 1:]
            steps[j, 1:] = cos * y - sin * z, sin * y + cos * z
    return replace(_moved(person, steps), heights=heights)


def _moved(person: Person, steps: Array) -> Person:
    # Steps (n - 1, 3) mm from each vertebra to the next; T8 stays where it was.
    centroids = np.concatenate([np.zeros((1, 3)), np.cumsum(steps, axis=0)])
    fixed = anatomy.label_of("T8") - 1
    centroids += person.centroids[fixed] - centroids[fixed]
    return replace(person, centroids=centroids, frames=frames_along(centroids))
