# SPDX-License-Identifier: Apache-2.0
"""What others reported on the public test set of the 2014 CSI challenge: 242 training and 60 test scans."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

Figures = tuple[float, float | None, float | None]
"""Id rate in %, mean and standard deviation of the error in mm."""


@dataclass(frozen=True)
class Published:
    """One row of a paper's table.

    Attributes:
        method: authors and year.
        regions: figures by region, as far as they were given.
    """

    method: str
    regions: dict[str, Figures]


TABLE_1: Final = (
    Published(
        "Chen H. et al. 2015",
        {
            "All": (84.2, 8.82, 13.04),
            "Cervical": (91.8, 5.12, 8.22),
            "Thoracic": (76.4, 11.39, 16.48),
            "Lumbar": (88.1, 8.42, 8.62),
        },
    ),
    Published(
        "Liao et al. 2018",
        {
            "All": (88.3, 6.47, 8.56),
            "Cervical": (95.1, 4.48, 4.56),
            "Thoracic": (84.0, 7.78, 10.17),
            "Lumbar": (92.2, 5.61, 7.68),
        },
    ),
    Published(
        "McCouat and Glocker 2019",
        {
            "All": (85.8, 5.60, 7.10),
            "Cervical": (90.6, 3.93, 5.27),
            "Thoracic": (79.8, 6.61, 7.40),
            "Lumbar": (92.0, 5.39, 8.70),
        },
    ),
    Published("Chen Y. et al. 2019", {"All": (94.67, 2.56, None)}),
    Published("Wang et al. 2021", {"All": (97.4, None, None)}),
    Published("Qin et al. 2021", {"All": (91.1, 2.2, None)}),
)
"""The rows of Table 1 of McCouat and Glocker 2019, and three later ones. No paper states missing or extra."""
