# SPDX-License-Identifier: Apache-2.0
"""The compiled module itself: it loads anywhere, and says clearly what it cannot do here."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from spinefinder_fast import _kernels

from .forms import without_cuda


class DeviceArray:
    """Claims to be on a device."""

    def __init__(self, typestr: str, shape: tuple[int, ...]) -> None:
        self.__cuda_array_interface__ = {
            "shape": shape,
            "typestr": typestr,
            "data": (4096, False),
            "version": 3,
            "strides": None,
        }


def one_disc() -> tuple[object, ...]:
    return np.zeros((1, 2, 3)), np.ones(1), np.ones(1, np.uint8), (1.0, 1.0, 1.0), 0


def test_kernels_import_neither_torch_nor_a_cuda_library():
    script = (
        "import sys, spinefinder_fast.kernels, spinefinder_fast.discs\n"
        "assert not {'torch', 'itk'} & set(sys.modules), 'a heavy package was imported'\n"
        "assert 'libcud' not in open('/proc/self/maps').read(), 'a CUDA library was loaded'\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.skipif(not _kernels.cuda, reason="this build has no CUDA kernels")
@pytest.mark.skipif(not without_cuda(), reason="this machine has a CUDA device")
def test_without_a_device_one_clear_error():
    no_device = pytest.raises(RuntimeError, match=r"CUDA: no usable device \(.+\); pass NumPy arrays")
    first = np.zeros((1, 3), np.int64)
    volume, mask = DeviceArray("<f4", (2, 2, 2)), DeviceArray("|u1", (2, 2, 2))
    with no_device:
        _kernels.rasterize_discs_cuda(mask, *one_disc())
    with no_device:
        _kernels.extract_patches_cuda(volume, first, 0.0, DeviceArray("<f4", (1, 2, 2, 2)), 0)
    with no_device:
        _kernels.stitch_mask_cuda(DeviceArray("<f4", (1, 2, 2, 2, 2)), first, (0, 0, 0), mask, 0)
    with no_device:
        _kernels.label_histograms_float32_cuda(volume, mask, DeviceArray("<i8", (26, 6)), 0)


@pytest.mark.skipif(not _kernels.cuda, reason="this build has no CUDA kernels")
def test_device_arrays_are_checked_before_the_device():
    with pytest.raises(TypeError, match="out: another element type"):
        _kernels.rasterize_discs_cuda(DeviceArray("<f4", (2, 2, 2)), *one_disc())
    with pytest.raises(ValueError, match="out: another number of axes"):
        _kernels.rasterize_discs_cuda(DeviceArray("|u1", (2, 2)), *one_disc())


def test_arrays_with_broken_strides_are_refused():
    records = np.zeros((4, 4, 4), [("flag", np.uint8), ("value", np.float32)])
    with pytest.raises(ValueError, match="strides that are no whole elements"):
        _kernels.extract_patches(records["value"], np.zeros((1, 3), np.int64), 0.0, np.zeros((1, 2, 2, 2), "f4"), 1)
