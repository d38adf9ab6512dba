# SPDX-License-Identifier: Apache-2.0
"""The table at the end: crops per second, ours beside the plain way."""

from __future__ import annotations

import pytest

Speeds = dict[tuple[str, int], dict[str, float]]

SPEEDS = pytest.StashKey[Speeds]()


def pytest_configure(config):
    config.stash[SPEEDS] = {}


@pytest.fixture
def speeds(request) -> Speeds:
    """Crops per second by way, of each network and number of workers."""
    return request.config.stash[SPEEDS]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter, config):
    yield
    if not (found := config.stash[SPEEDS]):
        return
    terminalreporter.section("training crops per second")
    terminalreporter.write_line(f"{'network':<16}{'workers':>8}{'ours':>10}{'plain':>10}{'ratio':>8}")
    for (kind, workers), by_way in found.items():
        ours, plain = by_way.get("ours"), by_way.get("plain")
        cells = [f"{speed:.1f}" if speed else "-" for speed in (ours, plain)]
        ratio = f"{ours / plain:.2f}" if ours and plain else "-"
        terminalreporter.write_line(f"{kind:<16}{workers:>8}{cells[0]:>10}{cells[1]:>10}{ratio:>8}")
