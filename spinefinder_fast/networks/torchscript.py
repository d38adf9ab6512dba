# SPDX-License-Identifier: Apache-2.0
"""Networks are compiled when they are loaded; no compiled program is ever stored or shipped."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from spinefinder_fast.quiet import silenced

_FIRST_WITH_BFLOAT16 = (8, 0)
"""Compute capability of the first GPUs that have it."""


def computes_bfloat16(device: str) -> bool:
    """Whether a device has instructions for bfloat16, with which it is faster than in float32.

    A CPU needs AMX or AVX512-BF16. Others know the type and take many times as long.

    Args:
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
    """
    if device.startswith("cuda"):
        return torch.cuda.get_device_capability(device) >= _FIRST_WITH_BFLOAT16
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def compile_network(network: nn.Module, dtype: torch.dtype = torch.float32) -> torch.jit.ScriptModule:
    """TorchScript of a network in evaluation mode, frozen: weights are constants and batch normalisation is folded.

    On a CPU, two-dimensional convolutions work with channels last, and three-dimensional ones, in float32, are joined
    with what follows them. Answers change by rounding alone.

    Args:
        network: an eager float32 network on its final device; it is switched to evaluation mode and folded in place.
        dtype: what the compiled network computes in, and wants its input in.
    """
    # Folded before it is rounded: batch statistics in bfloat16 would triple the error.
    network = _fold(network.eval().requires_grad_(False)).to(dtype)
    on_cpu = all(parameter.device.type == "cpu" for parameter in network.parameters())
    flat = any(isinstance(module, nn.Conv2d) for module in network.modules())
    if on_cpu and flat:
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    # torch announces TorchScript's end in favour of torch.export; the networks are kept exportable for that day.
    with silenced(DeprecationWarning, ".*torch.jit"):
        frozen = torch.jit.freeze(torch.jit.script(network))
        # The joined forms are for float32.
        joined = on_cpu and not flat and dtype == torch.float32
        return torch.jit.optimize_for_inference(frozen) if joined else frozen


def _fold(network: nn.Module) -> nn.Module:
    """The network with each batch normalisation that follows a convolution multiplied into it."""
    for module in network.modules():
        if isinstance(module, nn.Sequential):
            for i in range(len(module) - 1):
                conv, norm = module[i], module[i + 1]
                if isinstance(conv, nn.Conv2d | nn.Conv3d) and isinstance(norm, nn.BatchNorm2d | nn.BatchNorm3d):
                    module[i], module[i + 1] = fuse_conv_bn_eval(conv, norm), nn.Identity()
    return network
