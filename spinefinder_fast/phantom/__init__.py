# SPDX-License-Identifier: Apache-2.0
"""Synthetic CT-like scans with a spine whose centroids are known.

`make_phantom` makes the embedded input of the demo and of the tests; `random_phantom` draws every kind of field of
view, person and image for training. Bones, organs and air are simple shapes with measured proportions: a phantom
shows what a CT shows, where it shows it, and stays recognisable as synthetic.
"""

from spinefinder_fast.phantom.anatomy import Tissue
from spinefinder_fast.phantom.image import Look, render, shell
from spinefinder_fast.phantom.scan import Phantom, make_phantom, random_phantom

__all__ = ["Look", "Phantom", "Tissue", "make_phantom", "random_phantom", "render", "shell"]
