"""Decide which rows and columns are replaced by spare ones."""

from __future__ import annotations

import operator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.faults.array.geometry import ArrayGeometry
from tremap_brevitas.faults.array.repair import Repair, geometry_of, repaired
from tremap_brevitas.faults.fault_map import FaultMap
from tremap_brevitas.printable import counted


@dataclass(frozen=True)
class RepairPlan:
    """Result of [allocate_repair][tremap_brevitas.faults.array.allocate.allocate_repair].

    Attributes:
        repair: The rows and columns to replace.
        remaining: The faults that stay, as a map of the memory as it is addressed.
    """

    repair: Repair
    remaining: FaultMap

    @property
    def complete(self) -> bool:
        """Whether all faults are repaired."""
        return not len(self.remaining)

    def __str__(self) -> str:
        ones = int(self.remaining.stuck_at.sum())
        count = len(self.remaining)
        stays = f"{counted(count, 'fault')} left: {count - ones} stuck at 0, {ones} stuck at 1" if count else "no fault left"
        return f"{self.repair}\n{stays}" if len(self.repair) else stays


def allocate_repair(
    fault_map: FaultMap, *, spare_rows: int, spare_columns: int, geometry: ArrayGeometry | None = None
) -> RepairPlan:
    """Decide which rows and columns the spares of each bank replace.

    Each bank is taken by itself, in two passes:

    1. Must-repair. A row with more faults than the bank has spare columns left can only be replaced by a spare row, and a
       column with more faults than there are spare rows left only by a spare column. Such lines are replaced until there are
       none.
    2. Greedy. The row or column with the most faults left is replaced.

    Where several lines qualify, the one with the most faults is taken; among equals a row before a column, and the lower number
    first. A bank is done when it has no fault or no usable spare left.

    Where complete repairs exist, the first pass takes only lines that belong to all of them. The second pass may still miss
    them: finding one is NP-complete. Spares are assumed to be healthy. The time grows with the number of faults and spares, not
    with the size of the memory.

    Args:
        fault_map: The map before the repair.
        spare_rows: Spare rows of each bank.
        spare_columns: Spare columns of each bank.
        geometry: Where the cells lie; None for ``ArrayGeometry(fault_map.memory)``.

    Returns:
        The repair, and the faults that stay.

    Raises:
        TypeError: If a number of spares is not an integer.
        ValueError: If a number of spares is negative, or the geometry is of another memory.

    Examples:
        >>> from tremap_brevitas import Memory
        >>> chip = FaultMap(Memory(words=8, word_bits=4), cells=[4, 5, 14, 30], stuck_at=[0, 1, 1, 0])
        >>> print(allocate_repair(chip, spare_rows=1, spare_columns=1))
        bank 0: rows 1; columns 2
        no fault left
        >>> print(allocate_repair(chip, spare_rows=1, spare_columns=0))
        bank 0: rows 1
        2 faults left: 1 stuck at 0, 1 stuck at 1
    """
    geometry = geometry_of(fault_map, geometry)
    spare_rows = _spares(spare_rows, "spare_rows")
    spare_columns = _spares(spare_columns, "spare_columns")
    replaced_rows: list[tuple[int, int]] = []
    replaced_columns: list[tuple[int, int]] = []
    if spare_rows or spare_columns:
        bank, row, column = geometry.physical(fault_map.cells)
        by_bank = np.argsort(bank, kind="stable")
        numbers, starts = np.unique(bank[by_bank], return_index=True)
        for number, faults in zip(numbers.tolist(), np.split(by_bank, starts[1:]), strict=False):
            rows, columns = _allocate(row[faults], column[faults], spare_rows, spare_columns)
            replaced_rows += [(number, r) for r in rows]
            replaced_columns += [(number, c) for c in columns]
    repair = Repair(rows=tuple(replaced_rows), columns=tuple(replaced_columns))
    return RepairPlan(repair, repaired(fault_map, repair, geometry=geometry))


class _Lines:
    """The faulty rows or columns of one bank, ascending, with the number of faults left in each."""

    def __init__(self, index: NDArray[np.int64]) -> None:
        self.numbers, self.of_fault = np.unique(index, return_inverse=True)
        self.left = np.bincount(self.of_fault, minlength=len(self.numbers))
        self._faults = np.argsort(self.of_fault, kind="stable")
        self._starts = np.append(0, np.cumsum(self.left))

    def fullest(self) -> tuple[int, int]:
        """Return the line with the most faults left (the lowest if there are several) and their number."""
        line = int(np.argmax(self.left))
        return line, int(self.left[line])

    def faults(self, line: int) -> NDArray[np.intp]:
        return self._faults[self._starts[line] : self._starts[line + 1]]


def _allocate(
    row: NDArray[np.int64], column: NDArray[np.int64], spare_rows: int, spare_columns: int
) -> tuple[list[int], list[int]]:
    """Return the rows and columns to replace in one bank with faults at these positions."""
    kinds = (_Lines(row), _Lines(column))
    spares = [spare_rows, spare_columns]
    taken: tuple[list[int], list[int]] = ([], [])
    broken = np.ones(len(row), dtype=bool)
    must_repair = True
    while True:
        fullest = [kind.fullest() for kind in kinds]
        counts = [count if left else 0 for (_, count), left in zip(fullest, spares, strict=True)]
        if not any(counts):
            return taken
        choice = 0 if counts[0] >= counts[1] else 1
        if must_repair:
            forced = [counts[0] > spares[1], counts[1] > spares[0]]
            if not any(forced):
                must_repair = False
            elif not all(forced):
                choice = forced.index(True)
        line = fullest[choice][0]
        mended = kinds[choice].faults(line)
        mended = mended[broken[mended]]
        broken[mended] = False
        kinds[choice].left[line] = 0
        # Two faults of one row lie in two columns, so that no line is counted down twice.
        other = kinds[1 - choice]
        other.left[other.of_fault[mended]] -= 1
        taken[choice].append(int(kinds[choice].numbers[line]))
        spares[choice] -= 1


def _spares(value: int, name: str) -> int:
    try:
        count = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if count < 0:
        raise ValueError(f"{name} must be at least 0, got {count}")
    return count
