# SPDX-License-Identifier: Apache-2.0
"""The forms of the kernels that this machine can run, and arrays of every layout to run them on."""

from __future__ import annotations

import functools
from types import SimpleNamespace
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


def _on_device(kernel: Any, inputs: tuple[int, ...], output: int | None) -> Any:
    """A kernel on CUDA tensors that takes and gives NumPy arrays; `output` is the argument written in place."""

    def upload(array: Any) -> Any:
        import torch

        # torch has no negative strides; every other layout survives the way to the device.
        return torch.from_numpy(array.copy() if any(s < 0 for s in array.strides) else array).cuda()

    def run(*args: Any, threads: int | None = None) -> Any:
        moved = [upload(a) if i in inputs and a is not None else a for i, a in enumerate(args)]
        result = kernel(*moved)
        if output is None:
            return result.cpu().numpy() if hasattr(result, "cpu") else result
        args[output][...] = moved[output].cpu().numpy()
        return args[output]

    return run


def _ignoring_threads(kernel: Any) -> Any:
    return lambda *args, threads=None: kernel(*args)


_NAMES = ("rasterize_discs", "rasterize_spheres", "extract_patches", "stitch_patches", "stitch_mask", "label_medians")
_MOVED = {
    "rasterize_discs": ((0,), 0),
    "rasterize_spheres": ((0,), 0),
    "extract_patches": ((0,), None),
    "stitch_patches": ((0, 3), 3),
    "stitch_mask": ((0, 3), 3),
    "label_medians": ((0, 1), None),
}
_FORMS = {
    "reference": SimpleNamespace(**{name: _ignoring_threads(getattr(reference, name)) for name in _NAMES}),
    "cpp": kernels,
    "cuda": SimpleNamespace(**{name: _on_device(getattr(kernels, name), *_MOVED[name]) for name in _NAMES}),
}


def form(name: str) -> Any:
    """One form of all kernels; skips the test where this machine cannot run it."""
    if name == "cuda" and without_cuda():
        pytest.skip(without_cuda())
    return _FORMS[name]


every_form = pytest.mark.parametrize("name", ["reference", "cpp", pytest.param("cuda", marks=pytest.mark.gpu)])
compiled_form = pytest.mark.parametrize("name", ["cpp", pytest.param("cuda", marks=pytest.mark.gpu)])


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
