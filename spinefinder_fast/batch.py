# SPDX-License-Identifier: Apache-2.0
"""Many scans, one model: each is located and reported by itself, and a bad one costs nobody else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Literal

from spinefinder_fast.errors import OutputError, SpinefinderError
from spinefinder_fast.scan import read_scan, scan_name
from spinefinder_fast.spine import Spine

if TYPE_CHECKING:
    from spinefinder_fast.centroids import Threshold
    from spinefinder_fast.networks.weights import Model

Status = Literal["ok", "ok_warn", "refused", "failed"]


@dataclass(frozen=True)
class ScanResult:
    """What became of one scan.

    Attributes:
        name: under which its results are written.
        path: of the scan.
        status: ``"ok"``; ``"ok_warn"``, done but read the message; ``"refused"``, the scan cannot be used safely;
            ``"failed"``, it could have been but something else went wrong.
        seconds: spent on it.
        message: one line, empty where there is nothing to say.
        spine: the centroids, None unless done.
    """

    name: str
    path: Path
    status: Status
    seconds: float
    message: str = ""
    spine: Spine | None = None


def result_names(paths: Sequence[Path]) -> list[str]:
    """One name per scan to write its results under: the scan's own, with folders before it where two would clash.

    Raises:
        OutputError: ``E_NAME_CLASH``, two scans cannot be told apart by name (``a.nii`` beside ``a.nii.gz``).
    """
    parents = [path.resolve().parent.parts for path in paths]
    names = [scan_name(path) for path in paths]
    depth = 0
    while clashes := {name for name in names if _count(names, name) > 1}:
        depth += 1
        if depth > max(map(len, parents)):
            raise OutputError(
                "E_NAME_CLASH", f"several scans are called {min(clashes)}; run them into separate folders"
            )
        names = [
            "_".join((*parent[len(parent) - depth :], scan_name(path))) if name in clashes else name
            for name, path, parent in zip(names, paths, parents, strict=True)
        ]
    return names


def _count(names: Sequence[str], name: str) -> int:
    # On many file systems names that differ in case alone are one file.
    return sum(other.casefold() == name.casefold() for other in names)


def predict_batch(
    paths: Sequence[Path],
    folder: Path,
    model: Model,
    *,
    threshold: Threshold = "in_view",
    label_map: bool = False,
    picture: bool = True,
) -> Iterator[ScanResult]:
    """Locate the vertebrae of each scan and write its results into `folder`; yields each result as it is done.

    Args:
        paths: from `scan.find_scans`.
        folder: for the results; made where it is missing.
        model: loaded once, used for all.
        threshold: see `centroids.aggregate`.
        label_map: write the dense labels as ``<name>_labels.nii.gz`` too.
        picture: write ``<name>.png`` too.

    Raises:
        OutputError: the folder cannot be made, or two scans have one name; before any scan is touched.
    """
    names = result_names(paths)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError("E_OUTPUT", f"cannot make the folder {folder} ({error.strerror}); choose another") from error
    for name, path in zip(names, paths, strict=True):
        yield _one(name, path, folder, model, threshold, label_map, picture)


def _one(
    name: str, path: Path, folder: Path, model: Model, threshold: Threshold, label_map: bool, picture: bool
) -> ScanResult:
    from spinefinder_fast.pipeline import locate
    from spinefinder_fast.report import write_report

    start = perf_counter()
    try:
        scan = read_scan(path)
        spine = locate(scan, model, threshold=threshold)
        write_report(scan, spine, folder, name, label_map=label_map, picture=picture)
    except OutputError:
        # The folder is full or gone: every other scan would fail alike.
        raise
    except SpinefinderError as error:
        return ScanResult(name, path, "refused", perf_counter() - start, str(error))
    except Exception as error:
        # Whatever it is, the rest of the batch must not pay for it.
        message = f"[E_INTERNAL] {type(error).__name__}: {error}".splitlines()[0]
        return ScanResult(name, path, "failed", perf_counter() - start, message)
    warnings = list(spine.warnings)
    if not len(spine):
        warnings.append("no vertebra found")
    status: Status = "ok_warn" if warnings else "ok"
    return ScanResult(name, path, status, perf_counter() - start, "; ".join(warnings), spine)
