# SPDX-License-Identifier: Apache-2.0
"""The names, numbers and sizes of vertebrae: the vocabulary of every other module.

Inside the package a vertebra is a *label*: 1 = C1 ... 24 = L5, 25 = S1, 26 = S2, as in the paper; 0 is
background. Files of the VerSe challenge number differently; `VERSE_NAMES` translates, and nothing else does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

NAMES: Final[tuple[str, ...]] = (
    *(f"C{i}" for i in range(1, 8)),
    *(f"T{i}" for i in range(1, 13)),
    *(f"L{i}" for i in range(1, 6)),
    "S1",
    "S2",
)
"""Names in cranio-caudal order; the label of ``NAMES[i]`` is ``i + 1``."""

N_LABELS: Final = len(NAMES)

EVERY_NAME: Final = (*NAMES[:19], "T13", *NAMES[19:24], "L6", "S1", "S2")
"""Every name that an annotation may hold, from head to foot."""

LABELS: Final[dict[str, int]] = {name: i + 1 for i, name in enumerate(NAMES)}
"""Label of each name: ``{"C1": 1, ..., "S2": 26}``."""

# fmt: off
_DIAMETERS = (
    14, 15, 16.5, 17, 17, 19, 20,
    19.3, 20, 22, 24, 25, 27, 29, 31, 33, 32, 33.5, 34,
    34, 37, 38, 36, 34,
    34, 34,
)
_GAPS = (
    17.1, 23.5, 15.9, 16.1, 16.1, 17.7, 18.8,
    20.6, 20.9, 20.9, 21.2, 22.1, 22.2, 23.1, 23.8, 25.1, 26.9, 29.2, 31.3,
    33.5, 34.8, 35.5, 34.6,
    32.0, 30.0,
)
# fmt: on

DIAMETERS_MM: Final[dict[str, float]] = dict(zip(NAMES, map(float, _DIAMETERS), strict=True))
"""Diameter of each vertebral body in the axial plane, mm: the table the paper takes from Busscher et al. 2010."""

GAPS_MM: Final[dict[str, float]] = dict(zip(NAMES[:-1], _GAPS, strict=True))
"""Typical distance in mm from the centroid of each vertebra to that of the next one below, in adults.

C1 and C3 to C7: means of the VerSe 2020 annotations; C2, whose centroid counts its dens: rounded, from masks of five
necks (22 to 25 mm) and the keypoints of Buergin et al. 2023 (24.7 mm); T1 to L4: means of VerSe 2019 (Sekuboyina et al.
2021) and of the keypoints, which agree within 3 mm; L5 and S1: rounded, from a few label maps. People differ by about
6 % as a whole and 5 % per gap.
"""

DENS_MM: Final = 5.0
"""So much the centroid of C2, which counts its dens, lies above the middle of its body: the gap to C3 is as much wider
than that of its neighbours."""

BODY_GAPS_MM: Final = {**GAPS_MM, "C2": GAPS_MM["C2"] - DENS_MM}
"""`GAPS_MM` between what is found as bodies: of C2 its body alone, and C1 a gap above that."""

VERSE_NAMES: Final[dict[int, str]] = {
    **{i: NAMES[i - 1] for i in range(1, 25)},
    25: "L6",
    26: "S1",
    28: "T13",
}
"""VerSe file number -> name. 26 is VerSe's sacrum, whose annotated point is the body of S1."""

VERSE_NUMBERS: Final[dict[str, int]] = {name: number for number, name in VERSE_NAMES.items()} | {"S2": 27}
"""Name -> VerSe file number. VerSe calls 27 the coccyx and never annotates its centroid; we write S2 there."""

UNPREDICTED: Final[frozenset[str]] = frozenset({"T13", "L6"})
"""Names that occur in annotations but that the paper's 26 labels cannot express."""


def like(name: str) -> str:
    """The usual vertebra that a supernumerary one looks like: T12 for T13, L5 for L6, every other one itself."""
    return {"T13": "T12", "L6": "L5"}.get(name, name)


def label_of(name: str) -> int:
    """Label (1..26) of a vertebra's name, e.g. ``label_of("L1") == 20``.

    Raises:
        KeyError: the name is none of C1..C7, T1..T12, L1..L5, S1, S2.
    """
    return LABELS[name]


def name_of(label: int) -> str:
    """Name of a label 1..26, e.g. ``name_of(20) == "L1"``.

    Raises:
        KeyError: the label is outside 1..26.
    """
    if not 1 <= label <= N_LABELS:
        raise KeyError(label)
    return NAMES[label - 1]


def region_of(name: str) -> str:
    """Region letter of a vertebra's name: ``"C"``, ``"T"``, ``"L"`` or ``"S"``."""
    return name[0]


def height_mm(label: int) -> float:
    """Typical extent of a vertebra along the spine, mm: half of the gap above it plus half of the gap below.

    The first and the last label take their one gap for both.
    """
    above = GAPS_MM[NAMES[max(label - 2, 0)]]
    below = GAPS_MM[NAMES[min(label - 1, N_LABELS - 2)]]
    return 0.5 * (above + below)


def name_ranges(names: Iterable[str]) -> str:
    """Names in cranio-caudal order with unbroken runs drawn together, e.g. ``"T12-L5, S1"`` without L6 between.

    T13 and L6 are not missed where they are absent: ``T12, L1`` is a run.
    """
    held = set(names)
    order = [name for name in EVERY_NAME if name in held or name not in UNPREDICTED]
    runs: list[list[str]] = []
    for before, name in zip(["", *order], order, strict=False):
        if name in held:
            # The sacrum stands by itself: a reader counts mobile vertebrae first.
            if before in held and not name.startswith("S1"):
                runs[-1].append(name)
            else:
                runs.append([name])
    return ", ".join(run[0] if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
