"""What the commands read: files, folders of files, pipes and standard input."""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from tremap_brevitas.cli.exits import DOCUMENTED, said
from tremap_brevitas.faults.formats import Format, detect_format

STDIN = ("-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")


class Source(NamedTuple):
    """A file to read, and the options that follow from its name and its neighbours."""

    path: Path
    options: dict[str, Any]


@contextmanager
def regular(path: Path, *, piped: bool = True) -> Iterator[Path]:
    """Yield the file, or a copy of what standard input (``-``) or a pipe gives, which readers may open several times.

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
            raise ValueError(said(error).replace(str(copy), str(path))) from None


def sources(paths: Sequence[Path], *, format: Format | None, options: Mapping[str, Any]) -> list[Source]:
    """Files to read, those of folders in the order of the numbers in their names; hidden ones do not count.

    Of NeuralFuse's pairs the ``sa0`` file is given, and of read-backs named as we name them the one after all ones, with the
    other as an option. A folder in a folder is given as it stands, so that reading it fails with its name; so is a link to
    nothing. A chip would be missing otherwise.
    """
    files: list[Path] = []
    for path in paths:
        inside = (p for p in path.iterdir() if not p.name.startswith(".")) if path.is_dir() else [path]
        files += sorted(inside, key=_by_number)
    given, found = set(files), []
    for path in files:
        if format == "readback" and not {"written", "other"} & set(options):
            found += _of_read_backs(path, given)
        elif not _is_second_matrix(path, given, format):
            found.append(Source(path, {}))
    return found


def _of_read_backs(path: Path, given: Set[Path]) -> list[Source]:
    """What to read for a file that may be ``NAME-ones`` or ``NAME-zeros``."""
    half = re.fullmatch(r"(.*)-(ones|zeros)((?:\.\w+)*)", path.name, re.DOTALL)
    if half is None:
        return [Source(path, {})]
    name, written, ending = half.groups()
    if written == "ones":
        other = path.with_name(f"{name}-zeros{ending}")
        return [Source(path, {"chip": name, **({"other": other} if other in given or other.exists() else {})})]
    if path.with_name(f"{name}-ones{ending}") in given:
        return []
    return [Source(path, {"chip": name, "written": "zeros"})]


def _is_second_matrix(path: Path, given: Set[Path], format: Format | None) -> bool:
    """Whether a file is the second of NeuralFuse's pairs, and not a map whose name happens to be like it."""
    if format not in (None, "neuralfuse") or "sa1" not in path.name:
        return False
    first = path.with_name(path.name.replace("sa1", "sa0", 1))
    return first in given and (format is not None or (first.is_file() and detect_format(first) == "neuralfuse"))


def _by_number(path: Path) -> list[tuple[int, str]]:
    """Sort ``chip-2`` before ``chip-10``."""
    # Every other part is a number. str.isdigit takes characters that int does not, such as a raised 2.
    return [(int(part), "") if i % 2 else (-1, part) for i, part in enumerate(re.split(r"([0-9]+)", path.name))]
