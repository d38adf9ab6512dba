# SPDX-License-Identifier: Apache-2.0
"""One training in several processes, one per GPU: each step's batch is shared out, and the result is that of a single
process up to rounding.

Start it with ``torchrun --nproc-per-node N -m spinefinder_fast train ...``; a process that torchrun has not started is
a team of one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

PATIENCE = timedelta(days=1)
"""How long processes wait for each other: while the first validates, the others have nothing to do."""


@dataclass(frozen=True)
class Team:
    """The processes of a training.

    Attributes:
        rank: of this process, from 0.
        size: how many there are.
        device: where this process computes.
    """

    rank: int = 0
    size: int = 1
    device: str = "cpu"

    @property
    def leads(self) -> bool:
        """Whether this is the process that validates, writes and speaks."""
        return self.rank == 0

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            distributed.barrier()

    def agree(self, decision: bool) -> bool:
        """The leader's decision, in every process."""
        if self.size == 1:
            return decision
        word = torch.tensor([float(decision)], device=self.device)
        distributed.broadcast(word, 0)
        return bool(word.item())

    def sum(self, values: Tensor) -> Tensor:
        """Sum over all processes, of a tensor of this process's device; nothing flows back through it."""
        if self.size > 1:
            values = values.detach().clone()
            distributed.all_reduce(values)
        return values

    def share(self, network: nn.Module) -> nn.Module:
        """The network as the loop calls it: with gradients averaged over the team, and batch statistics of the whole
        batch instead of this process's share of it. Its parameters stay those of `network`."""
        if self.size == 1:
            return network
        _share_statistics(network)
        ids = [torch.device(self.device)] if self.device.startswith("cuda") else None
        return DistributedDataParallel(network, device_ids=ids)


@contextmanager
def team(device: str) -> Iterator[Team]:
    """The team that torchrun's environment describes, or a team of one.

    Args:
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:N"``; in a team, ``"cuda"`` becomes one GPU per process.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Team(device=device)
        return
    if device.startswith("cuda"):
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo", timeout=PATIENCE)
    try:
        yield Team(distributed.get_rank(), size, device)
    finally:
        distributed.destroy_process_group()


class _Sum(torch.autograd.Function):
    """Sum over all processes, through which gradients flow back to all of them."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        values = values.clone()
        distributed.all_reduce(values)
        return values

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        distributed.all_reduce(gradient)
        return gradient


class _TeamBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation over the batch of the whole team. PyTorch's own `SyncBatchNorm` does not run on a CPU, where
    this is tested; the network's weights are the same with either."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        over = [0, *range(2, x.ndim)]
        view = (1, -1, *(1 for _ in over[1:]))
        values = x.float()
        here = values.new_tensor([values.numel() / values.shape[1]])
        n = here.clone()
        distributed.all_reduce(n)
        mean = _Sum.apply(values.sum(over)) / n  # type: ignore[no-untyped-call]
        centred = values - mean.view(view)
        var = _Sum.apply((centred * centred).sum(over)) / n  # type: ignore[no-untyped-call]
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * n / (n - 1), self.momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked += 1
        normal = centred * torch.rsqrt(var + self.eps).view(view)
        scaled: Tensor = normal * self.weight.view(view) + self.bias.view(view)
        return scaled.to(x.dtype)


def _share_statistics(network: nn.Module) -> None:
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.modules.batchnorm._BatchNorm):
                shared = _TeamBatchNorm(child.num_features, child.eps, child.momentum).to(child.weight.device)
                shared.load_state_dict(child.state_dict())
                # The optimiser knows the parameters themselves, not their names.
                shared.weight, shared.bias = child.weight, child.bias
                setattr(parent, name, shared)
