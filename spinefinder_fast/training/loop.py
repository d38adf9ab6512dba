# SPDX-License-Identifier: Apache-2.0
"""The training loop: one readable file, for both networks, on one process or many."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from spinefinder_fast.errors import WeightsError
from spinefinder_fast.files import make_folder, write_bytes
from spinefinder_fast.networks.losses import loss_of
from spinefinder_fast.networks.weights import Kind, load_network, read_manifest, save_network
from spinefinder_fast.training.samples import BatchOrder, CropDataset, batches, steps_per_epoch
from spinefinder_fast.training.settings import TrainingSettings
from spinefinder_fast.training.team import Team
from spinefinder_fast.training.validation import score_crops, score_pipeline
from spinefinder_fast.training.volumes import TrainingScan

CHECKPOINT = "{}.checkpoint.pt"
LOG = "{}.log.csv"
"""Both networks may be trained into one folder, which then is a model."""

CHECKPOINT_SECONDS: Final = 300.0
"""Between two checkpoints inside a long epoch."""

ALONE: Final = Team()


@dataclass(frozen=True)
class EpochReport:
    """What the log says of an epoch.

    Attributes:
        epoch: counted from 1.
        steps: optimiser steps since the start.
        skipped: steps of this epoch whose gradient was not finite and was thrown away.
        loss: mean training loss.
        validation_loss, dice, accuracy: see `validation.CropScore`; NaN without validation scans.
        id_rate, mean_mm, missing, extra: see `validation.PipelineScore`; NaN and 0 in epochs without it.
        crops_per_second: that went through the network.
        waiting: share of the time of the steps in which the network waited for crops.
        seconds: that the epoch took, with validation.
    """

    epoch: int
    steps: int
    skipped: int
    loss: float
    validation_loss: float
    dice: float
    accuracy: float
    id_rate: float
    mean_mm: float
    missing: int
    extra: int
    crops_per_second: float
    waiting: float
    seconds: float

    @property
    def goodness(self) -> tuple[float, float]:
        """Of the whole pipeline, the greater the better: identification rate, then nearness."""
        return self.id_rate, -math.inf if math.isnan(self.mean_mm) else -self.mean_mm


@dataclass
class _Progress:
    """How far a run has come."""

    step: int = 0
    history: list[EpochReport] = field(default_factory=list)
    # Of the epoch that is under way.
    loss: float = 0.0
    skipped: int = 0
    seconds: float = 0.0
    waited: float = 0.0

    def finished(self, settings: TrainingSettings) -> bool:
        """Whether all epochs are done, or the last validations of the pipeline brought nothing better."""
        judged = [report for report in self.history if not math.isnan(report.id_rate)]
        since = len(judged) - 1 - max(range(len(judged)), key=lambda i: judged[i].goodness, default=0)
        return len(self.history) >= settings.epochs or bool(settings.patience and since >= settings.patience)

    def unjudged(self) -> bool:
        """Whether the whole pipeline was not validated yet, or could not be."""
        return all(math.isnan(report.id_rate) for report in self.history)

    def brought_the_best(self) -> bool:
        """Whether no epoch before the last one was as good."""
        *before, last = self.history
        return not math.isnan(last.id_rate) and all(
            math.isnan(report.id_rate) or report.goodness < last.goodness for report in before
        )


def train(
    scans: Sequence[TrainingScan],
    settings: TrainingSettings,
    folder: Path,
    validation: Sequence[TrainingScan] = (),
    provenance: dict[str, Any] | None = None,
    minutes: float | None = None,
    team: Team = ALONE,
    start: Path | None = None,
    on_epoch: Callable[[EpochReport], None] = lambda report: None,
    on_step: Callable[[int, int], None] = lambda step, steps: None,
) -> nn.Module:
    """Train one network; go on where a checkpoint in `folder` left off.

    A run may be killed at any time: it goes on from its last checkpoint, made after each epoch and every five minutes,
    sees the same crops in the same order, and ends with the weights of a run that was never stopped (to the bit on one
    machine's CPU). After every epoch `folder` holds the log and the weights with their manifest.

    Args:
        scans: training scans.
        settings: of this run; a checkpoint of other settings or scans is refused.
        folder: for checkpoint, log and weights.
        validation: scans of other patients, for the log and, with ``settings.patience``, for the choice of the epoch.
            The pipeline is validated with the other network in `folder`, or with the truth in its place.
        provenance: written into the manifest beside the settings.
        minutes: finish after the epoch in which this time is over; the learning rate does not know of it.
        team: the processes that share the work, all of which call this.
        start: a model folder whose network of this kind lends its weights; None begins at random.
        on_epoch: called with each epoch's report, by the leading process.
        on_step: called by it after each step with the number of steps since the start and that of all epochs.

    Returns:
        The network after the last step, or its moving average with ``settings.ema``.

    Raises:
        WeightsError: the checkpoint in `folder` comes from other settings, scans or weights; the weights of `start` are
            damaged or of another network.
        ValueError: the team is larger than a batch, or does not divide it.
    """
    make_folder(folder)
    torch.manual_seed(settings.seed)
    network = (settings.spec.build() if start is None else _lent(settings, start)).to(team.device)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = settings.norm_momentum
    layout = torch.channels_last if settings.kind == "identification" else torch.channels_last_3d
    network.to(memory_format=layout)  # type: ignore[call-overload]
    average = _moving_average(network, settings.ema) if settings.ema else None
    optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
    crops = CropDataset(scans, settings)
    per_epoch = steps_per_epoch(crops)
    last = per_epoch * settings.epochs
    batch = min(settings.batch, len(crops))
    if batch % team.size:
        raise ValueError(f"{team.size} processes cannot share a batch of {batch} crops evenly; change the one or other")
    shared = team.share(network)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, settings, last))
    checkpoint = folder / CHECKPOINT.format(settings.kind)
    run = {
        # Crops do not depend on the number of workers, so a run may go on with another.
        "settings": {k: v for k, v in asdict(settings).items() if k != "workers"},
        # In this order, for the number of a crop says of which scan it is; and with their annotation.
        "scans": [scan.identity for scan in scans],
        "validation scans": [scan.identity for scan in validation] if settings.patience else [],
        "start": None if start is None else read_manifest(start)["networks"][settings.kind]["sha256"],
    }
    states = {"network": network, "optimiser": optimiser, "schedule": schedule}
    if average is not None:
        states["average"] = average
    progress = _resume(checkpoint, run, states)
    kept = network if average is None else average.module
    half = settings.half(team.device)
    started = saved = time.monotonic()
    done = progress.finished(settings)
    if not done:
        order = BatchOrder(crops, progress.step, last, team.rank, team.size)
        source = iter(batches(crops, order, team.device))
        network.train()
    while not done:
        begin = time.monotonic()
        images, labels = next(source)
        waited = time.monotonic() - begin
        images = images.to(team.device, non_blocking=True, memory_format=layout)
        labels = labels.to(team.device, non_blocking=True)
        count = team.sum((labels != 0).sum()) / team.size if team.size > 1 else None
        loss = loss_of(settings.kind, shared, images, labels, half, count, settings.loss)[0]
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        # Now and then a CPU's bfloat16 convolution returns a NaN in one gradient of a tiny layer; a single one of
        # them would be the end of the weights.
        if torch.isfinite(nn.utils.get_total_norm(p.grad for p in network.parameters() if p.grad is not None)):
            optimiser.step()
            schedule.step()
            if average is not None:
                average.update_parameters(network)
            progress.loss += float(team.sum(loss.detach())) / team.size
        else:
            progress.skipped += 1
        progress.step += 1
        progress.waited += waited
        progress.seconds += time.monotonic() - begin
        if team.leads:
            on_step(progress.step, last)
        if progress.step % per_epoch == 0:
            report = _end_of_epoch(progress, kept, settings, batch * per_epoch, validation, folder, team)
            network.train()
            if team.leads:
                if not settings.patience or not validation or progress.brought_the_best() or progress.unjudged():
                    about = {**(provenance or {}), "settings": asdict(settings), "epochs": report.epoch}
                    save_network(kept, settings.spec, folder, about)
                _write_log(folder / LOG.format(settings.kind), progress.history)
                _save(checkpoint, run, states, progress)
                on_epoch(report)
            saved = time.monotonic()
            # The leader alone has validated, and its clock counts.
            late = minutes is not None and saved - started > 60 * minutes
            done = team.agree(late or progress.finished(settings))
        elif team.leads and time.monotonic() - saved > CHECKPOINT_SECONDS:
            _save(checkpoint, run, states, progress)
            saved = time.monotonic()
    return kept


def _lent(settings: TrainingSettings, start: Path) -> nn.Module:
    """The network of a model folder, to be trained on."""
    network, spec = load_network(settings.kind, start)
    if spec != settings.spec:
        wanted = asdict(settings.spec)
        other = [f"{k} {v!r} and not {wanted[k]!r}" for k, v in asdict(spec).items() if v != wanted[k]]
        raise WeightsError(
            "E_WEIGHTS_TABLE",
            f"{settings.kind} in {start} has {', '.join(other)}, as the settings ask; change them, or begin anew",
        )
    return network.requires_grad_(True)


def _end_of_epoch(
    progress: _Progress,
    network: nn.Module,
    settings: TrainingSettings,
    crops: int,
    validation: Sequence[TrainingScan],
    folder: Path,
    team: Team,
) -> EpochReport:
    """Validate, put the epoch into the history, and begin another."""
    begin = time.monotonic()
    epoch = len(progress.history) + 1
    steps = crops // min(settings.batch, crops)
    whole = settings.validate_every and (epoch % settings.validate_every == 0 or epoch == settings.epochs)
    scores: dict[str, Any] = {"validation_loss": math.nan, "dice": math.nan, "accuracy": math.nan}
    scores |= {"id_rate": math.nan, "mean_mm": math.nan, "missing": 0, "extra": 0}
    if validation and team.leads:
        on_crops = score_crops(network, validation, settings, team.device)
        scores |= {"validation_loss": on_crops.loss, "dice": on_crops.dice, "accuracy": on_crops.accuracy}
        if whole:
            networks = {**_other_network(settings, folder, team.device), settings.kind: network}
            scores |= asdict(score_pipeline(networks, validation, settings, team.device))
    report = EpochReport(
        epoch=epoch,
        steps=progress.step,
        skipped=progress.skipped,
        loss=progress.loss / (steps - progress.skipped) if steps > progress.skipped else math.nan,
        crops_per_second=crops / progress.seconds,
        waiting=progress.waited / progress.seconds,
        seconds=progress.seconds + time.monotonic() - begin,
        **scores,
    )
    progress.history.append(report)
    progress.loss, progress.skipped, progress.seconds, progress.waited = 0.0, 0, 0.0, 0.0
    return report


def _other_network(settings: TrainingSettings, folder: Path, device: str) -> dict[Kind, nn.Module]:
    """The other network of the folder, if it is there and works on the same grid and intensities."""
    other: Kind = "identification" if settings.kind == "detection" else "detection"
    try:
        if other not in read_manifest(folder)["networks"]:
            return {}
    except WeightsError:
        return {}
    network, spec = load_network(other, folder)
    if (spec.spacing_mm, spec.intensity) != (settings.spacing_mm, settings.intensity):
        return {}
    return {other: network.to(device)}


def _moving_average(network: nn.Module, keep: float) -> AveragedModel:
    """A copy of the network that follows its parameters and batch statistics slowly."""

    def follow(averaged: Any, current: Any, n: Any) -> None:
        # Of the first steps less is kept, or the random weights of the start would stay for long.
        share = min(keep, (1 + int(n)) / (10 + int(n)))
        for mean, value in zip(averaged, current, strict=True):
            if mean.is_floating_point():
                mean.lerp_(value.to(mean.dtype), 1 - share)
            else:
                mean.copy_(value)

    return AveragedModel(network, multi_avg_fn=follow, use_buffers=True)


def _rate(step: int, settings: TrainingSettings, last: int) -> float:
    """Factor on the learning rate."""
    if settings.cosine:
        return 0.5 * (1 + math.cos(math.pi * min(1.0, step / last)))
    return 1 / (1 + settings.decay * step)


def _save(path: Path, run: dict[str, Any], states: dict[str, Any], progress: _Progress) -> None:
    content = io.BytesIO()
    torch.save({**run, "progress": asdict(progress), **{k: s.state_dict() for k, s in states.items()}}, content)
    write_bytes(path, content.getvalue())


def _resume(path: Path, run: dict[str, Any], states: dict[str, Any]) -> _Progress:
    """Load a checkpoint if there is one."""
    if not path.exists():
        return _Progress()
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    # What a checkpoint does not know yet was as it is by default.
    before = {f.name: f.default for f in fields(TrainingSettings)} | checkpoint["settings"]
    changed = [k for k, v in run["settings"].items() if before[k] != v]
    changed += [key for key in ("scans", "validation scans", "start") if checkpoint.get(key) != run[key]]
    if changed:
        raise WeightsError(
            "E_CHECKPOINT",
            f"{path} was made with other {', '.join(changed)}; go on with those, or choose another folder",
        )
    for key, state in states.items():
        state.load_state_dict(checkpoint[key])
    kept = checkpoint["progress"]
    return _Progress(**{**kept, "history": [EpochReport(**report) for report in kept["history"]]})


def _write_log(path: Path, history: Sequence[EpochReport]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [f.name for f in fields(EpochReport)], lineterminator="\n")
    writer.writeheader()
    for report in history:
        writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in asdict(report).items()})
    write_bytes(path, text.getvalue().encode())
