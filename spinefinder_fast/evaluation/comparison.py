# SPDX-License-Identifier: Apache-2.0
"""Several ways of doing the same, on the same scans, against the first of them: one table."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from spinefinder_fast.evaluation.cases import Case
from spinefinder_fast.evaluation.intervals import Interval, paired_intervals, pooled_intervals
from spinefinder_fast.evaluation.mccouat import score_cases
from spinefinder_fast.evaluation.report import write_table
from spinefinder_fast.files import write_bytes

if TYPE_CHECKING:
    from rich.table import Table

ABOUT: Final = (
    "McCouat protocol. In brackets: 95 % intervals by bootstrap over scans; those of differences are paired, "
    "drawn over the same scans on both sides."
)


@dataclass(frozen=True, eq=False)
class Contender:
    """One way of doing it, and its results.

    Attributes:
        name: of the way.
        runs: its results, once for each seed: the same scans in the same order.
        seeds: of the runs.
        dice: of the detection network on validation crops, mean over the runs; None where it is not known.
        label_error: mean distance of the identification network's labels from the true ones on validation crops,
            levels, mean over the runs; None where it is not known.
        seconds: for one scan, mean over scans and runs; None where it is not known.
    """

    name: str
    runs: Sequence[Sequence[Case]]
    seeds: Sequence[int] = (0,)
    dice: float | None = None
    label_error: float | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Comparison:
    """How one contender fares, alone and against the first; one row of the table.

    Rates and errors are over the runs of all seeds together; ``missing``, ``extra`` and ``all_right`` are means of a
    run. An interval is None where there are too few scans. The first contender has no difference to itself.

    Attributes:
        name: of the contender.
        seeds: of its runs.
        scans, annotated: how many in one run.
        id_rate: share of the annotated vertebrae that are identified, 0 to 1.
        id_rate_interval: over scans.
        id_rate_seeds: of each run.
        id_rate_difference: by how much `id_rate` exceeds that of the first.
        id_rate_difference_interval: paired, over scans.
        id_rate_difference_seeds: of each run over the first one's run of the same seed.
        mean_mm, median_mm, std_mm: error of the predictions whose name is annotated.
        mean_mm_interval: over scans.
        mean_mm_difference: by how much `mean_mm` exceeds that of the first: more is worse.
        mean_mm_difference_interval: paired, over scans.
        missing, extra: annotated vertebrae whose name is not predicted, and the reverse.
        all_right: scans in which every vertebra is identified and nothing else predicted.
        dice, label_error, seconds: see `Contender`.
    """

    name: str
    seeds: tuple[int, ...]
    scans: int
    annotated: int
    id_rate: float | None
    id_rate_interval: Interval | None
    id_rate_seeds: tuple[float | None, ...]
    id_rate_difference: float | None
    id_rate_difference_interval: Interval | None
    id_rate_difference_seeds: tuple[float, ...]
    mean_mm: float | None
    mean_mm_interval: Interval | None
    mean_mm_difference: float | None
    mean_mm_difference_interval: Interval | None
    median_mm: float | None
    std_mm: float | None
    missing: float
    extra: float
    all_right: float
    dice: float | None
    label_error: float | None
    seconds: float | None


def compare(contenders: Sequence[Contender]) -> list[Comparison]:
    """Score each contender, and set it against the first.

    Args:
        contenders: at least one; all of the same scans, in the same order, with the same seeds.

    Raises:
        ValueError: they are of other scans or seeds.
    """
    first, *others = contenders
    for other in others:
        if [case.name for case in other.runs[0]] != [case.name for case in first.runs[0]]:
            raise ValueError(f"{other.name} and {first.name} are of other scans; compare results on the same")
        if tuple(other.seeds) != tuple(first.seeds):
            raise ValueError(f"{other.name} has seeds {other.seeds}, {first.name} {first.seeds}; compare the same")
    return [_alone(first), *(_against(first, other) for other in others)]


def _alone(contender: Contender) -> Comparison:
    runs = contender.runs
    pool = score_cases([case for cases in runs for case in cases])["All"]
    errors = [o.error_mm for cases in runs for case in cases for o in case.outcomes if o.error_mm is not None]
    intervals = pooled_intervals(runs)
    return Comparison(
        name=contender.name,
        seeds=tuple(contender.seeds),
        scans=len(runs[0]),
        annotated=pool.annotated // len(runs),
        id_rate=pool.id_rate,
        id_rate_interval=intervals["id_rate"],
        id_rate_seeds=tuple(score_cases(cases)["All"].id_rate for cases in runs),
        id_rate_difference=None,
        id_rate_difference_interval=None,
        id_rate_difference_seeds=(),
        mean_mm=pool.mean_mm,
        mean_mm_interval=intervals["mean_mm"],
        mean_mm_difference=None,
        mean_mm_difference_interval=None,
        median_mm=float(np.median(errors)) if errors else None,
        std_mm=pool.std_mm,
        missing=pool.missing / len(runs),
        extra=pool.extra / len(runs),
        all_right=sum(case.all_right for cases in runs for case in cases) / len(runs),
        dice=contender.dice,
        label_error=contender.label_error,
        seconds=contender.seconds,
    )


def _against(first: Contender, other: Contender) -> Comparison:
    reference, row = _alone(first), _alone(other)
    intervals = paired_intervals(other.runs, first.runs)
    by_seed = zip(row.id_rate_seeds, reference.id_rate_seeds, strict=True)
    differences: dict[str, Any] = {
        "id_rate_difference": _less(row.id_rate, reference.id_rate),
        "id_rate_difference_interval": intervals["id_rate"],
        "id_rate_difference_seeds": tuple(a - b for a, b in by_seed if a is not None and b is not None),
        "mean_mm_difference": _less(row.mean_mm, reference.mean_mm),
        "mean_mm_difference_interval": intervals["mean_mm"],
    }
    return replace(row, **differences)


def _less(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def _number(form: str) -> Callable[[float | None], str]:
    return lambda value: "–" if value is None else format(value, form)


def _with(value: float | None, interval: Interval | None, form: str, factor: float = 1.0) -> str:
    if value is None:
        return "–"
    text = format(factor * value, form)
    if interval is None:
        return text
    low, high = (format(factor * end, form) for end in interval)
    return f"{text} [{low}, {high}]"


def _range(values: Sequence[float | None], form: str) -> str:
    known = [100 * value for value in values if value is not None]
    return f"{format(min(known), form)} … {format(max(known), form)}" if known else "–"


def _count(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


_COLUMNS: Final[dict[str, Callable[[Comparison], str]]] = {
    "Id rate %": lambda r: _with(r.id_rate, r.id_rate_interval, ".1f", 100),
    "Δ Id": lambda r: _with(r.id_rate_difference, r.id_rate_difference_interval, "+.1f", 100),
    "mean mm": lambda r: _with(r.mean_mm, r.mean_mm_interval, ".2f"),
    "Δ mean": lambda r: _with(r.mean_mm_difference, r.mean_mm_difference_interval, "+.2f"),
    "median": lambda r: _number(".2f")(r.median_mm),
    "std": lambda r: _number(".2f")(r.std_mm),
    "missing": lambda r: _count(r.missing),
    "extra": lambda r: _count(r.extra),
    "all right": lambda r: _count(r.all_right),
    "Dice": lambda r: _number(".3f")(r.dice),
    "label error": lambda r: _number(".2f")(r.label_error),
    "s/scan": lambda r: _number(".1f")(r.seconds),
}

_IN_TERMINAL: Final = ("Id rate %", "Δ Id", "mean mm", "Δ mean", "missing", "extra", "all right", "s/scan")

_SEED_COLUMNS: Final[dict[str, Callable[[Comparison], str]]] = {
    "Id by seed": lambda r: _range(r.id_rate_seeds, ".1f"),
    "Δ Id by seed": lambda r: _range(r.id_rate_difference_seeds, "+.1f"),
}


def _cells(rows: Sequence[Comparison]) -> tuple[list[str], list[list[str]]]:
    columns = {**_COLUMNS, **(_SEED_COLUMNS if len(rows[0].seeds) > 1 else {})}
    return list(columns), [[cell(row) for cell in columns.values()] for row in rows]


def _title(rows: Sequence[Comparison]) -> str:
    first = rows[0]
    seeds = f", {len(first.seeds)} seeds" if len(first.seeds) > 1 else ""
    return f"{first.scans} scans, {first.annotated} vertebrae{seeds}; Δ against {first.name}"


def comparison_table(rows: Sequence[Comparison]) -> Table:
    """What of the comparison fits a terminal of 80 columns: intervals of the differences alone, below them."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    def below(cell: str) -> Text:
        # Text, not markup: an interval's bracket is no style.
        return Text(re.sub(r" \[(.*), (.*)\]", r"\n\1…\2", cell))

    table = Table(
        title=Text(_title(rows)), title_style="bold", header_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    table.add_column("variant", overflow="fold")
    for column in _IN_TERMINAL:
        table.add_column(column.replace(" ", "\n"), justify="right", no_wrap=True)
    for row in rows:
        own = replace(row, id_rate_interval=None, mean_mm_interval=None)
        table.add_row(Text(row.name), *(below(_COLUMNS[column](own)) for column in _IN_TERMINAL))
    return table


def comparison_markdown(rows: Sequence[Comparison]) -> str:
    """The comparison as a Markdown table, with a line on how to read it."""
    columns, lines = _cells(rows)
    text = [f"{_title(rows)}.", ""]
    text.append("| " + " | ".join(["variant", *columns]) + " |")
    text.append("|" + "---|" + "--:|" * len(columns))
    for row, cells in zip(rows, lines, strict=True):
        text.append("| " + " | ".join([row.name.replace("|", "\\|"), *cells]) + " |")
    return "\n".join([*text, "", ABOUT, ""])


def write_comparison(rows: Sequence[Comparison], folder: Path, name: str) -> None:
    """Write ``name.csv``, ``name.json`` and ``name.md`` into a folder.

    Raises:
        OutputError: a file cannot be written.
    """
    flat = [_flat(row) for row in rows]
    write_table(folder / f"{name}.csv", list(flat[0]), flat)
    write_bytes(folder / f"{name}.json", (json.dumps([asdict(row) for row in rows], indent=1) + "\n").encode())
    write_bytes(folder / f"{name}.md", comparison_markdown(rows).encode())


def _flat(row: Comparison) -> dict[str, Any]:
    """The row with each pair, and the extremes of each list of seeds, in two columns."""
    flat: dict[str, Any] = {}
    for name, value in asdict(row).items():
        if name == "seeds":
            flat[name] = " ".join(map(str, value))
        elif name.endswith("_interval"):
            flat[name.replace("_interval", "_low")], flat[name.replace("_interval", "_high")] = value or (None, None)
        elif name.endswith("_seeds"):
            known = [v for v in value if v is not None]
            flat[f"{name}_lowest"] = min(known, default=None)
            flat[f"{name}_highest"] = max(known, default=None)
        else:
            flat[name] = value
    return flat
