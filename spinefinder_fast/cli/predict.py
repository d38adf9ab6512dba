# SPDX-License-Identifier: Apache-2.0
"""``spinefinder predict``: find and name the vertebrae in scans."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Annotated, get_args

import typer

from spinefinder_fast.cli.app import app, device_of, stop


@app.command()
def predict(
    inputs: Annotated[
        list[Path], typer.Argument(help="Scans: NIfTI, NRRD, MHA, DICOM folders, folders of them, or a data set.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the results.")],
    split: Annotated[str | None, typer.Option(help="Of a data set: train, validation or test; all by default.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Folder of weights; the package's own by default.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    precision: Annotated[
        str | None,
        typer.Option(help="Of what finds the spine: float32, bfloat16, or auto, which of them is faster."),
    ] = None,
    procedure: Annotated[str, typer.Option(help="fast, or faithful: as in the paper, but for --threshold.")] = "fast",
    look: Annotated[str | None, typer.Option(help="everywhere or coarse_to_fine, instead of the procedure's.")] = None,
    tiling: Annotated[str | None, typer.Option(help="Of detection: faithful or large.")] = None,
    decode: Annotated[str | None, typer.Option(help="order: bodies numbered together; median: the paper's.")] = None,
    centre: Annotated[str | None, typer.Option(help="Of votes: median, mean, geometric_median, mean_shift.")] = None,
    threshold: Annotated[str | None, typer.Option(help="in_view, or paper for Eq. 3 as it stands.")] = None,
    label_map: Annotated[bool, typer.Option("--label-map", help="Write the dense labels as NIfTI too.")] = False,
    profile: Annotated[bool, typer.Option("--profile", help="Show where the time went, and the peak memory.")] = False,
    picture: Annotated[bool, typer.Option("--picture/--no-picture", help="Write a PNG of each spine.")] = True,
) -> None:
    """Find and name the vertebrae in scans; the model is loaded once, and a bad scan does not stop the others.

    For each scan: VerSe-style JSON, CSV, 3D Slicer markups and a picture; for the batch, summary.csv and a table.
    """
    start = perf_counter()
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from spinefinder_fast.batch import predict_batch
    from spinefinder_fast.networks.weights import Precision, load_model
    from spinefinder_fast.procedure import PRESETS
    from spinefinder_fast.report import batch_table, centroid_table, profile_table, write_batch_csv

    if procedure not in PRESETS:
        stop(f"--procedure is {procedure!r}; {', '.join(PRESETS)} are known", 2)
    if precision not in (None, *get_args(Precision)):
        stop(f"--precision is {precision!r}; {', '.join(get_args(Precision))} are known", 2)
    choices = {"look": look, "tiling": tiling, "decode": decode, "centre": centre, "threshold": threshold}
    try:
        chosen = replace(PRESETS[procedure], **{k: v for k, v in choices.items() if v is not None})  # type: ignore[arg-type]
    except ValueError as error:
        stop(f"--{error}", 2)
    try:
        paths = _scans(inputs, split)
    except OSError as error:
        stop(f"[E_UNREADABLE] {error.filename}: {error.strerror}", 5)
    if not paths:
        where = f" for split {split}" if split else ""
        stop(f"[E_NO_SCAN] no scan found{where} in {', '.join(map(str, inputs))}", 3)
    chosen_device = device_of(device)
    results, spines = [], []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with ThreadPoolExecutor(1) as pool, Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("scans", total=len(paths))
        for result, spine in predict_batch(
            paths,
            output,
            pool.submit(load_model, weights, chosen_device, precision or chosen.precision),  # type: ignore[arg-type]
            procedure=chosen,
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
    if profile:
        console.print(profile_table(results, perf_counter() - start))
    if len(spines) == 1 and spines[0]:
        console.print(centroid_table(spines[0]))
    console.print(batch_table(results))
    done = sum(spine is not None for spine in spines)
    raise SystemExit(0 if done == len(results) else 8 if done else 4)


def _scans(inputs: Sequence[Path], split: str | None) -> list[Path]:
    from spinefinder_fast.dataset import SPLITS, is_dataset, read_manifest
    from spinefinder_fast.scan import find_scans

    if split not in (None, *SPLITS):
        stop(f"--split is {split!r}; {', '.join(SPLITS)} are known", 2)
    if split and not any(map(is_dataset, inputs)):
        stop(f"--split {split}: no input is a data set; name a dataset.csv, or a folder with one", 2)
    scans: set[Path] = set()
    for path in inputs:
        if is_dataset(path):
            manifest = read_manifest(path)
            scans.update(entry.scan for entry in (manifest.of_split(split) if split else manifest))
        else:
            scans.update(find_scans([path]))
    return sorted(scans)
