# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator

import pytest

from spinefinder_fast import _kernels


@pytest.fixture(autouse=True, scope="session")
def many_threads() -> Iterator[None]:
    """As many threads as are asked for, however small the work: else small arrays would test one thread only."""
    _kernels.set_bytes_per_thread(1)
    yield
    _kernels.set_bytes_per_thread(4 << 20)
