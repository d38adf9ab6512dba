# SPDX-License-Identifier: Apache-2.0
"""How the networks are run and their votes counted: what may differ without another training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

Look = Literal["everywhere", "coarse_to_fine"]
Tiling = Literal["faithful", "large"]
Centre = Literal["median", "mean", "geometric_median", "mean_shift"]
Threshold = Literal["in_view", "paper"]
Decode = Literal["order", "median"]


@dataclass(frozen=True)
class Procedure:
    """The choices between trained networks and centroids.

    Attributes:
        look: where the fine networks look: ``"everywhere"`` (the paper), or ``"coarse_to_fine"``, only where a coarse
            network suspects the spine (`coarse.search`; weights without one look everywhere) and, for identification,
            in the strip around what was detected (`identification.identify`).
        tiling: how detection covers a volume: ``"faithful"``, the paper's patches, or ``"large"``; see
            `detection.detect`.
        centre: of the votes for a vertebra: ``"median"`` (the paper), ``"mean"``, ``"geometric_median"`` or
            ``"mean_shift"`` (the paper's own wish); see `centroids.aggregate`.
        threshold: how many votes make a vertebra: ``"in_view"`` or ``"paper"`` (Eq. 3 as it stands); see
            `centroids.aggregate`.
        decode: how votes become vertebrae: ``"order"``, bodies are found along the spine and numbered all together
            (`decoder.decode`), or ``"median"``, each label by itself, as the paper does (`centroids.aggregate`); the
            latter alone has a use for `centre` and `threshold`.

    Raises:
        ValueError: a choice that there is not, or one that would change nothing.
    """

    look: Look = "coarse_to_fine"
    tiling: Tiling = "large"
    centre: Centre = "median"
    threshold: Threshold = "in_view"
    decode: Decode = "order"

    @property
    def precision(self) -> Literal["auto", "float32"]:
        """What a model for it is loaded in (`networks.weights.load_model`): the paper's patches are seen in float32."""
        return "float32" if self.tiling == "faithful" else "auto"

    def __post_init__(self) -> None:
        for name, choices in (
            ("look", Look),
            ("tiling", Tiling),
            ("centre", Centre),
            ("threshold", Threshold),
            ("decode", Decode),
        ):
            if (value := getattr(self, name)) not in get_args(choices):
                *others, last = get_args(choices)
                raise ValueError(f"{name} is {value!r}; {', '.join(others)} or {last} is needed")
        for name in ("centre", "threshold"):
            if self.decode == "order" and (value := getattr(self, name)) != getattr(type(self), name):
                raise ValueError(f"{name} is {value!r}, for which decode 'order' has no use; take decode 'median'")


FAST: Final = Procedure()

FAITHFUL: Final = Procedure(look="everywhere", tiling="faithful", decode="median")
"""The paper's, but for the threshold."""

PRESETS: Final = {"fast": FAST, "faithful": FAITHFUL}
DEFAULT: Final = FAST
