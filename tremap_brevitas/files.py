"""Atomic files and folders: written completely or not at all. They only replace what an earlier run wrote."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tremap_brevitas.reading import file_digest, os_error

# A temporary folder ``.tremap-draft-…`` is made beside what is to be written. It holds ``new/NAME`` or ``NAME``, and
# ``old/NAME`` in the instant in which a folder is replaced.
_PREFIX = ".tremap-draft-"
_tidied: set[str] = set()


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write a file atomically: yield the path of a temporary one, which gets the name ``path`` at the end of the block.

    On an error the temporary file is removed, and an existing file stays.

    An existing file is replaced, and its mode kept. A link stays, and its target is written. Anything but a regular file
    (a device, a pipe, ``/dev/stdout``) is written to at the end of the block.

    Raises:
        FileNotFoundError: If the folder does not exist.
        IsADirectoryError: If ``path`` is a folder.
        PermissionError: If the folder, or a file that is there already, cannot be written to.
    """
    target, old = _resolved(path)
    if old is not None and stat.S_ISDIR(old.st_mode):
        raise os_error(errno.EISDIR, path)
    descriptor = open_descriptor(path)
    if descriptor is not None or (old is not None and not stat.S_ISREG(old.st_mode)):
        with tempfile.TemporaryDirectory(prefix="tremap-") as folder:
            temporary = Path(folder, target.name)
            temporary.touch()
            yield temporary
            sys.stdout.flush()  # earlier output comes before it
            handle = os.open(path, os.O_WRONLY) if descriptor is None else os.dup(descriptor)
            with temporary.open("rb") as source, os.fdopen(handle, "wb") as sink:
                shutil.copyfileobj(source, sink)
        return
    if old is not None and not os.access(target, os.W_OK):
        raise os_error(errno.EACCES, path)
    with _temporary_folder(target.parent, path) as folder:
        temporary = folder / target.name
        temporary.touch()
        yield temporary
        _sync(temporary)
        if old is not None:
            _keep_mode(temporary, old)
        os.replace(temporary, target)


@contextmanager
def atomic_folder(
    path: str | os.PathLike[str], *, overwrite: bool, wrote: Callable[[Path], Mapping[str, str]] | None = None
) -> Iterator[Path]:
    """Write a folder atomically: yield the path of a temporary one, which gets the name ``path`` at the end of the block.

    On an error the temporary folder is removed, and an existing folder stays. If several write the same folder, one succeeds.

    Args:
        path: The folder to make. A link stays, and the folder that it leads to is made.
        overwrite: Whether to replace an existing folder. It is moved aside first and removed when the new one is in place, so
            that between the two, for an instant, there is none.
        wrote: Function from a folder to name and SHA-256 of each file that an earlier run wrote into it. A folder that holds
            anything else is not replaced; None to replace only an empty one.

    Raises:
        FileExistsError: If there is something of that name, and ``overwrite`` is False, or it is not a folder, or holds files
            that no earlier run wrote; or if something else made or replaced it before the end of the block.
        FileNotFoundError: If the folder above does not exist.
        PermissionError: If the folder above cannot be written to.
    """
    target, old = _resolved(path)
    if old is not None and not (overwrite and stat.S_ISDIR(old.st_mode)):
        hint = "; give overwrite=True to replace it" if stat.S_ISDIR(old.st_mode) else ", and is not a folder"
        raise FileExistsError(f"{path} exists already{hint}")
    if old is not None:
        _check_replaceable(target, path, wrote)
    with _temporary_folder(target.parent, path) as folder:
        temporary, aside = folder / "new" / target.name, folder / "old" / target.name
        aside.parent.mkdir()
        temporary.mkdir(parents=True)
        yield temporary
        for file in temporary.rglob("*"):
            _sync(file)
        try:
            if old is not None:
                _keep_mode(temporary, old)
                _move_aside(target, old, aside, path)
                _check_replaceable(aside, path, wrote)  # once more, now that nobody can put anything into it
            _move_to_free_name(temporary, target, path)
        except BaseException:
            _put_back(aside, target)
            raise
        _sync(target.parent)
        os.rename(aside.parent, folder / "gone")


def _move_aside(target: Path, old: os.stat_result, aside: Path, path: str | os.PathLike[str]) -> None:
    with suppress(FileNotFoundError):
        os.rename(target, aside)
    if not aside.exists() or not os.path.samestat(aside.stat(), old):
        raise FileExistsError(f"{path} was replaced in the meantime")


def _move_to_free_name(temporary: Path, target: Path, path: str | os.PathLike[str]) -> None:
    # A rename alone would replace an empty folder; mkdir takes the name for one run only.
    message = f"{path} exists already: it was made in the meantime"
    try:
        os.mkdir(target)
    except FileExistsError:
        raise FileExistsError(message) from None
    try:
        os.rename(temporary, target)
    except OSError as error:
        with suppress(OSError):
            os.rmdir(target)
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise FileExistsError(message) from None
        raise


def _check_replaceable(folder: Path, path: str | os.PathLike[str], wrote: Callable[[Path], Mapping[str, str]] | None) -> None:
    known = {} if wrote is None else wrote(folder)
    for entry in sorted(folder.iterdir()):
        own = entry.name in known and entry.is_file() and not entry.is_symlink()
        if not own or file_digest(entry) != known[entry.name]:
            raise FileExistsError(
                f"{path} exists already, and holds {entry.name!r}, which no earlier run wrote there or which was changed "
                f"since; move it away, or choose another folder"
            )


def _put_back(aside: Path, target: Path) -> None:
    """Rename a folder that was moved aside back to its name, or to a similar one if that is taken."""
    if not aside.exists():
        return
    try:
        os.rename(aside, target)
    except OSError:
        os.rename(aside, tempfile.mkdtemp(prefix=f"{target.name}.before-", dir=target.parent))


@contextmanager
def _temporary_folder(parent: Path, path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a hidden folder in ``parent``, locked while it is in use."""
    while True:
        try:
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        except OSError as error:
            raise os_error(error.errno or errno.EIO, path) from None
        with suppress(FileNotFoundError):
            handle = os.open(folder, os.O_RDONLY)
            with suppress(OSError):  # on a file system without locks other runs cannot tidy up either
                fcntl.flock(handle, fcntl.LOCK_EX)
            if folder.exists():
                break
            os.close(handle)  # another run has removed it in the meantime
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def _tidy(parent: Path) -> None:
    """Remove leftovers of killed runs, once for each folder; the temporary folder of a live run is locked."""
    if str(parent) in _tidied:
        return
    _tidied.add(str(parent))
    with suppress(OSError):
        for folder in [p for p in parent.iterdir() if re.fullmatch(re.escape(_PREFIX) + "[a-z0-9_]{8}", p.name)]:
            if folder.is_symlink() or not folder.is_dir():
                continue
            handle = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                for aside in folder.glob("old/*"):
                    _put_back(aside, parent / aside.name)
                shutil.rmtree(folder, ignore_errors=True)
            except OSError:
                continue
            finally:
                os.close(handle)


def _resolved(path: str | os.PathLike[str]) -> tuple[Path, os.stat_result | None]:
    """Resolve a path after removing temporary folders that killed runs left beside it, and check what is there."""
    target = Path(os.path.realpath(path))
    _tidy(target.parent)
    try:
        return target, os.stat(path)
    except FileNotFoundError:
        return target, None


def open_descriptor(path: str | os.PathLike[str]) -> int | None:
    """Find the open file descriptor that a path such as ``/dev/stdout`` refers to; None if there is none.

    It may be a regular file, which must not be replaced: its owner continues to write to it.
    """
    link = os.fspath(path)
    for _ in range(40):  # as many links as Linux follows
        folder, name = os.path.split(link)
        if name.isdigit() and os.path.realpath(folder) == f"/proc/{os.getpid()}/fd":
            return int(name)
        if not os.path.islink(link):
            return None
        link = os.path.join(folder, os.readlink(link))
    return None


def _keep_mode(temporary: Path, old: os.stat_result) -> None:
    with suppress(OSError):  # only root can change the owner of a file
        os.chown(temporary, old.st_uid, old.st_gid)
    temporary.chmod(stat.S_IMODE(old.st_mode))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
