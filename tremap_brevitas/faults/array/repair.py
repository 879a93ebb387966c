"""Spare rows and columns: a repair list, and the faults that remain after the repair."""

from __future__ import annotations

import csv
import io
import itertools
import operator
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.faults.array.geometry import ArrayGeometry
from tremap_brevitas.faults.fault_map import FaultMap
from tremap_brevitas.files import atomic_file
from tremap_brevitas.printable import counted

HEADER = ("bank", "kind", "index")


@dataclass(frozen=True)
class Repair:
    """The physical rows and columns of one chip that spare ones replace.

    A repair is a value: the order in which the lines are given does not matter, they are stored sorted.

    Args:
        rows: Pairs (bank, row).
        columns: Pairs (bank, column).

    Raises:
        TypeError: If an entry is not a pair of integers.
        ValueError: If a number is negative, or a row or column is given twice.

    Examples:
        >>> print(Repair(rows=((0, 7), (0, 3)), columns=((0, 12), (2, 1))))
        bank 0: rows 3, 7; columns 12
        bank 2: columns 1
    """

    rows: tuple[tuple[int, int], ...] = ()
    columns: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", _pairs(self.rows, "row"))
        object.__setattr__(self, "columns", _pairs(self.columns, "column"))

    def __len__(self) -> int:
        return len(self.rows) + len(self.columns)

    def __str__(self) -> str:
        said: dict[int, dict[str, list[str]]] = {}
        for name, lines in (("rows", self.rows), ("columns", self.columns)):
            for bank, index in lines:
                said.setdefault(bank, {}).setdefault(name, []).append(str(index))
        return "\n".join(
            f"bank {bank}: " + "; ".join(f"{name} {', '.join(numbers)}" for name, numbers in said[bank].items())
            for bank in sorted(said)
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the repair as CSV: the header ``bank,kind,index``, then a line for each row or column.

        The file is written atomically.
        """
        target = Path(path)
        with atomic_file(target) as draft, draft.open("w", newline="", encoding="ascii") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(HEADER)
            writer.writerows((bank, "row", index) for bank, index in self.rows)
            writer.writerows((bank, "column", index) for bank, index in self.columns)
        return target

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Repair:
        """Read a repair that ``save`` wrote, or a list of the same form; empty lines are ignored.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If a line is not of the form, or lists a row or column again. The message begins ``path:line:``.
        """
        data = Path(path).read_bytes()
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data[: error.start].count(b"\n") + 1
            raise ValueError(f"{path}:{line}: a byte that is not UTF-8 text") from None
        lines: dict[str, list[tuple[int, int]]] = {"row": [], "column": []}
        first: dict[tuple[str, int, int], int] = {}
        header = False
        reader = csv.reader(io.StringIO(text, newline=""))
        try:
            for fields in reader:
                fields = [field.strip() for field in fields]
                if not any(fields):
                    continue
                if not header:
                    _check_header(fields)
                    header = True
                    continue
                kind, bank, index = _entry(fields)
                earlier = first.setdefault((kind, bank, index), reader.line_num)
                if earlier != reader.line_num:
                    raise ValueError(f"{kind} {index} of bank {bank} is listed twice, first on line {earlier}")
                lines[kind].append((bank, index))
            if not header:
                _check_header([])
        except (csv.Error, ValueError) as error:
            raise ValueError(f"{path}:{max(reader.line_num, 1)}: {error}") from None
        return cls(rows=tuple(lines["row"]), columns=tuple(lines["column"]))


def repaired(fault_map: FaultMap, repair: Repair, *, geometry: ArrayGeometry | None = None) -> FaultMap:
    """Return a chip's map after a repair: the cells of the replaced rows and columns are healthy.

    Spares are assumed to be healthy. Retrain a network under the map after the repair, not under the one before it.

    Args:
        fault_map: The map before the repair.
        repair: The rows and columns that are replaced.
        geometry: Where the cells lie; None for ``ArrayGeometry(fault_map.memory)``.

    Returns:
        A map of the same memory, chip and metadata.

    Raises:
        ValueError: If the geometry is of another memory, or has no such bank, row or column.

    Examples:
        >>> from tremap_brevitas import Memory
        >>> chip = FaultMap(Memory(words=8, word_bits=4), cells=[4, 5, 14, 30], stuck_at=[0, 1, 1, 0])
        >>> repaired(chip, Repair(rows=((0, 1),))).cells
        array([14, 30])
        >>> repaired(chip, Repair(columns=((0, 2),))).cells
        array([4, 5])
    """
    geometry = geometry_of(fault_map, geometry)
    rows = _line_numbers(repair.rows, "row", geometry.banks, geometry.rows)
    columns = _line_numbers(repair.columns, "column", geometry.banks, geometry.columns)
    bank, row, column = geometry.physical(fault_map.cells)
    healthy = np.isin(bank * geometry.rows + row, rows) | np.isin(bank * geometry.columns + column, columns)
    kept = ~healthy
    return FaultMap(fault_map.memory, fault_map.cells[kept], fault_map.stuck_at[kept], fault_map.chip, fault_map.metadata)


def geometry_of(fault_map: FaultMap, geometry: ArrayGeometry | None) -> ArrayGeometry:
    """Return the given geometry, or by default that of the map's logical addresses.

    Raises:
        ValueError: If it is of another memory.
    """
    if geometry is None:
        return ArrayGeometry(fault_map.memory)
    if fault_map.memory != geometry.memory:
        raise ValueError(f"chip {fault_map.chip!r} has {fault_map.memory}, the geometry {geometry.memory}")
    return geometry


def _pairs(lines: Iterable[tuple[int, int]], kind: str) -> tuple[tuple[int, int], ...]:
    pairs = []
    for line in lines:
        try:
            bank, index = (operator.index(number) for number in line)
        except (TypeError, ValueError):
            raise TypeError(f"{kind}s must be pairs (bank, {kind}) of integers, got {line!r}") from None
        if bank < 0 or index < 0:
            raise ValueError(f"{kind} {index} of bank {bank}: neither can be negative")
        pairs.append((bank, index))
    pairs.sort()
    for earlier, later in itertools.pairwise(pairs):
        if earlier == later:
            raise ValueError(f"{kind} {later[1]} of bank {later[0]} is given twice")
    return tuple(pairs)


def _line_numbers(lines: tuple[tuple[int, int], ...], kind: str, banks: int, count: int) -> NDArray[np.int64]:
    for bank, index in lines:
        if bank >= banks:
            raise ValueError(f"{kind} {index} of bank {bank}: the memory has banks 0 to {banks - 1}")
        if index >= count:
            raise ValueError(f"{kind} {index} of bank {bank}: the bank has {kind}s 0 to {count - 1}")
    return np.array([bank * count + index for bank, index in lines], dtype=np.int64)


def _check_header(fields: list[str]) -> None:
    if fields != list(HEADER):
        raise ValueError(f"expected the header {','.join(HEADER)}, found {','.join(fields)!r}")


def _entry(fields: list[str]) -> tuple[str, int, int]:
    """Return kind, bank and index given by a line."""
    if len(fields) != len(HEADER):
        raise ValueError(f"{counted(len(fields), 'field')}, expected {len(HEADER)}: {','.join(HEADER)}")
    bank, kind, index = fields
    if kind not in ("row", "column"):
        raise ValueError(f"kind must be row or column, got {kind!r}")
    for name, text in (("bank", bank), ("index", index)):
        # int() would take signs, underscores and the digits of any script.
        if not re.fullmatch("[0-9]{1,19}", text):
            raise ValueError(f"{name} must be a whole number of at most 19 digits, got {text!r}")
    return kind, int(bank), int(index)
