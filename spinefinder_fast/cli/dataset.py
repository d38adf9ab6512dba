# SPDX-License-Identifier: Apache-2.0
"""``spinefinder dataset``: check a data set, or bring several of any layout into one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from spinefinder_fast.cli.app import app, stop

dataset = typer.Typer(no_args_is_help=True, help="Check a data set, or bring several of any layout into one.")
app.add_typer(dataset, name="dataset")

Pattern = Annotated[
    str | None,
    typer.Option(help="Regular expression, searched in a scan's name: its first group, or all of it, is the patient."),
]


@dataset.command()
def check(
    data: Annotated[list[Path], typer.Argument(help="Folders of any known layout, or manifests: one data set.")],
    patient_pattern: Pattern = None,
    csv: Annotated[Path | None, typer.Option(help="File for the findings as a table.")] = None,
) -> None:
    """Look for everything that is wrong with a data set: a line for each fault, as FILE:LINE: CODE what it is.

    W_ is a warning, E_ an error; exit code 9 says that there are errors.
    """
    from rich.console import Console
    from rich.progress import track

    from spinefinder_fast.dataset.audit import audit, write_findings

    _check_pattern(patient_pattern)
    _check_there(data)
    progress = Console(stderr=True)
    found = audit(
        data,
        patient_pattern,
        lambda entries: track(entries, "scans", console=progress, transient=True, disable=not progress.is_terminal),
    )
    if not found.scans and not found.findings:
        stop(f"[E_NO_SCAN] no scan found in {', '.join(map(str, data))}", 3)
    for finding in found.findings:
        print(finding)
    if csv is not None:
        write_findings(csv, found.findings)
    warnings = len(found.findings) - found.errors
    print(
        f"{_count(found.scans, 'scan')}, {_count(found.vertebrae, 'centroid')}: "
        f"{_count(found.errors, 'error')}, {_count(warnings, 'warning')}"
    )
    raise SystemExit(9 if found.errors else 0)


@dataset.command("import")
def import_(
    sources: Annotated[list[Path], typer.Argument(help="Folders of any known layout, or manifests.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for dataset.csv and the centroids.")],
    form: Annotated[str, typer.Option("--format", help="Of the centroids: verse, biomedia, slicer or csv.")] = "verse",
    copy: Annotated[bool, typer.Option("--copy", help="Copy the scans too.")] = False,
    validation: Annotated[float, typer.Option(help="Share of the patients, where no folder says a split.")] = 0.0,
    test: Annotated[float, typer.Option(help="Share of the patients, where no folder says a split.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Of who goes into which split.")] = 0,
    patient_pattern: Pattern = None,
    source: Annotated[str, typer.Option(help="Where the scans come from, if they do not state it.")] = "",
    licence: Annotated[str, typer.Option(help="Under which terms, if they do not state it.")] = "",
) -> None:
    """Bring data sets of any known layout into one: dataset.csv, which lists everything, and centroids in one format.

    What cannot be used is named with the reason and left out.
    """
    from spinefinder_fast.dataset import SPLITS
    from spinefinder_fast.dataset.convert import import_dataset
    from spinefinder_fast.errors import SpinefinderError

    _check_pattern(patient_pattern)
    _check_there(sources)
    try:
        made = import_dataset(
            sources,
            output,
            form=form,
            copy=copy,
            validation=validation,
            test=test,
            seed=seed,
            patient_pattern=patient_pattern,
            source=source,
            licence=licence,
        )
    except ValueError as error:
        stop(str(error), 2)
    except SpinefinderError as error:
        if error.code in ("E_NO_SCAN", "E_NO_CENTROIDS"):
            stop(str(error), 3 if error.code == "E_NO_SCAN" else 4)
        raise
    for path, warning in made.warnings:
        print(f"spinefinder: {path}: {warning}", file=sys.stderr)
    for path, reason in made.left_out:
        print(f"spinefinder: left out: {path}: {reason}", file=sys.stderr)
    for name, share in (("validation", validation), ("test", test)):
        if share > 0 and not made.manifest.of_split(name):
            print(f"spinefinder: no patient is in {name}: {share:g} of so few is none", file=sys.stderr)
    patients = len({entry.patient for entry in made.manifest})
    splits = ", ".join(f"{len(made.manifest.of_split(split))} {split}" for split in SPLITS)
    print(
        f"{made.manifest.path}: {_count(len(made.manifest), 'scan')} of {_count(patients, 'patient')} ({splits}), "
        f"{_count(sum(made.vertebrae), 'centroid')}; {len(made.left_out)} left out"
    )
    raise SystemExit(8 if made.left_out else 0)


def _check_pattern(pattern: str | None) -> None:
    import re

    try:
        re.compile(pattern or "")
    except re.error as error:
        stop(f"--patient-pattern is {pattern!r}, which is no regular expression: {error}", 2)


def _check_there(paths: list[Path]) -> None:
    if missing := [str(path) for path in paths if not path.exists()]:
        stop(f"[E_NO_SCAN] there is no such folder: {', '.join(missing)}", 5)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
