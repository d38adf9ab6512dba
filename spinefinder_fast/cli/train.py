# SPDX-License-Identifier: Apache-2.0
"""``spinefinder train``: train the networks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spinefinder_fast.cli.app import app, device_of, stop


@app.command()
def train(
    network: Annotated[str, typer.Argument(help="detection or identification.")],
    scans: Annotated[
        list[Path], typer.Argument(help="Folders of scans with .lml, _ctd.json or .mrk.json beside them.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for checkpoint, log and weights.")],
    recipe: Annotated[Path | None, typer.Option(help="TOML file of settings; the paper's by default.")] = None,
    validation: Annotated[list[Path] | None, typer.Option(help="Folder of validation scans (repeatable).")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the scans, instead of the recipe's.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop after the epoch in which this time is over.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Train one network from scans and centroids; run it again to go on where it stopped."""
    from zlib import crc32

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from spinefinder_fast.files import make_folder
    from spinefinder_fast.training.loop import EpochReport
    from spinefinder_fast.training.loop import train as train_network
    from spinefinder_fast.training.samples import load_training_scans
    from spinefinder_fast.training.settings import PAPER, read_provenance, read_recipe, with_changes

    if network not in ("detection", "identification"):
        stop(f"{network!r} is no network; detection or identification is wanted", 2)
    console = Console(stderr=True)
    kind = network
    try:
        settings = read_recipe(recipe, kind) if recipe else PAPER[kind]  # type: ignore[arg-type,index]
        provenance = read_provenance(recipe) if recipe else {}
        settings = with_changes(settings, {} if epochs is None else {"epochs": epochs}, "--epochs")
        parameters = sum(p.numel() for p in settings.spec.build().parameters())
    except (OSError, ValueError) as error:
        stop(str(error), 2)
    make_folder(output)
    with console.status("reading scans"):
        training = load_training_scans(scans, settings)
        held_out = load_training_scans(validation, settings) if validation else []
    # By what they show, not by name: a copy is the same patient, and in every other folder there is a ct.nii.gz.
    seen = {crc32(scan.array.tobytes()) for scan in training}
    if shared := [str(scan.path) for scan in held_out if crc32(scan.array.tobytes()) in seen]:
        stop(f"[E_SPLIT_OVERLAP] {', '.join(shared)}: in training and validation; keep patients apart", 5)
    console.print(
        f"{network}: {parameters:,} parameters at {settings.spacing_mm} mm, {len(training)} scans, "
        f"{len(training) * settings.samples_per_scan} crops per epoch, {settings.epochs} epochs"
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("steps", total=None)

        def show(report: EpochReport) -> None:
            progress.console.print(
                f"epoch {report.epoch:3d}  loss {report.loss:.4f}  validation {report.validation_loss:.4f}  "
                f"score {report.score:.3f}  {report.seconds:.0f} s"
            )

        train_network(
            training,
            settings,
            output,
            held_out,
            provenance,
            minutes=minutes,
            device=device_of(device),
            on_epoch=show,
            on_step=lambda step, steps: progress.update(task, completed=step, total=steps),
        )
