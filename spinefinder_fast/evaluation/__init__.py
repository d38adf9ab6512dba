# SPDX-License-Identifier: Apache-2.0
"""How good the centroids are: the protocol of McCouat and Glocker 2019."""

from spinefinder_fast.evaluation.files import Pairs, read_pairs
from spinefinder_fast.evaluation.mccouat import Evaluation, RegionScore, evaluate

__all__ = ["Evaluation", "Pairs", "RegionScore", "evaluate", "read_pairs"]
