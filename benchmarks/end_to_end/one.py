# SPDX-License-Identifier: Apache-2.0
"""One measurement in a process of its own: ``python -m benchmarks.end_to_end.one JOB '{"argument": ...}'``.

What it found goes to stdout as one line of JSON, with the seconds of the imports and the peak memory of the process.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from .sizes import Extent

Found = dict[str, Any]

REACH_MM = 20.0
"""Two centroids farther apart are not of the same vertebra."""


def scans(folder: str, extent: Found, lengths: list[int]) -> Found:
    """Write the scan in each length."""
    from .scans import write_scans

    return write_scans(_extent(extent), lengths, Path(folder))


def takes(folder: str, extent: Found, count: int) -> Found:
    """Write the scans of a batch."""
    from .scans import write_batch

    return {"files": write_batch(_extent(extent), count, Path(folder))}


def _extent(given: Found) -> Extent:
    values: Found = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
    return Extent(**values)


def whole_way(scan: str, weights: str | None, procedure: Found, warm: int) -> Found:
    """File to centroids: one run that does not count, then `warm` that do."""
    from spinefinder_fast import load_model, locate
    from spinefinder_fast.procedure import Procedure

    start = time.perf_counter()
    model = load_model(weights, precision=Procedure(**procedure).precision)
    load_model_s = time.perf_counter() - start
    runs = []
    for _ in range(1 + warm):
        start = time.perf_counter()
        spine = locate(scan, model, procedure=Procedure(**procedure))
        runs.append({**spine.details["seconds"], "total": time.perf_counter() - start})
    stages = {stage: median(run[stage] for run in runs[1:]) for stage in runs[0]}
    return {
        "load_model_s": load_model_s,
        "runs": runs,
        "seconds": stages,
        "searched": spine.details["searched"],
        "names": spine.names,
        "lps": spine.lps().tolist(),
    }


def paper(scan: str, patches: int, slices: int, detected_mm: float) -> Found:
    """Seconds for one patch and for one slice of the paper's own setting, and how many of both it would take.

    Full width, 1 mm, random weights: what they answer is nothing, and takes as long as if it were something.
    """
    import torch

    from spinefinder_fast.detection import BATCH, MARGIN, PATCH
    from spinefinder_fast.identification import MULTIPLE
    from spinefinder_fast.kernels import patch_origins
    from spinefinder_fast.networks.detection import DetectionNetwork
    from spinefinder_fast.networks.identification import SLICES, IdentificationNetwork
    from spinefinder_fast.networks.torchscript import compile_network
    from spinefinder_fast.scan import read_scan

    grid = read_scan(scan).grid
    shape = [int(n * mm) for n, mm in zip(grid.shape, grid.spacing_mm, strict=True)]
    detection, identification = compile_network(DetectionNetwork()), compile_network(IdentificationNetwork())
    batch = torch.randn(min(BATCH, patches), 1, *PATCH)
    rows, columns = (n + -n % MULTIPLE for n in shape[1:])
    window = torch.randn(1, SLICES, rows, columns)
    with torch.inference_mode():
        patch_s = _median_seconds(lambda: detection(batch), -(-patches // len(batch))) / len(batch)
        slice_s = _median_seconds(lambda: identification(window), slices)
    return {
        "patch_s": patch_s,
        "slice_s": slice_s,
        "patches": len(patch_origins(shape, PATCH, MARGIN)),
        # From the first to the last in which something is detected.
        "slices": ceil(detected_mm),
    }


def windows(scan: str, weights: str | None, overlaps: list[float], warm: int) -> Found:
    """Our coarse look and detection, and MONAI's sliding windows with the same network, on one resampled volume."""
    import torch
    from monai.inferers.utils import sliding_window_inference

    from spinefinder_fast import load_model, read_scan
    from spinefinder_fast.coarse import search
    from spinefinder_fast.detection import BATCH, MARGIN, PATCH, detect
    from spinefinder_fast.networks.weights import DEFAULT_FOLDER, load_network
    from spinefinder_fast.procedure import DEFAULT
    from spinefinder_fast.volume import normalisation, normalise, resample

    model = load_model(weights)
    eager, _ = load_network("detection", Path(weights) if weights else DEFAULT_FOLDER)
    eager = eager.to(model.dtype)
    grid_mm = model.detection_spacing_mm or model.spacing_mm
    volume = resample(read_scan(scan), grid_mm)

    def ours() -> Any:
        boxes = search(volume, model)
        return boxes, detect(volume, model, DEFAULT.tiling, boxes)

    def theirs(network: Any, overlap: float) -> Any:
        seen = torch.from_numpy(normalise(volume.array, normalisation(volume.array, model.intensity)))[None, None]
        seen = seen.to(model.dtype)
        with torch.inference_mode():
            logits = sliding_window_inference(seen, PATCH, BATCH, network, overlap=overlap)
        return logits[0].argmax(dim=0).numpy().astype(np.uint8)

    ours_s, (boxes, our_mask) = _timed(ours, 1 + warm)
    # Where both look, and away from the edges, beyond which theirs sees nothing and ours air.
    inside = np.full(our_mask.shape, boxes is None)
    for box in boxes or ():
        inside[tuple(slice(a, b) for a, b in zip(box.low, box.high, strict=True))] = True
    for axis, (m, n) in enumerate(zip(MARGIN, inside.shape, strict=True)):
        if n > 3 * m:
            inside.swapaxes(0, axis)[:m] = inside.swapaxes(0, axis)[-m:] = False
    found = []
    for form, network in (("eager", eager), ("TorchScript", model.detection)):
        with torch.inference_mode():
            for _ in range(2):  # TorchScript optimises itself in the first two
                network(torch.zeros(BATCH, 1, *PATCH, dtype=model.dtype))
        for overlap in overlaps:
            seconds, mask = _timed(lambda network=network, overlap=overlap: theirs(network, overlap), 1)  # type: ignore[misc]
            a, b = our_mask[inside].astype(bool), mask[inside].astype(bool)
            dice = 2 * int((a & b).sum()) / max(1, int(a.sum()) + int(b.sum()))
            found.append({"form": form, "overlap": overlap, "seconds": seconds, "dice": dice})
    detected = np.flatnonzero(our_mask.any(axis=(1, 2)))
    detected_mm = (detected[-1] - detected[0] + 1) * grid_mm if len(detected) else 0.0
    return {"ours_s": ours_s, "theirs": found, "shape": list(volume.array.shape), "detected_mm": float(detected_mm)}


def segresnet(scan: str, roi: int) -> Found:
    """A single-stage segmentation of 104 structures as TotalSegmentator's quick form is: SegResNet on 3 mm."""
    import torch
    from monai.inferers.utils import sliding_window_inference
    from monai.networks.nets.segresnet import SegResNet

    from spinefinder_fast import read_scan
    from spinefinder_fast.volume import normalisation, normalise, resample

    loaded = read_scan(scan)
    network = SegResNet(
        spatial_dims=3, in_channels=1, out_channels=105, init_filters=32, blocks_down=(1, 2, 2, 4), blocks_up=(1, 1, 1)
    ).eval()
    with torch.inference_mode():
        network(torch.zeros(1, 1, roi, roi, roi))
        start = time.perf_counter()
        volume = resample(loaded, 3.0)
        seen = torch.from_numpy(normalise(volume.array, normalisation(volume.array)))[None, None]
        resample_s = time.perf_counter() - start
        labels = sliding_window_inference(seen, roi, 1, network, overlap=0.25)[0].argmax(dim=0)
    seconds = time.perf_counter() - start
    assert labels.shape == volume.array.shape
    return {"seconds": seconds, "resample_s": resample_s, "shape": list(volume.array.shape)}


def batch(files: list[str], folder: str, weights: str | None) -> Found:
    """Many scans in one batch, and the same as batches of one, one after the other; both warm."""
    from spinefinder_fast import load_model
    from spinefinder_fast.batch import predict_batch

    paths, home = [Path(file) for file in files], Path(folder)
    model = load_model(weights)

    def names(some: Sequence[Path], where: str) -> list[list[str]]:
        found = list(predict_batch(some, home / where, model))
        assert all(spine is not None for _, spine in found), [result.message for result, _ in found]
        return [list(result.names) for result, _ in found]

    for _ in range(2):
        names(paths[:1], "warm")
    single, one_by_one = [], []
    for path in paths:
        seconds, (found,) = _timed(lambda path=path: names([path], "single"), 1)  # type: ignore[misc]
        single.append(seconds)
        one_by_one.append(found)
    together_s, together = _timed(lambda: names(paths, "together"), 1)
    assert together == one_by_one, "a batch names what its scans are named alone"
    assert any(together), "nothing found in any scan"
    return {"together_s": together_s, "single_s": sum(single), "one_s": median(single)}


def agreement(weights: str | None, phantoms: Found, fov_mm: list[float], data: list[str]) -> Found:
    """The fast way against the paper's patches everywhere, numbered alike: on phantoms, and on scans of a folder, where
    those with a ``centroids.json`` beside them are also held against that."""
    from spinefinder_fast import Scan, load_model, make_phantom, read_centroids, read_scan

    models = load_model(weights), load_model(weights, precision="float32")
    found: Found = {"phantoms": [], "scans": []}
    for seed, (first, last) in phantoms.items():
        p = make_phantom(first, last, spacing_mm=2.0, seed=int(seed), fov_mm=(fov_mm[0], fov_mm[1]))
        found["phantoms"].append(_agree(Scan(p.array, p.grid, p.grid, f"{first}-{last}", Path()), *models, p.spine))
    for path in data:
        scan, annotated = read_scan(path), Path(path).with_name("centroids.json")
        truth = read_centroids(annotated, scan.file_grid) if annotated.exists() else None
        found["scans"].append(_agree(scan, *models, truth))
    return found


def _agree(scan: Any, model: Any, plain: Any, truth: Any) -> Found:
    from scipy.optimize import linear_sum_assignment

    from spinefinder_fast import locate
    from spinefinder_fast.pipeline import find_spine
    from spinefinder_fast.procedure import Procedure

    fast = locate(scan, model)
    faithful = locate(scan, plain, procedure=Procedure("everywhere", "faithful", decode="order"))
    mm = np.linalg.norm(fast.lps()[:, None] - faithful.lps()[None], axis=-1)
    pairs = [(i, j) for i, j in zip(*linear_sum_assignment(mm), strict=True) if mm[i, j] <= REACH_MM]
    found = find_spine(scan, model)
    boxes = found.boxes
    where = found.detection_volume.grid.to_voxel(faithful.lps())
    inside = np.full(len(where), boxes is None)
    for box in boxes or ():
        # Centres of voxels are at whole numbers.
        inside |= ((where >= np.array(box.low) - 0.5) & (where <= np.array(box.high) - 0.5)).all(axis=1)
    return {
        "mm": [float(mm[i, j]) for i, j in pairs],
        "equal": sum(fast.names[i] == faithful.names[j] for i, j in pairs),
        "either": len(fast) + len(faithful) - len(pairs),
        "inside": int(inside.sum()),
        "vertebrae": len(faithful),
        "true": len(truth or ()),
        "fast_right": _right(fast, truth),
        "faithful_right": _right(faithful, truth),
        "fast_s": sum(fast.details["seconds"].values()),
        "faithful_s": sum(faithful.details["seconds"].values()),
    }


def _right(found: Any, truth: Any) -> list[float]:
    """Of the annotated vertebrae whose nearest centroid, near enough, has their name: how far off it is, mm."""
    right = []
    for vertebra in truth or ():
        mm = np.linalg.norm(found.lps() - vertebra.lps, axis=1)
        if len(mm) and mm.min() <= REACH_MM and found.names[mm.argmin()] == vertebra.name:
            right.append(float(mm.min()))
    return right


def _timed(call: Callable[[], Any], rounds: int) -> tuple[float, Any]:
    """Median seconds, without the first of several rounds, and the last answer."""
    seconds, answer = [], None
    for _ in range(rounds):
        start = time.perf_counter()
        answer = call()
        seconds.append(time.perf_counter() - start)
    return median(seconds[1:] or seconds), answer


def _median_seconds(call: Callable[[], Any], rounds: int) -> float:
    for _ in range(2):  # TorchScript optimises itself in the first two
        call()
    return _timed(call, 1 + rounds)[0]


JOBS: dict[str, Callable[..., Found]] = {
    job.__name__: job for job in (scans, takes, whole_way, paper, windows, segresnet, batch, agreement)
}


def main() -> None:
    """Run the job that the command line names."""
    start = time.perf_counter()
    import_module("spinefinder_fast")
    package_s = time.perf_counter() - start
    import_module("spinefinder_fast.pipeline")
    pipeline_s = time.perf_counter() - start
    from spinefinder_fast.report.table import peak_memory_mb

    # Linux counts what a process held before it became this program: the parent must be smaller than what is measured.
    before = peak_memory_mb()
    found = JOBS[sys.argv[1]](**json.loads(sys.argv[2]))
    peak = peak_memory_mb()
    assert peak is None or before is None or peak > before, "the peak is the parent's"
    print(json.dumps({**found, "import_s": package_s, "import_all_s": pipeline_s, "peak_mb": peak}))


if __name__ == "__main__":
    main()
