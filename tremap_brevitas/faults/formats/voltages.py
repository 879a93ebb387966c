"""Lowest working voltages, as in DPCS: one table for each chip, from which the maps at all voltages follow."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.faults.fault_map import FaultMap
from tremap_brevitas.faults.formats.table import BLANKS, separator_of, split_line, uncommented
from tremap_brevitas.faults.formats.text import FormatError, blocks, check_choice, chip_name, opened
from tremap_brevitas.faults.memory import Memory
from tremap_brevitas.files import atomic_file
from tremap_brevitas.printable import counted


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
        """Return the fault map at a supply voltage: the cells that need more. Maps of lower voltages contain it.

        Args:
            voltage: Supply voltage, in the unit of the file.
            stuck_at: Value at which the failing cells are stuck; such tables do not contain it.
            seed: In place of ``stuck_at``: each cell's value is drawn once, the same at every voltage.

        Raises:
            ValueError: If the voltage is not finite, or not exactly one of ``stuck_at`` and ``seed`` is given.
        """
        if not np.isfinite(voltage):
            raise ValueError(f"voltage must be a finite number, got {voltage}")
        if (stuck_at is None) == (seed is None):
            raise ValueError(f"give stuck_at or seed, not both or neither; got {stuck_at} and {seed}")
        check_choice("stuck_at", stuck_at, (0, 1, None))
        cells = np.flatnonzero(self.lowest.reshape(-1) > np.float32(voltage))
        if stuck_at is not None:
            values = np.full(len(cells), stuck_at, dtype=np.uint8)
        else:
            values = np.random.default_rng(seed).integers(2, size=self.memory.cells, dtype=np.uint8)[cells]
        return FaultMap(self.memory, cells, values, self.chip, {"voltage": f"{voltage:g}"})


def read_voltages(
    path: str | os.PathLike[str],
    memory: Memory | None = None,
    *,
    chip: str | None = None,
    decimal: Literal[".", ","] = ".",
    progress: bool = False,
) -> CellVoltages:
    r"""Read a CSV of lowest working voltages: row ``r``, column ``c`` is bit ``c`` of word ``r``.

    Keeps four bytes a cell in memory.

    Args:
        path: The file, plain or gzip; numbers separated by commas, semicolons, tabs or blanks, the same throughout.
        memory: Geometry; None for that of the table.
        chip: Name of the chip; None for the file's name without endings.
        decimal: The decimal sign. With ``","`` the numbers must have another separator, or be in quotes.
        progress: Whether to show a progress bar on standard error.

    Raises:
        FileNotFoundError: If there is no such file.
        FormatError: If it is not a table of finite numbers, or of another size than the memory (``path:line: …``).

    Examples:
        >>> from pathlib import Path
        >>> table = Path(getfixture("tmp_path")) / "A7.csv"
        >>> _ = table.write_text("0.55,0.61\n0.58,0.70\n")
        >>> voltages = read_voltages(table)
        >>> [voltages.at(v, stuck_at=0).cells.tolist() for v in (0.7, 0.6, 0.5)]
        [[], [1, 3], [0, 1, 2, 3]]
    """
    check_choice("decimal", decimal, (".", ","))
    parts: list[NDArray[np.float32]] = []
    width, separator, points, quoted = 0, "", False, False
    with opened(path, progress=progress) as stream:
        for block in blocks(stream, path):
            rows = []
            lines = block.text.decode("utf-8", "replace").split("\n")
            for line, text in enumerate(lines, start=block.line):
                if not uncommented(text):
                    continue
                if not separator:
                    separator = separator_of(text)
                    if decimal == ",":
                        separator = next((s for s, mark in ((";", ";"), ("\t", "\t"), (",", '"')) if mark in text), BLANKS)
                points, quoted = points or "." in text, quoted or '"' in text
                row = _row(text, separator, decimal, f"{path}:{line}")
                width = width or len(row)
                if len(row) != width:
                    raise FormatError(f"{path}:{line}: {counted(len(row), 'field')}, expected {width}")
                if block.cut and line == block.line + len(lines) - 2 and not uncommented(text).endswith('"'):
                    raise FormatError(
                        f"{path}:{line}: the file ends without a line end, so that its last number may have been cut short; "
                        f"end the line if it is whole"
                    )
                rows.append(row)
            if rows:
                parts.append(np.stack(rows))
    if not parts:
        raise FormatError(f"{path}: no row in it")
    lowest = np.concatenate(parts)
    if separator == "," and not points and not quoted and _halves(lowest):
        raise FormatError(
            f"{path}: every other number is 0 or 1 and none has a point: decimal commas, which commas cannot separate; write "
            f"the numbers with points"
        )
    if memory is None:
        memory = Memory(words=lowest.shape[0], word_bits=lowest.shape[1])
    if (memory.words, memory.word_bits) != lowest.shape:
        raise FormatError(
            f"{path}: {counted(lowest.shape[0], 'row')} of {counted(lowest.shape[1], 'bit')}, but the memory has {memory}"
        )
    lowest.flags.writeable = False
    return CellVoltages(memory, lowest, chip_name(path) if chip is None else chip)


def _row(text: str, separator: str, decimal: str, where: str) -> NDArray[np.float32]:
    """Parse the numbers of a line."""
    try:
        fields = split_line(text, separator)
        if decimal == ",":
            if any("." in field for field in fields):
                raise FormatError(f"{where}: a decimal point, expected commas")
            fields = [field.replace(",", ".") for field in fields]
        elif any("," in field for field in fields):
            raise FormatError(f"{where}: a comma within a number; decimal=',' reads decimal commas")
        if "_" in text:  # Python's numbers may have them, which a file's do not
            raise ValueError
        with np.errstate(over="ignore"):  # a number that is too large becomes infinite, which is refused below
            row = np.array([field.encode("ascii", "replace") for field in fields], dtype="S").astype(np.float32)
    except FormatError:
        raise
    except ValueError:
        raise FormatError(f"{where}: not all of its fields are numbers") from None
    if not np.isfinite(row).all():
        raise FormatError(f"{where}: a voltage that is not finite")
    return row


def _halves(lowest: NDArray[np.float32]) -> bool:
    """Check whether numbers look like the two halves of numbers with a decimal comma."""
    if lowest.shape[1] % 2:
        return False
    return bool(np.all((lowest[:, ::2] == 0) | (lowest[:, ::2] == 1)) and lowest[:, 1::2].max() > 1)


def write_voltages(voltages: CellVoltages, path: str | os.PathLike[str]) -> Path:
    """Write a table of lowest working voltages, with enough digits to read the same numbers back."""
    with atomic_file(path) as draft, draft.open("w", encoding="ascii") as file:
        for row in voltages.lowest:
            file.write(",".join(np.format_float_positional(v, trim="-") for v in row) + "\n")
    return Path(path)
