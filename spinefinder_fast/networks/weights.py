# SPDX-License-Identifier: Apache-2.0
"""Weights on disk: safetensors beside a manifest that says what they are and holds their sha256.

A model is a folder with ``manifest.json`` and one ``.safetensors`` file per network. The bytes are hashed before they
are parsed, and whatever does not fit is refused: there is no fallback, for wrong weights give confident nonsense.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import nn

from spinefinder_fast.errors import WeightsError
from spinefinder_fast.files import make_folder, write_bytes
from spinefinder_fast.networks.detection import DetectionNetwork
from spinefinder_fast.networks.identification import IdentificationNetwork
from spinefinder_fast.networks.torchscript import compile_network, computes_bfloat16

Kind = Literal["coarse", "detection", "identification"]
"""A coarse network is a detection network on a grid of its own, by which the others are told where to look."""

Precision = Literal["auto", "float32", "bfloat16"]

FORMAT = 1
MANIFEST = "manifest.json"
DEFAULT_FOLDER = Path(__file__).parent.parent / "weights"
"""The weights that the package ships."""


@dataclass(frozen=True)
class NetworkSpec:
    """What must be known of a network before it can be run.

    Attributes:
        kind: ``"coarse"``, ``"detection"`` or ``"identification"``.
        width: factor on the paper's numbers of filters.
        spacing_mm: isotropic grid it was trained on, mm.
        intensity: how HU become its input: ``"window"`` or ``"zscore"`` (see `volume.normalise`).
        slice_step: from one of the identification's input slices to the next, in slices; 1 is the paper's. Neighbours
            of 2 mm show 14 mm from left to right, and so no rib; every fourth slice shows where ribs begin and end.

    Raises:
        ValueError: one of them makes no sense.
    """

    kind: Kind
    width: float
    spacing_mm: float
    intensity: Literal["window", "zscore"] = "window"
    slice_step: int = 1

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind is {self.kind!r}; {', '.join(get_args(Kind))} are known")
        if self.intensity not in ("window", "zscore"):
            raise ValueError(f"intensity is {self.intensity!r}; window or zscore is needed")
        if not (0 < self.width <= 8 and 0.2 <= self.spacing_mm <= 10):
            raise ValueError(f"width {self.width} and spacing {self.spacing_mm} mm must be in 0..8 and 0.2..10")
        if self.slice_step < 1 or (self.slice_step > 1 and self.kind != "identification"):
            raise ValueError(f"slice_step is {self.slice_step}; 1 or more for identification, else 1, is needed")

    def build(self) -> nn.Module:
        """The eager network, with fresh random weights."""
        if self.kind == "identification":
            return IdentificationNetwork(self.width, self.slice_step)
        return DetectionNetwork(self.width)


@dataclass(frozen=True)
class Model:
    """The networks, compiled, and what they expect.

    Attributes:
        detection: TorchScript, (N, 1, X, Y, Z) -> logits (N, 2, X, Y, Z).
        identification: TorchScript, (N, 8, Y, Z) -> labels (N, 1, Y, Z).
        spacing_mm: the isotropic grid that the identification works on, mm; votes are counted there.
        intensity: how HU become their input.
        device: where they are.
        id: short hash that names the weights in every result.
        slice_step: from one of the identification's input slices to the next, in slices.
        coarse: TorchScript like the detection, on a coarser grid; None where the weights have none.
        coarse_spacing_mm: the isotropic grid that it works on, mm.
        detection_spacing_mm: the isotropic grid that the detection works on, mm; None is `spacing_mm`.
        detection_width: factor on the paper's numbers of filters in the detection; memory goes with it.
        dtype: what the coarse and the detection network compute in. The identification's is float32: a label of 26 in
            bfloat16 is good to an eighth.
    """

    detection: nn.Module
    identification: nn.Module
    spacing_mm: float
    intensity: Literal["window", "zscore"] = "window"
    device: str = "cpu"
    id: str = "unnamed"
    slice_step: int = 1
    coarse: nn.Module | None = None
    coarse_spacing_mm: float = 6.0
    detection_spacing_mm: float | None = None
    detection_width: float = 1.0
    dtype: torch.dtype = torch.float32


def save_network(network: nn.Module, spec: NetworkSpec, folder: Path, provenance: dict[str, Any] | None = None) -> None:
    """Write one network's weights into a model folder and enter it in the manifest.

    Kernels are stored as float16, which halves the file and moves no output by more than rounding; biases and batch
    statistics stay float32.

    Args:
        network: eager network that `spec` builds.
        spec: what it is.
        folder: the model folder; made where it is missing.
        provenance: what it was trained on and how, kept verbatim in the manifest.
    """
    from safetensors.torch import save

    make_folder(folder)
    tensors = {
        name: (tensor.half() if tensor.ndim > 1 else tensor).detach().cpu().contiguous()
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    data = save(tensors)
    file = folder / f"{spec.kind}.safetensors"
    write_bytes(file, data)
    path = folder / MANIFEST
    manifest: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"format": FORMAT, "networks": {}}
    manifest["networks"][spec.kind] = {
        "file": file.name,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        **asdict(spec),
        "provenance": provenance or {},
    }
    write_bytes(path, (json.dumps(manifest, indent=2) + "\n").encode())


def copy_network(kind: Kind, source: Path, target: Path) -> None:
    """Enter a network of one model folder into another as it is, with what its manifest says of it.

    Raises:
        WeightsError: `source` has none, or one that is damaged.
    """
    network, spec = load_network(kind, source)
    save_network(network, spec, target, read_manifest(source)["networks"][kind]["provenance"])


def read_manifest(folder: Path = DEFAULT_FOLDER) -> dict[str, Any]:
    """The manifest of a model folder.

    Raises:
        WeightsError: it is missing, not JSON, or of another format.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text())
    except FileNotFoundError:
        raise WeightsError(
            "E_WEIGHTS_MISSING", f"no {MANIFEST} in {folder}; reinstall the package or name a folder of weights"
        ) from None
    except (OSError, ValueError) as error:
        raise WeightsError("E_WEIGHTS_FORMAT", f"{path} is not JSON ({error}); reinstall the package") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT or not isinstance(manifest["networks"], dict):
        raise WeightsError("E_WEIGHTS_VERSION", f"{path} is not of format {FORMAT}; use weights of this version")
    return manifest


def load_network(kind: Kind, folder: Path = DEFAULT_FOLDER) -> tuple[nn.Module, NetworkSpec]:
    """The eager network of a model folder, on the CPU in float32, and its specification.

    Raises:
        WeightsError: the file is missing, its bytes are not those of the manifest, or its tensors do not fit.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    manifest = read_manifest(folder)
    entry = manifest.get("networks", {}).get(kind)
    if entry is None:
        raise WeightsError("E_WEIGHTS_MISSING", f"{folder / MANIFEST} has no {kind} network; train one or reinstall")
    try:
        # What a manifest does not know yet has the default: the paper's.
        spec = NetworkSpec(**{field.name: entry[field.name] for field in fields(NetworkSpec) if field.name in entry})
        network = spec.build()
        file, expected = folder / entry["file"], entry["sha256"]
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            "E_WEIGHTS_FORMAT", f"{folder / MANIFEST} is wrong about {kind} ({error!r}); reinstall the package"
        ) from error
    try:
        data = file.read_bytes()
    except OSError as error:
        raise WeightsError("E_WEIGHTS_MISSING", f"{file} cannot be read ({error.strerror}); reinstall") from error
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise WeightsError(
            "E_WEIGHTS_HASH", f"{file} has sha256 {found[:12]}, {expected[:12]} is needed; reinstall the package"
        )
    wanted = {n: t.shape for n, t in network.state_dict().items() if not n.endswith("num_batches_tracked")}
    try:
        tensors = {name: tensor.float() for name, tensor in load(data).items()}
    except SafetensorError as error:
        raise WeightsError("E_WEIGHTS_FORMAT", f"{file} is not a safetensors file ({error}); reinstall") from error
    for name in wanted.keys() | tensors.keys():
        if name not in wanted or name not in tensors or wanted[name] != tensors[name].shape:
            raise WeightsError("E_WEIGHTS_TABLE", f"{file}: tensor {name} does not fit {kind} of width {spec.width}")
        if not bool(torch.isfinite(tensors[name]).all()):
            raise WeightsError("E_WEIGHTS_TABLE", f"{file}: tensor {name} is not finite; reinstall the package")
    network.load_state_dict(tensors, strict=False)
    return network.eval(), spec


def load_model(folder: Path | str | None = None, device: str = "cpu", precision: Precision = "auto") -> Model:
    """The networks of a model folder, compiled for `device`.

    Args:
        folder: with ``manifest.json``; None for the weights of the package.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        precision: of the coarse and the detection network: ``"float32"``, ``"bfloat16"``, or ``"auto"``, bfloat16 where
            the device has instructions for it. The identification is always float32.

    Raises:
        WeightsError: the weights are missing, damaged, or the networks do not belong together.
        ValueError: another precision.
    """
    if precision not in get_args(Precision):
        raise ValueError(f"precision is {precision!r}; {', '.join(get_args(Precision))} are known")
    half = precision == "bfloat16" or (precision == "auto" and computes_bfloat16(device))
    dtype = torch.bfloat16 if half else torch.float32
    home = DEFAULT_FOLDER if folder is None else Path(folder)
    detection, of_detection = load_network("detection", home)
    identification, of_identification = load_network("identification", home)
    if of_detection.intensity != of_identification.intensity:
        raise WeightsError(
            "E_WEIGHTS_TABLE",
            f"{home}: detection works on {of_detection.intensity} intensities, identification on "
            f"{of_identification.intensity}; train both alike",
        )
    networks = read_manifest(home)["networks"]
    coarse, coarse_spacing_mm = None, Model.coarse_spacing_mm
    if "coarse" in networks:
        eager, of_coarse = load_network("coarse", home)
        if of_coarse.intensity != of_detection.intensity:
            raise WeightsError(
                "E_WEIGHTS_TABLE",
                f"{home}: coarse works on {of_coarse.intensity} intensities, detection on {of_detection.intensity}; "
                "train both alike",
            )
        coarse, coarse_spacing_mm = compile_network(eager.to(device), dtype), of_coarse.spacing_mm
    return Model(
        detection=compile_network(detection.to(device), dtype),
        identification=compile_network(identification.to(device)),
        spacing_mm=of_identification.spacing_mm,
        intensity=of_detection.intensity,
        device=device,
        id="+".join(networks[kind]["sha256"][:8] for kind in get_args(Kind) if kind in networks),
        slice_step=of_identification.slice_step,
        coarse=coarse,
        coarse_spacing_mm=coarse_spacing_mm,
        detection_spacing_mm=of_detection.spacing_mm,
        detection_width=of_detection.width,
        dtype=dtype,
    )
