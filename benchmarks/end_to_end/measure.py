# SPDX-License-Identifier: Apache-2.0
"""What is held against what, as the rows of the table. Each part is one child process or a few (`one`).

The parts do not import torch, scipy or the package: what this process holds counts into the peak of its children.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from math import dist
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.kernels.tables import ROOT, Row

from .sizes import Sizes, shape_text

FAST: dict[str, str] = {}
"""The default procedure, whatever it is."""
FAITHFUL = {"look": "everywhere", "tiling": "faithful", "decode": "median"}

FASTER, LIMIT_MB, LONGEST_LIMIT_MB, GROWTH, BATCH, AGREEMENT_MM, START_S = 60, 2000, 2500, 1.1, 0.75, 0.5, 0.3
"""The targets."""

DICE = 0.9
"""Masks of one network over other windows agree at least so well."""

NAMED = 0.75
"""At least this share of the vertebrae that are wholly in view must be named rightly: else the time is for nothing."""

REACH_MM = 20.0
"""Within which a vertebra is where it should be."""


class Failed(Exception):
    """A process that ended with an error."""


@dataclass
class Bench:
    """One run.

    Attributes:
        sizes: of everything.
        folder: for scans and results, temporary.
        weights: folder of weights; None for those of the package.
        data: scans to agree on besides the phantoms.
        rows: of the table, so far.
        stages: median seconds of each stage, by procedure.
        failed: what was answered wrongly, or ended with an error: one line each.
    """

    sizes: Sizes
    folder: Path
    weights: Path | None = None
    data: list[Path] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    stages: dict[str, dict[str, float]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    _detected_mm: float | None = None

    def run(self) -> None:
        """Everything, in order."""
        started = time.perf_counter()
        for part in (
            self._start_up,
            self._whole_way,
            self._windows,
            self._paper,
            self._segresnet,
            self._longest,
            self._batch,
            self._agreement,
        ):
            print(f"{time.perf_counter() - started:6.0f} s  {part.__name__.strip('_')}", file=sys.stderr, flush=True)
            try:
                part()
            except Failed as failed:
                # The others are still worth seeing, unless they need what this one should have made.
                self.failed.append(f"{part.__name__.strip('_')}: {failed}")
                if part == self._whole_way:
                    break
        self.rows.sort(key=lambda row: ORDER.index(row["kernel"]))

    def _start_up(self) -> None:
        """First, as the files of the package are as cold now as they will be."""
        code = "import time; t = time.perf_counter(); import spinefinder_fast; print(time.perf_counter() - t)"
        seconds = [float(_process("-c", code)) for _ in range(self.sizes.starts)]
        ours = median(seconds)
        self._row("import spinefinder_fast, s", "limit", "", ours, START_S, "lower", ours, None)

    def _whole_way(self) -> None:
        slices = self.sizes.scan.shape[2]
        lengths = [slices * times for times in (1, *self.sizes.growth)]
        made = self._job("scans", folder=str(self.folder), extent=asdict(self.sizes.scan), lengths=lengths)
        self._files = {int(slices): file for slices, file in made["files"].items()}
        fast, *longer = (self._locate(n, FAST, self.sizes.warm) for n in lengths)
        faithful = self._locate(slices, FAITHFUL, 1)
        self._fast = fast
        for name, found in (("fast", fast), ("faithful", faithful)):
            right = _rightly_named(found, made)
            self._expect(
                len(right) >= NAMED * len(made["names"]), f"{name}: of {made['names']} only {right} are named rightly"
            )
        within = [name for name in made["names"] if name in fast["names"] or name in faithful["names"]]
        both = [name for name in within if name in fast["names"] and name in faithful["names"]]
        for name, found in (("fast", fast), ("faithful", faithful)):
            self.stages[name] = {stage: s for stage, s in found["seconds"].items() if stage != "total"}
        shape = shape_text(self.sizes.scan.shape)
        theirs, mb = faithful["seconds"]["total"], (fast["peak_mb"], faithful["peak_mb"])
        agreed = f"{len(both)} of {len(within)} vertebrae wholly in view are named alike"
        ours = fast["seconds"]["total"]
        self._row("file to centroids", "faithful", shape, theirs / ours, FASTER, "higher", ours, theirs, *mb, agreed)
        ours, theirs = _after_load(fast), _after_load(faithful)
        self._row("scan to centroids", "faithful", shape, theirs / ours, None, "higher", ours, theirs, *mb)
        self._limit(fast, self.sizes.scan.shape, "full", LIMIT_MB)
        for n, found in zip(lengths[1:], longer, strict=True):
            times = n // slices
            ratio = _after_load(found) / times / ours
            long_shape = shape_text((*self.sizes.scan.shape[:2], n))
            self._row(
                "seconds per slice",
                "1x",
                long_shape,
                ratio,
                GROWTH,
                "lower",
                _after_load(found),
                ours,
                found["peak_mb"],
                fast["peak_mb"],
                size=f"{times}x",
            )

    def _locate(self, slices: int, procedure: dict[str, str], warm: int) -> dict[str, Any]:
        return self._job("whole_way", scan=self._files[slices], **self._w, procedure=procedure, warm=warm)

    def _paper(self) -> None:
        scan = self._files[self.sizes.scan.shape[2]]
        if self._detected_mm is None:
            raise Failed("how many slices hold a vertebra is not known")
        of_each = {"patches": self.sizes.patches, "slices": self.sizes.slices}
        found = self._job("paper", scan=scan, detected_mm=self._detected_mm, **of_each)
        theirs = found["patch_s"] * found["patches"] + found["slice_s"] * found["slices"]
        ours = _after_load(self._fast)
        note = (
            f"extrapolated from {self.sizes.patches} patches and {self.sizes.slices} slices to the "
            f"{found['patches']} patches of this scan and its {found['slices']} slices with something detected: "
            "networks alone, full width, 1 mm"
        )
        mb = self._fast["peak_mb"]
        self._row(
            "scan to centroids",
            "the paper's networks, 1 mm",
            shape_text(self.sizes.scan.shape),
            theirs / ours,
            None,
            "higher",
            ours,
            theirs,
            mb,
            note=note,
        )

    def _windows(self) -> None:
        scan = self._files[self.sizes.scan.shape[2]]
        found = self._job("windows", scan=scan, **self._w, overlaps=[0.5, 0.25], warm=self.sizes.warm)
        self._detected_mm = found["detected_mm"]
        for other in found["theirs"]:
            against = f"MONAI sliding window, overlap {other['overlap']}, {other['form']}"
            self._expect(other["dice"] > DICE, f"{against}: the masks agree by a Dice of {other['dice']:.3f} only")
            ours, theirs = found["ours_s"], other["seconds"]
            self._row(
                "coarse look and detection",
                against,
                shape_text(found["shape"]),
                theirs / ours,
                None,
                "higher",
                ours,
                theirs,
                note=f"the same detection network; the masks agree by a Dice of {other['dice']:.3f}",
            )

    def _segresnet(self) -> None:
        found = self._job("segresnet", scan=self._files[self.sizes.scan.shape[2]], roi=self.sizes.roi)
        ours, theirs = _after_load(self._fast), found["seconds"]
        self._row(
            "scan to centroids",
            "MONAI SegResNet, 3 mm",
            shape_text(self.sizes.scan.shape),
            theirs / ours,
            1,
            "higher",
            ours,
            theirs,
            self._fast["peak_mb"],
            found["peak_mb"],
            f"105 channels, random weights; {found['resample_s']:.2f} s of its time are the resampling",
        )

    def _longest(self) -> None:
        slices = self.sizes.longest
        for file in self._files.values():
            Path(file).unlink()  # the room is needed
        made = self._job("scans", folder=str(self.folder), extent=asdict(self.sizes.scan), lengths=[slices])
        self._files = {slices: made["files"][str(slices)]}
        found = self._locate(slices, FAST, 1)
        self._limit(found, (*self.sizes.scan.shape[:2], slices), "long", LONGEST_LIMIT_MB)
        Path(self._files[slices]).unlink()

    def _batch(self) -> None:
        small, count = self.sizes.small, self.sizes.batch
        files = self._job("takes", folder=str(self.folder), extent=asdict(small), count=count)["files"]
        found = self._job("batch", files=files, folder=str(self.folder / "results"), **self._w)
        ours, theirs = found["together_s"], found["single_s"]
        shape = f"{count} of {shape_text(small.shape)}"
        self._row(
            "a batch",
            "one by one",
            shape,
            ours / theirs,
            BATCH,
            "lower",
            ours,
            theirs,
            found["peak_mb"],
            note="files to result files, pictures included; the same process for both",
        )
        given = ["--weights", str(self.weights)] if self.weights else []
        arguments = ["-m", "spinefinder_fast", "predict", files[0], "-o", str(self.folder / "fresh"), *given]
        seconds = []
        for _ in range(self.sizes.starts):
            start = time.perf_counter()
            _process(*arguments)
            seconds.append(time.perf_counter() - start)
        ours, theirs, fast = median(seconds), found["one_s"], self._fast
        self._row(
            "spinefinder predict, a fresh process",
            "a warm process",
            shape_text(small.shape),
            ours / theirs,
            None,
            "lower",
            ours,
            theirs,
            note=f"of it imports {fast['import_all_s']:.2f} s, loading and compiling the networks "
            f"{fast['load_model_s']:.2f} s; the first runs of a network are slower too",
        )

    def _agreement(self) -> None:
        sizes = self.sizes
        found = self._job(
            "agreement",
            **self._w,
            phantoms=sizes.phantoms,
            fov_mm=sizes.phantom_fov_mm,
            data=[str(path) for path in self.data],
        )
        for what, cases in ((f"{len(sizes.phantoms)} phantoms", found["phantoms"]), ("scans", found["scans"])):
            if not cases:
                continue
            shape = what if what != "scans" else f"{len(cases)} scans"
            mm = [x for case in cases for x in case["mm"]]
            vertebrae, either = (sum(case[key] for case in cases) for key in ("vertebrae", "either"))
            if not mm:
                raise Failed(f"nothing found by both in {shape}")
            seconds = sum(case["fast_s"] for case in cases), sum(case["faithful_s"] for case in cases)
            other = "faithful tiling everywhere"
            self._row("distance, median mm", other, shape, median(mm), AGREEMENT_MM, "lower", *seconds)
            self._row("distance, largest mm", other, shape, max(mm), None, "lower", *seconds)
            equal, inside = (sum(case[key] for case in cases) for key in ("equal", "inside"))
            note = f"{equal} of the {either} vertebrae that either finds"
            self._row("share named alike", other, shape, equal / either, None, "higher", *seconds, note=note)
            if true := sum(case["true"] for case in cases):
                fast, faithful = ([x for case in cases for x in case[way]] for way in ("fast_right", "faithful_right"))
                note = (
                    f"{len(fast)} and {len(faithful)} of {true} annotated vertebrae, "
                    f"at a median of {median(fast or [0]):.2f} and {median(faithful or [0]):.2f} mm"
                )
                ratio = len(fast) / max(1, len(faithful))
                self._row("vertebrae named rightly", other, shape, ratio, 1, "higher", *seconds, note=note)
            self._row(
                "share inside the coarse boxes",
                "the paper's patches everywhere",
                shape,
                inside / vertebrae,
                1,
                "higher",
                *seconds,
                note=f"{inside} of {vertebrae} centroids",
            )

    def _limit(self, found: dict[str, Any], shape: tuple[int, ...], size: str, limit: int) -> None:
        if found["peak_mb"] is None:
            return
        total = found["seconds"]["total"]
        row = ("peak memory, MB", "limit", shape_text(shape), found["peak_mb"], limit, "lower", total, None)
        self._row(*row, found["peak_mb"], size=size)

    def _expect(self, true: bool, otherwise: str) -> None:
        if not true:
            self.failed.append(otherwise)

    @property
    def _w(self) -> dict[str, Any]:
        return {"weights": str(self.weights) if self.weights else None}

    def _row(
        self,
        kernel: str,
        against: str,
        shape: str,
        ratio: float,
        target: float | None,
        better: str,
        ours: float | None,
        theirs: float | None,
        peak_mb: float | None = None,
        against_peak_mb: float | None = None,
        note: str = "",
        *,
        size: str = "full",
    ) -> None:
        self.rows.append(
            {
                "kernel": kernel,
                "against": against,
                "shape": shape,
                "size": size,
                "ratio": _digits(ratio),
                "target": target,
                "better": better,
                "device": "cpu",
                "median_s": _digits(ours),
                "peak_mb": _digits(peak_mb),
                "against_median_s": _digits(theirs),
                "against_peak_mb": _digits(against_peak_mb),
                "note": note,
            }
        )

    def _job(self, job: str, **arguments: Any) -> dict[str, Any]:
        last = _process("-m", "benchmarks.end_to_end.one", job, json.dumps(arguments)).splitlines()[-1]
        found: dict[str, Any] = json.loads(last)
        return found


ORDER = (
    "file to centroids",
    "scan to centroids",
    "coarse look and detection",
    "seconds per slice",
    "peak memory, MB",
    "a batch",
    "distance, median mm",
    "distance, largest mm",
    "share named alike",
    "vertebrae named rightly",
    "share inside the coarse boxes",
    "import spinefinder_fast, s",
    "spinefinder predict, a fresh process",
)
"""Of the rows: not that in which they are measured."""


def _after_load(found: dict[str, Any]) -> float:
    return float(found["seconds"]["total"] - found["seconds"]["load"])


def _rightly_named(found: dict[str, Any], truth: dict[str, Any]) -> list[str]:
    """The vertebrae of the phantom that are found where they are, under their names."""
    places = dict(zip(found["names"], found["lps"], strict=True))
    return [
        name
        for name, lps in zip(truth["names"], truth["lps"], strict=True)
        if name in places and dist(places[name], lps) < REACH_MM
    ]


def _process(*arguments: str) -> str:
    """What a fresh Python prints.

    Raises:
        Failed: it ended with an error.
    """
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        raise Failed((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
    return done.stdout


def _digits(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def scans_of(folder: Path) -> list[Path]:
    """Scans of a data folder, one in a folder each."""
    return sorted(folder.glob("*/ct.nii.gz"))


def machine(load: float, weights: Path | None) -> dict[str, Any]:
    """As for the kernels, and which weights were run. Measured after all else: it imports torch."""
    from benchmarks.kernels.conftest import machine as of_kernels
    from spinefinder_fast.networks.weights import DEFAULT_FOLDER, read_manifest

    networks = read_manifest(weights or DEFAULT_FOLDER)["networks"]
    hashes = "+".join(network["sha256"][:8] for _, network in sorted(networks.items()))
    return {**of_kernels(load), "weights": hashes}
