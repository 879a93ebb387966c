"""NeuralFuse's fault maps: a pair of matrices of 0 and 1, one for each kind of fault."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

import numpy as np

from tremap_brevitas.faults.fault_map import FaultMap
from tremap_brevitas.faults.formats.cells import Cells, without_both_ways
from tremap_brevitas.faults.formats.table import rows, separator_of, split_line
from tremap_brevitas.faults.formats.text import FormatError, blocks, check_choice, opened
from tremap_brevitas.faults.memory import Memory
from tremap_brevitas.files import atomic_file
from tremap_brevitas.printable import counted


def read_neuralfuse(
    sa0: str | os.PathLike[str],
    sa1: str | os.PathLike[str] | None = None,
    memory: Memory | None = None,
    *,
    chip: str | None = None,
    chip_from: Literal["file", "folder"] = "file",
    progress: bool = False,
) -> FaultMap:
    """Read the pair of matrices of one chip and voltage, ``fmap_sa0_v_<V>.txt`` and ``fmap_sa1_v_<V>.txt``.

    Row ``r``, column ``c`` is bit ``c`` of word ``r``; a 1 marks a stuck cell. That is how NeuralFuse (IBM) stores the maps of
    its 8192 × 128 arrays, where bit ``j`` of the ``k``-th ``W``-bit weight of a row sits in column ``k W + j``.

    Args:
        sa0: Matrix of the cells stuck at 0, comma-separated, plain or gzip.
        sa1: Matrix of the cells stuck at 1; None for the file whose name has ``sa1`` in place of ``sa0``.
        memory: Geometry; None for that of the matrices.
        chip: Name of the chip; None for the name from ``chip_from``.
        chip_from: Where the name comes from: the file, whose name without ``sa0`` and endings is used, or its folder.
            NeuralFuse gives the files of every chip the same names; the voltage in them goes into the map's metadata.
        progress: Whether to show progress bars on standard error.

    Raises:
        FileNotFoundError: If there is no such file.
        FormatError: If a file is not a matrix of 0 and 1, the two differ in size, or a cell is stuck at both
            (``path:line: …``).
    """
    check_choice("chip_from", chip_from, ("file", "folder"))
    sa0 = Path(sa0)
    sa1 = _other(sa0) if sa1 is None else sa1
    cells = Cells()
    width, height, separator = 0, 0, ""
    for stuck_at, path in enumerate((sa0, Path(sa1))):
        row = 0
        with opened(path, progress=progress) as stream:
            for block in blocks(stream, path):
                if not width:
                    first = block.text.split(b"\n", 1)[0].decode("utf-8", "replace")
                    separator = separator_of(first)
                    width = len(split_line(first.replace('"', ""), separator))
                    if not width:
                        raise FormatError(f"{path}:{block.line}: an empty first line")
                table = rows(block, width, path, separator)
                if not len(table):
                    continue
                if np.any(table.ends - table.starts != 1):
                    at = int(np.argmax(np.any(table.ends - table.starts != 1, axis=1)))
                    raise table.fail(at, "an entry that is not one character; expected 0 and 1")
                values = table.data[table.starts] - ord("0")
                if values.max() > 1:
                    at = int(np.argmax(values.max(axis=1) > 1))
                    raise table.fail(at, f"entry {chr(int(values[at].max()) + ord('0') & 255)!r}; expected 0 and 1")
                hits = np.nonzero(values)
                cells.add((row + hits[0]) * width + hits[1], stuck_at)
                row += len(table)
        if stuck_at and row != height:
            raise FormatError(f"{path}: {counted(row, 'row')}, but {sa0} has {height}")
        height = row
    if not height:
        raise FormatError(f"{sa0}: no row in it")
    if memory is None:
        memory = Memory(words=height, word_bits=width)
    if (memory.words, memory.word_bits) != (height, width):
        raise FormatError(f"{sa0}: {counted(height, 'row')} of {counted(width, 'bit')}, but the memory has {memory}")
    found_cells, values_, _ = without_both_ways(cells, f"{sa0}, {sa1}", "error", width)
    name = sa0.name.partition(".txt")[0].replace("_sa0", "")
    if chip_from == "folder":
        name = sa0.absolute().parent.name
    voltage = re.search(r"_v_(\d+(?:\.\d+)?)(?=\.|_|$)", sa0.name)
    return FaultMap(memory, found_cells, values_, name if chip is None else chip, {"voltage": voltage[1]} if voltage else {})


def write_neuralfuse(fault_map: FaultMap, sa0: str | os.PathLike[str], sa1: str | os.PathLike[str] | None = None) -> list[Path]:
    """Write a map as the pair of matrices, each file atomically. Chip and metadata are not written.

    Returns:
        The two paths.

    Raises:
        ValueError: If ``sa1`` is not given and does not follow from the name of ``sa0``.
    """
    sa0 = Path(sa0)
    sa1 = _other(sa0) if sa1 is None else sa1
    memory = fault_map.memory
    paths = [sa0, Path(sa1)]
    for stuck_at, path in enumerate(paths):
        mine = fault_map.cells[fault_map.stuck_at == stuck_at]
        with atomic_file(path) as draft, draft.open("wb") as file:
            per_block = max(1, (1 << 22) // memory.word_bits)
            for first in range(0, memory.words, per_block):
                count = min(per_block, memory.words - first)
                text = np.full((count, 2 * memory.word_bits), ord(","), dtype=np.uint8)
                text[:, ::2] = ord("0")
                text[:, -1] = ord("\n")
                start, stop = np.searchsorted(mine, [first * memory.word_bits, (first + count) * memory.word_bits])
                word, bit = np.divmod(mine[start:stop] - first * memory.word_bits, memory.word_bits)
                text[word, 2 * bit] = ord("1")
                file.write(text.tobytes())
    return paths


def looks_like_neuralfuse(path: Path, head: bytes) -> bool:
    """Check by name and first bytes whether a file is the first of a pair."""
    return "sa0" in path.name and bool(head.strip()) and not set(head) - set(b'01,; \t\n"')


def _other(sa0: Path) -> Path:
    """Return the path of the file with the cells stuck at 1."""
    if "sa0" not in sa0.name:
        raise ValueError(f"{sa0}: its name has no 'sa0', so the name of the other matrix is unknown; give sa1")
    return sa0.with_name(sa0.name.replace("sa0", "sa1", 1))
