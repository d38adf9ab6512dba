# SPDX-License-Identifier: Apache-2.0
"""A random person: the course of the spine, the sizes of its vertebrae, and how fat, curved and posed the body is.

The person lives in an LPS frame of its own, in mm, with the centroid of T8 at the origin; one that is drawn around a
known spine, in the frame of that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from spinefinder_fast import anatomy
from spinefinder_fast.phantom import statistics as st

Array = NDArray[np.float64]

_BELOW_S2_MM = (24.0, 20.0, 17.0, 16.0)
_BELOW_S2_DEG = (42.0, 18.0, -8.0, -32.0)


@dataclass(frozen=True)
class Fracture:
    """A vertebral body that has given way.

    Attributes:
        front: height of its front, relative to what it was.
        back: height of its back, relative to what it was.
        dish: how deep its end plates sag in the middle, relative to half of its height.
    """

    front: float
    back: float
    dish: float


@dataclass(frozen=True)
class Findings:
    """What years and surgeons have done to a spine. Vertebrae are indexed as in `Person`, and discs by the one above.

    Attributes:
        fractures: of vertebrae.
        fused: discs that bone has replaced.
        spurs: discs with bony spurs around them, and how far these reach, mm.
        bridges: discs whose spurs have met in front.
        cement: vertebrae that are filled with bone cement.
        cages: discs that a cage has replaced.
        plates: runs of vertebrae that a plate in front holds together.
        screws: runs of vertebrae that screws and rods behind hold together.
    """

    fractures: Mapping[int, Fracture] = field(default_factory=dict)
    fused: frozenset[int] = frozenset()
    spurs: Mapping[int, float] = field(default_factory=dict)
    bridges: frozenset[int] = frozenset()
    cement: frozenset[int] = frozenset()
    cages: frozenset[int] = frozenset()
    plates: tuple[range, ...] = ()
    screws: tuple[range, ...] = ()


@dataclass(frozen=True, eq=False)
class Person:
    """What is drawn once per person.

    Levels are those of a usual spine, from 0 = C1 to 25 = S2; 26-29 are S3, S4, S5 and the coccyx. A person may have
    a vertebra more or less, so vertebrae are counted by an index of their own, from the head; where the person has
    the usual ones, it is the level. Down to T12 it always is.

    Attributes:
        centroids: (n, 3) LPS mm, the centres of the vertebral bodies; C1: the centre of its ring.
        frames: (n, 3, 3), columns = the vertebra's own left, back and up.
        size: size relative to the mean adult.
        heights: (n - 4,) heights of the vertebral bodies, mm.
        fat_mm: thickness of the fat under the skin.
        bone_density: relative density of trabecular bone.
        arms: ``"up"``, ``"down"`` or ``"none"`` (outside the scan).
        organ_shift: how many levels the organs of the abdomen hang lower than usual.
        seed: of what varies while the body is drawn (bowel, small shape changes).
        kinds: (n,) level of the usual vertebra that each one is shaped like.
        levels: (n,) where each one lies among organs and muscles: levels, not whole where there is one more or less.
        names: (n - 4,) what the vertebrae down to S2 are called.
        ribs: pairs of ribs; a 13th is short.
        findings: what has happened to the spine.
    """

    centroids: Array
    frames: Array
    size: float
    heights: Array
    fat_mm: float
    bone_density: float
    arms: str
    organ_shift: float
    seed: int
    kinds: tuple[int, ...] = tuple(range(30))
    levels: tuple[float, ...] = tuple(map(float, range(30)))
    names: tuple[str, ...] = anatomy.NAMES
    ribs: int = 12
    findings: Findings = Findings()

    def index(self, level: float) -> int:
        """Index of the vertebra that lies nearest to a level."""
        return int(np.abs(np.array(self.levels) - level).argmin())

    def body_centres(self) -> Array:
        """(n, 3) LPS mm: `centroids`, but of wedged bodies the middle of what is left, which lies further back."""
        centres = self.centroids.copy()
        for i, fracture in self.findings.fractures.items():
            slope = (fracture.back - fracture.front) / (fracture.back + fracture.front)
            half_depth = 0.5 * self.size * st.BODY_DEPTH_MM[self.kinds[i]]
            # The mean of v over a disc of height 1 + slope v.
            centres[i] += self.frames[i][:, 1] * (0.25 * slope * half_depth)
        return centres

    def z_of(self, level: float | Sequence[float] | Array) -> Array:
        """Height in mm of a fractional level: 7.0 is the centroid of T1, 7.5 half way to T2."""
        return np.asarray(np.interp(np.asarray(level), self.levels, self.centroids[:, 2]))

    def at(self, level: float, x: float = 0.0, y: float = 0.0, dz: float = 0.0) -> Array:
        """(3,) LPS mm: `x` to the left, `y` behind and `dz` above the spine at a fractional level, times the size."""
        base = [np.interp(level, self.levels, self.centroids[:, i]) for i in range(3)]
        return np.array(base) + self.size * np.array([x, y, dz])

    def spine_xy(self, z: Array) -> tuple[Array, Array]:
        """x and y in mm of the spine's line at heights `z`, shape (n,)."""
        c = self.centroids[::-1]
        return np.interp(z, c[:, 2], c[:, 0]), np.interp(z, c[:, 2], c[:, 1])


def draw_person(rng: np.random.Generator, arms: str | None = None) -> Person:
    """Draws a person.

    Args:
        rng: source of randomness.
        arms: ``"up"``, ``"down"`` or ``"none"``; None draws it.
    """
    size = float(np.clip(1 + st.PERSON_SIZE_SD * rng.standard_normal(), 0.84, 1.17))
    gaps = st.GAPS_MM * size * np.exp(st.GAP_SD * _correlated(rng, len(st.GAPS_MM), st.GAP_CORRELATION))
    sagittal = st.SAGITTAL_DEG + st.SAGITTAL_SD_DEG * _correlated(rng, len(gaps), st.SAGITTAL_CORRELATION)
    # VerSe's cervical spines are flexed and extended in every way; a limit keeps neighbours from colliding.
    sagittal = np.clip(sagittal, -35, 65)
    coronal = st.CORONAL_SD_DEG * _correlated(rng, len(gaps), st.CORONAL_CORRELATION)
    if rng.random() < 0.15:
        apex, width = rng.uniform(8, 22), rng.uniform(2.5, 5)
        level = (np.arange(len(gaps)) - apex) / width
        coronal += rng.choice([-1, 1]) * rng.uniform(6, 24) * level * np.exp(0.5 - 0.5 * level**2)
    coronal = np.clip(coronal, -28, 28)
    steps_mm = np.concatenate([gaps, size * np.array(_BELOW_S2_MM)])
    sagittal = np.concatenate([sagittal, sagittal[-1] - 47 + np.array(_BELOW_S2_DEG)])
    coronal = np.concatenate([coronal, 0.5 * coronal[-1:] * np.ones(len(_BELOW_S2_MM))])
    step = np.stack([np.tan(np.radians(coronal)), np.tan(np.radians(sagittal)), -np.ones(len(steps_mm))], axis=1)
    step *= (steps_mm / np.linalg.norm(step, axis=1))[:, None]
    centroids = np.concatenate([np.zeros((1, 3)), np.cumsum(step, axis=0)])
    centroids -= centroids[anatomy.label_of("T8") - 1]
    between = gaps.copy()  # the middles of bodies
    between[anatomy.label_of("C2") - 1] -= size * st.C2_BODY_MM
    mean_gap = 0.5 * (
        np.concatenate([between[:1], between]) + np.concatenate([between, size * np.array([_BELOW_S2_MM[0]])])
    )
    disc = np.concatenate([st.DISC_MM[:1], st.DISC_MM]) + np.concatenate([st.DISC_MM, [2.0]])
    heights = mean_gap - 0.5 * disc * size * rng.uniform(0.75, 1.15, len(mean_gap))
    if arms is None:
        arms = str(rng.choice(["up", "down", "none"], p=[0.5, 0.3, 0.2]))
    return Person(
        centroids=centroids,
        frames=frames_along(centroids),
        size=size,
        heights=heights,
        fat_mm=float(np.clip(rng.gamma(4.0, 5.0), 5, 55)),
        bone_density=float(np.clip(rng.normal(1, 0.3), 0.45, 1.8)),
        arms=arms,
        organ_shift=float(np.clip(rng.normal(0, 0.3), -0.7, 0.7)),
        seed=int(rng.integers(2**31)),
    )


def person_around(centroids: Mapping[int, Array], rng: np.random.Generator) -> Person:
    """A person drawn around a spine that is known in part.

    Args:
        centroids: level from 0 = C1 to 25 = S2 -> (3,) mm, two of them or more, in a frame whose axes are L, P, S.
        rng: of everything else about the person, and of the course of the spine above and below.
    """
    drawn = draw_person(rng)
    known = np.array(sorted(centroids))
    places = np.array([centroids[i] for i in known])
    along = np.concatenate([[0.0], np.cumsum(st.GAPS_MM)])[known]
    size = float(np.clip(np.median(np.linalg.norm(np.diff(places, axis=0), axis=1) / np.diff(along)), 0.7, 1.3))
    line = drawn.centroids * (size / drawn.size)
    first, last = known[0], known[-1]
    line[:first] += places[0] - line[first]
    line[last + 1 :] += places[-1] - line[last]
    between = np.arange(first, last + 1)
    line[first : last + 1] = np.stack([np.interp(between, known, column) for column in places.T], axis=1)
    heights = drawn.heights * (size / drawn.size)
    return replace(drawn, centroids=line, frames=frames_along(line), size=size, heights=heights)


def _correlated(rng: np.random.Generator, n: int, rho: float) -> Array:
    # A stationary AR(1) sequence of unit variance: neighbours alike with correlation rho.
    noise = rng.standard_normal(n)
    out = noise.copy()
    for i in range(1, n):
        out[i] = rho * out[i - 1] + np.sqrt(1 - rho**2) * noise[i]
    return out


def frames_along(centroids: Array) -> Array:
    """(n, 3, 3): left, back and up, as columns, of vertebrae whose centroids, shape (n, 3) LPS mm, make a spine."""
    step = -np.diff(centroids, axis=0)
    step /= np.linalg.norm(step, axis=1, keepdims=True)
    up = np.concatenate([step[:1], step[:-1] + step[1:], step[-1:]])
    # The atlas stands on the axis: its ring follows C2, not the line between their centroids.
    up[0] = up[1] = 0.3 * up[1] + up[2]
    up /= np.linalg.norm(up, axis=1, keepdims=True)
    left = np.cross((0.0, 1.0, 0.0), up)
    left /= np.linalg.norm(left, axis=1, keepdims=True)
    return np.stack([left, np.cross(up, left), up], axis=2)
