# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from spinefinder_fast.anatomy import name_ranges
from spinefinder_fast.report import ScanResult, batch_table, write_batch_csv


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], ""),
        (["L1"], "L1"),
        (["L1", "T12"], "T12-L1"),
        (["T12", "L1", "L2", "L3", "L4", "L5", "S1"], "T12-L5, S1"),
        (["S2", "S1", "L5", "L6"], "L5-L6, S1-S2"),
        (["C7", "T1", "T3", "T4"], "C7-T1, T3-T4"),
        (["T12", "T13", "L1"], "T12-L1"),
        (["L5", "S1"], "L5, S1"),
    ],
)
def test_runs_of_names(names: list[str], text: str) -> None:
    assert name_ranges(names) == text


RESULTS = [
    ScanResult("neck", "ok", ["C1", "C2", "C3"], 12.345),
    ScanResult("[bold]odd[/bold]", "refused", message="[E_TRUNCATED] the data end at 7 of 9 bytes"),
]


def test_the_table_says_everything_as_it_is() -> None:
    console = Console(width=140, record=True, file=None, force_terminal=False)
    with console.capture() as capture:
        console.print(batch_table(RESULTS))
    text = capture.get()
    for fragment in ("C1-C3", "12.3", "[bold]odd[/bold]", "[E_TRUNCATED] the data end at 7 of 9 bytes", "none"):
        assert fragment in text


def test_the_csv(tmp_path: Path) -> None:
    write_batch_csv(tmp_path / "batch.csv", RESULTS)
    lines = (tmp_path / "batch.csv").read_text().splitlines()
    assert lines[0] == "scan,status,vertebrae,count,seconds,message"
    assert lines[1] == "neck,ok,C1-C3,3,12.345,"
    assert len(lines) == 3
