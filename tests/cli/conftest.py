# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from stubs import labelled_scan, true_model

from spinefinder_fast import Spine, make_phantom
from spinefinder_fast.cli import main
from spinefinder_fast.geometry import Grid
from spinefinder_fast.networks.weights import Model, NetworkSpec, save_network
from spinefinder_fast.scan import write_nifti

SPACING = 4.0
AIR_HU = -1000


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


Command = Callable[..., Done]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs ``spinefinder`` as a shell would, but in this process."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["spinefinder", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return Done(int(stop.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def truth_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever weights are asked for, the networks read a labelled scan's own labels off."""

    def load_model(folder: Path | None = None, device: str = "cpu", precision: str = "auto") -> Model:
        return replace(true_model(SPACING), dtype=torch.float32 if precision == "float32" else torch.bfloat16)

    monkeypatch.setattr("spinefinder_fast.networks.weights.load_model", load_model)


@pytest.fixture(scope="session")
def truth() -> tuple[np.ndarray, Grid, Spine]:
    """HU that the truth networks understand, canonical; their grid; the spine they show."""
    phantom = make_phantom("L1", "L3", spacing_mm=SPACING, fov_mm=(80, 80))
    scan = labelled_scan(phantom.spine, phantom.grid)
    return np.where(scan.array > 0, scan.array, AIR_HU).astype(np.int16), phantom.grid, phantom.spine


@pytest.fixture
def write_scan(truth: tuple[np.ndarray, Grid, Spine]) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_nifti(path, truth[0], truth[1])
        return path

    return write


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small networks that have learnt nothing."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    for spec in (NetworkSpec("detection", 0.0625, SPACING), NetworkSpec("identification", 0.03125, SPACING)):
        save_network(spec.build(), spec, folder)
    return folder
