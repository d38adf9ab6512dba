# SPDX-License-Identifier: Apache-2.0
"""Finds and names the vertebrae in a CT scan.

    import spinefinder_fast as sf
    spine = sf.locate("scan.nii.gz")

Every public name is imported on first use, so that ``import spinefinder_fast`` costs neither torch nor itk.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from spinefinder_fast.geometry import Grid
    from spinefinder_fast.spine import Spine, Vertebra

_HOMES = {
    "Grid": "geometry",
    "Spine": "spine",
    "Vertebra": "spine",
}

__all__ = ["Grid", "Spine", "Vertebra", "__version__"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'spinefinder_fast' has no attribute {name!r}")
    return getattr(import_module(f"spinefinder_fast.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
