# SPDX-License-Identifier: Apache-2.0
"""One model folder out of several.

    python -m spinefinder_fast.training.combine OUTPUT coarse=A detection=A identification=A,B

takes each network from the folder that is named for it or, of several folders, the mean of their weights. A mean is
worth something only where one network was trained on from the other, or both from a third: they then lie in one valley,
and their mean nearer to its middle (Wortsman et al. 2022, "Model soups"). Its batch statistics fit neither, so a short
training must follow.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import torch

from spinefinder_fast.errors import WeightsError
from spinefinder_fast.networks.weights import Kind, copy_network, load_network, read_manifest, save_network


def combine(output: Path, folders: dict[Kind, Sequence[Path]]) -> None:
    """Write the networks into a model folder.

    Args:
        output: the folder; made where it is missing.
        folders: for each network the model folder that it is taken from, or those of which the mean is.

    Raises:
        WeightsError: a folder has no such network, or a damaged one; or those to be averaged are of different shapes.
    """
    for kind, sources in folders.items():
        if len(sources) == 1:
            copy_network(kind, sources[0], output)
        else:
            _average(kind, sources, output)


def _average(kind: Kind, sources: Sequence[Path], output: Path) -> None:
    networks, specs = zip(*(load_network(kind, source) for source in sources), strict=True)
    if any(spec != specs[0] for spec in specs):
        raise WeightsError("E_WEIGHTS_FORMAT", f"{kind} networks of different kinds have no mean: {specs}")
    states = [network.state_dict() for network in networks]
    for name, tensor in states[0].items():
        if tensor.is_floating_point():
            tensor.copy_(torch.stack([state[name] for state in states]).mean(dim=0))
    entries = [read_manifest(source)["networks"][kind] for source in sources]
    mean_of = [entry["sha256"] for entry in entries]
    save_network(networks[0], specs[0], output, {"mean_of": mean_of, **entries[-1]["provenance"]})


def _named(argument: str) -> tuple[Kind, list[Path]]:
    kind, _, folders = argument.partition("=")
    if kind not in get_args(Kind) or not folders:
        raise argparse.ArgumentTypeError(
            f"{argument!r}; KIND=FOLDER is needed, KIND one of {', '.join(get_args(Kind))}"
        )
    return kind, [Path(folder) for folder in folders.split(",")]  # type: ignore[return-value]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="One model folder out of several.")
    parser.add_argument("output", type=Path)
    parser.add_argument("networks", nargs="+", type=_named, metavar="KIND=FOLDER[,FOLDER...]")
    given = parser.parse_args()
    combine(given.output, dict(given.networks))
