# SPDX-License-Identifier: Apache-2.0
"""The forms in which a network can be run, eager float32 being the one that the others must agree with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from spinefinder_fast.networks.torchscript import compile_network

Form = Callable[[nn.Module], Callable[[Tensor], Tensor]]


def settled(network: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """The network with random weights and the batch statistics of one training step: activations of a sane size."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.randn(shape, generator=torch.Generator().manual_seed(1)))
    return network.eval()


def eager(network: nn.Module) -> Callable[[Tensor], Tensor]:
    return network


def torchscript(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """What `load_model` runs."""
    return compile_network(network)


def torchscript_bfloat16(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """Weights and activations in bfloat16; input and answer stay float32."""
    compiled = compile_network(network.to(torch.bfloat16))
    return lambda x: compiled(x.to(torch.bfloat16)).float()


def eager_autocast_bfloat16(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """Convolutions in bfloat16, the rest in float32, as training does."""

    def run(x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return network(x).float()

    return run


FORMS: dict[str, Form] = {
    form.__name__: form for form in (eager, torchscript, torchscript_bfloat16, eager_autocast_bfloat16)
}


def run(benchmark: Any, form: str, network: nn.Module, x: Tensor) -> Tensor:
    """The answer of a network in one form; what is timed is a run after those that TorchScript optimises itself in."""
    with torch.inference_mode():
        runner = FORMS[form](network)
        return benchmark.pedantic(runner, (x,), rounds=5, warmup_rounds=2)  # type: ignore[no-any-return]
