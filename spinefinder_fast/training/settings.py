# SPDX-License-Identifier: Apache-2.0
"""What a training run is made of. The defaults are the paper's; a recipe file changes them."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from spinefinder_fast.networks.identification import SLICES
from spinefinder_fast.networks.torchscript import computes_bfloat16
from spinefinder_fast.networks.weights import Kind, NetworkSpec


@dataclass(frozen=True)
class TrainingSettings:
    """One network's training.

    Raises:
        ValueError: a value that makes no sense, by name.

    Attributes:
        kind: ``"detection"``, ``"identification"``, or ``"coarse"``: a detection on a coarser grid.
        width: factor on the paper's numbers of filters.
        spacing_mm: isotropic grid to train on, mm.
        intensity: ``"window"`` (fixed HU window) or ``"zscore"`` (the published code).
        dense: ``"discs"`` (the paper) or ``"spheres"`` (the older baseline it is compared with).
        loss: the detection's: ``"paper"`` (Eq. 1, which paints too much on purpose) or ``"dice"`` (`losses.dice_loss`).
        slice_step: from one of identification's 8 slices to the next, in slices (see `NetworkSpec`); 1 is the paper's.
        crop: voxels of a training crop, (x, y, z); identification always takes 8 slices.
        samples_per_scan: crops drawn from each scan in each epoch.
        with_vertebrae: of those, how many must hold vertebra voxels (detection; every identification slab must).
        sampling: ``"paper"``: a crop that must hold vertebrae is drawn anywhere in its scan until it does; ``"even"``,
            the paper's own wish: first the vertebra it is about is drawn, each level as often as every other, then a
            scan that has it, then the place of the crop around it.
        deform_sigma_mm: spread of the elastic deformation's control points (identification); 0 for none. The paper
            says 0.7 and its code 7 voxels of 1 mm; 7 is the one that does something.
        flip: mirror every second crop left to right.
        hu_jitter: spread of a random gain (relative) and offset (of the input's unit) per crop; 0 for none.
        other_looks: share of the crops that are shown as another scanner might (`augment.change_look`).
        narrow_views: share of the crops whose field of view ends nearer by (`augment.narrow_view`).
        batch: crops per step.
        epochs: passes over the scans.
        learning_rate: Adam's.
        decay: per step, as the published code does: rate / (1 + decay * step).
        cosine: let the rate fall to zero over the epochs as a half cosine instead.
        norm_momentum: weight of the newest batch in the running statistics (0.9 is the published code's 0.1).
        ema: if not 0, the weights that are validated and kept are a moving average over the steps, of which each step
            keeps this share (e.g. 0.999; less in the first steps).
        validate_every: epochs from one validation of the whole pipeline to the next; 0 for none.
        patience: stop when so many validations of the pipeline in a row brought nothing better, and keep the weights of
            the best; 0 trains through all epochs and keeps the last.
        precision: ``"float32"``, ``"bfloat16"``, or ``"auto"``: bfloat16 where the device computes in it.
        workers: processes that prepare crops; 0 prepares them in the training process; -1 takes 0 on the CPU, which the
            network needs for itself, and one per processor but one, at most 12, beside a GPU.
        seed: of weights, crops and their order.
    """

    kind: Kind
    width: float = 1.0
    spacing_mm: float = 1.0
    intensity: Literal["window", "zscore"] = "window"
    dense: Literal["discs", "spheres"] = "discs"
    loss: Literal["paper", "dice"] = "paper"
    slice_step: int = 1
    crop: tuple[int, int, int] = (64, 64, 80)
    samples_per_scan: int = 5
    with_vertebrae: int = 4
    sampling: Literal["paper", "even"] = "paper"
    deform_sigma_mm: float = 0.0
    flip: bool = False
    hu_jitter: float = 0.0
    other_looks: float = 0.0
    narrow_views: float = 0.0
    batch: int = 16
    epochs: int = 50
    learning_rate: float = 1e-3
    decay: float = 1e-6
    cosine: bool = False
    norm_momentum: float = 0.9
    ema: float = 0.0
    validate_every: int = 5
    patience: int = 0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    workers: int = -1
    seed: int = 0

    def __post_init__(self) -> None:
        for name, allowed in (
            ("dense", ("discs", "spheres")),
            ("loss", ("paper", "dice")),
            ("sampling", ("paper", "even")),
            ("precision", ("auto", "float32", "bfloat16")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}; {', '.join(allowed)} are known")
        _ = self.spec
        if self.kind == "coarse" and self.validate_every:
            raise ValueError("validate_every is for networks that name vertebrae; for the coarse one it must be 0")
        slab = self.kind == "identification"
        if slab and self.crop[0] != SLICES:
            raise ValueError(f"crop is {self.crop}; identification takes {SLICES} slices")
        if len(self.crop) != 3 or any(n < 16 or n % 16 for n in self.crop[slab:]):
            raise ValueError(f"crop is {self.crop}; sides must be multiples of 16, the network halves them four times")
        if min(self.batch, self.epochs, self.samples_per_scan) < 1:
            raise ValueError("batch, epochs and samples_per_scan must be at least 1")
        if not (0 <= self.other_looks <= 1 and 0 <= self.narrow_views <= 1):
            raise ValueError(
                f"other_looks {self.other_looks}, narrow_views {self.narrow_views}: shares from 0 to 1 are needed"
            )
        if self.other_looks and self.intensity != "window":
            raise ValueError("other_looks is for the fixed window, whose zero is water; with zscore it must be 0")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema is {self.ema}; a share from 0 up to but not 1 is needed")
        if min(self.validate_every, self.patience) < 0 or (self.patience and not self.validate_every):
            raise ValueError("patience counts validations of the pipeline; set validate_every too, neither below 0")

    @property
    def spec(self) -> NetworkSpec:
        """What the finished network will say of itself."""
        return NetworkSpec(self.kind, self.width, self.spacing_mm, self.intensity, self.slice_step)

    def half(self, device: str) -> bool:
        """Whether to compute in bfloat16 on `device`."""
        return self.precision == "bfloat16" or (self.precision == "auto" and computes_bfloat16(device))


PAPER: dict[Kind, TrainingSettings] = {
    "detection": TrainingSettings("detection"),
    "identification": TrainingSettings(
        "identification",
        crop=(8, 80, 320),
        samples_per_scan=100,
        deform_sigma_mm=7.0,
        batch=32,
        epochs=35,
    ),
}
"""Sections 2.1 and 2.2 of the paper."""

DEFAULTS: dict[Kind, TrainingSettings] = {
    **PAPER,
    "coarse": TrainingSettings(
        "coarse", width=0.25, spacing_mm=6.0, loss="dice", crop=(48, 48, 48), with_vertebrae=3, validate_every=0
    ),
}
"""Those, and a coarse network, which the paper has not."""


def read_recipe(path: Path, kind: Kind) -> TrainingSettings:
    """The default settings with the changes of a TOML file's table of that name.

    Raises:
        ValueError: the file is not TOML, or names a setting that does not exist.
    """
    tables = _tables(path)
    known = (*DEFAULTS, "provenance", "set")
    if unknown := tables.keys() - set(known):
        raise ValueError(f"{path}: unknown tables {sorted(unknown)}; known are {sorted(known)}")
    if not isinstance(table := tables.get(kind, {}), dict):
        raise ValueError(f"{path}: {kind} is {table!r}; a table of settings is needed")
    return with_changes(DEFAULTS[kind], table, f"{path}, {kind}")


def _tables(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ValueError(f"{path}: cannot be opened: {error.strerror or error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: is no TOML: {error}") from error


def networks_of(path: Path) -> tuple[Kind, ...]:
    """What a recipe trains: the paper's two networks, and a coarse one before them where it has a table."""
    return ("coarse", *PAPER) if "coarse" in _tables(path) else tuple(PAPER)


def read_provenance(path: Path) -> dict[str, Any]:
    """A recipe's ``[provenance]`` table: what the manifest of the weights will say of their data."""
    return dict(_tables(path).get("provenance", {}))


def with_changes(settings: TrainingSettings, changes: dict[str, Any], source: object) -> TrainingSettings:
    """`settings` with some fields replaced.

    Raises:
        ValueError: a field that does not exist, or a value of another type or that makes no sense; with `source`.
    """
    known = {field.name for field in fields(TrainingSettings)} - {"kind"}
    if unknown := changes.keys() - known:
        raise ValueError(f"{source}: unknown settings {sorted(unknown)}; known are {sorted(known)}")
    for name, value in changes.items():
        _need_type(name, value, getattr(settings, name), source)
    if "crop" in changes:
        changes = {**changes, "crop": tuple(changes["crop"])}
    try:
        return replace(settings, **changes)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error


def _need_type(name: str, value: object, usual: object, source: object) -> None:
    if isinstance(usual, tuple):
        right = isinstance(value, list | tuple) and len(value) == len(usual) and all(type(n) is int for n in value)
    else:
        right = type(value) is type(usual) or (isinstance(usual, float) and type(value) is int)
    if not right:
        kinds = {bool: "true or false", int: "a whole number", float: "a number", str: "a word in quotes"}
        needed = kinds.get(type(usual), "a list of three whole numbers")
        raise ValueError(f"{source}: {name} is {value!r}; {needed} is needed")
