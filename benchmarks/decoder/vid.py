# SPDX-License-Identifier: Apache-2.0
"""The ordering alone, on a real detector's keypoints of 1,947 scans: ``python -m benchmarks.decoder.vid FILE``.

FILE holds the keypoints that Buergin et al. publish with "Robust Vertebra Identification Using Simultaneous Node and
Edge Predicting Graph Neural Networks" (MICCAI 2023, CC BY-SA 4.0), as ``{id: {"scan": path, "truth": [...], "detected":
[...]}}``, gzipped or not: a truth is ``{"level": "L1", "kind": "body", "xyz": LPS mm}``; a detection has
``p_CTL``, the network's probabilities of cervical, thoracic and lumbar, instead of a level; pedicles are of kind
``left`` and ``right``.

Patients are split by a hash of their name. All that is fitted is fitted on one half; the figures are of the other.

Identification rate: the share of all true bodies whose nearest named detection lies within 20 mm and has the true level,
L6 included. Beside it the same share of the true bodies that were detected at all.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from spinefinder_fast import anatomy
from spinefinder_fast.ordering.levels import LEVELS
from spinefinder_fast.ordering.numbering import Numbering, number

Array = NDArray[np.float64]

REACH_MM = 20.0
PEDICLE_REACH_MM = 45.0


@dataclass(frozen=True)
class Case:
    """One scan: true bodies and detected ones, both from head to foot.

    Attributes:
        patient: who was scanned.
        levels: names of the true bodies.
        truth: (m, 3) true bodies, LPS mm.
        points: (n, 3) detected bodies.
        features: (n, 6) what was seen of each, NaN where it was not, see `_features`.
        match: (n,) index of the true body that a detection is, or -1.
    """

    patient: str
    levels: tuple[str, ...]
    truth: Array
    points: Array
    features: Array
    match: NDArray[np.intp]


def read(path: Path) -> list[Case]:
    """All scans of the file."""
    raw = path.read_bytes()
    scans = json.loads(gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw)
    return [_case(scan) for scan in scans.values()]


def _case(scan: dict[str, Any]) -> Case:
    truth = sorted((k for k in scan["truth"] if k["kind"] == "body"), key=lambda k: -k["xyz"][2])
    bodies = sorted((k for k in scan["detected"] if k["kind"] == "body"), key=lambda k: -k["xyz"][2])
    points = _xyz(bodies)
    true_points = _xyz(truth)
    match = np.full(len(points), -1)
    for i, j in _pairs(points, true_points, REACH_MM):
        match[i] = j
    levels = tuple(k["level"] for k in truth)
    return Case(_patient(scan["scan"]), levels, true_points, points, _features(bodies, scan["detected"]), match)


def _patient(scan: str) -> str:
    parts = scan.split("/")
    if parts[0] == "COLONOG":
        return parts[2]
    return next((part for part in parts if part.startswith("sub-")), parts[-1])


def _xyz(keypoints: list[dict[str, Any]]) -> Array:
    return np.array([k["xyz"] for k in keypoints], np.float64).reshape(-1, 3)


def _pairs(a: Array, b: Array, reach_mm: float) -> list[tuple[int, int]]:
    """One-to-one pairs of least total distance, no farther apart than the reach."""
    mm = np.linalg.norm(a[:, None] - b[None], axis=-1)
    return [
        (i, j) for i, j in zip(*linear_sum_assignment(mm.clip(max=reach_mm + 1)), strict=True) if mm[i, j] <= reach_mm
    ]


def _features(bodies: list[dict[str, Any]], detected: list[dict[str, Any]]) -> Array:
    """(n, 6) per body: log odds thoracic : cervical and lumbar : thoracic; log distance of the pedicles; depth and height of
    their middle against the body, in parts of the distance; log of the best probability's odds."""
    p = np.array([k["p_CTL"] for k in bodies]).reshape(-1, 3).clip(1e-3, 1 - 1e-3)
    features = np.full((len(bodies), 6), np.nan)
    features[:, 0] = np.log(p[:, 1] / p[:, 0])
    features[:, 1] = np.log(p[:, 2] / p[:, 1])
    features[:, 5] = np.log(p.max(axis=1) / (1 - p.max(axis=1)))
    points = _xyz(bodies)
    sides = {}
    for kind, side in (("left", 1), ("right", -1)):
        found = _xyz([k for k in detected if k["kind"] == kind])
        sides[kind] = {i: found[j] for i, j in _pairs(points + (14.0 * side, 20.0, 2.0), found, 30.0)}
    for i in sides["left"].keys() & sides["right"].keys():
        left, right = sides["left"][i], sides["right"][i]
        middle = 0.5 * (left + right) - points[i]
        features[i, 2:5] = np.log(np.linalg.norm(left - right).clip(5)), middle[1], middle[2]
    return features


def is_training(case: Case) -> bool:
    """Which half a patient belongs to."""
    return hashlib.sha256(case.patient.encode()).digest()[0] % 2 == 0


@dataclass(frozen=True)
class Emission:
    """What the features of a detection say: a Gaussian per level, one for false detections, and the typical gaps.

    Attributes:
        mean, covariance: (26, 6), (26, 6, 6) of the features under each label; label 26 and others never seen repeat
            their neighbour above.
        seen: (26,) whether the label occurs.
        real: weights of the logistic regression of `_real_features` that tells vertebrae from false detections.
        gaps_mm: (25,) typical distances of these keypoints.
        ends: log frequency of the first and of the last level in a scan.
    """

    mean: Array
    covariance: Array
    seen: NDArray[np.bool_]
    real: Array
    gaps_mm: Array
    ends: tuple[Array, Array]

    def __call__(self, features: Array, weight: float = 0.5) -> tuple[Array, Array]:
        """(n, 26) log probability of each label and (n,) log odds of a real vertebra."""
        evidence = np.full((len(features), anatomy.N_LABELS), -FLOOR)
        for i, x in enumerate(features):
            known = np.isfinite(x)
            known[5] = False
            for v in np.flatnonzero(self.seen):
                off = (x - self.mean[v])[known]
                covariance = self.covariance[v][np.ix_(known, known)]
                evidence[i, v] = -0.5 * off @ np.linalg.solve(covariance, off) - 0.5 * np.linalg.slogdet(covariance)[1]
        evidence = weight * evidence
        evidence -= np.logaddexp.reduce(evidence, axis=1, keepdims=True)
        evidence = np.logaddexp(evidence, -FLOOR)
        real = _real_features(features) @ self.real
        return evidence, real.clip(-LIMIT, LIMIT)


FLOOR, LIMIT, WEIGHT = 10.0, 4.0, 0.5


def _real_features(features: Array) -> Array:
    """(n, 3) one, the log odds of the best probability, and whether there are pedicles."""
    return np.column_stack([np.ones(len(features)), features[:, 5], np.isfinite(features[:, 2])])


def _logistic(x: Array, y: NDArray[np.bool_]) -> Array:
    """(k,) weights of a logistic regression, by Newton's method."""
    weights = np.zeros(x.shape[1])
    for _ in range(30):
        p = 1 / (1 + np.exp(-x @ weights))
        hessian = (x.T * (p * (1 - p))) @ x + 1e-3 * np.eye(len(weights))
        weights += np.linalg.solve(hessian, x.T @ (y - p) - 1e-3 * weights)
    return weights


def fit(cases: list[Case]) -> Emission:
    """The statistics of the training patients."""
    by_label: list[list[Array]] = [[] for _ in anatomy.NAMES]
    detected, real = [], []
    gaps: list[list[float]] = [[] for _ in anatomy.NAMES[1:]]
    ends = np.ones((2, len(LEVELS)))
    for case in cases:
        for x, m in zip(case.features, case.match, strict=True):
            detected.append(x)
            real.append(m >= 0)
            if m >= 0 and case.levels[m] in anatomy.LABELS:
                by_label[anatomy.LABELS[case.levels[m]] - 1].append(x)
        for k, (a, b) in enumerate(zip(case.levels, case.levels[1:], strict=False)):
            if (a, b) in zip(anatomy.NAMES, anatomy.NAMES[1:], strict=False):
                gaps[anatomy.LABELS[a] - 1].append(float(np.linalg.norm(case.truth[k + 1] - case.truth[k])))
        kept = [case.levels[m] for m in case.match if m >= 0]
        if kept:
            ends[0, LEVELS.index(kept[0])] += 1
            ends[1, LEVELS.index(kept[-1])] += 1
    everything = np.array([x for xs in by_label for x in xs])
    spread = np.nanvar(everything - 0, axis=0)
    mean = np.full((anatomy.N_LABELS, 6), np.nan)
    covariance = np.tile(np.diag(spread), (anatomy.N_LABELS, 1, 1))
    within = []
    for v, xs in enumerate(by_label):
        if xs:
            a = np.array(xs)
            mean[v] = np.nanmean(a, axis=0)
            within.append((a - mean[v])[np.isfinite(a).all(axis=1)])
    pooled = np.cov(np.concatenate(within).T)
    for v, xs in enumerate(by_label):
        a = np.array(xs).reshape(-1, 6)
        a = a[np.isfinite(a).all(axis=1)]
        if len(a):
            own = np.cov(a.T) if len(a) > 1 else pooled
            covariance[v] = (len(a) * own + 20 * pooled) / (len(a) + 20)
    return Emission(
        mean,
        covariance,
        np.isfinite(mean[:, 0]),
        _logistic(_real_features(np.array(detected)), np.array(real)),
        np.array([np.median(g) if len(g) > 5 else list(anatomy.GAPS_MM.values())[k] for k, g in enumerate(gaps)]),
        (np.log(ends[0] / ends[0].sum()), np.log(ends[1] / ends[1].sum())),
    )


def score(case: Case, found: Numbering) -> tuple[int, int]:
    """True bodies that are identified, and that were detected at all."""
    named = [i for i, name in enumerate(found.names) if name is not None]
    right = 0
    for level, point in zip(case.levels, case.truth, strict=True):
        if named:
            mm = np.linalg.norm(case.points[named] - point, axis=1)
            right += bool(mm.min() <= REACH_MM and found.names[named[int(mm.argmin())]] == level)
    return right, int((case.match >= 0).sum())
