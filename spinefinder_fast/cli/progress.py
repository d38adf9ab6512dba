# SPDX-License-Identifier: Apache-2.0
"""How a training shows itself in the terminal."""

from __future__ import annotations

import math
import time
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from spinefinder_fast.training.loop import EpochReport
from spinefinder_fast.training.run import Watcher
from spinefinder_fast.training.settings import TrainingSettings

STEPS_TIMED = 5
"""The first step is slower than all others; a few after it tell how long the training will take."""


class TrainingProgress(Watcher):
    """Says on stderr what will be done, how long it will take, and how each epoch went.

    Args:
        quiet: for the processes of a team that do not lead.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._console = Console(stderr=True, quiet=quiet)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=self._console)
        self._task: TaskID | None = None
        self._timed: tuple[int, float] | None = None

    def __enter__(self) -> TrainingProgress:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def say(self, line: str) -> None:
        """One line, above the bar."""
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def begins(self, settings: TrainingSettings, training: int, validation: int) -> None:
        parameters = sum(p.numel() for p in settings.spec.build().parameters())
        crops = training * settings.samples_per_scan
        self.say(
            f"{settings.kind}: {parameters:,} parameters at {settings.spacing_mm:g} mm, {training} scans, "
            f"{crops} crops per epoch in steps of {min(settings.batch, crops)}, {settings.epochs} epochs"
        )
        if validation:
            whole = f"; the whole pipeline every {settings.validate_every} epochs" if settings.validate_every else ""
            self.say(f"{validation} validation scans: crops after each epoch{whole}")
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(settings.kind, total=None)
        self._timed = None

    def stepped(self, step: int, steps: int) -> None:
        assert self._task is not None
        self._bar.update(self._task, completed=step, total=steps)
        now = time.monotonic()
        if self._timed is None:
            self._timed = step, now
        elif step - self._timed[0] == STEPS_TIMED:
            left = (steps - step) * (now - self._timed[1]) / STEPS_TIMED
            self.say(f"{steps - step} steps to go, about {timedelta(seconds=round(left))} without validation")

    def epoch(self, report: EpochReport) -> None:
        scores = [f"epoch {report.epoch:3d}  loss {report.loss:.4f}"]
        if not math.isnan(report.validation_loss):
            scores.append(f"validation {report.validation_loss:.4f}")
            scores += [] if math.isnan(report.dice) else [f"Dice {report.dice:.3f}"]
            scores.append(f"accuracy {report.accuracy:.3f}")
        if not math.isnan(report.id_rate):
            scores.append(
                f"pipeline Id {100 * report.id_rate:.1f} %, {report.mean_mm:.1f} mm, {report.missing} missing"
            )
        scores.append(f"{report.crops_per_second:.1f} crops/s, {100 * report.waiting:.0f} % waiting")
        if report.skipped:
            scores.append(f"{report.skipped} steps without a finite gradient, thrown away")
        self.say("  ".join([*scores, f"{report.seconds:.0f} s"]))
