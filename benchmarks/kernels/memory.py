# SPDX-License-Identifier: Apache-2.0
"""How far a call makes the process's resident memory rise."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROCESS = Path("/proc/self")


def rise(call: Callable[[], Any]) -> tuple[Any, float | None]:
    """The answer of a call and the rise of resident memory during it, MB (10^6 bytes); None where Linux is not."""
    gc.collect()
    try:
        # Freed memory that the allocator keeps would be used again and not be seen.
        ctypes.CDLL(None).malloc_trim(0)
        (PROCESS / "clear_refs").write_text("5")  # sets the high-water mark back to what is resident now
        before = _high_water_mark_kb()
    except (OSError, AttributeError):
        return call(), None
    answer = call()
    return answer, round((_high_water_mark_kb() - before) * 1024 / 1e6, 1)


def _high_water_mark_kb() -> int:
    for line in (PROCESS / "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise OSError("no VmHWM")
