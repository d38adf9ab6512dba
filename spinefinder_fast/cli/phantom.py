# SPDX-License-Identifier: Apache-2.0
"""``spinefinder phantom``: make a synthetic scan."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spinefinder_fast.cli.app import app, stop


@app.command()
def phantom(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the scan and its centroids.")],
    first: Annotated[str, typer.Option(help="Uppermost vertebra in the field of view.")] = "T8",
    last: Annotated[str, typer.Option(help="Lowest vertebra in the field of view.")] = "L5",
    spacing: Annotated[float, typer.Option(min=0.3, max=10, help="Voxel size, mm.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Of anatomy, pose and noise.")] = 0,
    name: Annotated[str, typer.Option(help="Of the files.")] = "phantom",
    form: Annotated[str, typer.Option("--format", help="Of the centroids: verse, biomedia, slicer or csv.")] = "verse",
) -> None:
    """Make a synthetic CT scan with a spine and its true centroids, by default NAME.nii.gz and NAME_ctd.json."""
    from spinefinder_fast.anatomy import LABELS
    from spinefinder_fast.dataset.convert import FORMATS
    from spinefinder_fast.files import make_folder
    from spinefinder_fast.phantom import make_phantom
    from spinefinder_fast.scan import write_nifti

    for end in (first, last):
        if end not in LABELS:
            stop(f"{end!r} is no vertebra; C1..C7, T1..T12, L1..L5, S1, S2 are known", 2)
    if LABELS[last] < LABELS[first]:
        stop(f"{last} lies above {first}; give the uppermost vertebra with --first", 2)
    if form not in FORMATS:
        stop(f"--format is {form!r}; {', '.join(FORMATS)} are known", 2)
    make_folder(output)
    made = make_phantom(first, last, spacing_mm=spacing, seed=seed)
    write_nifti(output / f"{name}.nii.gz", made.array, made.grid)
    ending, write = FORMATS[form]
    write(output / f"{name}{ending}", made.spine)
    print(f"{output / name}.nii.gz: {len(made.spine)} vertebrae, {made.spine.names[0]} to {made.spine.names[-1]}")
