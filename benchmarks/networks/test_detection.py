# SPDX-License-Identifier: Apache-2.0
"""The detection network of the paper (width 1) on one patch of 64x64x80: 45.7 GFLOP."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor

from spinefinder_fast.networks.detection import DetectionNetwork

from . import forms

SHAPE = (1, 1, 64, 64, 80)

AGREEMENT = {"eager": 1e-5, "torchscript": 1e-3, "torchscript_bfloat16": 0.15, "eager_autocast_bfloat16": 0.15}
"""Largest root mean square error of the logits, as a share of their standard deviation."""


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return forms.settled(DetectionNetwork(), (1, 1, 32, 32, 32))


def patch() -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(2))


@cache
def expected() -> Tensor:
    with torch.inference_mode():
        return network()(patch())


@pytest.mark.parametrize("form", forms.FORMS)
def test_detection(benchmark, form):
    benchmark.group = "detection, one patch of 64x64x80"
    logits = forms.run(benchmark, form, network(), patch())
    assert logits.shape == (1, 2, *SHAPE[2:])
    error = (logits - expected()).square().mean().sqrt() / expected().std()
    benchmark.extra_info["error"] = float(error)
    assert error <= AGREEMENT[form]
