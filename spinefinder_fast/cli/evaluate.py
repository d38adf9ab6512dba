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
    truth: Annotated[Path, typer.Argument(help="Folder of true centroids, of the same names.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder for evaluation.csv and .json.")] = None,
) -> None:
    """Identification rate, mean and standard deviation of the error by region: the protocol of McCouat and Glocker."""
    from rich.console import Console

    from spinefinder_fast.evaluation import evaluate as evaluate_pairs
    from spinefinder_fast.evaluation import read_pairs
    from spinefinder_fast.files import make_folder

    for folder in (predictions, truth):
        if not folder.is_dir():
            stop(f"[E_NO_CENTROIDS] there is no such folder: {folder}", 5)
    if output is not None:
        make_folder(output)
    pairs = read_pairs(predictions, truth)
    for name in pairs.unpredicted:
        print(f"spinefinder: {name} has no prediction; all of its vertebrae count as missing", file=sys.stderr)
    for name in pairs.unannotated:
        print(f"spinefinder: {name} has no truth and is left out", file=sys.stderr)
    evaluation = evaluate_pairs(pairs.pairs)
    Console().print(evaluation.table())
    if output is not None:
        evaluation.write_csv(output / "evaluation.csv")
        evaluation.write_json(output / "evaluation.json")
