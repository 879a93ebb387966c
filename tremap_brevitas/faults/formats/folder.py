"""Find the files of each chip in a folder or a list: pairs stay together, and no file is ignored silently."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tremap_brevitas.faults.formats.neuralfuse import looks_like_neuralfuse
from tremap_brevitas.faults.formats.readback import halves
from tremap_brevitas.faults.formats.text import FormatError, first_bytes


class Source(NamedTuple):
    """A file to read, and the options that follow from its name and its neighbours."""

    path: Path
    options: dict[str, Any]


def sources(paths: Iterable[str | Path], *, format: str | None) -> list[Source]:
    """List the files to read, those of folders sorted by the numbers in their names, without hidden files.

    Of NeuralFuse's pairs the ``sa0`` file is listed, and of read-backs the one after all ones, with the other as an option. A
    folder in a folder is listed itself, so that reading it fails with its name, unless it holds NeuralFuse's files: then its
    name is the chip's. A link to nothing is listed, too.

    Args:
        paths: Files and folders.
        format: Format of the files, if it was given.
    """
    files = []
    for path in map(Path, paths):
        if path.is_dir():
            for entry in sorted((p for p in path.iterdir() if not p.name.startswith(".")), key=_by_number):
                matrices = [p for p in sorted(entry.glob("*sa0*")) if _is_matrix(p, format)] if entry.is_dir() else []
                files += [Source(p, {"chip_from": "folder"}) for p in matrices] or [Source(entry, {})]
        else:
            files.append(Source(path, {}))
    return list(_paired(files, format))


def _paired(files: list[Source], format: str | None) -> Iterator[Source]:
    given = {source.path for source in files}
    seconds = {p.with_name(p.name.replace("sa0", "sa1", 1)) for p in given if "sa0" in p.name and _is_matrix(p, format)}
    for source in files:
        path = source.path
        half = halves(path.name) if format == "readback" else None
        if half is not None and path.with_name(half[1]) in given:
            if half[0] == "ones":
                yield Source(path, {"other": path.with_name(half[1])})
        elif path not in seconds or "sa0" in path.name:
            yield source


def _is_matrix(path: Path, format: str | None) -> bool:
    """Check whether a file is the first of a NeuralFuse pair."""
    if format is not None:
        return format == "neuralfuse"
    try:
        return looks_like_neuralfuse(path, first_bytes(path))
    except (OSError, FormatError):
        return False


def _by_number(path: Path) -> list[tuple[int, str]]:
    """Sort key that puts ``chip-2`` before ``chip-10``."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", path.name)]
