# SPDX-License-Identifier: Apache-2.0
"""How much memory there is for the networks to work in."""

from __future__ import annotations

from pathlib import Path

import torch

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")
_OWN_GROUP = Path("/proc/self/cgroup")


def free_bytes(device: str) -> int | None:
    """Memory that may be taken on a device without driving out others; None where it cannot be told.

    On a GPU what its driver says is free and what torch holds without using it. On Linux what is available to programs,
    or what the limits of the process's control groups (version 2) leave, whichever is least.

    Args:
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
    """
    if device.startswith("cuda"):
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + unused
    found = [n for n in (_available(), *map(_left_by_group, _groups())) if n is not None]
    return min(found, default=None)


def _available() -> int | None:
    try:
        lines = _MEMINFO.read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)


def _groups() -> list[Path]:
    """Folders of the control group of this process and of those around it; in a container often the root alone."""
    try:
        lines = _OWN_GROUP.read_text().splitlines()
    except OSError:
        return []
    own = next((_CGROUP / line[3:].strip().lstrip("/") for line in lines if line.startswith("0::")), _CGROUP)
    return [folder for folder in (own, *own.parents) if folder.is_relative_to(_CGROUP)]


def _left_by_group(folder: Path) -> int | None:
    try:
        limit, used = (folder.joinpath(name).read_text().strip() for name in ("memory.max", "memory.current"))
        # What files are cached there is given up when it is needed.
        stat = dict(line.split() for line in folder.joinpath("memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    return None if limit == "max" else max(0, int(limit) - int(used) + int(stat.get("inactive_file", 0)))
