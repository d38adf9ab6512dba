# SPDX-License-Identifier: Apache-2.0
"""The exceptions a caller may want to catch.

Misuse of the API (a wrong type, a wrong shape) stays ``TypeError`` and ``ValueError``. What is wrong with
the *data* is a ``SpinefinderError``: its message is one line that says what was found, what was needed and
what to do, and its ``code`` is a stable word that a program can test.
"""

from __future__ import annotations


class SpinefinderError(Exception):
    """Something about the given data or files that the caller can mend.

    Args:
        code: stable upper-case word, for example ``E_TRUNCATED``; shown in brackets before the message.
        message: one line: what was found, what was needed, what to do.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"[{self.code}] {self.message}"


class ScanError(SpinefinderError):
    """A scan that cannot be read, or cannot be used safely."""


class GeometryError(SpinefinderError):
    """A grid without a usable relation between voxels and millimetres."""


class AnnotationError(SpinefinderError):
    """A file of centroids that cannot be understood, or does not fit its scan."""


class WeightsError(SpinefinderError):
    """Weights that are missing, damaged, or made for another network."""


class OutputError(SpinefinderError):
    """A result that cannot be written."""
