# SPDX-License-Identifier: Apache-2.0
"""The forms of the kernels that this machine can run, and arrays of every layout to run them on."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from spinefinder_fast import _kernels, kernels
from spinefinder_fast.kernels import reference

THREADS = st.sampled_from([1, 2, 3, 7])


@functools.cache
def without_cuda() -> str:
    """Why the CUDA forms cannot run here, or an empty text."""
    if not _kernels.cuda:
        return "this build has no CUDA kernels"
    torch = pytest.importorskip("torch")
    return "" if torch.cuda.is_available() else "no CUDA device, or a torch without CUDA"


class _OnTensors:
    """The kernels on tensors of a device, which take and give NumPy arrays: every large argument is moved there, and
    what was written is copied back."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.LabelVotes = functools.partial(_VotesOnTensors, self._move)

    def __getattr__(self, name: str) -> Any:
        kernel, (inputs, outputs) = getattr(kernels, name), _LARGE[name]

        def run(*args: Any, **options: Any) -> Any:
            moved = [self._move(a) if i in inputs + outputs and a is not None else a for i, a in enumerate(args)]
            result = kernel(*moved, **options)
            for i in outputs:
                args[i][...] = moved[i].cpu().numpy()
                result = args[i] if result is moved[i] else result
            if isinstance(result, list):
                return [r.cpu().numpy() for r in result]
            return result.cpu().numpy() if hasattr(result, "cpu") else result

        return run

    def _move(self, array: Any) -> Any:
        import torch

        if isinstance(array, list):
            return [self._move(a) for a in array]
        # torch has no negative strides; every other layout survives the way to the device.
        return torch.from_numpy(array.copy() if any(s < 0 for s in array.strides) else array).to(self.device)


class _VotesOnTensors(kernels.LabelVotes):
    def __init__(self, move: Any, *args: Any) -> None:
        super().__init__(*args)
        self._move = move

    def add(self, labels: Any, mask: Any = None, *args: Any, **options: Any) -> None:
        super().add(self._move(labels), None if mask is None else self._move(mask), *args, **options)


class _Reference:
    """The twins in NumPy, which know no threads."""

    def __getattr__(self, name: str) -> Any:
        twin = getattr(reference, name)
        return lambda *args, threads=None, **options: twin(*args, **options)


_LARGE: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "rasterize_discs": ((), (0,)),
    "rasterize_disc_crops": ((), (0,)),
    "rasterize_spheres": ((), (0,)),
    "rasterize_sphere_crops": ((), (0,)),
    "extract_patches": ((0,), ()),
    "stitch_patches": ((0,), (3,)),
    "stitch_mask": ((0,), (3,)),
    "stitch_probability": ((0,), (3,)),
    "blend_patches": ((0, 2), (3, 4)),
    "label_medians": ((0, 1), ()),
    "deform_grid": ((0,), ()),
}
"""Which arguments are volumes: those that are read, and those that are written in place."""

_FORMS = {"reference": _Reference(), "cpp": kernels, "tensor": _OnTensors("cpu"), "cuda": _OnTensors("cuda")}


def form(name: str) -> Any:
    """One form of all kernels; skips the test where this machine cannot run it."""
    if name == "cuda" and without_cuda():
        pytest.skip(without_cuda())
    return _FORMS[name]


_COMPILED = ["cpp", "tensor", pytest.param("cuda", marks=pytest.mark.gpu)]
every_form = pytest.mark.parametrize("name", ["reference", *_COMPILED])
compiled_form = pytest.mark.parametrize("name", _COMPILED)


def sides(largest: int) -> st.SearchStrategy[int]:
    """Lengths of an axis, 0 and 1 often among them."""
    return st.one_of(st.integers(0, 1), st.integers(2, largest))


def shapes(*largest: int) -> st.SearchStrategy[tuple[int, ...]]:
    return st.tuples(*(sides(n) for n in largest))


@st.composite
def layouts(draw: st.DrawFn, ndim: int = 3) -> Any:
    """A function that copies an array into a drawn memory layout: any order of axes, flipped, with gaps."""
    axes = draw(st.permutations(range(ndim)))
    flips = draw(st.lists(st.booleans(), min_size=ndim, max_size=ndim))
    step = draw(st.integers(1, 2))

    def lay_out(array: np.ndarray) -> np.ndarray:
        stored = np.zeros([array.shape[a] * step for a in axes], array.dtype)
        view = stored[(slice(None, None, step),) * ndim].transpose(np.argsort(axes))
        view = view[tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)]
        view[...] = array
        return view

    return lay_out
