# SPDX-License-Identifier: Apache-2.0
"""``spinefinder ablate``: what each choice of the method is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spinefinder_fast.cli.app import app, device_of, stop


@app.command()
def ablate(
    file: Annotated[Path, typer.Argument(help="TOML file: a data set, and variants of training and procedure.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for networks, results and the table.")],
    store: Annotated[Path | None, typer.Option(help="Folder for resampled scans; OUTPUT/volumes by default.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Train and judge variants of the method and set them against the first; run it again to go on where it stopped.

    The table: OUTPUT/ablation.csv, ablation.json and ablation.md; each variant's page:
    OUTPUT/variants/NAME/seedN/evaluation.html. Under torchrun several processes share the training.
    """
    from spinefinder_fast.training.ablation import read_ablation

    try:
        ablation = read_ablation(file)
    except (OSError, ValueError) as error:
        stop(str(error), 2)

    from rich.console import Console

    from spinefinder_fast.cli.progress import TrainingProgress
    from spinefinder_fast.evaluation.comparison import comparison_table
    from spinefinder_fast.training.ablation import run_ablation
    from spinefinder_fast.training.team import team as join_team

    with join_team(device_of(device)) as team:
        with TrainingProgress(quiet=not team.leads) as progress:
            rows = run_ablation(ablation, output, store=store, team=team, watcher=progress, say=progress.say)
        if team.leads:
            Console().print(comparison_table(rows))
