"""Registry of fault-map formats: name, detection, reader and writer of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from tremap_brevitas.faults.fault_map import FaultMap

Reader = TypeVar("Reader", bound=Callable[..., FaultMap | Sequence[FaultMap]])


class FileFormat(NamedTuple):
    """A format of fault maps.

    Attributes:
        read: Function from a path, a memory or None, and options to a map, or to one of each chip.
        recognises: Function of a path and the file's first bytes, text as UTF-8 with line feeds at its line ends, that returns
            whether the file has this format; None for a format that cannot be detected from its content.
        write: Function from a map, a path and options to the paths written. None if the format is only read.
    """

    read: Callable[..., FaultMap | Sequence[FaultMap]]
    recognises: Callable[[Path, bytes], bool] | None
    write: Callable[..., list[Path]] | None


FORMATS: dict[str, FileFormat] = {}


def fault_map_format(
    name: str,
    *,
    recognises: Callable[[Path, bytes], bool] | None = None,
    write: Callable[..., list[Path]] | None = None,
) -> Callable[[Reader], Reader]:
    r"""Decorator that registers a reader of your own for ``read_fault_map``.

    The reader takes a path, the caller's memory or None, and options of its own. It returns a map, or a list with one of each
    chip, and raises ``FormatError`` with ``path:line:`` for everything that it does not understand.

    Args:
        name: Name of the format.
        recognises: Returns, from a path and the file's first bytes, whether the file is of this format. None if that cannot be
            detected. A file that two formats recognise is refused unless ``format`` is given.
        write: Writer, for ``write_fault_map``.

    Raises:
        ValueError: If there is a format of that name.

    Examples:
        >>> from pathlib import Path
        >>> from tremap_brevitas import FaultMap, Memory, read_fault_map
        >>> @fault_map_format("cell list", recognises=lambda path, head: head.startswith(b"CELLS\n"))
        ... def read_cell_list(path, memory):
        ...     cells = [int(line) for line in Path(path).read_text().split("\n")[1:] if line]
        ...     return FaultMap(memory, cells, [0] * len(cells), Path(path).stem)
        >>> file = Path(getfixture("tmp_path")) / "A7.txt"
        >>> _ = file.write_text("CELLS\n3\n17\n")
        >>> read_fault_map(file, memory=Memory(words=4, word_bits=8)).cells
        array([ 3, 17])
        >>> _ = FORMATS.pop("cell list")
    """
    if name in FORMATS:
        raise ValueError(f"there is a format {name!r} already")

    def register(read: Reader) -> Reader:
        FORMATS[name] = FileFormat(read, recognises, write)
        return read

    return register
