# SPDX-License-Identifier: Apache-2.0
"""The training loop: one readable file, for both networks."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from spinefinder_fast.errors import WeightsError
from spinefinder_fast.networks.losses import detection_loss, identification_loss
from spinefinder_fast.networks.weights import save_network
from spinefinder_fast.training.samples import CropDataset, TrainingScan
from spinefinder_fast.training.settings import TrainingSettings

CHECKPOINT = "{}.checkpoint.pt"
LOG = "{}.log.csv"
"""Both networks may be trained into one folder, which then is a model."""


@dataclass(frozen=True)
class EpochReport:
    """What the log says of an epoch.

    Attributes:
        epoch: counted from 1.
        steps: optimiser steps since the start.
        skipped: steps of this epoch whose gradient was not finite and was thrown away.
        loss: mean training loss.
        validation_loss: the same on the validation scans' crops, without augmentation; NaN without such scans.
        score: Dice of the vertebrae (detection), or share of labelled pixels whose rounded label is right
            (identification), on the validation crops; NaN without them.
        seconds: that the epoch took.
    """

    epoch: int
    steps: int
    skipped: int
    loss: float
    validation_loss: float
    score: float
    seconds: float


def train(
    scans: Sequence[TrainingScan],
    settings: TrainingSettings,
    folder: Path,
    validation: Sequence[TrainingScan] = (),
    provenance: dict[str, Any] | None = None,
    minutes: float | None = None,
    device: str = "cpu",
    on_epoch: Callable[[EpochReport], None] = lambda report: None,
    on_step: Callable[[int, int], None] = lambda step, steps: None,
) -> nn.Module:
    """Train one network; go on where a checkpoint in `folder` left off.

    After every epoch `folder` holds the checkpoint, the log, and the weights with their manifest, so a run may be
    stopped at any time. A run that stops and resumes sees the same crops in the same order as one that does not.

    Args:
        scans: training scans.
        settings: of this run; a checkpoint of other settings or scans is refused.
        folder: for checkpoint, log and weights.
        validation: scans of other patients, for the log alone.
        provenance: written into the manifest beside the settings.
        minutes: finish after the epoch in which this time is over; the learning rate does not know of it.
        device: ``"cpu"`` or ``"cuda"``.
        on_epoch: called with each epoch's report.
        on_step: called after each step with the number of steps since the start and that of the whole training.

    Returns:
        The trained network.

    Raises:
        WeightsError: the checkpoint in `folder` comes from other settings or scans.
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(settings.seed)
    network: nn.Module = settings.spec.build().to(device)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.momentum = settings.norm_momentum
    layout = torch.channels_last_3d if settings.kind == "detection" else torch.channels_last
    network.to(memory_format=layout)  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
    crops = CropDataset(scans, settings)
    steps_per_epoch = max(1, len(crops) // settings.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: _rate(step, settings, steps_per_epoch * settings.epochs)
    )
    checkpoint, log = folder / CHECKPOINT.format(settings.kind), folder / LOG.format(settings.kind)
    run = {
        # Crops do not depend on the number of workers, so a run may go on with another.
        "settings": {k: v for k, v in asdict(settings).items() if k != "workers"},
        "scans": sorted(f"{scan.path.parent.name}/{scan.name}" for scan in scans),
    }
    first, steps = _resume(checkpoint, run, network, optimiser, schedule)
    started = time.monotonic()
    for epoch in range(first, settings.epochs):
        begin = time.monotonic()
        network.train()
        crops.epoch = epoch
        order = torch.Generator().manual_seed(settings.seed * 1_000_003 + epoch)
        total, skipped = 0.0, 0
        loader = DataLoader(
            crops,
            settings.batch,
            shuffle=True,
            generator=order,
            num_workers=settings.workers,
            drop_last=len(crops) > settings.batch,
        )
        for images, labels in loader:
            loss = _loss(network, images.to(device, memory_format=layout), labels.to(device), settings)[0]
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            # Now and then a CPU's bfloat16 convolution returns a NaN in one gradient of a tiny layer; a single one of
            # them would be the end of the weights.
            if torch.isfinite(nn.utils.get_total_norm(p.grad for p in network.parameters() if p.grad is not None)):
                optimiser.step()
                schedule.step()
                total += loss.item()
            else:
                skipped += 1
            steps += 1
            on_step(steps, steps_per_epoch * settings.epochs)
        validation_loss, score = _validate(network, validation, settings, device)
        report = EpochReport(
            epoch + 1,
            steps,
            skipped,
            total / max(1, len(loader) - skipped),
            validation_loss,
            score,
            time.monotonic() - begin,
        )
        save_network(
            network, settings.spec, folder, {**(provenance or {}), "settings": asdict(settings), "epochs": epoch + 1}
        )
        state = {
            **run,
            "epoch": epoch + 1,
            "steps": steps,
            "network": network.state_dict(),
            "optimiser": optimiser.state_dict(),
            "schedule": schedule.state_dict(),
        }
        partial = checkpoint.with_suffix(".tmp")
        torch.save(state, partial)
        partial.replace(checkpoint)
        _log(log, report)
        on_epoch(report)
        if minutes is not None and time.monotonic() - started > 60 * minutes:
            break
    return network


def _rate(step: int, settings: TrainingSettings, last: int) -> float:
    """Factor on the learning rate."""
    if settings.cosine:
        return 0.5 * (1 + math.cos(math.pi * min(1.0, step / last)))
    return 1 / (1 + settings.decay * step)


def _resume(path: Path, run: dict[str, Any], network: nn.Module, *states: Any) -> tuple[int, int]:
    """Load a checkpoint if there is one; the epoch to begin with and the steps so far."""
    if not path.exists():
        return 0, 0
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    changed = [k for k, v in run["settings"].items() if checkpoint["settings"].get(k) != v]
    changed += ["scans"] * (checkpoint["scans"] != run["scans"])
    if changed:
        raise WeightsError(
            "E_CHECKPOINT",
            f"{path} was made with other {', '.join(changed)}; go on with those, or choose another folder",
        )
    network.load_state_dict(checkpoint["network"])
    for state, key in zip(states, ("optimiser", "schedule"), strict=True):
        state.load_state_dict(checkpoint[key])
    return checkpoint["epoch"], checkpoint["steps"]


def _loss(
    network: nn.Module, images: torch.Tensor, labels: torch.Tensor, settings: TrainingSettings
) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss of a batch, and the network's answer."""
    device = images.device.type
    half = settings.precision == "bfloat16" or (settings.precision == "auto" and _has_bfloat16(device))
    with torch.autocast(device, torch.bfloat16, enabled=half):
        answer = network(images)
    loss = detection_loss if settings.kind == "detection" else identification_loss
    return loss(answer, labels), answer


def _has_bfloat16(device: str) -> bool:
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _validate(
    network: nn.Module, scans: Sequence[TrainingScan], settings: TrainingSettings, device: str
) -> tuple[float, float]:
    """Loss and score on crops of the validation scans, the same crops in every epoch."""
    if not scans:
        return math.nan, math.nan
    network.eval()
    losses, hits, total = [], 0, 0
    with torch.inference_mode():
        for images, labels in DataLoader(CropDataset(scans, settings, augment=False), settings.batch):
            loss, answer = _loss(network, images.to(device), labels.to(device), settings)
            losses.append(loss.item())
            truth = labels.to(device)
            if settings.kind == "detection":
                found = answer[:, 1] > answer[:, 0]
                hits += 2 * int((found & (truth != 0)).sum())
                total += int(found.sum()) + int((truth != 0).sum())
            else:
                hits += int(((answer[:, 0].float().round() == truth) & (truth != 0)).sum())
                total += int((truth != 0).sum())
    return sum(losses) / len(losses), hits / max(total, 1)


def _log(path: Path, report: EpochReport) -> None:
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, asdict(report).keys())
        if new:
            writer.writeheader()
        writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in asdict(report).items()})
