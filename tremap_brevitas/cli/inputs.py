"""Inputs of the commands: files, pipes and standard input."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from tremap_brevitas.cli.exits import DOCUMENTED, error_text

STDIN = ("-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")


@contextmanager
def regular(path: Path, *, piped: bool = True) -> Iterator[Path]:
    """Yield the file, or a copy of standard input (``-``) or a pipe, which readers may open several times.

    Raises:
        OSError: If there is no such file, it is a device, or a pipe and ``piped`` is False.
    """
    standard = str(path) in STDIN
    if not standard:
        if path.is_symlink() and not path.exists():
            raise FileNotFoundError(f"{path}: a link to {os.readlink(path)}, which does not exist")
        mode = path.stat().st_mode
        if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
            yield path
            return
        if not (piped and stat.S_ISFIFO(mode)):
            raise OSError(f"{path}: neither a file nor a folder")
    elif sys.stdin is None:
        raise OSError("standard input is closed")
    with tempfile.TemporaryDirectory(prefix="tremap-") as folder:
        copy = Path(folder, "stdin" if standard else path.name)
        with copy.open("wb") as file, nullcontext(sys.stdin.buffer) if standard else path.open("rb") as pipe:
            shutil.copyfileobj(pipe, file)
        try:
            yield copy
        except DOCUMENTED as error:
            raise ValueError(error_text(error).replace(str(copy), str(path))) from None
