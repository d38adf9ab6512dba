# SPDX-License-Identifier: Apache-2.0
"""How much memory there is for the networks to work in."""

from __future__ import annotations

from pathlib import Path

import torch

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def free_bytes(device: str) -> int | None:
    """Memory that may be taken on a device without driving out others; None where it cannot be told.

    On a GPU what its driver says is free. On Linux what is available to programs, or what a container's limit (control
    groups, version 2) leaves, whichever is less.

    Args:
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
    """
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(device)[0])
    found = [n for n in (_available(), _left_by_container()) if n is not None]
    return min(found, default=None)


def _available() -> int | None:
    try:
        lines = _MEMINFO.read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)


def _left_by_container() -> int | None:
    try:
        limit, used = (_CGROUP.joinpath(name).read_text().strip() for name in ("memory.max", "memory.current"))
        # What files are cached there is given up when it is needed.
        stat = dict(line.split() for line in _CGROUP.joinpath("memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    return None if limit == "max" else max(0, int(limit) - int(used) + int(stat.get("inactive_file", 0)))
