# SPDX-License-Identifier: Apache-2.0
"""Real CTs of public collections whose vertebrae this project annotated, as folders to train on or to judge by.

    python -m spinefinder_fast.training.annotated SERIES OUT

`annotated.json` beside this file names, for each scan, where it comes from, its licence, the SeriesInstanceUID under
which the Imaging Data Commons or its publisher has it, and its centroids, LPS mm. They were put where this package
found bodies, then looked at one by one: levels by the dens, the first and the last rib and the sacrum, wrong ones
named anew, missed ones added. So expect names to be right and places to be some 3 mm off.

SERIES holds a folder of DICOM slices (or a file ``<id>.nii.gz``) of each, ``<id>``; where `annotated.json` names an
AcquisitionNumber, of the slices of that one. Those that it lacks are left out and told. OUT gets
``train/<id>`` and ``test/<id>``, each with ``ct.nii.gz`` and ``centroids.json``. Only what is CC BY or CC BY-SA is to
train on; the others are under licences that allow no more than to measure, or none is known. No patient is in both.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal

from spinefinder_fast.errors import ScanError
from spinefinder_fast.scan import read_scan, write_nifti

LIST: Final = Path(__file__).with_name("annotated.json")


@dataclass(frozen=True)
class AnnotatedScan:
    """One scan of the list.

    Attributes:
        name: of its folder.
        use: ``"train"`` or ``"test"``.
        source: collection and patient.
        licence: of the images.
        series: SeriesInstanceUID.
        centroids: name -> centre of the vertebral body, LPS mm.
    """

    name: str
    use: Literal["train", "test"]
    source: str
    licence: str
    series: str
    centroids: dict[str, tuple[float, float, float]]

    @property
    def patient(self) -> str:
        """Whose scan it is: the source but for what tells two scans of one person apart."""
        return self.source.split(", AcquisitionNumber")[0]


@cache
def annotated_scans() -> tuple[AnnotatedScan, ...]:
    """The whole list."""
    return tuple(AnnotatedScan(name, **entry) for name, entry in json.loads(LIST.read_text()).items())


def write(series: Path, output: Path) -> dict[str, str]:
    """Write the scans that `series` has; of the others why not, by their names."""
    left_out = {}
    for entry in annotated_scans():
        source = next((p for p in (series / entry.name, series / f"{entry.name}.nii.gz") if p.exists()), None)
        if source is None:
            left_out[entry.name] = "not there"
            continue
        try:
            scan = read_scan(source)
        except ScanError as error:
            left_out[entry.name] = str(error)
            continue
        if not scan.grid.contains(list(entry.centroids.values())).all():
            left_out[entry.name] = f"centroids lie outside of it; series {entry.series} is needed, and all of it"
            continue
        folder = output / entry.use / entry.name
        folder.mkdir(parents=True, exist_ok=True)
        write_nifti(folder / "ct.nii.gz", scan.array, scan.grid)
        centroids = {name: {"lps_mm": place} for name, place in entry.centroids.items()}
        (folder / "centroids.json").write_text(json.dumps({"centroids": centroids}, indent=1) + "\n")
    return left_out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("series", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    for name, reason in write(arguments.series, arguments.output).items():
        print(f"{name} left out: {reason}")
