# SPDX-License-Identifier: Apache-2.0
"""``spinefinder train``: train the networks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spinefinder_fast.cli.app import app, device_of, stop

if TYPE_CHECKING:
    from spinefinder_fast.networks.weights import Kind
    from spinefinder_fast.training.settings import TrainingSettings

NETWORKS = ("all", "coarse", "detection", "identification")


@app.command()
def train(
    data: Annotated[
        list[Path], typer.Argument(help="A data set (dataset.csv), or folders of scans with centroids beside them.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for checkpoints, logs and weights.")],
    network: Annotated[
        str, typer.Option(help="all that the recipe has, one after the other; or one of them by name.")
    ] = "all",
    recipe: Annotated[Path | None, typer.Option(help="TOML file of settings; the paper's by default.")] = None,
    validation: Annotated[
        list[Path] | None, typer.Option(help="Folder of validation scans, beside those of the data set (repeatable).")
    ] = None,
    start: Annotated[Path | None, typer.Option(help="Folder of weights to begin from; random by default.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the scans, instead of the recipe's.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that prepare crops, instead of the recipe's.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop after the epoch in which this time is over.")] = None,
    store: Annotated[Path | None, typer.Option(help="Folder for resampled scans; OUTPUT/volumes by default.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Train the networks from scans and centroids; run it again to go on where it stopped.

    At the end the model is judged on the validation scans: OUTPUT/validation/evaluation.html. Under torchrun several
    processes share the work.
    """
    from spinefinder_fast.dataset import is_dataset
    from spinefinder_fast.files import make_folder
    from spinefinder_fast.training.settings import (
        DEFAULTS,
        PAPER,
        networks_of,
        read_provenance,
        read_recipe,
        with_changes,
    )

    if network not in NETWORKS:
        stop(f"--network is {network!r}; {', '.join(NETWORKS)} are known", 2)
    changes = {k: v for k, v in (("epochs", epochs), ("workers", workers)) if v is not None}
    settings: dict[Kind, TrainingSettings] = {}
    try:
        kinds: tuple[Kind, ...] = (network,)  # type: ignore[assignment]
        if network == "all":
            kinds = networks_of(recipe) if recipe else tuple(PAPER)
        for kind in kinds:
            of_kind = read_recipe(recipe, kind) if recipe else DEFAULTS[kind]
            settings[kind] = with_changes(of_kind, changes, "the command line")
            settings[kind].spec.build()  # a width too small shows itself here
        provenance = read_provenance(recipe) if recipe else {}
    except (OSError, ValueError) as error:
        stop(str(error), 2)
    if missing := [str(path) for path in (*data, *(validation or ())) if not path.exists()]:
        stop(f"[E_NO_SCAN] there is no such file or folder: {', '.join(missing)}", 5)

    from spinefinder_fast.cli.progress import TrainingProgress
    from spinefinder_fast.training.run import judge, train_model
    from spinefinder_fast.training.team import team as join_team
    from spinefinder_fast.training.volumes import entries_of

    training = entries_of(data, "train")
    held_out = entries_of([path for path in data if is_dataset(path)], "validation")
    held_out += entries_of(validation or [], "validation")
    make_folder(output)
    with join_team(device_of(device)) as team, TrainingProgress(quiet=not team.leads) as progress:
        train_model(
            training,
            held_out,
            settings,
            output,
            provenance=provenance,
            store=store,
            minutes=minutes,
            team=team,
            start=start,
            watcher=progress,
        )
        if team.leads:
            progress.say(judge(output, held_out, team.device))
