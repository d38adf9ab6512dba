# SPDX-License-Identifier: Apache-2.0
"""All figures of an evaluation as one document of plain values: what ``evaluation.json`` holds and the page shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from statistics import median
from typing import Any

from spinefinder_fast import __version__, anatomy
from spinefinder_fast.evaluation.cases import LIMIT_MM, Case
from spinefinder_fast.evaluation.intervals import RESAMPLES, region_intervals, share_interval, verse_intervals
from spinefinder_fast.evaluation.mccouat import score_cases
from spinefinder_fast.evaluation.published import TABLE_1
from spinefinder_fast.evaluation.strata import KINDS, Traits
from spinefinder_fast.evaluation.verse import score_verse, verse_of_scan


def summarise(
    cases: Sequence[Case],
    traits: Mapping[str, Traits],
    *,
    title: str = "",
    unpredicted: Sequence[str] = (),
    unannotated: Sequence[str] = (),
) -> dict[str, Any]:
    """Score scans by every protocol.

    Args:
        cases: the scans, each name once.
        traits: by the scan's name, for the strata.
        title: of the page.
        unpredicted: scans without any prediction; they are among the cases.
        unannotated: predictions without truth; they are not.

    Returns:
        A document for JSON: docs/evaluation.md says what is in it.
    """
    weights = {str(case.prediction.details.get("weights", "")) for case in cases} - {""}
    patients = {case.patient for case in cases if case.patient}
    return {
        "title": title,
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "version": __version__,
        "weights": sorted(weights),
        "scans": len(cases),
        "patients": len(patients) if all(case.patient for case in cases) else None,
        "limit_mm": LIMIT_MM,
        "resamples": RESAMPLES,
        "mccouat": _mccouat(cases),
        "verse": {**asdict(score_verse(cases)), "intervals": verse_intervals(cases)},
        "whole_scans": _whole_scans(cases),
        "strata": _strata(cases, traits),
        "by_vertebra": _by_vertebra(cases),
        "cases": [_case(case, traits[case.name], case.name in unpredicted) for case in _worst_first(cases)],
        "unannotated": list(unannotated),
        "published": [{"method": row.method, "regions": row.regions} for row in TABLE_1],
    }


def _mccouat(cases: Sequence[Case]) -> list[dict[str, Any]]:
    return [
        {
            **asdict(score),
            "id_rate": score.id_rate,
            "precision": score.precision,
            "intervals": region_intervals(cases, score.region),
        }
        for score in score_cases(cases).regions
    ]


def _whole_scans(cases: Sequence[Case]) -> dict[str, Any]:
    annotated = [case for case in cases if len(case.truth)]
    right = [case.all_right for case in annotated]
    shifted = [case.shift in (-1, 1) for case in annotated]
    steps = [o.step for case in cases for o in case.outcomes if o.fate in ("identified", "misnamed")]
    return {
        "scans": len(annotated),
        "all_right": sum(right),
        "all_right_interval": share_interval(right),
        "shifted_by_one": sum(shifted),
        "shifted_by_one_interval": share_interval(shifted),
        "found": len(steps),
        "one_level_off": sum(step in (-1, 1) for step in steps),
        "further_off": sum(step is None or abs(step) > 1 for step in steps),
    }


def _strata(cases: Sequence[Case], traits: Mapping[str, Traits]) -> list[dict[str, Any]]:
    rows = []
    for kind, strata in KINDS.items():
        for stratum in strata:
            inside = [case for case in cases if traits[case.name].strata()[kind] == stratum]
            if inside:
                score = score_cases(inside)["All"]
                rows.append({"kind": kind, "stratum": stratum, "scans": len(inside), **_short(score)})
    return rows


def _short(score: Any) -> dict[str, Any]:
    return {**asdict(score), "id_rate": score.id_rate, "precision": score.precision}


def _by_vertebra(cases: Sequence[Case]) -> list[dict[str, Any]]:
    rows = []
    for name in anatomy.EVERY_NAME:
        outcomes = [outcome for case in cases for outcome in case.outcomes if outcome.name == name]
        if not outcomes:
            continue
        fates = [outcome.fate for outcome in outcomes]
        errors = sorted(outcome.error_mm for outcome in outcomes if outcome.error_mm is not None)
        called: dict[str, int] = {}
        for outcome in outcomes:
            if outcome.fate == "misnamed" and outcome.nearest is not None:
                called[outcome.nearest] = called.get(outcome.nearest, 0) + 1
        rows.append(
            {
                "name": name,
                "annotated": len(fates) - fates.count("extra"),
                "identified": fates.count("identified"),
                "misnamed": fates.count("misnamed"),
                "missed": fates.count("missed"),
                "extra": fates.count("extra"),
                "median_mm": median(errors) if errors else None,
                "errors_mm": errors,
                "called": called,
            }
        )
    return rows


def goodness(case: Case) -> tuple[float, float, float]:
    """The greater, the better a scan went: by identification rate, then by extra ones, then by distance."""
    score = score_cases([case])["All"]
    return (score.id_rate if score.id_rate is not None else 1.0), -score.extra, -(score.mean_mm or 0.0)


def _worst_first(cases: Sequence[Case]) -> list[Case]:
    return sorted(cases, key=lambda case: (goodness(case), case.name))


def _case(case: Case, traits: Traits, unpredicted: bool) -> dict[str, Any]:
    score = score_cases([case])["All"]
    verse_rate, verse_mm = verse_of_scan(case)
    return {
        "scan": case.name,
        "patient": case.patient,
        **_short(score),
        "verse_id_rate": verse_rate,
        "verse_mean_mm": verse_mm,
        "all_right": case.all_right,
        "shift": case.shift,
        "unpredicted": unpredicted,
        "warnings": list(case.prediction.warnings),
        **asdict(traits),
        **case_strata(traits),
        "outcomes": [asdict(outcome) for outcome in case.outcomes],
    }


def case_strata(traits: Traits) -> dict[str, str]:
    """The strata of a scan, under the names of the table's columns."""
    return {kind.replace(" ", "_"): stratum for kind, stratum in traits.strata().items()}
