# SPDX-License-Identifier: Apache-2.0
"""Measuring the ways, and the table at the end. `benchmarks` says how to use it."""

from __future__ import annotations

import os
import platform
import time
import timeit
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import pytest
import torch

from . import gpu, memory, tables
from .ways import Measurement, rows

SECONDS = 1.0
"""For the rounds of one way, and at the least three rounds of what takes up to `PATIENCE` seconds, else one."""
PATIENCE = 3.0

MEASUREMENTS = pytest.StashKey[list[Measurement]]()
LOAD = pytest.StashKey[float]()


def pytest_addoption(parser):
    parser.addoption("--save-ratios", action="store_true", help=f"keep the ratios in {tables.RATIOS} and the tables")


def pytest_configure(config):
    config.stash[MEASUREMENTS] = []
    config.stash[LOAD] = os.getloadavg()[0]
    # By those that skip.
    config.addinivalue_line("filterwarnings", "ignore:Benchmark fixture was not used at all")


@pytest.fixture
def measure(benchmark, request):
    """Calls `way.run` with the arguments again and again; returns its answer.

    Benchmarks marked "gpu" run on the CUDA device, which every call waits for, and skip where there is none.
    `moved_bytes` is what a call reads and writes at the least; copying is given as many.
    """
    way, size = request.node.callspec.params["way"], request.node.callspec.params["size"]
    kernel = request.node.originalname.removeprefix("test_")
    benchmark.group = f"{kernel} {size}"
    device, rise, prepared = "cpu", memory.rise, way.run
    if request.node.get_closest_marker("gpu"):
        device, rise, prepared = gpu.name(), gpu.rise, gpu.waited_for(way.run)
    if way.needs:
        pytest.importorskip(way.needs)

    def run(*args: Any, moved_bytes: int | None = None) -> Any:
        call = prepared
        if way.run is gpu.copy:
            args = gpu.buffers(moved_bytes)
        if way.better == "lower":
            call = min((call, on_one_torch_thread(call)), key=lambda form: median_seconds(form, args))
        if way.once:
            answer, peak_mb = rise(partial(benchmark.pedantic, call, args))
        else:
            start = time.perf_counter()
            _, peak_mb = rise(partial(call, *args))
            seconds = time.perf_counter() - start
            rounds = max(3 if seconds < PATIENCE else 1, min(1000, int(SECONDS / seconds)))
            answer = benchmark.pedantic(call, args, rounds=rounds)
        if benchmark.enabled:
            median_s = benchmark.stats.stats.median
            found = Measurement(kernel, size, request.function.sizes, device, way, median_s, peak_mb, moved_bytes)
            request.config.stash[MEASUREMENTS].append(found)
        return answer

    return run


def on_one_torch_thread(call: Callable[..., Any]) -> Callable[..., Any]:
    """torch's threads wait for each other: on a busy machine that takes longer than the work, and is no limit."""

    def run(*args: Any) -> Any:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return call(*args)
        finally:
            torch.set_num_threads(threads)

    return run


def median_seconds(call: Callable[..., Any], args: tuple[Any, ...]) -> float:
    return median(timeit.repeat(lambda: call(*args), number=1, repeat=10))


def machine(load: float) -> dict[str, Any]:
    import cpuinfo

    return {
        "cpu": cpuinfo.get_cpu_info()["brand_raw"],
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": f"{torch.__version__} on {torch.get_num_threads()} threads",
        "load": round(load, 1),
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
    if not config.getoption("--save-ratios"):
        return
    if exitstatus != pytest.ExitCode.OK or config.getoption("keyword"):
        terminalreporter.write_line("Not saved: a benchmark failed, or -k left some out.", red=True)
    else:
        tables.save(found, machine(config.stash[LOAD]))
