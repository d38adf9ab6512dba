# SPDX-License-Identifier: Apache-2.0
"""The compiled module itself: it loads anywhere, and says clearly what it cannot do here."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import numpy as np
import pytest

from spinefinder_fast import _kernels

from .forms import without_cuda


class _DLTensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device", ctypes.c_int32 * 2),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.c_void_p),
        ("byte_offset", ctypes.c_uint64),
    ]


class _Managed(ctypes.Structure):
    _fields_ = [
        ("version", ctypes.c_uint32 * 2),
        ("manager", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", _DLTensor),
    ]


class Foreign:
    """An array of another library: it shows itself by DLPack alone, and claims to be wherever it is told."""

    CPU, CUDA, ROCM = 1, 2, 10

    def __init__(self, typestr: str, shape: tuple[int, ...], device: int = CUDA, flags: int = 0, major: int = 1):
        self.memory = np.zeros(shape, typestr if typestr[0] != "b" else "u2")
        self.shape = (ctypes.c_int64 * len(shape))(*shape)
        tensor = _DLTensor(
            self.memory.ctypes.data,
            (device, 0),
            len(shape),
            {"i": 0, "u": 1, "f": 2, "b": 4}[typestr[0]],
            8 * int(typestr[1:]),
            1,
            self.shape,
            None,
            0,
        )
        self.managed = _Managed((major, 0), None, None, flags, tensor)

    def __dlpack__(self, *, stream: int, max_version: tuple[int, int]) -> object:
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        return new(ctypes.addressof(self.managed), b"dltensor_versioned", None)


def one_disc() -> tuple[object, ...]:
    return FIRST, np.zeros((1, 2, 3)), np.ones(1), np.ones(1, np.uint8), (1.0, 1.0, 1.0), None, 1, 0


def one_row(image: object, empty: object) -> tuple[object, ...]:
    """Arguments of deform_grid for one row of four voxels, which becomes itself."""
    ends = (1, 1, 4), (0, 0, 0), (1, 1, 4)
    return [image], [image], [1], [0], [0.0], np.zeros((1, 1, 1, 2)), *ends, empty, 1, 0


def test_kernels_import_neither_torch_nor_a_cuda_library():
    script = (
        "import sys, spinefinder_fast.kernels, spinefinder_fast.discs\n"
        "assert not {'torch', 'itk'} & set(sys.modules), 'a heavy package was imported'\n"
        "assert 'libcud' not in open('/proc/self/maps').read(), 'a CUDA library was loaded'\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


FIRST = np.zeros((1, 3), np.int64)
AS_IT_IS = (0.0, 1.0, -np.inf, np.inf)


@pytest.mark.skipif(not _kernels.cuda, reason="this build has no CUDA kernels")
@pytest.mark.skipif(not without_cuda(), reason="this machine has a CUDA device")
def test_without_a_device_one_clear_error():
    no_device = pytest.raises(RuntimeError, match=r"CUDA: no usable device \(.+\); pass NumPy arrays")
    volume, mask = Foreign("f4", (2, 2, 2)), Foreign("u1", (2, 2, 2))
    with no_device:
        _kernels.rasterize_disc_crops(Foreign("u1", (1, 2, 2, 2)), *one_disc())
    with no_device:
        _kernels.extract_patches(volume, FIRST, AS_IT_IS, 0.0, Foreign("b2", (1, 2, 2, 2)), 1, 0)
    with no_device:
        _kernels.stitch_mask(Foreign("f2", (1, 2, 2, 2, 2)), FIRST, (0, 0, 0), mask, 1, 0)
    with no_device:
        _kernels.count_votes(volume, mask, (0, 0, 0), (2, 2, 2), Foreign("i8", (26, 9)), 1, 0)
    with no_device:
        outputs = Foreign("i8", (26,)), Foreign("f8", (3, 26, 3)), Foreign("i8", (2, 26, 3))
        _kernels.vote_statistics(Foreign("i8", (26, 9)), (2, 2, 2), *outputs, 1, 0)
    with no_device:
        _kernels.deform_grid(*one_row(Foreign("f4", (1, 1, 1, 1, 1, 4)), lambda n: Foreign("f4", (n,))))


@pytest.mark.skipif(_kernels.cuda, reason="this build has CUDA kernels")
def test_without_cuda_kernels_one_clear_error():
    with pytest.raises(RuntimeError, match="no CUDA kernels"):
        _kernels.rasterize_disc_crops(Foreign("u1", (1, 2, 2, 2)), *one_disc())


@pytest.mark.parametrize(
    ("out", "error", "message"),
    [
        (Foreign("f4", (1, 2, 2, 2), Foreign.CPU), TypeError, "out: another element type"),
        (Foreign("u1", (2, 2, 2), Foreign.CPU), ValueError, "out: another number of axes"),
        (Foreign("u1", (1, 2, 2, 2), Foreign.CPU, flags=1), ValueError, "out is read-only"),
        (Foreign("u1", (1, 2, 2, 2), Foreign.CPU, major=2), TypeError, "out: a plain array in host or CUDA memory"),
        (Foreign("u1", (1, 2, 2, 2), Foreign.ROCM), TypeError, "out: a plain array in host or CUDA memory"),
        (bytearray(8), TypeError, "out: an array is needed"),
    ],
)
def test_arrays_of_other_libraries_are_checked(out, error, message):
    with pytest.raises(error, match=message):
        _kernels.rasterize_disc_crops(out, *one_disc())


def test_an_array_of_another_library_is_written_in_place():
    out = Foreign("u1", (1, 2, 2, 3), Foreign.CPU)
    _kernels.rasterize_disc_crops(out, *one_disc())
    assert out.memory.tolist() == [[[[1, 0, 0], [1, 0, 0]], [[1, 0, 0], [0, 0, 0]]]]


def test_host_and_device_do_not_mix():
    with pytest.raises((ValueError, RuntimeError), match=r"arrays are in host and in device memory|no CUDA kernels"):
        _kernels.stitch_mask(Foreign("f4", (1, 2, 2, 2, 2)), FIRST, (0, 0, 0), np.zeros((2, 2, 2), np.uint8), 1, 0)


def test_scratch_memory_is_checked():
    image = np.zeros((1, 1, 1, 1, 1, 4), np.float32)
    with pytest.raises(ValueError, match="scratch has another size"):
        _kernels.deform_grid(*one_row(image, lambda n: np.empty(n - 1, np.float32)))
    with pytest.raises(ValueError, match="arrays are in host and in device memory"):
        _kernels.deform_grid(*one_row(image, lambda n: Foreign("f4", (n,))))


def test_what_does_not_fit_the_field_is_refused():
    def refused(at: int, wrong: object, message: str) -> None:
        arguments = list(one_row(np.zeros((1, 1, 1, 1, 1, 4), np.float32), lambda n: np.empty(n, np.float32)))
        arguments[at] = wrong
        with pytest.raises(ValueError, match=message):
            _kernels.deform_grid(*arguments)

    refused(1, [np.zeros((1, 1, 1, 1, 1, 3), np.float32)], "do not fit the shape and the crop")
    refused(1, [], "every image needs its out")
    refused(2, [2], "no such order")
    refused(3, [5], "no such border")
    refused(5, np.zeros((1, 1, 2)), "displacement must have the shape")
    refused(5, np.zeros((1, 1, 1, 0)), "do not fit")
    refused(5, np.zeros((1, 2, 1, 2)), "do not fit")
    refused(6, (1, 1, 5), "do not fit the shape and the crop")
    refused(8, (1, 1, 5), "shape, crop and displacement do not fit")


@pytest.mark.parametrize("dtype", ["i8", "?", "c8"])
def test_elements_without_a_kernel_are_refused(dtype):
    out = np.zeros((1, 2, 2, 2), np.float32)
    with pytest.raises(TypeError, match="volume: no kernel for elements"):
        _kernels.extract_patches(np.zeros((2, 2, 2), dtype), FIRST, AS_IT_IS, 0.0, out, 1, 0)


def test_broken_memory_layouts_are_refused():
    out = np.zeros((1, 2, 2, 2), np.float32)
    records = np.zeros((4, 4, 4), [("flag", np.uint8), ("value", np.float32)])
    with pytest.raises(ValueError, match="strides that are no whole elements"):
        _kernels.extract_patches(records["value"], FIRST, AS_IT_IS, 0.0, out, 1, 0)
    odd = np.frombuffer(bytes(4 * 27 + 1), np.float32, 27, offset=1).reshape(3, 3, 3)
    with pytest.raises(ValueError, match="volume is not aligned"):
        _kernels.extract_patches(odd, FIRST, AS_IT_IS, 0.0, out, 1, 0)
    with pytest.raises(TypeError, match="the native byte order"):
        _kernels.extract_patches(np.zeros((3, 3, 3), ">f4"), FIRST, AS_IT_IS, 0.0, out, 1, 0)


def test_counts_of_another_volume_are_refused():
    labels, counts = np.zeros((2, 3, 4), np.uint8), np.zeros((26, 12), np.int64)
    _kernels.count_votes(labels, None, (0, 0, 0), (2, 3, 4), counts, 1, 0)
    for first, shape, wrong, message in [
        ((0, 0, 0), (2, 3, 5), counts, "counts must have the shape"),
        ((0, 0, 0), (2, 3, 4), np.zeros((26, 24), np.int64)[:, ::2], "counts must be C-contiguous"),
        ((0, 0, 0), (10, 3, -4), counts, "counts must have the shape"),
        ((0, 0, 1), (2, 3, 4), counts, "the labels leave the volume"),
        ((-1, 0, 0), (3, 2, 4), counts, "the labels leave the volume"),
    ]:
        with pytest.raises(ValueError, match=message):
            _kernels.count_votes(labels, None, first, shape, wrong, 1, 0)
    votes, quantiles, bounds = np.zeros(26, np.int64), np.zeros((3, 26, 3)), np.zeros((2, 26, 3), np.int64)
    with pytest.raises(ValueError, match="quantiles has another shape"):
        _kernels.vote_statistics(counts, (2, 3, 4), votes, quantiles[:2], bounds, 1, 0)
