# SPDX-License-Identifier: Apache-2.0
"""The kernels inside graphs of torch: every way to make a graph gives what the kernel gives."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest

from spinefinder_fast import kernels
from spinefinder_fast.kernels import patch_origins

from .forms import without_cuda

torch = pytest.importorskip("torch")

from spinefinder_fast.kernels import torch_ops  # noqa: E402  (needs torch)

SHAPE, PATCH, MARGIN = (17, 12, 20), (12, 10, 12), (3, 2, 3)
ORIGINS = torch.from_numpy(patch_origins(SHAPE, PATCH, MARGIN))
SEGMENTS = torch.tensor([[[8, 6, 3], [9, 5, 11]], [[9, 5, 11], [7, 6, 18]]], dtype=torch.float64)
CORNERS, CROP_OF = torch.tensor([[5, 1, 2], [6, 2, 9]]), torch.tensor([0, 1])
DISPLACEMENT = 2 * torch.sin(torch.arange(18, dtype=torch.float64)).reshape(2, 3, 3)
CENTRES = SEGMENTS[:, 0].contiguous()
RADII, VALUES = torch.tensor([4.0, 3.5], dtype=torch.float64), torch.tensor([20, 21], dtype=torch.uint8)
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def on(device: str) -> str:
    if device == "cuda" and without_cuda():
        pytest.skip(without_cuda())
    return device


class Detection(torch.nn.Module):
    """Detection as one module: the scan in, the mask out."""

    def __init__(self) -> None:
        super().__init__()
        self.network = torch.nn.Conv3d(1, 2, 3, padding=1)

    def forward(self, volume: torch.Tensor, origins: torch.Tensor) -> torch.Tensor:
        mask = torch.zeros(volume.shape, dtype=torch.uint8, device=volume.device)
        patches = torch.ops.spinefinder_fast.extract_patches(
            volume, origins, [12, 10, 12], -2.0, [0.0, 0.002, -2.0, 3.0]
        )
        logits = self.network(patches[:, None])
        torch.ops.spinefinder_fast.stitch_mask(logits, origins, [3, 2, 3], mask)
        return mask


def eager(module: torch.nn.Module, *_: torch.Tensor) -> Callable[..., torch.Tensor]:
    return module


def compiled(module: torch.nn.Module, *_: torch.Tensor) -> Callable[..., torch.Tensor]:
    return torch.compile(module, backend="aot_eager", fullgraph=True)


def exported(module: torch.nn.Module, *arguments: torch.Tensor) -> Callable[..., torch.Tensor]:
    return torch.export.export(module, arguments).module()


def scripted(module: torch.nn.Module, *_: torch.Tensor) -> Callable[..., torch.Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.script(module)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("graph", [eager, compiled, exported, scripted])
def test_a_graph_may_hold_the_kernels(device, graph):
    torch.manual_seed(0)
    volume = 500 * torch.randn(SHAPE, device=on(device))
    module = Detection().to(device).eval()
    with torch.no_grad():
        mask = graph(module, volume, ORIGINS)(volume, ORIGINS)
        patches = kernels.extract_patches(
            volume, ORIGINS.numpy(), PATCH, -2.0, normalisation=kernels.Normalisation(0.0, 0.002, -2.0, 3.0)
        )
        expected = torch.zeros(SHAPE, dtype=torch.uint8, device=device)
        kernels.stitch_mask(module.network(patches[:, None]), ORIGINS.numpy(), MARGIN, expected)
    assert 0 < int(expected.sum()) < expected.numel()
    assert torch.equal(mask, expected)


CALLS = {
    "rasterize_discs": lambda d: (torch.zeros(SHAPE, dtype=torch.uint8, device=d), SEGMENTS, RADII, VALUES, [1.0] * 3),
    "rasterize_spheres": lambda d: (
        torch.zeros(SHAPE, dtype=torch.uint8, device=d),
        CENTRES,
        RADII,
        VALUES,
        [1.0] * 3,
    ),
    "rasterize_disc_crops": lambda d: (crops(d), CORNERS, SEGMENTS, RADII, VALUES, [1.0] * 3),
    "rasterize_sphere_crops": lambda d: (crops(d), CORNERS, CENTRES, RADII, VALUES, [1.0] * 3, CROP_OF),
    "extract_patches": lambda d: (torch.randn(SHAPE, device=d), ORIGINS, list(PATCH), -2.0, None, torch.float16),
    "stitch_patches": lambda d: (logits(d), ORIGINS, list(MARGIN), torch.zeros((2, *SHAPE), device=d)),
    "stitch_mask": lambda d: (
        logits(d),
        ORIGINS,
        list(MARGIN),
        torch.zeros(SHAPE, dtype=torch.uint8, device=d),
    ),
    "stitch_probability": lambda d: (logits(d), ORIGINS, list(MARGIN), torch.zeros(SHAPE, device=d)),
    "blend_patches": lambda d: (
        logits(d),
        ORIGINS,
        torch.from_numpy(kernels.gaussian_window(PATCH)).to(d),
        torch.zeros((2, *SHAPE), device=d),
        torch.zeros(SHAPE, device=d),
    ),
    "label_medians": lambda d: (
        torch.randint(0, 30, SHAPE, dtype=torch.uint8, device=d),
        torch.randint(0, 2, SHAPE, dtype=torch.uint8, device=d),
    ),
    "deform_grid": lambda d: (torch.randn(SHAPE, device=d), DISPLACEMENT, [1, 2], 3, "nearest", 0.0, [2, 3], [9, 20]),
}


def crops(device: str) -> torch.Tensor:
    return torch.zeros((2, 5, 8, 8), dtype=torch.uint8, device=device)


def logits(device: str) -> torch.Tensor:
    return torch.randn((len(ORIGINS), 2, *PATCH), device=device)


def test_every_operator_is_tested():
    names = {name.split("::")[1] for name in torch_ops.LIBRARY._op_defs}
    assert names == set(CALLS)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", CALLS)
def test_operators_keep_the_rules_of_torch(device, name):
    # Schema, what is written to, tensors without data, and tracing with dynamic shapes.
    torch.library.opcheck(getattr(torch.ops.spinefinder_fast, name).default, CALLS[name](on(device)))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", CALLS)
def test_operators_give_what_the_kernels_give(device, name):
    torch.manual_seed(0)
    arguments = CALLS[name](on(device))
    torch.manual_seed(0)
    written = CALLS[name](device)
    result = getattr(torch.ops.spinefinder_fast, name)(*written)
    small = (ORIGINS, SEGMENTS, CENTRES, RADII, VALUES, DISPLACEMENT, CORNERS, CROP_OF)
    plain = [a.numpy() if any(a is s for s in small) else a for a in arguments]
    if name == "extract_patches":
        assert torch.equal(result, kernels.extract_patches(*plain[:4], dtype="float16"))
    elif name == "label_medians":
        votes, (q25, median, q75), (lower, upper) = result
        statistics = vars(kernels.label_medians(*plain)).values()
        for got, want in zip((votes, median, q25, q75, lower, upper), statistics, strict=True):
            np.testing.assert_array_equal(got.cpu(), want)
    elif name == "deform_grid":
        crop = [slice(2, 9), slice(3, 20)]
        assert torch.equal(result, kernels.deform_grid(*plain[:2], axis=(1, 2), mode="nearest", crop=crop))
    else:
        assert result is None
        getattr(kernels, name)(*plain)
        outputs = arguments[:1] if name.startswith("rasterize") else arguments[3:]
        for got, want in zip(written, arguments, strict=True):
            assert torch.equal(got, want) if isinstance(want, torch.Tensor) else got == want
        assert all(out.any() for out in outputs)


def test_a_recorded_gradient_is_refused_and_not_cut():
    patches = torch.randn((len(ORIGINS), 2, *PATCH), requires_grad=True)
    with pytest.raises(ValueError, match="records its gradient"):
        torch.ops.spinefinder_fast.stitch_mask(patches, ORIGINS, list(MARGIN), torch.zeros(SHAPE, dtype=torch.uint8))
