# SPDX-License-Identifier: Apache-2.0
"""The tables of the ratios in README.md and docs/benchmarks.md, written from what the last runs measured.

``python -m benchmarks.kernels.tables`` writes them anew.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]

ROOT = Path(__file__).parents[2]
RATIOS = Path("benchmarks/results/kernels.json")
MACHINES = Path("benchmarks/results/machines.json")

BUSY = 0.5
"""A load average above this is another's work."""


def missed(row: Row) -> bool:
    """Whether a row falls short of its target."""
    if row["target"] is None:
        return False
    return row["ratio"] < row["target"] if row["better"] == "higher" else row["ratio"] > row["target"]


def _ratio(row: Row) -> str:
    return f"{row['ratio']:.3g}" if row["ratio"] < 1000 else f"{row['ratio']:.0f}"


def _target(row: Row) -> str:
    if row["target"] is None:
        return ""
    return f"{'≥' if row['better'] == 'higher' else '≤'} {row['target']:g}"


def _seconds(value: float) -> str:
    for factor, unit in ((1, "s"), (1e3, "ms")):
        if value * factor >= 1:
            return f"{value * factor:.3g} {unit}"
    return f"{value * 1e6:.3g} µs"


def _megabytes(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def _rate(row: Row) -> str:
    return f"{row['gb_per_s']:.3g}" if "gb_per_s" in row else ""


def _short(row: Row) -> str:
    return "short" if missed(row) else ""


COLUMNS = {
    "kernel": lambda row: row["kernel"],
    "volume": lambda row: row["shape"],
    "against": lambda row: row["against"],
    "ratio": _ratio,
    "target": _target,
    " ": _short,
    "ours": lambda row: _seconds(row["median_s"]),
    "theirs": lambda row: _seconds(row["against_median_s"]),
    "ours, MB": lambda row: _megabytes(row["peak_mb"]),
    "theirs, MB": lambda row: _megabytes(row["against_peak_mb"]),
    "ours, GB/s": _rate,
}
NUMBERS = ("ratio", "ours", "theirs", "ours, MB", "theirs, MB", "ours, GB/s")


def _lines(rows: list[Row], names: Iterable[str]) -> list[list[str]]:
    return [list(names), *([COLUMNS[name](row) for name in names] for row in rows)]


def _used(rows: list[Row]) -> list[str]:
    """The columns that these rows have something in."""
    return [name for name, cell in COLUMNS.items() if any(map(cell, rows))]


def text(rows: list[Row]) -> str:
    """A table for the terminal."""
    names = _used(rows)
    lines = _lines(rows, names)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    sides = [">" if name in NUMBERS else "<" for name in names]
    return "\n".join(
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(line, sides, widths, strict=True)).rstrip()
        for line in lines
    )


def markdown(rows: list[Row], names: Sequence[str] | None = None) -> str:
    """A table of Markdown."""
    names = names or _used(rows)
    head, *body = _lines(rows, names)
    rule = ["---:" if name in NUMBERS else "---" for name in names]
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, rule, *body])


def readme(rows: list[Row], machines: dict[str, dict[str, Any]]) -> str:
    """What the README shows: the full volume on the CPU."""
    full = [row for row in rows if row["device"] == "cpu" and row["size"] == "full" and row["against"] != "1x"]
    return markdown(full, ("kernel", "against", "ratio", "target", " ")) + "\n\n" + _machine(machines["cpu"])


def page(rows: list[Row], machines: dict[str, dict[str, Any]]) -> str:
    """What docs/benchmarks.md shows: everything, device by device."""
    parts = []
    for device in dict.fromkeys(row["device"] for row in rows):
        mine = [row for row in rows if row["device"] == device]
        parts += [f"### {device}", _machine(machines[device])]
        parts.append(markdown([row for row in mine if row["against"] != "1x"]))
        if growth := [row for row in mine if row["against"] == "1x"]:
            parts += ["Time per voxel, relative to the smallest volume:", markdown(growth)]
        short = [
            f"- {row['kernel']}, {row['shape']}, against {row['against']}: {_ratio(row)}, wanted {_target(row)}"
            for row in mine
            if missed(row)
        ]
        parts.append("\n".join(["Short of the target:\n", *short]) if short else "Nothing falls short of its target.")
        notes = dict.fromkeys(f"- {r['kernel']}, against {r['against']}: {r['note']}" for r in mine if r["note"])
        if notes:
            parts.append("\n".join(["Notes:\n", *notes]))
    if all(row["device"] == "cpu" for row in rows):
        parts.append("Not run: the CUDA kernels (`benchmarks/kernels/test_gpu.py`), for want of a GPU.")
    return "\n\n".join(parts)


def _machine(machine: dict[str, Any]) -> str:
    text = (
        "{cpu}, {cores} cores; Python {python}, NumPy {numpy}, torch {torch}; {system}; {date}. "
        "Load of the machine at the start: {load:.1f}."
    ).format(**machine)
    if machine["load"] > BUSY:
        text += " **It was busy with other things: take the figures as rough.**"
    return text


def texts() -> dict[Path, str]:
    """The documents with the tables that the saved rows give."""
    rows, machines = _read(RATIOS, []), _read(MACHINES, {})
    return {
        path: re.sub(
            r"(<!-- kernels:begin -->\n).*?(<!-- kernels:end -->)",
            lambda marks, table=table: f"{marks[1]}\n{table}\n\n{marks[2]}",
            path.read_text(),
            flags=re.DOTALL,
        )
        for path, table in (
            (ROOT / "README.md", readme(rows, machines)),
            (ROOT / "docs/benchmarks.md", page(rows, machines)),
        )
    }


def save(rows: list[Row], machine: dict[str, Any]) -> None:
    """Keeps the rows of one run in place of those of the same devices, and writes the tables."""
    devices = {row["device"] for row in rows}
    kept = [row for row in _read(RATIOS, []) if row["device"] not in devices]
    kept = sorted([*kept, *rows], key=lambda row: row["device"] != "cpu")
    (ROOT / RATIOS).write_text("[\n" + ",\n".join(map(json.dumps, kept)) + "\n]\n")
    machines = {**_read(MACHINES, {}), **dict.fromkeys(sorted(devices), machine)}
    (ROOT / MACHINES).write_text(json.dumps(machines, indent=2) + "\n")
    write()


def _read(path: Path, default: Any) -> Any:
    return json.loads((ROOT / path).read_text()) if (ROOT / path).exists() else default


def write() -> None:
    for path, content in texts().items():
        path.write_text(content)


if __name__ == "__main__":
    write()
