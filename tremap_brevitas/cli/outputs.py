"""Outputs of the commands: files, standard output, and folders in which only the command's own files are replaced."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import sys
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from tremap_brevitas.cli.printing import echo
from tremap_brevitas.files import atomic_file, atomic_folder, open_descriptor

STDOUT = Path("-")
RECORD = ".tremap.json"

Digests = dict[str, list[str]]


class OutFile(click.Path):
    """An output file, or ``-`` for standard output; refused before the work begins if it is not writable."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, allow_dash=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert the argument to a path.

        Raises:
            OSError: If the path is a folder, or no file can be made there.
        """
        return new_file(Path(os.fsdecode(super().convert(value, param, ctx))))


class OutFolder(click.Path):
    """An output folder."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert the argument to a path.

        Raises:
            OSError: If there is something else of that name.
        """
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if path == STDOUT:
            self.fail("a folder cannot be written to standard output", param, ctx)
        if os.path.lexists(path) and not path.is_dir():
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
        return path


def new_file(path: Path) -> Path:
    """Check as far as possible that a file can be written; return ``STDOUT`` for any name of standard output.

    Raises:
        OSError: If it cannot.
    """
    if str(path) in ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"):
        return STDOUT
    if path.is_dir():
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        return path  # a device or a pipe, which is written to as it is
    for reason, fine in (
        (errno.ELOOP, not target.is_symlink()),
        (errno.ENOENT, target.parent.exists()),
        (errno.ENOTDIR, target.parent.is_dir()),
        (errno.EACCES, os.access(target.parent, os.W_OK)),
    ):
        if not fine:
            raise OSError(reason, os.strerror(reason), str(path))
    return path


def check_outputs(outputs: Iterable[Path | None], inputs: Iterable[Path], *, overwrite: bool) -> None:
    """Check that no output is an input, that outputs differ, and that nothing is replaced without ``--overwrite``.

    Standard output, devices, pipes, and files that the caller's shell has opened (``/dev/fd/3``) replace nothing; folders are
    checked by ``filled_folder``.

    Args:
        outputs: Files to be written; None for those that were not asked for.
        inputs: Files to be read.
        overwrite: Whether files that are there already may be replaced.

    Raises:
        click.UsageError: If an output is an input, or another output.
        FileExistsError: If an output is there already, and ``overwrite`` is False.
    """
    given = [path for path in outputs if path is not None]
    read = {os.path.realpath(path) for path in inputs}
    written: set[str] = set()
    for path in given:
        real = "-" if path == STDOUT else os.path.realpath(path)
        if real in read:
            raise click.UsageError(f"{path} is an input, and cannot be an output as well")
        if real in written and not (os.path.lexists(real) and not os.path.isfile(real)):
            raise click.UsageError(f"{path} is the name of two outputs")
        written.add(real)
    for path in given:
        if not overwrite and path != STDOUT and path.is_file() and open_descriptor(path) is None:
            raise FileExistsError(f"{path} exists already; --overwrite replaces it")


def can_name_a_file(name: str) -> bool:
    """Check that a name has no path, is not hidden, and has no terminal control characters.

    An untrusted map must not choose where its file is written, and a hidden file would not be read with its folder.
    """
    plain = Path(name).name == name and "\\" not in name and not name.startswith(".")
    return plain and not any(unicodedata.category(character) == "Cc" for character in name)


@contextlib.contextmanager
def to_file(out: Path) -> Iterator[Path]:
    """Yield the file to write: ``out``, or a temporary file that is copied to standard output at the end."""
    if out != STDOUT:
        yield out
        return
    if sys.stdout is None:
        raise OSError("standard output is closed")
    with tempfile.TemporaryDirectory(prefix="tremap-") as folder:
        draft = Path(folder, "stdout")
        yield draft
        sys.stdout.flush()
        with draft.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()


def summary(text: object, *outputs: Path | None) -> None:
    """Print a summary, on standard error if standard output is used for a file."""
    echo(text, err=STDOUT in outputs)


@contextlib.contextmanager
def filled_folder(
    path: Path, *, command: str, overwrite: bool, parents: bool = False, earlier: Iterable[str] = ()
) -> Iterator[Path]:
    """Yield a temporary folder, whose files move to ``path`` at the end; after an error nothing is changed.

    A new folder is written atomically. In an existing one, files that an earlier run of the same command wrote and nobody
    has changed since are replaced, or removed if this run has no file of that name: a chip of an earlier fleet would be
    mistaken for one of this fleet. All other files stay. A hidden file in the folder lists what was written.

    Args:
        path: The folder.
        command: Name of the command.
        overwrite: Whether to replace what an earlier run wrote. Without it the folder must be empty, or not be there.
        parents: Whether to make the folders above as well.
        earlier: Names of files that an earlier version wrote, which made no record.

    Raises:
        FileExistsError: If the folder is not empty, and ``overwrite`` is False or the command never wrote to it; or if a file
            that is to be written is there already, and is not one that an earlier run wrote.
    """
    if not path.is_dir():
        if parents:
            path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_folder(path, overwrite=False) as draft:
            yield draft
            _record(draft, command, _digests(draft))
        return
    there = sorted(p.name for p in path.iterdir() if p.name != RECORD)
    recorded = _recorded(path, command, earlier)
    if there and not overwrite:
        raise FileExistsError(f"{path} exists already, and is not empty; --overwrite replaces what {command} wrote there")
    if there and recorded is None:
        raise FileExistsError(f"{path} exists already, and {command} did not write it; remove it, or choose another")
    own = {name: now for name, old in (recorded or {}).items() if (now := _digest(path / name)) and set(now) <= set(old)}
    strange = [name for name in there if name not in own]
    with tempfile.TemporaryDirectory(prefix=".tremap-", dir=path) as folder:
        draft = Path(folder)
        yield draft
        new = _digests(draft)
        for name in sorted(new):
            if os.path.lexists(path / name) and name not in own:
                raise FileExistsError(f"{path / name}: {command} did not write it, or it was changed since; move it away")
        # The record lists every file that may be there, whenever this is interrupted.
        _record(path, command, {name: own.get(name, []) + new.get(name, []) for name in {*own, *new}})
        for name in new:
            os.replace(draft / name, path / name)
        for name in set(own) - set(new):
            (path / name).unlink(missing_ok=True)
        _record(path, command, new)
    if strange:
        few = ", ".join(strange[:5]) + (" …" if len(strange) > 5 else "")
        echo(f"tremap: left as it was in {path}: {few}", err=True)


def _recorded(path: Path, command: str, earlier: Iterable[str]) -> Digests | None:
    """Return the files that an earlier run wrote, with their digests; None without a record."""
    files = {name: _digest(path / name) for name in earlier}
    try:
        record = json.loads((path / RECORD).read_text(encoding="utf-8"))
        if record["command"] == command:
            files = {str(name): list(digests) for name, digests in record["files"].items() if Path(name).name == name}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return files or None  # a record that cannot be read says nothing
    return files or None


def _record(path: Path, command: str, files: Mapping[str, list[str]]) -> None:
    with atomic_file(path / RECORD) as draft:
        draft.write_text(json.dumps({"command": command, "files": files}, indent=1, sort_keys=True), encoding="utf-8")


def _digests(folder: Path) -> Digests:
    return {path.name: _digest(path) for path in folder.iterdir()}


def _digest(path: Path) -> list[str]:
    if not path.is_file():
        return []
    return [hashlib.sha256(path.read_bytes()).hexdigest()]
