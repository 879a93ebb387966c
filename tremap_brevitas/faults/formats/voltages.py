"""Lowest working voltages, as in DPCS: one table a chip, from which the maps of all voltages follow."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.faults.fault_map import FaultMap
from tremap_brevitas.faults.formats.text import FormatError, blocks, chip_name, opened
from tremap_brevitas.faults.memory import Memory
from tremap_brevitas.files import whole_file


@dataclass(frozen=True, eq=False)
class CellVoltages:
    """Lowest supply voltage at which each cell of a chip still works.

    Attributes:
        memory: Geometry.
        lowest: Voltage of each cell, shape (words, word_bits), float32, in the unit of the file.
        chip: Name of the chip.
    """

    memory: Memory
    lowest: NDArray[np.float32]
    chip: str = ""

    def at(self, voltage: float, *, stuck_at: Literal[0, 1] | None = None, seed: int | None = None) -> FaultMap:
        """Fault map at one supply voltage: the cells that need more. The map of a lower voltage contains that of a higher one.

        Args:
            voltage: Supply voltage, in the unit of the file.
            stuck_at: What the failing cells are stuck at. Such tables do not say.
            seed: In place of ``stuck_at``: each cell's value is drawn once, the same at every voltage.

        Raises:
            ValueError: Unless exactly one of ``stuck_at`` and ``seed`` is given.
        """
        if (stuck_at is None) == (seed is None):
            raise ValueError(f"give stuck_at or seed, not both or neither; got {stuck_at} and {seed}")
        cells = np.flatnonzero(self.lowest.reshape(-1) > np.float32(voltage))
        if stuck_at is not None:
            values = np.full(len(cells), stuck_at, dtype=np.uint8)
        else:
            values = np.random.default_rng(seed).integers(2, size=self.memory.cells, dtype=np.uint8)[cells]
        return FaultMap(self.memory, cells, values, self.chip, {"voltage": f"{voltage:g}"})


def read_voltages(
    path: str | os.PathLike[str], memory: Memory | None = None, *, chip: str | None = None, progress: bool = False
) -> CellVoltages:
    r"""Read a CSV of lowest working voltages: row ``r``, column ``c`` is bit ``c`` of word ``r``.

    Four bytes a cell are kept in memory.

    Args:
        path: The file, plain or gzip; numbers separated by commas, blanks or tabs.
        memory: Geometry; None for that of the table.
        chip: Name of the chip; None for the file's name without endings.
        progress: Whether to show a progress bar on standard error.

    Raises:
        FileNotFoundError: If there is no such file.
        FormatError: If it is no table of finite numbers, or of another size than the memory (``path:line: …``).

    Examples:
        >>> from pathlib import Path
        >>> table = Path(getfixture("tmp_path")) / "A7.csv"
        >>> _ = table.write_text("0.55,0.61\n0.58,0.70\n")
        >>> voltages = read_voltages(table)
        >>> [voltages.at(v, stuck_at=0).cells.tolist() for v in (0.7, 0.6, 0.5)]
        [[], [1, 3], [0, 1, 2, 3]]
    """
    parts: list[NDArray[np.float32]] = []
    width = 0
    with opened(path, progress=progress) as stream:
        for line, block in blocks(stream, path):
            found = []
            for offset, text in enumerate(block.split(b"\n")):
                bare = text.replace(b",", b" ").replace(b";", b" ").split()
                if not bare or bare[0].startswith(b"#"):
                    continue
                width = width or len(bare)
                if len(bare) != width:
                    raise FormatError(f"{path}:{line + offset}: {len(bare)} fields, expected {width}")
                try:
                    with np.errstate(over="ignore"):  # what is too large is not finite, and said below
                        row = np.array(bare, dtype="S").astype(np.float32)
                except ValueError:
                    raise FormatError(f"{path}:{line + offset}: not all of its fields are numbers") from None
                if not np.isfinite(row).all():
                    raise FormatError(f"{path}:{line + offset}: a voltage that is not finite")
                found.append(row)
            if found:
                parts.append(np.stack(found))
    if not parts:
        raise FormatError(f"{path}: no row in it")
    lowest = np.concatenate(parts)
    if memory is None:
        memory = Memory(words=lowest.shape[0], word_bits=lowest.shape[1])
    if (memory.words, memory.word_bits) != lowest.shape:
        raise FormatError(f"{path}: {lowest.shape[0]} rows of {lowest.shape[1]} bits, but the memory has {memory}")
    lowest.flags.writeable = False
    return CellVoltages(memory, lowest, chip_name(path) if chip is None else chip)


def write_voltages(voltages: CellVoltages, path: str | os.PathLike[str]) -> Path:
    """Write a table of lowest working voltages, with as many digits as it takes to read the same numbers again."""
    with whole_file(path) as draft, draft.open("w", encoding="ascii") as file:
        for row in voltages.lowest:
            file.write(",".join(np.format_float_positional(v, trim="-") for v in row) + "\n")
    return Path(path)
