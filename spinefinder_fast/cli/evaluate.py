# SPDX-License-Identifier: Apache-2.0
"""``spinefinder evaluate``: score predictions against true centroids."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from spinefinder_fast.cli.app import app, stop


@app.command()
def evaluate(
    predictions: Annotated[Path, typer.Argument(help="Folder of predicted centroids.")],
    truth: Annotated[Path, typer.Argument(help="Folder of true centroids of the same names, or a data set.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder for the page and the tables.")] = None,
    split: Annotated[str, typer.Option(help="Of a data set: train, validation or test.")] = "test",
    title: Annotated[str, typer.Option(help="Of the page.")] = "Evaluation",
) -> None:
    """Identification rate, error, missing and extra vertebrae, by the protocols of McCouat and Glocker and of VerSe.

    With -o: evaluation.html, a page with intervals, strata, figures and every failure; evaluation.json; evaluation.csv,
    scans.csv and vertebrae.csv.
    """
    from rich.console import Console

    from spinefinder_fast.dataset import SPLITS
    from spinefinder_fast.evaluation import read_cases, score_cases, score_verse
    from spinefinder_fast.files import make_folder

    for folder in (predictions, truth):
        if not folder.exists():
            stop(f"[E_NO_CENTROIDS] there is no such folder: {folder}", 5)
    if split not in SPLITS:
        stop(f"--split is {split!r}; {', '.join(SPLITS)} are known", 2)
    if output is not None:
        make_folder(output)
    found = read_cases(predictions, truth, split)
    for name in found.unpredicted:
        print(f"spinefinder: {name} has no prediction; all of its vertebrae count as missing", file=sys.stderr)
    for name in found.unannotated:
        print(f"spinefinder: {name} has no truth and is left out", file=sys.stderr)
    console = Console()
    console.print(score_cases(found.cases).table())
    verse = score_verse(found.cases)
    rate = "-" if verse.id_rate is None else f"{100 * verse.id_rate:.1f} %"
    mean = "-" if verse.mean_mm is None else f"{verse.mean_mm:.2f} mm"
    right = sum(case.all_right for case in found.cases)
    shifted = sum(case.shift in (-1, 1) for case in found.cases)
    console.print(f"VerSe protocol: Id rate {rate}, mean {mean}", highlight=False)
    console.print(
        f"scans with every vertebra right: {right} of {len(found.cases)}; shifted by one level: {shifted}",
        highlight=False,
    )
    if output is not None:
        from spinefinder_fast.evaluation import write_report

        page = write_report(
            found.cases, output, title=title, unpredicted=found.unpredicted, unannotated=found.unannotated
        )
        console.print(f"The page: {page}", highlight=False, soft_wrap=True, markup=False)
