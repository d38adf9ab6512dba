# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from spinefinder_fast.networks.losses import identification_loss, loss_of
from spinefinder_fast.training.loop import train
from spinefinder_fast.training.samples import CropDataset
from spinefinder_fast.training.settings import PAPER
from spinefinder_fast.training.team import Team

SETTINGS = {
    "detection": replace(PAPER["detection"], crop=(16, 16, 32), samples_per_scan=4, with_vertebrae=3),
    "identification": replace(PAPER["identification"], crop=(8, 32, 48), samples_per_scan=4),
}
SETTINGS = {
    kind: replace(s, width=0.0625, spacing_mm=4.0, batch=4, epochs=2, norm_momentum=0.2, precision="float32", ema=0.5)
    for kind, s in SETTINGS.items()
}

PROCESS = """
import pickle, sys
from pathlib import Path
import torch
from spinefinder_fast.training.loop import train
from spinefinder_fast.training.team import team

torch.set_num_threads(1)
scans, work, gradients = pickle.loads(Path(sys.argv[1]).read_bytes())
with team("cpu") as members:
    assert members.size == 2
    for kind, (settings, folder) in work.items():
        result = {
            "gradients": gradients(settings, scans, members),
            "weights": train(scans, settings, folder, scans[:1], team=members).state_dict(),
        }
        torch.save(result, folder / f"rank{members.rank}.pt")
"""


def gradients(settings, scans, members):
    """Of one batch, by parameter, and the batch statistics that it leaves."""
    torch.manual_seed(0)
    network = settings.spec.build()
    shared = members.share(network)
    batch = [CropDataset(scans, settings)[0, i] for i in range(members.rank, 4, members.size)]
    images, labels = (torch.stack(part) for part in zip(*batch, strict=True))
    count = members.sum((labels != 0).sum()) / members.size if members.size > 1 else None
    loss_of(settings.kind, shared, images, labels, False, count)[0].backward()
    return {n: p.grad for n, p in network.named_parameters()} | dict(network.named_buffers())


@pytest.fixture(scope="module")
def trained(tmp_path_factory, make_scan):
    """Both networks, trained by one process and by two: folders and results, by kind."""
    root = tmp_path_factory.mktemp("team")
    scans = [make_scan("T9", "L2", seed=seed) for seed in (1, 2)]
    work = {kind: (settings, root / kind / "together") for kind, settings in SETTINGS.items()}
    for _, folder in work.values():
        folder.mkdir(parents=True)
    (root / "process.py").write_text(PROCESS)
    (root / "work.pkl").write_bytes(pickle.dumps((scans, work, gradients)))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*torchrun, str(root / "process.py"), str(root / "work.pkl")],
        capture_output=True, text=True, timeout=240, check=False, cwd=Path(__file__).parent,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    results = {}
    for kind, (settings, folder) in work.items():
        alone = train(scans, settings, root / kind / "alone", scans[:1])
        results[kind] = root / kind, scans, alone, [torch.load(folder / f"rank{r}.pt") for r in (0, 1)]
    return results


def log(folder: Path) -> list[dict[str, str]]:
    with next(folder.glob("*.log.csv")).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("kind", SETTINGS)
def test_two_processes_have_the_gradients_of_one(trained, kind) -> None:
    _, scans, _, (first, second) = trained[kind]
    alone = gradients(SETTINGS[kind], scans, Team())
    compared = 0
    for name, tensor in alone.items():
        assert torch.equal(first["gradients"][name], second["gradients"][name]), name
        size = float(tensor.abs().max())
        # A bias that batch normalisation takes away again has a gradient of nothing but rounding; of the others float32
        # leaves a thousandth. Without the statistics of the whole batch they would differ by tenths.
        if size > 1e-4:
            assert float((first["gradients"][name] - tensor).abs().max()) < 1e-2 * size, name
            compared += name.endswith("weight")
    assert compared > 20


@pytest.mark.parametrize("kind", SETTINGS)
def test_two_processes_train_the_network_of_one(trained, kind) -> None:
    folder, scans, alone, (first, second) = trained[kind]
    assert all(torch.equal(tensor, second["weights"][name]) for name, tensor in first["weights"].items())
    # Batch normalisation learns too: its weights have left the ones with which they began.
    scales = [t for name, t in first["weights"].items() if name.endswith("weight") and t.ndim == 1]
    assert scales
    assert all((scale != 1).any() for scale in scales)
    # Not weight by weight, and loosely: of a gradient that is nothing but rounding Adam makes a whole step.
    start, of_team = SETTINGS[kind].spec.build(), SETTINGS[kind].spec.build()
    of_team.load_state_dict(first["weights"])
    image = torch.stack([CropDataset(scans, SETTINGS[kind])[0, i][0] for i in range(4)])
    with torch.inference_mode():
        before, one, two = (network.train()(image) for network in (start, alone, of_team))
    assert float((one - before).abs().mean()) > 0.01
    assert float((one - two).abs().mean()) < 0.1 * float((one - before).abs().mean())
    for row_one, row_two in zip(log(folder / "alone"), log(folder / "together"), strict=True):
        for column in ("loss", "validation_loss", "accuracy", "id_rate"):
            assert float(row_two[column]) == pytest.approx(float(row_one[column]), rel=0.01, nan_ok=True), column


def test_shares_of_a_batch_count_by_their_labelled_pixels() -> None:
    torch.manual_seed(0)
    predicted, labels = torch.rand(4, 1, 6, 5) * 20, torch.randint(0, 3, (4, 6, 5))
    whole = identification_loss(predicted, labels)
    count = (labels != 0).sum() / 2
    shares = [identification_loss(predicted[i::2], labels[i::2], count) for i in (0, 1)]
    assert float(sum(shares) / 2) == pytest.approx(float(whole))


def test_a_batch_that_cannot_be_shared(tmp_path: Path, make_scan) -> None:
    with pytest.raises(ValueError, match="3 processes cannot share a batch of 4"):
        train([make_scan()], SETTINGS["detection"], tmp_path, team=replace(Team(), size=3))


def test_a_team_of_one_changes_nothing() -> None:
    alone = Team()
    values = torch.tensor([1.0, 2.0])
    assert alone.leads
    assert alone.agree(True) is True
    assert alone.agree(False) is False
    assert torch.equal(alone.sum(values), values)
    alone.wait()
