"""File formats of fault maps: one file each, a reader and a writer. There is no standard; these are in use."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, get_args

from tremap_brevitas.faults.fault_map import FaultMap
from tremap_brevitas.faults.formats.log import looks_like_log, read_log, write_csv_map, write_log
from tremap_brevitas.faults.formats.neuralfuse import read_neuralfuse, write_neuralfuse
from tremap_brevitas.faults.formats.readback import read_readback, write_readback
from tremap_brevitas.faults.formats.text import FormatError, check_choice, opened
from tremap_brevitas.faults.formats.voltages import CellVoltages, read_voltages, write_voltages
from tremap_brevitas.faults.memory import Memory
from tremap_brevitas.faults.merge import MergedFaultMap

__all__ = [
    "CellVoltages",
    "Format",
    "FormatError",
    "detect_format",
    "read_fault_map",
    "read_log",
    "read_neuralfuse",
    "read_readback",
    "read_voltages",
    "write_csv_map",
    "write_fault_map",
    "write_log",
    "write_neuralfuse",
    "write_readback",
    "write_voltages",
]

Format = Literal["tremap", "csv", "log", "readback", "neuralfuse", "voltages"]


def detect_format(path: str | os.PathLike[str]) -> Format | None:
    """Tell a file's format from its content, where that is safe; None where it is not.

    Our own maps, tables with a line of column names, and NeuralFuse's matrices (by name and content) can be told. A raw
    read-back does not say what was written before, nor a table of voltages which is meant.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    with opened(path) as stream:
        head = stream.read(1 << 14)
    if head.startswith(b"PK\x03\x04"):
        return "tremap"
    if "sa0" in Path(path).name and head and not set(head) - set(b"01, \t\r\n"):
        return "neuralfuse"
    found = looks_like_log(head)
    return "csv" if found == "csv" else "log" if found == "log" else None


def read_fault_map(
    path: str | os.PathLike[str], *, format: Format | None = None, memory: Memory | None = None, **options: Any
) -> FaultMap:
    r"""Read a chip's fault map from a file of any known format.

    Args:
        path: The file, plain or gzip.
        format: ``"tremap"`` (our own ``.npz``), ``"csv"`` (address, bit, stuck value), ``"log"`` (address, expected, read),
            ``"readback"`` (hexadecimal dump), ``"neuralfuse"`` (pair of matrices; give the ``sa0`` one) or ``"voltages"``
            (lowest working voltages); None to tell it from the content.
        memory: Geometry, for files that do not say it. A file that says another is refused.
        **options: Options of the format's own reader in ``tremap_brevitas.faults.formats``: of ``read_log``,
            ``read_neuralfuse`` and ``read_readback`` (``path`` is the file after all ones unless ``written="zeros"``; ``other``
            is the other one); of ``CellVoltages.at``.

    Raises:
        FileNotFoundError: If there is no such file.
        FormatError: If the format cannot be told, or the file is not of it (``path:line: …``). A ``ValueError``.
        ValueError: If the memory is needed, or is another.

    Examples:
        >>> from pathlib import Path
        >>> table = Path(getfixture("tmp_path")) / "A7.csv"
        >>> _ = table.write_text("address,bit,stuck_at\n3,7,1\n")
        >>> read_fault_map(table, memory=Memory(words=4, word_bits=8)).cells
        array([31])
    """
    if format is None:
        format = detect_format(path)
        if format is None:
            raise FormatError(f"{path}: its format cannot be told from its content; give format, one of {_FORMATS}")
    check_choice("format", format, get_args(Format))
    if format == "tremap":
        options.pop("progress", None)
        chip = options.pop("chip", None)
        if options:
            raise ValueError(f"{path}: a map of our own takes no options, got {', '.join(options)}")
        found = _load(path)
        if chip is not None:
            found = FaultMap(found.memory, found.cells, found.stuck_at, chip, found.metadata)
    elif format in ("csv", "log"):
        found = read_log(path, memory, **options)
    elif format == "neuralfuse":
        found = read_neuralfuse(path, options.pop("sa1", None), memory, **options)
    elif format == "voltages":
        chosen = {name: options.pop(name) for name in ("voltage", "stuck_at", "seed") if name in options}
        if "voltage" not in chosen:
            raise ValueError(f"{path}: a table of lowest working voltages needs the supply voltage, voltage=")
        found = read_voltages(path, memory, **options).at(chosen.pop("voltage"), **chosen)
    else:
        if memory is None:
            raise ValueError(f"{path}: a raw read-back does not say how large the memory is; give memory")
        files = _readback_files(path, options)
        found = read_readback(*files, memory, **options)
    if memory is not None and found.memory != memory:
        raise FormatError(f"{path}: is of a memory of {found.memory}, expected {memory}")
    return found


def write_fault_map(fault_map: FaultMap, path: str | os.PathLike[str], *, format: Format, **options: Any) -> list[Path]:
    """Write a chip's fault map to a file of any known format but tables of voltages. No fault is lost.

    Args:
        fault_map: The map.
        path: File to write.
        format: As in ``read_fault_map``.
        **options: ``sa1`` (NeuralFuse), ``written`` and ``other`` (read-back).

    Returns:
        The files written.

    Raises:
        ValueError: If the format is unknown, or one file is not enough to show all faults.
    """
    check_choice("format", format, [f for f in get_args(Format) if f != "voltages"])
    if format == "neuralfuse":
        return write_neuralfuse(fault_map, path, **options)
    if format == "readback":
        return write_readback(fault_map, *_readback_files(path, options))
    if options:
        raise ValueError(f"{format} takes no options, got {', '.join(options)}")
    if format == "tremap":
        return [fault_map.save(path)]
    return [(write_csv_map if format == "csv" else write_log)(fault_map, path)]


def _load(path: str | os.PathLike[str]) -> FaultMap:
    """A chip's map, or a group's merged one: a fault map as well."""
    try:
        return FaultMap.load(path)
    except ValueError as error:
        if "holds a tremap merged fault map" not in str(error):
            raise
    return MergedFaultMap.load(path)


_FORMATS = ", ".join(get_args(Format))


def _readback_files(path: Any, options: dict[str, Any]) -> tuple[Any, Any]:
    written, other = options.pop("written", "ones"), options.pop("other", None)
    check_choice("written", written, ("ones", "zeros"))
    return (path, other) if written == "ones" else (other, path)
