# SPDX-License-Identifier: Apache-2.0
"""Numbers a synthetic person is drawn from: how spines curve, how large vertebrae are, where ribs run.

Spacing and angles of the spine are summary statistics (means, spreads, one correlation) of the public annotations of
VerSe (Sekuboyina et al. 2021) and of the keypoints of Buergin et al. 2023 ("VID"), both CC BY-SA 4.0. The course
of the ribs is the rounded mean of two public trunk segmentations of TotalSegmentator (Wasserthal et al. 2023, CC BY
4.0). Sizes of vertebrae are rounded adult values of the anatomical literature.

All lengths are millimetres, angles degrees, directions LPS (x to the left, y to the back, z up the body).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def _table(*values: float) -> Array:
    return np.array(values, np.float64)


# fmt: off
GAPS_MM: Final = _table(
    16.0, 23.2, 17.2, 16.8, 16.5, 17.6, 19.6,
    20.7, 20.8, 21.0, 21.4, 21.9, 22.4, 23.0, 23.7, 25.1, 27.1, 29.3, 31.8,
    33.6, 34.6, 35.2, 34.6, 32.2, 30.0,
)
"""Distance between the centroids of neighbours, C1-C2 ... S1-S2; the first two from masks of five necks."""

C2_BODY_MM: Final = 7.0
"""How far the middle of C2's body lies below the centroid of C2, which counts its dens: of the bone, in masks of five
necks. What the decoder finds for that body lies a little higher (`anatomy.DENS_MM`)."""

SAGITTAL_DEG: Final = _table(
    -25.0, 9.1, 13.1, 15.7, 15.9, 21.8, 27.9,
    28.3, 26.4, 21.6, 16.6, 11.3, 4.4, -1.8, -5.4, -8.1, -11.9, -11.7, -10.8,
    -14.1, -11.6, -4.1, 11.2, 33.0, 47.0,
)
"""Mean angle of each gap in the sagittal plane; positive: the lower centroid lies further back. C2 lies in front of the
middle of C1's ring, by 34 degrees against the gap below (31 to 40 in five masks of necks)."""

SAGITTAL_SD_DEG: Final = _table(
    9.0, 12.0, 12.0, 12.0, 12.0, 12.0, 11.0,
    9.7, 8.5, 7.4, 6.4, 6.3, 5.8, 5.1, 5.1, 5.9, 6.1, 5.6, 5.5,
    5.3, 5.7, 7.4, 9.5, 8.0, 8.0,
)
"""Spread of the sagittal angles over people."""

SAGITTAL_CORRELATION: Final = 0.8
"""Correlation of the sagittal angles of neighbouring gaps: 0.73 in the annotations, which carry some noise."""

CORONAL_SD_DEG: Final = 3.5
"""Spread of the coronal angles over people without scoliosis, smaller than annotated: the raw data have outliers."""

CORONAL_CORRELATION: Final = 0.85

PERSON_SIZE_SD: Final = 0.064
"""Relative spread of size over people."""

GAP_SD: Final = 0.035
"""Relative spread of one gap in one person. Annotated gaps spread by 0.049, part of which is annotators' noise."""

GAP_CORRELATION: Final = 0.7
"""Correlation of those deviations of neighbouring gaps."""

BODY_WIDTH_MM: Final = _table(
    20, 18.5, 20, 21, 21.5, 22.5, 25,
    29, 28, 27, 26.5, 27, 28, 29, 31, 33, 35, 38, 40,
    42, 44, 46, 49, 52, 50, 36,
)
"""Left-right width of the vertebral bodies C1 ... S2 (C1 has none)."""

BODY_DEPTH_MM: Final = _table(
    15, 15, 15.5, 16, 16, 16.5, 17,
    17.5, 18.5, 20, 22, 24, 26, 27.5, 29, 30, 31, 32, 32.5,
    33, 34, 35, 35.5, 35.5, 31, 21,
)
"""Front-back depth of the vertebral bodies."""

DISC_MM: Final = _table(
    0, 5, 5, 5, 5.2, 5.2, 4.5,
    4, 3.5, 3.3, 3.3, 3.5, 3.8, 4.0, 4.3, 4.7, 5.2, 5.8, 6.8,
    7.8, 9.0, 10.0, 10.5, 10.0, 3.0,
)
"""Height of the discs below C1 ... S1 (none between C1 and C2, a remnant between S1 and S2)."""

PEDICLE_DISTANCE_MM: Final = _table(
    38, 29, 26.5, 26.5, 27.5, 28.5, 29,
    28.5, 25, 22.8, 21.6, 21.5, 21.7, 22.1, 22.7, 23.3, 24.7, 27.0, 28.5,
    29, 30, 32, 35.5, 42, 44, 36,
)
"""Distance between the middles of the left and the right pedicle."""

CANAL_RADIUS_MM: Final = _table(
    11, 9.5, 8.5, 8.5, 8.7, 8.7, 8.7,
    8.4, 8.2, 8.0, 8.0, 8.0, 8.0, 8.0, 8.0, 8.1, 8.3, 8.8, 9.3,
    9.5, 9.3, 9.3, 9.5, 9.5, 8.0, 6.0,
)
"""Radius of the spinal canal."""

SPINOUS_MM: Final = _table(
    6, 20, 17, 17, 20, 25, 33,
    33, 33, 33, 35, 37, 38, 39, 38, 35, 31, 28, 28,
    31, 33, 33, 31, 25, 12, 8,
)
"""Length of the spinous process behind the canal."""

SPINOUS_DEG: Final = _table(
    0, 20, 22, 22, 22, 20, 18,
    22, 30, 38, 46, 54, 58, 58, 54, 46, 36, 24, 16,
    12, 10, 10, 12, 18, 20, 20,
)
"""How far the spinous process points down."""

TRANSVERSE_MM: Final = _table(
    39, 27, 27, 28, 28.5, 30, 34,
    38, 36, 33, 32, 31, 31, 31, 30, 29, 27, 24, 24,
    37, 41, 47, 43, 44, 44, 34,
)
"""How far the transverse process reaches to the side of the midline."""

RIB_BACK_MM: Final = np.array([
    (54, 14, 7), (60, 27, 9), (66, 36, 7), (66, 41, 7), (68, 45, 8), (68, 46, 8),
    (65, 47, 8), (66, 50, 5), (65, 52, 3), (68, 51, -4), (62, 48, -9), (55, 40, -16),
], np.float64)
"""(12, 3): where ribs 1-12 lie furthest back, from the centroid of their own vertebra (left side)."""

RIB_SIDE_MM: Final = np.array([
    (78, -14, -28), (106, -26, -36), (123, -40, -44), (132, -48, -48), (139, -52, -54), (145, -66, -64),
    (148, -70, -71), (149, -66, -77), (150, -57, -84), (147, -38, -86), (118, 8, -62), (78, 32, -40),
], np.float64)
"""(12, 3): where ribs 1-12 lie furthest to the side."""

RIB_FRONT_MM: Final = np.array([
    (45, -62, -50), (58, -93, -56), (68, -117, -70), (76, -129, -82), (82, -138, -90), (104, -142, -102),
    (118, -136, -112), (126, -122, -114), (135, -98, -110), (145, -66, -108), (134, -22, -98), (92, 22, -62),
], np.float64)
"""(12, 3): where the bone of ribs 1-12 ends in front."""
# fmt: on
