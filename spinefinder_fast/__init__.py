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
    from spinefinder_fast.annotations import read_centroids
    from spinefinder_fast.errors import SpinefinderError
    from spinefinder_fast.evaluation import evaluate
    from spinefinder_fast.geometry import Grid
    from spinefinder_fast.networks.weights import Model, load_model
    from spinefinder_fast.phantom import make_phantom
    from spinefinder_fast.pipeline import locate
    from spinefinder_fast.procedure import Procedure
    from spinefinder_fast.report import draw_spine
    from spinefinder_fast.scan import Scan, read_scan
    from spinefinder_fast.spine import Spine, Vertebra

_HOMES = {
    "Grid": "geometry",
    "Model": "networks.weights",
    "Procedure": "procedure",
    "Scan": "scan",
    "Spine": "spine",
    "SpinefinderError": "errors",
    "Vertebra": "spine",
    "draw_spine": "report",
    "evaluate": "evaluation",
    "load_model": "networks.weights",
    "locate": "pipeline",
    "make_phantom": "phantom",
    "read_centroids": "annotations",
    "read_scan": "scan",
}

__all__ = [
    "Grid",
    "Model",
    "Procedure",
    "Scan",
    "Spine",
    "SpinefinderError",
    "Vertebra",
    "__version__",
    "draw_spine",
    "evaluate",
    "load_model",
    "locate",
    "make_phantom",
    "read_centroids",
    "read_scan",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'spinefinder_fast' has no attribute {name!r}")
    return getattr(import_module(f"spinefinder_fast.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
