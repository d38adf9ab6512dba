# SPDX-License-Identifier: Apache-2.0
"""The evaluation as files: one page for people, tables and JSON for programs."""

from __future__ import annotations

import csv
import io
import json
import sys
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Final

from spinefinder_fast.anatomy import EVERY_NAME
from spinefinder_fast.errors import SpinefinderError
from spinefinder_fast.evaluation.cases import Case
from spinefinder_fast.evaluation.figures import box_plot, picture, three_scans
from spinefinder_fast.evaluation.strata import traits_of
from spinefinder_fast.evaluation.summary import summarise
from spinefinder_fast.files import make_folder, write_bytes
from spinefinder_fast.scan import Scan, read_scan

PAGE: Final = "evaluation.html"

_REGION_COLUMNS: Final = (
    *("region", "annotated", "identified", "id_rate", "id_rate_low", "id_rate_high"),
    *("localised", "mean_mm", "mean_mm_low", "mean_mm_high", "std_mm", "missing", "extra", "precision"),
)
_SCAN_COLUMNS: Final = (
    *("scan", "patient", "annotated", "identified", "id_rate", "localised", "mean_mm", "std_mm", "missing", "extra"),
    *("verse_id_rate", "verse_mean_mm", "all_right", "shift", "length_mm", "slice_mm", "metal_mm3"),
)
_VERTEBRA_COLUMNS: Final = ("scan", "name", "fate", "error_mm", "nearest", "nearest_mm")


def write_report(
    cases: Sequence[Case],
    folder: Path,
    *,
    title: str = "Evaluation",
    unpredicted: Sequence[str] = (),
    unannotated: Sequence[str] = (),
) -> Path:
    """Write ``evaluation.html``, ``evaluation.json``, ``evaluation.csv`` (regions), ``scans.csv`` and
    ``vertebrae.csv``.

    Scans that are at hand are read, for pictures and for what only they tell; one that cannot be read costs its picture
    alone, with a line on stderr.

    Args:
        cases: the scans, each name once.
        folder: for the files; made where it is missing.
        title: of the page.
        unpredicted: names of the cases that have no prediction at all.
        unannotated: names of predictions without truth, which no case stands for.

    Returns:
        The page.

    Raises:
        OutputError: a file cannot be written.
    """
    make_folder(folder)
    shown = {case.name: word for word, case in three_scans(cases)}
    traits, pictures = {}, {}
    for case in cases:
        scan = _scan(case)
        traits[case.name] = traits_of(case, scan)
        if scan is not None and case.name in shown:
            pictures[case.name] = picture(case, scan)
    document = summarise(cases, traits, title=title, unpredicted=unpredicted, unannotated=unannotated)
    write_bytes(folder / "evaluation.json", (json.dumps(document, indent=1) + "\n").encode())
    write_table(folder / "evaluation.csv", _REGION_COLUMNS, map(_with_intervals, document["mccouat"]))
    write_table(folder / "scans.csv", _SCAN_COLUMNS, document["cases"])
    outcomes = [{"scan": case["scan"], **outcome} for case in document["cases"] for outcome in case["outcomes"]]
    write_table(folder / "vertebrae.csv", _VERTEBRA_COLUMNS, outcomes)
    chosen = [(shown[name], name, b64encode(png).decode()) for name, png in pictures.items()]
    chosen.sort(key=lambda entry: list(shown).index(entry[1]))
    write_bytes(folder / PAGE, render(document, chosen).encode())
    return folder / PAGE


def render(document: Mapping[str, Any], pictures: Sequence[tuple[str, str, str]] = ()) -> str:
    """The page, one file that loads nothing.

    Args:
        document: from `summary.summarise`.
        pictures: what each is, the scan's name, and the PNG in base64.
    """
    from jinja2 import Environment, StrictUndefined

    template = resources.files("spinefinder_fast.evaluation").joinpath("page.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["percent"] = lambda v: "–" if v is None else f"{100 * v:.1f}"
    environment.filters["mm"] = lambda v: "–" if v is None else f"{v:.2f}"
    environment.filters["whole"] = lambda v: "–" if v is None else f"{v:.0f}"
    plot = box_plot(document["by_vertebra"]) if any(row["annotated"] for row in document["by_vertebra"]) else ""
    return environment.from_string(template).render(d=document, plot=plot, pictures=pictures, order=EVERY_NAME)


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write some columns of some rows as CSV; what is None stays empty.

    Raises:
        OutputError: the file cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([row[column] for column in columns] for row in rows)
    write_bytes(path, text.getvalue().encode())


def _with_intervals(region: Mapping[str, Any]) -> dict[str, Any]:
    row = dict(region)
    for of in ("id_rate", "mean_mm"):
        row[f"{of}_low"], row[f"{of}_high"] = region["intervals"][of] or (None, None)
    return row


def _scan(case: Case) -> Scan | None:
    if case.scan is None:
        return None
    try:
        return read_scan(case.scan)
    except SpinefinderError as error:
        print(f"spinefinder: {case.name} is evaluated without its scan: {error}", file=sys.stderr)
        return None
