"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import csv
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a draft beside ``path``; it takes that name at the end of the block, and vanishes on an error.

    An existing file is replaced.

    Raises:
        FileNotFoundError: If the folder does not exist.
        PermissionError: If the folder cannot be written to.
    """
    target = Path(path)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    os.close(handle)
    draft = Path(name)
    try:
        yield draft
        _sync(draft)
        draft.chmod(0o666 & ~_umask())  # mkstemp makes files for the owner alone
        os.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)


def write_table(path: str | os.PathLike[str], rows: Sequence[Mapping[str, object]]) -> Path:
    """Write rows of the same columns as CSV; the file appears whole or not at all.

    Raises:
        ValueError: If there is no row.
    """
    if not rows:
        raise ValueError(f"{path}: no row to write")
    with whole_file(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return Path(path)


def read_flag(text: str, column: str) -> bool:
    """Read what ``write_table`` makes of a bool, or ``yes`` and ``no``, as earlier tables have it.

    Raises:
        ValueError: If it is something else.
    """
    if text not in ("True", "False", "yes", "no"):
        raise ValueError(f"{column} is {text!r}, neither True nor False")
    return text in ("True", "yes")


@contextmanager
def whole_folder(path: str | os.PathLike[str], *, overwrite: bool) -> Iterator[Path]:
    """Yield a draft folder beside ``path``; it takes that name at the end of the block, and vanishes on an error.

    Args:
        path: The folder to make.
        overwrite: Whether to replace an existing folder. It is moved aside first and removed when the new one is in place, so
            that between the two, for an instant, there is none.

    Raises:
        FileExistsError: If there is something of that name, and ``overwrite`` is False or it is no folder.
        FileNotFoundError: If the folder above does not exist.
        PermissionError: If the folder above cannot be written to.
    """
    target = Path(path)
    if target.exists() and not (overwrite and target.is_dir()):
        hint = "; give overwrite=True to replace it" if target.is_dir() else ", and is no folder"
        raise FileExistsError(f"{target} exists already{hint}")
    draft = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        yield draft
        for file in draft.rglob("*"):
            _sync(file)
        draft.chmod(0o777 & ~_umask())
        old = draft.with_name(f"{draft.name}.old")
        if target.exists():
            os.rename(target, old)
        try:
            os.rename(draft, target)
        except BaseException:
            if old.exists():
                os.rename(old, target)
            raise
        _sync(target.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
