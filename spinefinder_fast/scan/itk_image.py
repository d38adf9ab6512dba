# SPDX-License-Identifier: Apache-2.0
"""NRRD and MetaImage, read by ITK."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinefinder_fast.errors import ScanError
from spinefinder_fast.geometry import Grid
from spinefinder_fast.quiet import silenced
from spinefinder_fast.scan.stored import Stored, rescale


def read_itk(path: Path) -> Stored:
    """Read a NRRD or MetaImage file.

    Raises:
        ScanError: ``E_UNREADABLE``, ITK cannot read it; ``E_4D``, it holds several volumes or channels.
    """
    try:
        with itk_modules() as itk:
            image = itk.imread(str(path))
            array = pixels(itk, image)
            direction = itk.array_from_matrix(image.GetDirection())
    except Exception as error:  # ITK raises RuntimeError, TypeError and its own types alike.
        reason = str(error).strip().splitlines()[-1].removeprefix("ITK ERROR: ")
        raise ScanError("E_UNREADABLE", f"ITK cannot read the file: {reason[:150]}") from error
    dimension = image.GetImageDimension()
    if array.ndim != dimension or (dimension > 3 and max(array.shape[3:]) > 1):
        raise ScanError("E_4D", f"the file holds {array.shape} numbers, one volume is needed")
    if dimension < 3:
        raise ScanError("E_TOO_FEW_SLICES", "the file holds one slice; at least 3 along each axis are needed")
    affine = np.eye(4)
    affine[:3, :3] = direction[:3, :3] * np.array(image.GetSpacing())[:3]
    affine[:3, 3] = np.array(image.GetOrigin())[:3]
    nx, ny, nz = array.shape[:3]
    voxels = rescale(array.reshape(nx, ny, nz, order="F"), 1.0, 0.0)
    # ITK has read all of it already.
    return Stored(
        Grid((nx, ny, nz), affine),
        lambda thickness: (voxels[:, :, k : k + thickness] for k in range(0, nz, thickness)),
    )


@contextmanager
def itk_modules() -> Iterator[Any]:
    """The ``itk`` package, whose parts are loaded on their first use.

    Loading one under ``-W error`` ends the process: SWIG's types lack ``__module__``, Python warns about it, and the
    generated code does not survive that the warning is raised.
    """
    with silenced(DeprecationWarning):
        import itk

        try:
            yield itk
        finally:
            _keep_swig_types()


@cache
def _keep_swig_types() -> None:
    """Let the table of SWIG's types outlive the interpreter.

    When Python ends, ITK's module frees that table with the help of types that may be gone by then, in particular where
    another SWIG package such as SimpleITK shares it: a segmentation fault in place of the exit code.
    """
    for name, module in list(sys.modules.items()):
        if name.startswith("swig_runtime_data"):
            for value in vars(module).values():
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(value))


def pixels(itk: Any, image: Any) -> NDArray[Any]:
    """The voxels of an ITK image, (i, j, k)."""
    # A copy: NumPy lets go of the image behind itk.array_view_from_image as soon as a plain array is made of the view.
    return np.asarray(itk.array_from_image(image)).T
