# SPDX-License-Identifier: Apache-2.0
"""``python -m spinefinder_fast`` is the command ``spinefinder``."""

from spinefinder_fast.cli import main

main()
