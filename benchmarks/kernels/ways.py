# SPDX-License-Identifier: Apache-2.0
"""The ways of doing a kernel's job, and the rows that come of measuring them. `benchmarks` says how to use it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from .scene import SIZES

GROWTH_TARGET = 1.2
"""Time per voxel of a larger volume, relative to the smallest."""


@dataclass(frozen=True, eq=False)
class Way:
    """One way of doing a kernel's job.

    Attributes:
        run: called with what the benchmark gives to `measure`.
        against: its name in the tables; empty for ours.
        target: the ratio that we want to reach at the largest size; None where there is only something to see.
        better: "higher" for how many times as fast ours is; "lower" for how many times as long as a limit it takes,
            on all of torch's threads or on one, whichever is quicker.
        sizes: those it runs at; None for all in the case of ours, else for the smallest and the largest.
        answers: whether it gives the kernel's answer: a limit, such as reading the volume once, does not.
        once: one call is enough, and all there is time for.
        needs: a module that it imports, which is no part of the time; without it the way is skipped.
        note: what to know about the row, e.g. why it misses its target.
    """

    run: Callable[..., Any]
    against: str = ""
    target: float | None = None
    better: Literal["higher", "lower"] = "higher"
    sizes: tuple[str, ...] | None = None
    answers: bool = True
    once: bool = False
    needs: str = ""
    note: str = ""

    def __str__(self) -> str:
        return re.sub(r"\W+", "_", self.against) or "ours"


@dataclass(frozen=True)
class Measurement:
    """What one way took.

    Attributes:
        sizes: of the benchmark, from the smallest to the largest: names, and shapes in voxels.
        median_s: median time of a call, s.
        peak_mb: rise of memory during a call, MB (10^6 bytes); None where it cannot be measured.
        moved_bytes: read and written at the least; None where nobody counted.
    """

    kernel: str
    size: str
    sizes: Mapping[str, tuple[int, ...]]
    device: str
    way: Way
    median_s: float
    peak_mb: float | None
    moved_bytes: int | None = None

    @property
    def voxels(self) -> int:
        return math.prod(self.sizes[self.size])


def compare(ways: Iterable[Way], sizes: Mapping[str, tuple[int, ...]] = SIZES) -> Callable[[Any], Any]:
    """One benchmark for each size and way.

    Args:
        ways: ours, and what it is compared with.
        sizes: names and shapes in voxels, from the smallest to the largest; "full" is the one that the README shows.
    """
    names = list(sizes)
    cases = [
        pytest.param(size, way, id=f"{size}-{way}")
        for size in names
        for way in ways
        if size in (way.sizes or ((names[0], names[-1]) if way.against else names))
    ]

    def decorate(test: Any) -> Any:
        test.sizes = sizes
        return pytest.mark.parametrize(("size", "way"), cases)(test)

    return decorate


def rows(measurements: Iterable[Measurement]) -> list[dict[str, Any]]:
    """The rows of the tables: a ratio for each way and size at which ours was measured too."""
    measurements = list(measurements)
    ours = {(m.device, m.kernel, m.size): m for m in measurements if not m.way.against}
    found = []
    for m in measurements:
        our = ours.get((m.device, m.kernel, m.size))
        first = ours.get((m.device, m.kernel, next(iter(m.sizes))))
        if m.way.against and our:
            ratio = m.median_s / our.median_s
            if m.way.better == "lower":
                ratio = 1 / ratio
            target = m.way.target if m.size == list(m.sizes)[-1] else None
            found.append(_row(our, m, m.way.against, ratio, target, m.way.better))
        elif first and first is not m:
            ratio = (m.median_s / m.voxels) / (first.median_s / first.voxels)
            found.append(_row(m, first, "1x", ratio, GROWTH_TARGET, "lower"))
    return found


def _row(
    our: Measurement, other: Measurement, against: str, ratio: float, target: float | None, better: str
) -> dict[str, Any]:
    row = {
        "kernel": our.kernel,
        "against": against,
        "shape": "x".join(map(str, our.sizes[our.size])),
        "size": our.size,
        "ratio": _digits(ratio),
        "target": target,
        "better": better,
        "device": our.device,
        "median_s": _digits(our.median_s),
        "peak_mb": our.peak_mb,
        "against_median_s": _digits(other.median_s),
        "against_peak_mb": other.peak_mb,
        "note": other.way.note,
    }
    if our.moved_bytes is not None:
        row["gb_per_s"] = _digits(our.moved_bytes / our.median_s / 1e9)
    return row


def _digits(value: float) -> float:
    return float(f"{value:.4g}")
