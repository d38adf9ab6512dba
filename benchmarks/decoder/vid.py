# SPDX-License-Identifier: Apache-2.0
"""The ordering alone, on a real detector's keypoints of 1,947 scans: ``python -m benchmarks.decoder.vid FILE``.

FILE holds the keypoints that Buergin et al. publish with "Robust Vertebra Identification Using Simultaneous Node and
Edge Predicting Graph Neural Networks" (MICCAI 2023, CC BY-SA 4.0), as ``{id: {"scan": path, "truth": [...], "detected":
[...]}}``, gzipped or not: a truth is ``{"level": "L1", "kind": "body", "xyz": LPS mm}``; a detection has
``p_CTL``, the network's probabilities of cervical, thoracic and lumbar, instead of a level; pedicles are of kind
``left`` and ``right``.

Patients are split by a hash of their name. All that is fitted is fitted on one half; the figures are of the other.

Identification rate: the share of ALL true bodies whose nearest named detection lies within 20 mm and has the true
level, L6 included. Beside it the same number in parts of the true bodies that were detected at all: no ordering can
name the others.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from spinefinder_fast import anatomy
from spinefinder_fast.ordering.numbering import Numbering, number

Array = NDArray[np.float64]

REACH_MM = 20.0
"""As in the protocols of the paper and of VerSe."""
PEDICLE_REACH_MM = 30.0
"""A pedicle is looked for so far from where it lies beside a usual body."""


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

    @property
    def is_verse(self) -> bool:
        """Whether the scan is of VerSe, whose patients have more variants and more metal than others."""
        return self.patient.startswith("sub-")


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
    """(n, 6) per body: log thoracic : cervical and log lumbar : thoracic; log distance of the pedicles in mm; how far
    their middle lies behind and above the body, mm; log odds of the best probability. NaN where a pedicle is not found.
    """
    p = np.array([k["p_CTL"] for k in bodies]).reshape(-1, 3).clip(1e-3, 1 - 1e-3)
    features = np.full((len(bodies), 6), np.nan)
    features[:, 0] = np.log(p[:, 1] / p[:, 0])
    features[:, 1] = np.log(p[:, 2] / p[:, 1])
    features[:, 5] = np.log(p.max(axis=1) / (1 - p.max(axis=1)))
    points = _xyz(bodies)
    sides = {}
    for kind, side in (("left", 1), ("right", -1)):
        found = _xyz([k for k in detected if k["kind"] == kind])
        sides[kind] = {
            i: found[j] for i, j in _pairs(points + np.array([14.0 * side, 20.0, 2.0]), found, PEDICLE_REACH_MM)
        }
    for i in sides["left"].keys() & sides["right"].keys():
        left, right = sides["left"][i], sides["right"][i]
        middle = 0.5 * (left + right) - points[i]
        features[i, 2:5] = np.log(np.linalg.norm(left - right).clip(5)), middle[1], middle[2]
    return features


def is_training(case: Case) -> bool:
    """Which half a patient belongs to."""
    return hashlib.sha256(case.patient.encode()).digest()[0] % 2 == 0


FLOOR, LIMIT, WEIGHT = 10.0, 4.0, 0.5
"""Least log probability of a level, largest log odds of a vertebra, and the weight of one body's features: those of one
person's bodies go together, so in a row each says about half as much as it would alone."""


@dataclass(frozen=True)
class Emission:
    """What features say: of the level by a Gaussian per label, of being a vertebra by a logistic regression.

    Attributes:
        mean, covariance: (26, 5), (26, 5, 5) of the features but the last under each label; NaN for S1 and S2, which
            were not annotated but may be among the detections.
        real: weights of the logistic regression of `_real_features` that tells vertebrae from false detections.
        gaps_mm: (25,) typical distances of these keypoints.
    """

    mean: Array
    covariance: Array
    real: Array
    gaps_mm: Array

    def __call__(self, features: Array) -> tuple[Array, Array]:
        """(n, 26) log probability of each label and (n,) log odds of a real vertebra."""
        evidence = np.full((len(features), anatomy.N_LABELS), -FLOOR)
        for i, x in enumerate(features[:, :5]):
            known = np.isfinite(x)
            for v in np.flatnonzero(np.isfinite(self.mean[:, 0])):
                off = (x - self.mean[v])[known]
                covariance = self.covariance[v][np.ix_(known, known)]
                evidence[i, v] = -0.5 * (off @ np.linalg.solve(covariance, off) + np.linalg.slogdet(covariance)[1])
        evidence *= WEIGHT
        evidence -= np.logaddexp.reduce(evidence, axis=1, keepdims=True)
        real = _real_features(features) @ self.real
        return np.logaddexp(evidence, -FLOOR), real.clip(-LIMIT, LIMIT)


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


SHRUNK = 20
"""A label's covariance is drawn towards that within all labels as if by so many detections."""


def fit(cases: list[Case]) -> Emission:
    """The statistics of the training patients."""
    by_label: list[list[Array]] = [[] for _ in anatomy.NAMES]
    detected, real = [], []
    gaps: list[list[float]] = [[] for _ in anatomy.NAMES[1:]]
    for case in cases:
        for point, x, m in zip(case.points, case.features, case.match, strict=True):
            # Beyond the annotated row lie vertebrae that nobody annotated: no false detections to learn from.
            if m >= 0 or case.truth[-1, 2] < point[2] < case.truth[0, 2]:
                detected.append(x)
                real.append(m >= 0)
            if m >= 0 and case.levels[m] in anatomy.LABELS:
                by_label[anatomy.LABELS[case.levels[m]] - 1].append(x[:5])
        mm = np.linalg.norm(np.diff(case.truth, axis=0), axis=1)
        for (a, b), gap in zip(pairwise(case.levels), mm, strict=True):
            if anatomy.LABELS.get(b, 0) - anatomy.LABELS.get(a, 0) == 1:
                gaps[anatomy.LABELS[a] - 1].append(float(gap))
    mean = np.full((anatomy.N_LABELS, 5), np.nan)
    covariance = np.full((anatomy.N_LABELS, 5, 5), np.nan)
    whole = [np.array([x for x in xs if np.isfinite(x).all()]).reshape(-1, 5) for xs in by_label]
    pooled = np.cov(np.concatenate([xs - xs.mean(axis=0) for xs in whole if len(xs)]).T)
    for v, xs in enumerate(whole):
        if len(xs) > 1:
            mean[v] = np.nanmean(by_label[v], axis=0)
            covariance[v] = (len(xs) * np.cov(xs.T) + SHRUNK * pooled) / (len(xs) + SHRUNK)
    usual = anatomy.GAPS_MM.values()
    return Emission(
        mean,
        covariance,
        _logistic(_real_features(np.array(detected)), np.array(real)),
        np.array([np.median(mm) if mm else gap for mm, gap in zip(gaps, usual, strict=True)]),
    )


def identified(case: Case, found: Numbering) -> int:
    """How many true bodies are identified."""
    named = [i for i, name in enumerate(found.names) if name is not None]
    if not named or not case.levels:
        return 0
    mm = np.linalg.norm(case.truth[:, None] - case.points[named], axis=-1)
    names = [found.names[named[k]] for k in mm.argmin(axis=1)]
    near = mm.min(axis=1) <= REACH_MM
    return sum(name == level for name, level in zip(np.array(names)[near], np.array(case.levels)[near], strict=True))


def is_wrong(case: Case, found: Numbering) -> bool:
    """Whether any body that was truly one is given a level that is not its own."""
    return any(
        m >= 0 and name is not None and name != case.levels[m] for name, m in zip(found.names, case.match, strict=True)
    )


def table(cases: list[Case], numberings: list[Numbering]) -> list[str]:
    """The figures in lines: all scans, and by where they come from; then what the verdicts are worth."""
    both = list(zip(cases, numberings, strict=True))
    groups = {
        "all": both,
        "VerSe": [b for b in both if b[0].is_verse],
        "others": [b for b in both if not b[0].is_verse],
    }
    lines = ["scans                    bodies  Id %  of the detected %  every name right %"]
    for name, group in groups.items():
        bodies = sum(len(case.levels) for case, _ in group)
        right = sum(identified(case, found) for case, found in group)
        detected = sum(int((case.match >= 0).sum()) for case, _ in group)
        clean = np.mean([not is_wrong(case, found) for case, found in group])
        lines.append(
            f"{name:8s}{len(group):6d}{bodies:17d}{100 * right / bodies:6.1f}"
            f"{100 * right / detected:19.1f}{100 * clean:20.1f}"
        )
    lines.append("verdict     scans  wrong  wrong %")
    for verdict in ("certain", "probable", "ambiguous"):
        wrong = [is_wrong(case, found) for case, found in both if found.verdict == verdict]
        lines.append(f"{verdict:10s}{len(wrong):7d}{sum(wrong):7d}{100 * np.mean(wrong or [0]):9.1f}")
    return lines


def main() -> None:
    """Fit on one half of the patients and print the figures of the other."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path, help="the keypoints, see the top of this file")
    parser.add_argument("--training", action="store_true", help="figures of the half that was fitted on, to develop by")
    given = parser.parse_args()
    cases = read(given.file)
    emission = fit([case for case in cases if is_training(case)])
    shown = [case for case in cases if is_training(case) == given.training]
    with Pool() as pool:
        numberings = pool.map(_Numbered(emission), shown, chunksize=8)
    print(*table(shown, numberings), sep="\n")


@dataclass(frozen=True)
class _Numbered:
    emission: Emission

    def __call__(self, case: Case) -> Numbering:
        evidence, real = self.emission(case.features)
        return number(case.points, evidence, real, gaps_mm=self.emission.gaps_mm)


if __name__ == "__main__":
    main()
