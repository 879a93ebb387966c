"""Read files that may be damaged, manipulated or not regular, with one kind of error for every problem."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def reading(path: str | os.PathLike[str], what: str) -> Iterator[None]:
    """Turn any error while a file's content is interpreted into a ``ValueError`` that names the file.

    Libraries raise errors of many types for unexpected bytes, and constructors for values of wrong types.

    Args:
        path: The file.
        what: What it should be, with its article, such as ``"an ONNX file"``.

    Raises:
        ValueError: In place of every error but the operating system's own, such as ``FileNotFoundError``.

    Examples:
        >>> with reading("a.json", "a curve"):
        ...     {}["kind"]
        Traceback (most recent call last):
        ValueError: a.json: not a curve, or damaged (KeyError: 'kind')
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        if isinstance(error, ValueError) and str(error).startswith(os.fspath(path)):
            raise
        name = "" if type(error) is ValueError else f"{type(error).__name__}: "
        raise ValueError(f"{path}: not {what}, or damaged ({name}{error})") from error


def check_regular(path: str | os.PathLike[str]) -> int:
    """Check that a file is a regular one, and return its size in bytes.

    Raises:
        FileNotFoundError: If there is no such file.
        IsADirectoryError: If it is a folder.
        ValueError: If it is not a regular file: reading a pipe may block, and a device may never end.
    """
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise os_error(errno.EISDIR, path)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path}: is not a regular file, but a pipe or a device")
    return status.st_size


def read_file(path: str | os.PathLike[str], *, limit: int) -> bytes:
    """Read a regular file of at most ``limit`` bytes.

    Raises:
        FileNotFoundError: If there is no such file.
        IsADirectoryError: If it is a folder.
        ValueError: If it is not a regular file, or larger.
    """
    size = check_regular(path)
    if size > limit:
        raise ValueError(f"{path}: {size} bytes, more than the {limit} that such a file may have")
    with open(path, "rb") as file:
        return file.read(limit)


def file_digest(path: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            sha.update(block)
    return sha.hexdigest()


def os_error(number: int, path: str | os.PathLike[str]) -> OSError:
    """Return the operating system's error with this number, for a path."""
    return OSError(number, os.strerror(number), os.fspath(path))
