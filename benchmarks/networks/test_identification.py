# SPDX-License-Identifier: Apache-2.0
"""The identification network of the paper (width 1) on one sagittal slice of 192x416 with its seven neighbours."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor

from spinefinder_fast.networks.identification import SLICES, IdentificationNetwork

from . import forms

SHAPE = (1, SLICES, 192, 416)

AGREEMENT = {"eager": 1e-5, "torchscript": 1e-3, "torchscript_bfloat16": 0.2, "eager_autocast_bfloat16": 0.2}
"""Largest root mean square error of the regressed labels, in labels: they are rounded, so 0.5 would change a name."""


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return forms.settled(IdentificationNetwork(), (1, SLICES, 96, 192))


def window() -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(2))


@cache
def expected() -> Tensor:
    with torch.inference_mode():
        return network()(window())


@pytest.mark.parametrize("form", forms.FORMS)
def test_identification(benchmark, form):
    benchmark.group = "identification, one slice of 192x416"
    labels = forms.run(benchmark, form, network(), window())
    assert labels.shape == (1, 1, *SHAPE[2:])
    error = (labels - expected()).square().mean().sqrt()
    benchmark.extra_info["error"] = float(error)
    assert error <= AGREEMENT[form]
