# SPDX-License-Identifier: Apache-2.0
"""How good the centroids are: the protocols of McCouat and Glocker 2019 and of the VerSe challenges, and the page."""

from spinefinder_fast.evaluation.cases import Case, Outcome
from spinefinder_fast.evaluation.files import Cases, read_cases
from spinefinder_fast.evaluation.mccouat import Evaluation, RegionScore, evaluate, score_cases
from spinefinder_fast.evaluation.report import write_report
from spinefinder_fast.evaluation.verse import VerseScore, score_verse

__all__ = [
    "Case",
    "Cases",
    "Evaluation",
    "Outcome",
    "RegionScore",
    "VerseScore",
    "evaluate",
    "read_cases",
    "score_cases",
    "score_verse",
    "write_report",
]
