"""File formats of fault maps, with a reader and a writer for each. There is no standard; these are in use.

Not here: files of memory images, which ``memory_files/`` reads.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from tremap_brevitas.archive import archive_kind
from tremap_brevitas.faults.fault_map import FaultMap
from tremap_brevitas.faults.formats.csv_map import write_csv_map
from tremap_brevitas.faults.formats.folder import Source, sources
from tremap_brevitas.faults.formats.log import looks_like_log, read_log, read_logs, write_log
from tremap_brevitas.faults.formats.neuralfuse import looks_like_neuralfuse, read_neuralfuse, write_neuralfuse
from tremap_brevitas.faults.formats.readback import halves, read_readback, write_readback
from tremap_brevitas.faults.formats.registry import FORMATS, fault_map_format
from tremap_brevitas.faults.formats.text import FormatError, check_choice, first_bytes
from tremap_brevitas.faults.formats.voltages import CellVoltages, read_voltages, write_voltages
from tremap_brevitas.faults.memory import Memory
from tremap_brevitas.faults.merge import KIND as MERGED
from tremap_brevitas.faults.merge import MergedFaultMap

__all__ = [
    "FORMATS",
    "CellVoltages",
    "Format",
    "FormatError",
    "Source",
    "detect_format",
    "fault_map_format",
    "read_fault_map",
    "read_fault_maps",
    "read_log",
    "read_logs",
    "read_neuralfuse",
    "read_readback",
    "read_voltages",
    "sources",
    "write_csv_map",
    "write_fault_map",
    "write_log",
    "write_neuralfuse",
    "write_readback",
    "write_voltages",
]

Format = Literal["tremap", "csv", "log", "readback", "neuralfuse", "voltages"]


def detect_format(path: str | os.PathLike[str]) -> str | None:
    """Detect a file's format from its content; None if it is ambiguous.

    Maps of this package, tables with a line of column names, and NeuralFuse's matrices (by name and content) are detected. A
    raw read-back does not say which values were written before, nor a table of voltages which voltage is meant.

    Raises:
        FileNotFoundError: If there is no such file.
        FormatError: If the file could be of two formats.
    """
    head = first_bytes(path)
    names = [name for name, kind in FORMATS.items() if kind.recognises is not None and kind.recognises(Path(path), head)]
    if len(names) > 1:
        raise FormatError(f"{path}: could be {' or '.join(names)}; give format")
    return names[0] if names else None


def read_fault_map(
    path: str | os.PathLike[str], *, format: Format | str | None = None, memory: Memory | None = None, **options: Any
) -> FaultMap:
    r"""Read a chip's fault map from a file of any known format.

    Args:
        path: The file, plain or gzip.
        format: ``"tremap"`` (this package's ``.npz``), ``"csv"`` (address, bit, stuck value), ``"log"`` (address, expected,
            read), ``"readback"`` (hexadecimal dump, or a memory image), ``"neuralfuse"`` (pair of matrices; give the ``sa0``
            one) or ``"voltages"`` (lowest working voltages), or one of your own; None to detect it from the content.
        memory: Geometry, for files that do not state it. A file that states another one is refused.
        **options: Options of the format's own reader in ``tremap_brevitas.faults.formats``: of ``read_log``,
            ``read_neuralfuse`` and ``read_readback`` (``written``, ``"ones"`` or ``"zeros"``, is the content before ``path``
            was read, if its name does not say it; ``other`` is the other file); of ``read_voltages`` and ``CellVoltages.at``.

    Raises:
        FileNotFoundError: If there is no such file.
        FormatError: If the format cannot be detected, or the file is not of it (``path:line: …``), or of several chips. A
            ``ValueError``.
        ValueError: If the memory is needed, or differs from that of the file.

    Examples:
        >>> from pathlib import Path
        >>> table = Path(getfixture("tmp_path")) / "A7.csv"
        >>> _ = table.write_text("address,bit,stuck_at\n3,7,1\n")
        >>> read_fault_map(table, memory=Memory(words=4, word_bits=8)).cells
        array([31])
    """
    maps = _read(path, format, memory, options)
    if len(maps) > 1:
        names = " and ".join(repr(chip.chip) for chip in maps[:2])
        raise FormatError(f"{path}: holds {len(maps)} chips, {names} among them; read_fault_maps gives a map of each")
    return maps[0]


def read_fault_maps(
    path: str | os.PathLike[str], *, format: Format | str | None = None, memory: Memory | None = None, **options: Any
) -> list[FaultMap]:
    r"""Read the fault maps of all chips in a folder, or in a file.

    Pairs of files (NeuralFuse's, read-backs after ones and zeros) are one chip; a table with a column ``chip`` holds as many as
    it names. Hidden files are ignored; every other file must be a map.

    Args:
        path: Folder or file.
        format: As in ``read_fault_map``.
        memory: As in ``read_fault_map``.
        **options: As in ``read_fault_map``.

    Raises:
        FileNotFoundError: If there is no such file.
        FormatError: If a file is not of its format. A ``ValueError``.
        ValueError: If there is no file, or the memory is needed, or differs from that of a file.

    Examples:
        >>> from pathlib import Path
        >>> table = Path(getfixture("tmp_path")) / "lot.csv"
        >>> _ = table.write_text("chip,address,bit,stuck_at\nA7,3,7,1\nB2,0,1,0\n")
        >>> [(chip.chip, chip.cells.tolist()) for chip in read_fault_maps(table, memory=Memory(words=4, word_bits=8))]
        [('A7', [31]), ('B2', [1])]
    """
    files = sources([Path(path)], format=format)
    if not files:
        raise ValueError(f"{path}: no file in it")
    return [chip for file in files for chip in _read(file.path, format, memory, {**file.options, **options})]


def write_fault_map(fault_map: FaultMap, path: str | os.PathLike[str], *, format: Format | str, **options: Any) -> list[Path]:
    """Write a chip's fault map in any known format except voltage tables, without losing a fault.

    Args:
        fault_map: The map. Only our own format holds the members and conflicts of a merged one.
        path: File to write.
        format: As in ``read_fault_map``.
        **options: ``sa1`` (NeuralFuse), ``written`` and ``other`` (read-back).

    Returns:
        The files written.

    Raises:
        ValueError: If the format is unknown or cannot hold the map, or one file is not enough to show all faults.
    """
    writers = {name: kind.write for name, kind in FORMATS.items() if kind.write is not None}
    check_choice("format", format, list(writers))
    if fault_map.on_conflict is not None and format != "tremap":
        raise ValueError(
            f"{path}: a file of the format {format} holds the stuck cells of one chip, not members and conflicts of a merged "
            f"map; write the members, or a FaultMap of the merged cells"
        )
    return writers[format](fault_map, path, **options)


def _read(path: str | os.PathLike[str], format: str | None, memory: Memory | None, options: dict[str, Any]) -> list[FaultMap]:
    if format is None:
        format = detect_format(path)
        if format is None:
            raise FormatError(f"{path}: its format cannot be told from its content; give format, one of {', '.join(FORMATS)}")
    check_choice("format", format, list(FORMATS))
    read = FORMATS[format].read(Path(path), memory, **options)
    maps = [read] if isinstance(read, FaultMap) else list(read)
    for chip in maps:
        if memory is not None and chip.memory != memory:
            raise FormatError(f"{path}: is of a memory of {chip.memory}, expected {memory}")
    return maps


def _write_tremap(fault_map: FaultMap, path: str | os.PathLike[str]) -> list[Path]:
    return [fault_map.save(path)]


def _write_csv(fault_map: FaultMap, path: str | os.PathLike[str]) -> list[Path]:
    return [write_csv_map(fault_map, path)]


def _write_log(fault_map: FaultMap, path: str | os.PathLike[str]) -> list[Path]:
    return [write_log(fault_map, path)]


def _write_readback(
    fault_map: FaultMap, path: str | os.PathLike[str], *, written: str = "ones", other: str | os.PathLike[str] | None = None
) -> list[Path]:
    check_choice("written", written, ("ones", "zeros"))
    return write_readback(fault_map, *((path, other) if written == "ones" else (other, path)))


@fault_map_format("tremap", recognises=lambda path, head: head.startswith(b"PK\x03\x04"), write=_write_tremap)
def _read_tremap(path: str | os.PathLike[str], memory: Memory | None, **options: Any) -> FaultMap:
    """Read a chip's map or a group's merged map."""
    options.pop("progress", None)
    chip = options.pop("chip", None)
    if options:
        raise ValueError(f"{path}: a map of our own takes no options, got {', '.join(options)}")
    fault_map = (MergedFaultMap if archive_kind(path) == MERGED else FaultMap).load(path)
    if chip is None:
        return fault_map
    return FaultMap(fault_map.memory, fault_map.cells, fault_map.stuck_at, chip, fault_map.metadata)


fault_map_format("csv", recognises=lambda path, head: looks_like_log(head) == "csv", write=_write_csv)(read_logs)
fault_map_format("log", recognises=lambda path, head: looks_like_log(head) == "log", write=_write_log)(read_logs)


@fault_map_format("readback", write=_write_readback)
def _read_readback(
    path: str | os.PathLike[str],
    memory: Memory | None,
    *,
    written: Literal["ones", "zeros"] | None = None,
    other: str | os.PathLike[str] | None = None,
    **options: Any,
) -> FaultMap:
    check_choice("written", written, ("ones", "zeros", None))
    if memory is None:
        raise ValueError(f"{path}: a raw read-back does not say how large the memory is; give memory")
    said = halves(Path(path).name)
    if (written or (said[0] if said else "ones")) == "ones":
        return read_readback(path, other, memory, **options)
    return read_readback(other, path, memory, **options)


@fault_map_format("neuralfuse", recognises=looks_like_neuralfuse, write=write_neuralfuse)
def _read_neuralfuse(path: str | os.PathLike[str], memory: Memory | None, **options: Any) -> FaultMap:
    return read_neuralfuse(path, options.pop("sa1", None), memory, **options)


@fault_map_format("voltages")
def _read_voltages(path: str | os.PathLike[str], memory: Memory | None, **options: Any) -> FaultMap:
    chosen = {name: options.pop(name) for name in ("voltage", "stuck_at", "seed") if name in options}
    if "voltage" not in chosen:
        raise ValueError(f"{path}: a table of lowest working voltages needs the supply voltage, voltage=")
    return read_voltages(path, memory, **options).at(chosen.pop("voltage"), **chosen)
