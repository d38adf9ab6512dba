# SPDX-License-Identifier: Apache-2.0
"""docs/performance.md and its picture, written from what the last run measured.

``python -m benchmarks.end_to_end.page`` writes both anew.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.kernels.tables import BUSY, COLUMNS, ROOT, Row, missed

RESULTS = Path("benchmarks/results/end_to_end.json")
PAGE = Path("docs/performance.md")
PICTURE = "performance.png"
MARKS = re.compile(r"(<!-- performance:begin -->\n).*?(<!-- performance:end -->)", re.DOTALL)

STAGES = {
    "load": "#8a8d91",
    "resample": "#4c9f70",
    "coarse": "#d9a441",
    "detect": "#3b6fb6",
    "identify": "#a64d79",
    "aggregate": "#5b5ea6",
}


def _seconds(key: str, column: str) -> Callable[[Row], str]:
    return lambda row: "" if row[key] is None else COLUMNS[column](row)


SHOWN: dict[str, Callable[[Row], str]] = {
    "what": lambda row: row["kernel"],
    "scan": lambda row: row["shape"],
    "against": lambda row: row["against"],
    "figure": COLUMNS["ratio"],
    "target": COLUMNS["target"],
    " ": COLUMNS[" "],
    "ours": _seconds("median_s", "ours"),
    "theirs": _seconds("against_median_s", "theirs"),
    "ours, MB": COLUMNS["ours, MB"],
    "theirs, MB": COLUMNS["theirs, MB"],
}
NUMBERS = ("figure", "ours", "theirs", "ours, MB", "theirs, MB")


def markdown(rows: list[Row]) -> str:
    """The rows as a table of Markdown."""
    rule = ["---:" if name in NUMBERS else "---" for name in SHOWN]
    lines = [list(SHOWN), rule, *([cell(row) for cell in SHOWN.values()] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def text(rows: list[Row]) -> str:
    """The rows as a table for the terminal."""
    lines = [list(SHOWN), *([cell(row) for cell in SHOWN.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    sides = [">" if name in NUMBERS else "<" for name in SHOWN]
    return "\n".join(
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(line, sides, widths, strict=True)).rstrip()
        for line in lines
    )


def generated(results: dict[str, Any] | None) -> str:
    """What stands between the marks."""
    if results is None:
        return "Not measured yet: `make bench-end-to-end`."
    rows = results["rows"]
    short = [
        f"- {row['kernel']}, {row['shape']}, against {row['against']}: "
        f"{COLUMNS['ratio'](row)}, wanted {COLUMNS['target'](row)}"
        for row in rows
        if missed(row)
    ]
    notes = dict.fromkeys(f"- {row['kernel']}, against {row['against']}: {row['note']}" for row in rows if row["note"])
    parts = [
        machine_text(results["machine"]),
        f"![Seconds of each stage, the paper's way beside ours]({PICTURE})",
        stage_table(results["stages"]),
        markdown(rows),
        "\n".join(["Short of the target:\n", *short]) if short else "Nothing falls short of its target.",
        "\n".join(["Notes:\n", *notes]) if notes else "",
    ]
    return "\n\n".join(part for part in parts if part)


def machine_text(machine: dict[str, Any]) -> str:
    """The machine, the weights and how busy it was, in a paragraph."""
    said = (
        "{cpu}, {cores} cores; Python {python}, NumPy {numpy}, torch {torch}; {system}; {date}; weights {weights}. "
        "Load of the machine at the start: {load:.1f}."
    ).format(**machine)
    if machine["load"] > BUSY:
        said += " **It was busy with other things: take the figures as rough.**"
    return said


def stage_table(stages: dict[str, dict[str, float]]) -> str:
    """Median seconds of each stage, by procedure."""
    head = ["seconds", *STAGES, "all"]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for name, seconds in stages.items():
        cells = [f"{seconds.get(stage, 0.0):.3g}" for stage in STAGES]
        lines.append([name, *cells, f"{sum(seconds.values()):.3g}"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def draw(stages: dict[str, dict[str, float]], path: Path) -> None:
    """Where the time goes: both ways on one scale, and below it ours alone on its own, or it would be a line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 3.4), dpi=120, layout="constrained")
    both, alone = figure.subplots(2, 1, height_ratios=(2, 1.1))
    for axes, names in ((both, ("faithful", "fast")), (alone, ("fast",))):
        left = [0.0] * len(names)
        for stage, colour in STAGES.items():
            seconds = [stages[name].get(stage, 0.0) for name in names]
            axes.barh(names, seconds, left=left, color=colour, label=stage, height=0.62)
            left = [a + b for a, b in zip(left, seconds, strict=True)]
        for y, total in enumerate(left):
            axes.annotate(f"{total:.3g} s", (total, y), (4, 0), textcoords="offset points", va="center")
        axes.invert_yaxis()
        axes.set_xlim(0, 1.12 * max(left))
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
    alone.set_xlabel("seconds")
    figure.legend(*both.get_legend_handles_labels(), loc="outside upper center", ncols=len(STAGES), frameon=False)
    figure.savefig(path, metadata={"Software": None})


def read(root: Path = ROOT) -> dict[str, Any] | None:
    """What the last run measured, or None."""
    path = root / RESULTS
    return json.loads(path.read_text()) if path.exists() else None


def page(results: dict[str, Any] | None) -> str:
    """docs/performance.md with the generated part that the results give."""
    return MARKS.sub(lambda marks: f"{marks[1]}\n{generated(results)}\n\n{marks[2]}", (ROOT / PAGE).read_text())


def save(results: dict[str, Any], *, output: Path | None = None) -> None:
    """Keeps the results and writes the page and its picture: in their places, or all into the folder `output`."""
    rows = ",\n".join(f"    {json.dumps(row)}" for row in results["rows"])
    head = json.dumps({"machine": results["machine"], "stages": results["stages"]}, indent=2).removesuffix("\n}")
    kept = output / RESULTS.name if output else ROOT / RESULTS
    shown = output / PAGE.name if output else ROOT / PAGE
    kept.write_text(f'{head},\n  "rows": [\n{rows}\n  ]\n}}\n')
    shown.write_text(page(results))
    draw(results["stages"], shown.with_name(PICTURE))


if __name__ == "__main__":
    if saved := read():
        save(saved)
