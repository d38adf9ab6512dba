# SPDX-License-Identifier: Apache-2.0
"""The command ``spinefinder``. Every heavy import waits inside a command, so ``--help`` is instant.

Exit codes are part of the interface: 0 all done, 1 our bug, 2 usage, 3 no scan found, 4 scans found but none done,
5 input missing or unreadable, 6 output folder or device unusable, 7 weights unusable, 8 some scans done and some not.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from spinefinder_fast import __version__

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Find and name the vertebrae in CT scans. Not a medical device.",
)


def main() -> None:
    """Entry point of the ``spinefinder`` command."""
    from spinefinder_fast.errors import OutputError, SpinefinderError, WeightsError

    try:
        app()
    except SpinefinderError as error:
        _stop(str(error), 7 if isinstance(error, WeightsError) else 6 if isinstance(error, OutputError) else 5)


def _stop(message: str, code: int) -> NoReturn:
    print(f"spinefinder: {message}", file=sys.stderr)
    raise SystemExit(code)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"spinefinder_fast {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def _device(wanted: str) -> str:
    import torch

    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", wanted):
        _stop(f"--device is {wanted!r}; auto, cpu, cuda or cuda:N is wanted", 2)
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted != "cpu" and int(wanted.removeprefix("cuda").lstrip(":") or 0) >= torch.cuda.device_count():
        _stop(f"there is no CUDA device {wanted} here; use --device cpu", 6)
    return wanted


@app.command()
def predict(
    inputs: Annotated[list[Path], typer.Argument(help="Scans: NIfTI, NRRD, MHA, DICOM folders, or folders of them.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the results.")],
    weights: Annotated[Path | None, typer.Option(help="Folder of weights; the package's own by default.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threshold: Annotated[str, typer.Option(help="in_view, or paper for Eq. 3 as it stands.")] = "in_view",
    label_map: Annotated[bool, typer.Option("--label-map", help="Write the dense labels as NIfTI too.")] = False,
    picture: Annotated[bool, typer.Option("--picture/--no-picture", help="Write a PNG of each spine.")] = True,
) -> None:
    """Find and name the vertebrae in scans; the model is loaded once, and a bad scan does not stop the others.

    For each scan: VerSe-style JSON, CSV, 3D Slicer markups and a picture; for the batch, summary.csv and a table.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from spinefinder_fast.batch import predict_batch
    from spinefinder_fast.networks.weights import load_model
    from spinefinder_fast.report import batch_table, centroid_table, write_batch_csv
    from spinefinder_fast.scan import find_scans

    if threshold not in ("in_view", "paper"):
        _stop(f"--threshold is {threshold!r}; in_view or paper is wanted", 2)
    try:
        paths = find_scans(inputs)
    except OSError as error:
        _stop(f"[E_UNREADABLE] {error.filename}: {error.strerror}", 5)
    if not paths:
        _stop(f"[E_NO_SCAN] no scan found in {', '.join(map(str, inputs))}", 3)
    model = load_model(weights, _device(device))
    results, spines = [], []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("scans", total=len(paths))
        for result, spine in predict_batch(
            paths,
            output,
            model,
            threshold=threshold,  # type: ignore[arg-type]
            label_map=label_map,
            picture=picture,
        ):
            results.append(result)
            spines.append(spine)
            progress.advance(task)
            if spine is None:
                print(f"spinefinder: {result.status}: {paths[len(results) - 1]}: {result.message}", file=sys.stderr)
    write_batch_csv(output / "summary.csv", results)
    console = Console()
    if len(spines) == 1 and spines[0]:
        console.print(centroid_table(spines[0]))
    console.print(batch_table(results))
    done = sum(spine is not None for spine in spines)
    raise SystemExit(0 if done == len(results) else 8 if done else 4)


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
            _stop(f"[E_NO_CENTROIDS] there is no such folder: {folder}", 5)
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


@app.command()
def phantom(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the scan and its centroids.")],
    first: Annotated[str, typer.Option(help="Uppermost vertebra in the field of view.")] = "T8",
    last: Annotated[str, typer.Option(help="Lowest vertebra in the field of view.")] = "L5",
    spacing: Annotated[float, typer.Option(min=0.3, max=10, help="Voxel size, mm.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Of anatomy, pose and noise.")] = 0,
    name: Annotated[str, typer.Option(help="Of the files.")] = "phantom",
) -> None:
    """Make a synthetic CT scan with a spine and its true centroids: NAME.nii.gz and NAME_ctd.json."""
    from spinefinder_fast.anatomy import LABELS
    from spinefinder_fast.files import make_folder
    from spinefinder_fast.phantom import make_phantom
    from spinefinder_fast.report import write_verse_json
    from spinefinder_fast.scan import write_nifti

    for end in (first, last):
        if end not in LABELS:
            _stop(f"{end!r} is no vertebra; C1..C7, T1..T12, L1..L5, S1, S2 are known", 2)
    if LABELS[last] < LABELS[first]:
        _stop(f"{last} lies above {first}; give the uppermost vertebra with --first", 2)
    make_folder(output)
    made = make_phantom(first, last, spacing_mm=spacing, seed=seed)
    write_nifti(output / f"{name}.nii.gz", made.array, made.grid)
    write_verse_json(output / f"{name}_ctd.json", made.spine)
    print(f"{output / name}.nii.gz: {len(made.spine)} vertebrae, {made.spine.names[0]} to {made.spine.names[-1]}")


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
        _stop(f"{network!r} is no network; detection or identification is wanted", 2)
    console = Console(stderr=True)
    kind = network
    try:
        settings = read_recipe(recipe, kind) if recipe else PAPER[kind]  # type: ignore[arg-type,index]
        provenance = read_provenance(recipe) if recipe else {}
        settings = with_changes(settings, {} if epochs is None else {"epochs": epochs}, "--epochs")
        parameters = sum(p.numel() for p in settings.spec.build().parameters())
    except (OSError, ValueError) as error:
        _stop(str(error), 2)
    make_folder(output)
    with console.status("reading scans"):
        training = load_training_scans(scans, settings)
        held_out = load_training_scans(validation, settings) if validation else []
    # By what they show, not by name: a copy is the same patient, and in every other folder there is a ct.nii.gz.
    seen = {crc32(scan.array.tobytes()) for scan in training}
    if shared := [str(scan.path) for scan in held_out if crc32(scan.array.tobytes()) in seen]:
        _stop(f"[E_SPLIT_OVERLAP] {', '.join(shared)}: in training and validation; keep patients apart", 5)
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
            device=_device(device),
            on_epoch=show,
            on_step=lambda step, steps: progress.update(task, completed=step, total=steps),
        )
