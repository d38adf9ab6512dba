# SPDX-License-Identifier: Apache-2.0
"""Networks are compiled when they are loaded; no compiled program is ever stored or shipped."""

from __future__ import annotations

import warnings

import torch
from torch import nn


def computes_bfloat16(device: str) -> bool:
    """Whether a device has instructions for bfloat16, with which it is faster than in float32.

    A CPU needs AMX or AVX512-BF16. Others know the type and take many times as long.

    Args:
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
    """
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def compile_network(network: nn.Module) -> torch.jit.ScriptModule:
    """TorchScript of a network in evaluation mode, frozen: weights are constants and batch normalisation is folded.

    On a CPU, two-dimensional convolutions work with channels last, and three-dimensional ones, in float32, are joined
    with what follows them. Answers change by rounding alone.

    Args:
        network: an eager network on its final device and of its final dtype; it is switched to evaluation mode.
    """
    network = network.eval().requires_grad_(False)
    on_cpu = all(parameter.device.type == "cpu" for parameter in network.parameters())
    flat = any(isinstance(module, nn.Conv2d) for module in network.modules())
    if on_cpu and flat:
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with warnings.catch_warnings():
        # torch announces TorchScript's end in favour of torch.export; the networks are kept exportable for that day.
        warnings.filterwarnings("ignore", message=".*torch.jit.*", category=DeprecationWarning)
        frozen = torch.jit.freeze(torch.jit.script(network))
        # The joined forms are for float32.
        joined = on_cpu and not flat and all(p.dtype == torch.float32 for p in network.parameters())
        return torch.jit.optimize_for_inference(frozen) if joined else frozen
