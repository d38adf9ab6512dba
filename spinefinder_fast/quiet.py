# SPDX-License-Identifier: Apache-2.0
"""Warnings of other packages that say nothing to a user of this one."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

_ONE_AT_A_TIME = RLock()


@contextmanager
def silenced(category: type[Warning], message: str = "") -> Iterator[None]:
    """Nothing is heard of a category of warnings whose text begins as the regular expression `message` says.

    Filters belong to the whole process, and a scan may be read while networks are compiled: so one thread waits for the
    other, or each would put back what the other had found.
    """
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message, category)
        yield
