# SPDX-License-Identifier: Apache-2.0
"""A scan that shows its own dense labels, and networks that read them off: the pipeline with a perfect eye."""

import numpy as np
import torch
from torch import nn

from spinefinder_fast import Grid, Scan, Spine
from spinefinder_fast.discs import dense_labels
from spinefinder_fast.networks.identification import TARGET
from spinefinder_fast.networks.weights import Model
from spinefinder_fast.volume import WINDOW_SCALE_HU

HU_PER_LABEL = 40.0


class TrueDetection(nn.Module):
    def forward(self, x):
        label = x * (WINDOW_SCALE_HU / HU_PER_LABEL)
        return torch.cat([torch.full_like(x, 0.5), label], dim=1)


class TrueCoarse(nn.Module):
    """Sure of what it sees, however faint."""

    def forward(self, x):
        return torch.cat([torch.zeros_like(x), torch.where(x > 0.1, 10.0, -10.0)], dim=1)


class TrueIdentification(nn.Module):
    def forward(self, x):
        return torch.relu(x[:, TARGET : TARGET + 1] * (WINDOW_SCALE_HU / HU_PER_LABEL))


def true_model(spacing_mm: float = 1.0) -> Model:
    return Model(TrueDetection(), TrueIdentification(), spacing_mm, id="truth")


def labelled_scan(spine: Spine, grid: Grid) -> Scan:
    """A canonical scan whose HU are the dense labels of `spine`."""
    labels = dense_labels(
        np.array([v.label for v in spine], np.int64), grid.to_voxel(spine.lps()), grid.shape, grid.spacing_mm
    )
    return Scan((labels * HU_PER_LABEL).astype(np.int16), grid, grid, "labelled", None)
