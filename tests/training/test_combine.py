# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys

import pytest
import torch

from spinefinder_fast.errors import WeightsError
from spinefinder_fast.networks.weights import NetworkSpec, load_network, read_manifest, save_network
from spinefinder_fast.training.combine import combine

SMALL = {kind: NetworkSpec(kind, 0.0625, 4.0) for kind in ("detection", "identification")}


def fill(folder, value, specs=SMALL):
    for kind, spec in specs.items():
        network = spec.build()
        with torch.no_grad():
            for tensor in network.state_dict().values():
                tensor.fill_(value)
        save_network(network, spec, folder, {"trained_on": [f"{kind} {value}"]})
    return folder


def values(folder, kind):
    tensors = load_network(kind, folder)[0].state_dict().values()
    return {v for t in tensors if t.is_floating_point() for v in t.unique().tolist()}


def test_one_network_is_copied_and_several_are_averaged(tmp_path):
    a, b = fill(tmp_path / "a", 1.0), fill(tmp_path / "b", 2.0)
    combine(tmp_path / "out", {"detection": [a], "identification": [a, b]})
    assert values(tmp_path / "out", "detection") == {1.0}
    assert values(tmp_path / "out", "identification") == {1.5}
    networks = read_manifest(tmp_path / "out")["networks"]
    assert networks["detection"]["provenance"] == {"trained_on": ["detection 1.0"]}
    assert networks["identification"]["provenance"] == {
        "mean_of": [read_manifest(f)["networks"]["identification"]["sha256"] for f in (a, b)],
        "trained_on": ["identification 2.0"],
    }


def test_networks_that_differ_have_no_mean(tmp_path):
    a = fill(tmp_path / "a", 1.0)
    b = fill(tmp_path / "b", 1.0, {"detection": NetworkSpec("detection", 0.0625, 3.0)})
    with pytest.raises(WeightsError, match="have no mean"):
        combine(tmp_path / "out", {"detection": [a, b]})
    assert not (tmp_path / "out").exists()


def test_the_command_line_says_what_it_wants(tmp_path):
    command = [sys.executable, "-m", "spinefinder_fast.training.combine", str(tmp_path / "out")]
    a = fill(tmp_path / "a", 1.0)
    assert subprocess.run([*command, f"detection={a}"]).returncode == 0
    assert values(tmp_path / "out", "detection") == {1.0}
    wrong = subprocess.run([*command, "detction=a"], capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "KIND=FOLDER is needed" in wrong.stderr
