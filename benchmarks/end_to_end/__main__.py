# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks.end_to_end``: measure everything, print the table, keep it and write its page."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from . import page
from .measure import Bench, machine, scans_of
from .sizes import FULL, QUICK


def main() -> None:
    """Run the benchmark that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.end_to_end", description=(__doc__ or "").strip())
    parser.add_argument("--quick", action="store_true", help="tiny scans, to try the benchmark; needs --output")
    parser.add_argument("--data", type=Path, help="folder of folders with ct.nii.gz: both ways must agree on them too")
    parser.add_argument("--weights", type=Path, help="folder of weights; the package's own by default")
    parser.add_argument("--output", type=Path, help="folder for results, page and picture instead of their places")
    given = parser.parse_args()
    if given.quick and not given.output:
        parser.error("--quick needs --output: its figures are worth nothing in the documents")
    data = scans_of(given.data) if given.data else []
    if given.data and not data:
        parser.error(f"no folder with a ct.nii.gz in {given.data}")
    if given.output:
        given.output.mkdir(parents=True, exist_ok=True)
    load = os.getloadavg()[0]
    weights = given.weights.resolve() if given.weights else None
    with tempfile.TemporaryDirectory(prefix="spinefinder-bench-") as folder:
        bench = Bench(QUICK if given.quick else FULL, Path(folder), weights, [path.resolve() for path in data])
        bench.run()
    print(page.text(bench.rows))
    if bench.failed:
        print("The documents stay as they are, for these are wrong:", *bench.failed, sep="\n- ", file=sys.stderr)
    if bench.stages and (given.output or not bench.failed):
        page.save({"machine": machine(load, weights), "stages": bench.stages, "rows": bench.rows}, output=given.output)
    raise SystemExit(bool(bench.failed))


if __name__ == "__main__":
    main()
