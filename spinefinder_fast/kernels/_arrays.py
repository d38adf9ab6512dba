# SPDX-License-Identifier: Apache-2.0
"""Checks shared by the kernels. Messages say what came, what is wanted and what to do."""

from __future__ import annotations

import os
import sys
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spinefinder_fast import _kernels

if TYPE_CHECKING:
    import torch

    Array = NDArray[Any] | torch.Tensor
    """A NumPy array, or a tensor of torch in host or CUDA memory."""

MAX_COORDINATE = 2**62
"""Voxel indices beyond this could overflow 64 bits when a shape is added."""


def is_tensor(array: object) -> bool:
    """Whether this is a tensor of torch. torch is never imported for it: a tensor's caller has done so."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)


def need(
    name: str, array: object, shape: Sequence[int | str], dtypes: str | tuple[str, ...], tensor: bool = True
) -> None:
    """Checks one array argument: its type, its shape (a letter stands for any side), its dtype.

    Raises:
        TypeError: neither a NumPy array nor (where `tensor`) a tensor, or another dtype.
        ValueError: another shape, or a tensor whose gradient is recorded.
    """
    if not isinstance(array, np.ndarray) and not (tensor and is_tensor(array)):
        wanted = "a NumPy array or a tensor" if tensor else "a NumPy array"
        raise TypeError(f"{name} is {_kind_of(array)}, {wanted} is needed")
    came: tuple[int, ...] = tuple(array.shape)  # type: ignore[attr-defined]
    if len(came) != len(shape) or any(isinstance(w, int) and w != c for w, c in zip(shape, came, strict=True)):
        raise ValueError(f"{name} has shape {came}, ({', '.join(map(str, shape))}) is needed")
    dtype = dtype_of(array)
    dtypes = (dtypes,) if isinstance(dtypes, str) else dtypes
    if dtype not in dtypes:
        raise TypeError(f"{name} is {dtype}, {' or '.join(dtypes)} is needed; convert it first, e.g. to {dtypes[0]}")
    if getattr(array, "requires_grad", False):
        raise ValueError(f"{name} records its gradient, and kernels have none; pass {name}.detach()")


def dtype_of(array: object) -> str:
    """The dtype's name, the same for NumPy and torch: ``"float32"``."""
    return _name_of(array.dtype)  # type: ignore[attr-defined]


@lru_cache(maxsize=64)
def _name_of(dtype: Hashable) -> str:
    # Kept because NumPy takes microseconds to spell a dtype, as long as a kernel needs for a small array.
    return str(dtype).removeprefix("torch.")


def empty_like(array: Array, shape: tuple[int, ...], dtype: str) -> Any:
    """A new array of the same kind and in the same place, with another shape and dtype."""
    if isinstance(array, np.ndarray):
        return np.empty(shape, dtype)
    import torch

    return torch.empty(shape, dtype=getattr(torch, dtype), device=array.device)


@contextmanager
def run_on(threads: int | None, **arrays: Array) -> Iterator[tuple[int, int]]:
    """How to run a kernel on these arrays: (threads, CUDA stream), with their device the current one inside.

    Raises:
        TypeError, ValueError: `threads` is not None or a whole number in 1..1024.
        ValueError: the arrays are not all on the same device.
        RuntimeError: they are on a CUDA device and this build has no CUDA kernels, or on another kind of device.
    """
    places = {name: str(array.device) if is_tensor(array) else "cpu" for name, array in arrays.items()}
    if len(set(places.values())) > 1:
        found = ", ".join(f"{name} on {place}" for name, place in places.items())
        raise ValueError(f"arrays are on different devices ({found}); move them to one")
    place = next(iter(places.values()))
    if place == "cpu":
        yield _threads_or_all(threads), 0
        return
    if not place.startswith("cuda"):
        raise RuntimeError(f"no kernels for the device {place}; pass arrays in host memory, e.g. tensor.cpu()")
    if not _kernels.cuda:
        raise RuntimeError("this build has no CUDA kernels; pass arrays in host memory, or build with SPF_CUDA=ON")
    import torch

    with torch.cuda.device(place):
        yield 1, int(torch.cuda.current_stream().cuda_stream)


def need_writeable(name: str, array: Array) -> None:
    """Raises ValueError for a read-only NumPy array."""
    if isinstance(array, np.ndarray) and not array.flags.writeable:
        raise ValueError(f"{name} is read-only and would be written; pass a writeable array, e.g. {name}.copy()")


def need_contiguous(name: str, array: Array) -> None:
    """Raises ValueError for an array that is not C-contiguous."""
    if not (array.flags.c_contiguous if isinstance(array, np.ndarray) else array.is_contiguous()):
        raise ValueError(f"{name} has gaps or another order of axes, C-contiguous is needed; pass a contiguous copy")


def need_int3(name: str, value: Sequence[int], least: int) -> tuple[int, int, int]:
    """Three whole numbers, none below `least`.

    Raises:
        TypeError: not three whole numbers.
        ValueError: not three, or one of them too small.
    """
    if not all(isinstance(side, int | np.integer) for side in value):
        raise TypeError(f"{name} is {value!r}, three whole numbers are needed")
    if len(value) != 3 or min(value) < least:
        raise ValueError(f"{name} is {tuple(value)}, three whole numbers of at least {least} are needed")
    return int(value[0]), int(value[1]), int(value[2])


def need_origins(origins: NDArray[np.int64], n: int | str = "n") -> NDArray[np.int64]:
    """Origins (n, 3) int64, checked, C-contiguous.

    Raises:
        TypeError, ValueError: as `need`; or an origin that is too far away to be added to a shape.
    """
    need("origins", origins, (n, 3), "int64", tensor=False)
    if origins.size and (origins.min() < -MAX_COORDINATE or origins.max() > MAX_COORDINATE):
        raise ValueError("origins lie beyond 2^62 voxels; they are first voxels of patches, in voxels")
    return np.ascontiguousarray(origins)


def _threads_or_all(threads: int | None) -> int:
    """Number of threads; None takes every processor this process may use.

    Raises:
        TypeError: not a whole number.
        ValueError: outside 1..1024.
    """
    if threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not isinstance(threads, int | np.integer):
        raise TypeError(f"threads is {threads!r}, a whole number or None is needed")
    if not 1 <= threads <= 1024:
        raise ValueError(f"threads is {threads}, 1 to 1024 is needed, or None for every processor")
    return int(threads)


def _kind_of(value: object) -> str:
    kind = type(value)
    place = f" on {value.device}" if hasattr(value, "device") else ""
    return f"a {kind.__module__}.{kind.__qualname__}{place}"
