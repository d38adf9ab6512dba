# SPDX-License-Identifier: Apache-2.0
"""The command ``spinefinder``: one module per command. Every heavy import waits inside a command, so ``--help`` is
instant.

Exit codes are part of the interface: 0 all done, 1 our bug, 2 usage, 3 no scan found, 4 scans found but none done,
5 input missing or unreadable, 6 output folder or device unusable, 7 weights unusable, 8 some scans done and some not,
9 a data set has errors.
"""

from __future__ import annotations

# The order is that of `--help`.
from spinefinder_fast.cli import ablate, dataset, evaluate, phantom, predict, train  # noqa: F401
from spinefinder_fast.cli.app import app, stop


def main() -> None:
    """Entry point of the ``spinefinder`` command."""
    from spinefinder_fast.errors import OutputError, SpinefinderError, WeightsError

    try:
        app()
    except SpinefinderError as error:
        stop(str(error), 7 if isinstance(error, WeightsError) else 6 if isinstance(error, OutputError) else 5)
