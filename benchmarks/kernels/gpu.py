# SPDX-License-Identifier: Apache-2.0
"""Measuring on the CUDA device, against how fast it copies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from spinefinder_fast import _kernels

from .ways import Way


def name() -> str:
    """The name of the device; skips the benchmark where there is none."""
    if not _kernels.cuda:
        pytest.skip("this build has no CUDA kernels")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device, or a torch without CUDA")
    return torch.cuda.get_device_name()


def need_gb(wanted: float) -> None:
    """Skips the benchmark where less memory is free."""
    free = torch.cuda.mem_get_info()[0] / 1e9
    if free < wanted:
        pytest.skip(f"{free:.1f} GB are free on the device, {wanted:.1f} GB are needed")


def waited_for(call: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any) -> Any:
        answer = call(*args)
        torch.cuda.synchronize()
        return answer

    return run


def rise(call: Callable[[], Any]) -> tuple[Any, float]:
    """The answer of a call and the rise of what torch holds on the device during it, MB (10^6 bytes)."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    answer = call()
    return answer, round((torch.cuda.max_memory_allocated() - before) / 1e6, 1)


def copy(source: torch.Tensor, target: torch.Tensor) -> None:
    target.copy_(source)


def buffers(moved_bytes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What `copy` reads and writes so many bytes with, both together."""
    source = torch.zeros(moved_bytes // 2, dtype=torch.uint8, device="cuda")
    return source, torch.empty_like(source)


def against_copying(kernel: Callable[..., Any]) -> list[Way]:
    """The ratio is the share of the device's copy bandwidth that a kernel reaches."""
    return [Way(kernel), Way(copy, "copy bandwidth", 0.7, answers=False)]
