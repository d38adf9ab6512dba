# SPDX-License-Identifier: Apache-2.0
"""What every command shares: the application, its device option, and how it stops."""

from __future__ import annotations

import re
import sys
from typing import Annotated, NoReturn

import typer

from spinefinder_fast import __version__

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Find and name the vertebrae in CT scans. Not a medical device.",
)


def stop(message: str, code: int) -> NoReturn:
    """End the program with one line on stderr and an exit code."""
    print(f"spinefinder: {message}", file=sys.stderr)
    raise SystemExit(code)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"spinefinder_fast {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def device_of(wanted: str) -> str:
    """The device that ``--device`` names; stops where there is none such."""
    import torch

    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", wanted):
        stop(f"--device is {wanted!r}; auto, cpu, cuda or cuda:N is wanted", 2)
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted != "cpu" and int(wanted.removeprefix("cuda").lstrip(":") or 0) >= torch.cuda.device_count():
        stop(f"there is no CUDA device {wanted} here; use --device cpu", 6)
    return wanted
