# SPDX-License-Identifier: Apache-2.0
"""What each ingredient of the training data is worth: an ablation whose variants are trained on sets of their own.

    python -m spinefinder_fast.training.ingredients FILE DATA OUTPUT [--processes N]

FILE is that of an ablation (`ablation.read_ablation`) with a ``[set]`` table beside it, and in some of its variants,
as for `build_set`; DATA is the folder that `build_set` takes. For each set a folder ``OUTPUT/sets/NAME`` is built; all
variants are judged by the real scans that ``[set]`` holds out, and the table is ``OUTPUT/ablation.md``. A run that was
stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tomllib
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from spinefinder_fast.dataset import Entry
from spinefinder_fast.dataset.layouts import find_entries
from spinefinder_fast.dataset.manifest import MANIFEST, write_manifest
from spinefinder_fast.evaluation.comparison import Comparison
from spinefinder_fast.training.ablation import ablation_of, run_ablation
from spinefinder_fast.training.build_set import SYNTHETIC, build


def compare_ingredients(
    path: Path, data: Path, output: Path, processes: int = 1, say: Callable[[str], None] = lambda line: None
) -> list[Comparison]:
    """Build the sets, train and judge every variant; see the module's text.

    Args:
        path: of the file.
        data: real scans and label maps.
        output: folder for sets, networks, results and the table.
        processes: that build a set.
        say: is given a line on what is done.

    Returns:
        The rows of the table.

    Raises:
        ValueError: the file makes no sense, or a patient is held out and trained on.
        AnnotationError, ScanError, OutputError: as `run_ablation`.
    """
    content = tomllib.loads(path.read_text())
    table = content.pop("set")
    variants = [{**variant} for variant in content.get("variant", [])]
    for variant in variants:
        variant["data"] = str(_built(table | variant.pop("set", {}), data, output, processes, say))
    content |= {"variant": variants, "data": str(_built(table, data, output, processes, say))}
    return run_ablation(ablation_of(content, path), output, store=output / "volumes", say=say)


def _built(table: dict[str, Any], data: Path, output: Path, processes: int, say: Callable[[str], None]) -> Path:
    """The folder of a set, with a manifest that validates on what it holds out."""
    key = sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()[:12]
    folder = (output / "sets" / key).resolve()
    if not folder.exists():
        say(f"set {key}: {table.get('without') or 'nothing'} left out, {table['phantoms']} phantoms")
        parts = folder.with_name(f"{key}.part")
        shutil.rmtree(parts, ignore_errors=True)  # of a run that was stopped
        build({"set": table}, data, parts, processes)
        patients, entries = table.get("patients", {}), []
        for e in find_entries(parts).entries:
            owner = e.scan.parent.name
            patient = e.patient if owner == SYNTHETIC else patients.get(owner, owner)
            entries.append(Entry(e.scan, e.centroids, patient))
        for name in table["held_out"]:
            (judge,) = find_entries(data / "scans" / name).entries
            entries.append(Entry(judge.scan, judge.centroids, patients.get(name, name), "validation"))
        write_manifest(parts / MANIFEST, entries)
        parts.replace(folder)  # last: what is called so is whole
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure what each ingredient of the training data is worth.")
    for argument in ("file", "data", "output"):
        parser.add_argument(argument, type=Path)
    parser.add_argument("--processes", type=int, default=1)
    given = parser.parse_args()
    compare_ingredients(given.file, given.data, given.output, given.processes, print)
    print((given.output / "ablation.md").read_text())
