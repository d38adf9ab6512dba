# SPDX-License-Identifier: Apache-2.0
"""Measuring the ways, and the table at the end. `benchmarks` says how to use it."""

from __future__ import annotations

import platform
import time
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from . import tables
from .memory import peak_rise
from .ways import Measurement, rows

SECONDS = 1.0
"""For the rounds of one way, and at the least three rounds of what takes up to `PATIENCE` seconds, else one."""
PATIENCE = 3.0

MEASUREMENTS = pytest.StashKey[list[Measurement]]()


def pytest_addoption(parser):
    parser.addoption("--save-ratios", action="store_true", help=f"keep the ratios in {tables.RATIOS} and the tables")


def pytest_configure(config):
    config.stash[MEASUREMENTS] = []


@pytest.fixture
def measure(benchmark, request):
    """Calls `way.run` with the arguments again and again; returns its answer."""
    way, size = request.node.callspec.params["way"], request.node.callspec.params["size"]
    kernel = request.node.originalname.removeprefix("test_")
    benchmark.group = f"{kernel} {size}"

    def run(*args: Any) -> Any:
        if way.once:
            answer, peak_mb = peak_rise(partial(benchmark.pedantic, way.run, args))
        else:
            start = time.perf_counter()
            _, peak_mb = peak_rise(partial(way.run, *args))
            seconds = time.perf_counter() - start
            rounds = max(3 if seconds < PATIENCE else 1, min(1000, int(SECONDS / seconds)))
            answer = benchmark.pedantic(way.run, args, rounds=rounds)
        if benchmark.enabled:
            median_s = benchmark.stats.stats.median
            found = Measurement(kernel, size, request.function.sizes, "cpu", way, median_s, peak_mb)
            request.config.stash[MEASUREMENTS].append(found)
        return answer

    return run


def machine() -> dict[str, Any]:
    import cpuinfo
    import numpy as np
    import torch

    return {
        "cpu": cpuinfo.get_cpu_info()["brand_raw"],
        "cores": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
    }


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter, exitstatus, config):
    # Behind all other reports: the table is the last thing to see.
    yield
    found = rows(config.stash[MEASUREMENTS])
    if not found:
        return
    terminalreporter.section("how ours compares")
    terminalreporter.write_line(tables.text(found))
    if config.getoption("--save-ratios"):
        if exitstatus == pytest.ExitCode.OK:
            tables.save(found, machine())
        else:
            terminalreporter.write_line("Not saved: a benchmark failed.", red=True)
