# SPDX-License-Identifier: Apache-2.0
"""Networks are compiled when they are loaded; no compiled program is ever stored or shipped."""

from __future__ import annotations

import warnings

import torch
from torch import nn


def compile_network(network: nn.Module) -> torch.jit.ScriptModule:
    """TorchScript of a network in evaluation mode, frozen: weights are constants and batch normalisation is folded.

    Args:
        network: an eager network on its final device; it is switched to evaluation mode.
    """
    network = network.eval().requires_grad_(False)
    with warnings.catch_warnings():
        # torch announces TorchScript's end in favour of torch.export; the networks are kept exportable for that day.
        warnings.filterwarnings("ignore", message=".*torch.jit.*", category=DeprecationWarning)
        return torch.jit.freeze(torch.jit.script(network))  # type: ignore[no-any-return]
