# SPDX-License-Identifier: Apache-2.0
"""Writing files so that a reader never meets half of one."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from spinefinder_fast.errors import OutputError


def make_folder(path: Path) -> None:
    """Make a folder for results, with its parents, unless it is there already.

    Raises:
        OutputError: ``E_OUTPUT``, it cannot be made, is a file, or cannot be written into.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "it is a file" if path.is_file() else error.strerror or error
        raise OutputError("E_OUTPUT", f"cannot make the folder {path}: {reason}; choose another") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise OutputError("E_OUTPUT", f"the folder {path} cannot be written into; choose another")


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all; an existing file is replaced.

    Raises:
        OutputError: the folder is missing, read-only or full.
    """
    # In the same folder, for a rename across file systems would be a copy. Opened rather than made by tempfile, so
    # that the umask of the user decides who may read the result.
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError("E_WRITE", f"cannot write {path}: {error.strerror or error}") from error
