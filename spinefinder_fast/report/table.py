# SPDX-License-Identifier: Apache-2.0
"""A batch at a glance: one line per scan."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from spinefinder_fast.anatomy import name_ranges
from spinefinder_fast.files import write_bytes

if TYPE_CHECKING:
    from rich.table import Table

    from spinefinder_fast.spine import Spine

_STYLES = {"ok": "green", "ok_warn": "yellow", "refused": "red", "failed": "bold red"}


@dataclass(frozen=True)
class ScanResult:
    """How one scan of a batch fared.

    Attributes:
        scan: its name.
        status: ``ok``, ``ok_warn``, ``refused`` (the input cannot be used safely) or ``failed``.
        names: vertebrae found, in any order.
        seconds: how long it took, all stages together; those of neighbours in a batch overlap.
        message: one line: the warnings or the error.
        stages: seconds of each stage, from ``load`` to ``write``.
    """

    scan: str
    status: str
    names: Sequence[str] = ()
    seconds: float = 0.0
    message: str = ""
    stages: Mapping[str, float] = field(default_factory=dict)


def centroid_table(spine: Spine) -> Table:
    """The centroids of one scan as a table for the terminal."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(spine.source) if spine.source else None, title_style="bold", header_style="bold")
    table.add_column("vertebra")
    for column in ("left mm", "back mm", "up mm"):
        table.add_column(column, justify="right")
    table.add_column("voxel i, j, k", justify="right", no_wrap=True)
    table.add_column("votes", justify="right")
    table.add_column("sure %", justify="right")
    table.add_column("field")
    voxels = spine.voxels() if spine.grid is not None else [None] * len(spine)
    for vertebra, voxel in zip(spine, voxels, strict=True):
        table.add_row(
            vertebra.name,
            *(f"{x:.1f}" for x in vertebra.lps),
            "" if voxel is None else ", ".join(f"{x:.1f}" for x in voxel),
            str(vertebra.votes),
            "" if vertebra.confidence is None else f"{100 * vertebra.confidence:.0f}",
            "cut" if vertebra.truncated else "",
        )
    return table


def batch_table(results: Iterable[ScanResult]) -> Table:
    """The batch as a table for the terminal."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title="Vertebrae found", title_style="bold", header_style="bold")
    table.add_column("scan", overflow="fold")
    table.add_column("status")
    table.add_column("vertebrae")
    table.add_column("count", justify="right")
    table.add_column("seconds", justify="right")
    table.add_column("message", overflow="fold")
    for result in results:
        # Text, not markup: a bracket in a file name or an error code is no style.
        table.add_row(
            Text(result.scan),
            Text(result.status, style=_STYLES.get(result.status, "")),
            name_ranges(result.names) or "none",
            str(len(result.names)),
            f"{result.seconds:.1f}",
            Text(result.message),
        )
    return table


def profile_table(results: Iterable[ScanResult], seconds: float) -> Table:
    """Where the time of a batch went, and how much memory it took at most, as a table for the terminal.

    Args:
        results: of the batch.
        seconds: that the batch took by the clock: more than the stages by the loading of the networks, less by overlap.
    """
    from rich.table import Table

    of_stage: dict[str, list[float]] = {}
    for result in results:
        for stage, spent in result.stages.items():
            of_stage.setdefault(stage, []).append(spent)
    busy = sum(sum(times) for times in of_stage.values())
    table = Table(title="Where the time went", title_style="bold", header_style="bold")
    table.add_column("stage")
    for column in ("median s", "sum s", "share"):
        table.add_column(column, justify="right")
    for stage, times in of_stage.items():
        table.add_row(stage, f"{median(times):.3f}", f"{sum(times):.2f}", f"{sum(times) / busy:.0%}")
    table.add_section()
    table.add_row("all stages", "", f"{busy:.2f}", "")
    table.add_row("by the clock", "", f"{seconds:.2f}", "")
    if (peak := peak_memory_mb()) is not None:
        table.add_row("peak memory", "", f"{peak:.0f} MB", "")
    return table


def peak_memory_mb() -> float | None:
    """The most memory that this process has held at once, MB; None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 1e6 if sys.platform == "darwin" else most * 1024 / 1e6


def write_batch_csv(path: Path, results: Iterable[ScanResult]) -> None:
    """Write the batch as a CSV file with the columns of `batch_table`.

    Raises:
        OutputError: the file cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("scan", "status", "vertebrae", "count", "seconds", "message"))
    for result in results:
        seconds = round(result.seconds, 3)
        writer.writerow(
            (result.scan, result.status, name_ranges(result.names), len(result.names), seconds, result.message)
        )
    write_bytes(path, text.getvalue().encode())
