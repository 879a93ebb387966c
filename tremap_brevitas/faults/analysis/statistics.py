"""Statistics of fault maps: number of faults, their locations, and the overlap between chips."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.faults.fault_map import FaultMap, check_same_memory
from tremap_brevitas.printable import counted

CROWDED = 3  # a column with so many faults or more counts as crowded
SHOWN = 5  # numbers of chips that have a line of their own


@dataclass(frozen=True)
class MapStatistics:
    """Statistics of one map. A row is a word; a column is one bit position in one bank.

    Attributes:
        cells: Cells of the memory.
        faults: Stuck cells.
        rate: Stuck cells over all cells.
        sa1_share: Share of them stuck at 1; None without faults.
        rows_hit: Words with a stuck cell.
        columns_hit: Columns with a stuck cell, of ``banks * word_bits``.
        banks_hit: Banks with a stuck cell.
        banks: Banks of the memory.
        worst_bank_rate: Rate of the worst bank.
        worst_tenth_share: Share of the faults in the worst tenth of the banks (at least one); None without faults.
        dispersion: Unbiased variance of the faults of a bank over their mean, on average 1 for uniform faults; None with one
            bank or no faults.
        crowded_share: Share of the faults in columns with three or more; None without faults.
        worst_column_share: Share of the faults in the worst column of their bank; None without faults.
        by_bit: Faults at each bit position, from the LSB.
    """

    cells: int
    faults: int
    rate: float
    sa1_share: float | None
    rows_hit: int
    columns_hit: int
    banks_hit: int
    banks: int
    worst_bank_rate: float
    worst_tenth_share: float | None
    dispersion: float | None
    crowded_share: float | None
    worst_column_share: float | None
    by_bit: tuple[int, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return all figures in a form that JSON can store."""
        return {**asdict(self), "by_bit": list(self.by_bit)}

    def __str__(self) -> str:
        def share(value: float | None) -> str:
            return "–" if value is None else f"{100 * value:.1f} %"

        dispersion = "–" if self.dispersion is None else f"{self.dispersion:.2f}"
        lines = {
            "stuck cells": f"{self.faults} of {self.cells}, rate {self.rate:.3e}",
            "stuck at 1": share(self.sa1_share),
            "rows hit": str(self.rows_hit),
            "columns hit": str(self.columns_hit),
            "banks hit": f"{self.banks_hit} of {self.banks}, the worst at rate {self.worst_bank_rate:.3e}",
            "in the worst tenth of banks": share(self.worst_tenth_share),
            "variance / mean of banks": f"{dispersion} (1 if uniform)",
            f"in columns of {CROWDED} or more": share(self.crowded_share),
            "in the worst column of a bank": share(self.worst_column_share),
            "by bit, LSB first": " ".join(map(str, self.by_bit)),
        }
        return "\n".join(f"  {name:<31}{value}" for name, value in lines.items())


def map_statistics(fault_map: FaultMap) -> MapStatistics:
    """Compute the statistics of one map.

    Examples:
        >>> from tremap_brevitas import Memory
        >>> statistics = map_statistics(FaultMap(Memory(words=8, word_bits=4, banks=2), [0, 4, 8, 31], [0, 0, 1, 1]))
        >>> statistics.banks_hit, statistics.columns_hit, statistics.crowded_share, statistics.by_bit
        (2, 2, 0.75, (3, 0, 0, 1))
    """
    memory = fault_map.memory
    word, bit = np.divmod(fault_map.cells, memory.word_bits)
    by_bank, (bank, in_column) = faults_of_banks(fault_map), faults_of_columns(fault_map)
    worst = np.zeros(memory.banks, dtype=np.int64)
    np.maximum.at(worst, bank, in_column)
    faults = len(fault_map)
    tenth = max(1, memory.banks // 10)
    return MapStatistics(
        cells=memory.cells,
        faults=faults,
        rate=fault_map.fault_rate,
        sa1_share=float(fault_map.stuck_at.mean()) if faults else None,
        rows_hit=len(np.unique(word)),
        columns_hit=len(in_column),
        banks_hit=int((by_bank > 0).sum()),
        banks=memory.banks,
        worst_bank_rate=float(by_bank.max() / (memory.cells // memory.banks)),
        worst_tenth_share=float(np.sort(by_bank)[::-1][:tenth].sum() / faults) if faults else None,
        dispersion=float(by_bank.var(ddof=1) / by_bank.mean()) if faults and memory.banks > 1 else None,
        crowded_share=float(in_column[in_column >= CROWDED].sum() / faults) if faults else None,
        worst_column_share=float(worst.sum() / faults) if faults else None,
        by_bit=tuple(np.bincount(bit, minlength=memory.word_bits).tolist()),
    )


def faults_of_banks(fault_map: FaultMap) -> NDArray[np.int64]:
    """Return the number of stuck cells in each bank."""
    memory = fault_map.memory
    bank = fault_map.cells // (memory.word_bits * memory.words_per_bank)
    return np.bincount(bank, minlength=memory.banks).astype(np.int64)


def faults_of_columns(fault_map: FaultMap) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return bank and number of stuck cells of each column (a bit position of one bank) that has any."""
    memory = fault_map.memory
    word, bit = np.divmod(fault_map.cells, memory.word_bits)
    column, faults = np.unique(word // memory.words_per_bank * memory.word_bits + bit, return_counts=True)
    return column // memory.word_bits, faults.astype(np.int64)


def nesting(milder: FaultMap, stronger: FaultMap) -> float:
    """Return the share of one map's faults, by cell and stuck value, that another map has too; 1 for no faults.

    Raises:
        ValueError: If the maps are of different memories.
    """
    comparison = compare_maps(milder, stronger)
    return 1.0 if not len(milder) else comparison.common / len(milder)


@dataclass(frozen=True)
class PairStatistics:
    """Overlap of two maps.

    Attributes:
        common: Cells stuck at the same value in both.
        conflicts: Cells stuck at 0 in one and at 1 in the other.
        only_first: Cells stuck in the first alone.
        only_second: Cells stuck in the second alone.
        jaccard: Cells stuck in both over cells stuck in any; 1 if there are none.
        expected_overlap: Cells stuck in both, if the two were independent and uniform.
    """

    common: int
    conflicts: int
    only_first: int
    only_second: int
    jaccard: float
    expected_overlap: float

    def as_dict(self) -> dict[str, Any]:
        """Return all figures in a form that JSON can store."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{counted(self.common, 'cell')} stuck alike in both, {self.conflicts} in conflict, "
            f"{self.only_first} in the first alone, {self.only_second} in the second alone; "
            f"Jaccard index {self.jaccard:.4f}; {self.expected_overlap:.1f} shared cells expected by chance"
        )


def compare_maps(first: FaultMap, second: FaultMap) -> PairStatistics:
    """Compute how two maps overlap.

    Raises:
        ValueError: If the maps are of different memories.

    Examples:
        >>> from tremap_brevitas import Memory
        >>> memory = Memory(words=4, word_bits=4)
        >>> print(compare_maps(FaultMap(memory, [1, 2, 3], [0, 0, 1]), FaultMap(memory, [2, 3], [0, 0])).conflicts)
        1
    """
    memory = check_same_memory([first, second])
    _, mine, theirs = np.intersect1d(first.cells, second.cells, assume_unique=True, return_indices=True)
    alike = int((first.stuck_at[mine] == second.stuck_at[theirs]).sum())
    union = len(first) + len(second) - len(mine)
    return PairStatistics(
        common=alike,
        conflicts=len(mine) - alike,
        only_first=len(first) - len(mine),
        only_second=len(second) - len(mine),
        jaccard=len(mine) / union if union else 1.0,
        expected_overlap=len(first) * len(second) / memory.cells,
    )


@dataclass(frozen=True)
class GroupStatistics:
    """Overlap of the maps of a group.

    Attributes:
        chips: Number of maps.
        cells: Cells of the memory.
        union: Cells stuck on any chip.
        conflicts: Cells stuck at 0 on one chip and at 1 on another.
        on_exactly: Cells stuck on exactly 1, 2, … chips.
        conflicts_on_exactly: How many of them are in conflict.
        union_after: Cells stuck on any of the first 1, 2, … chips, in the order given.
        conflicts_after: Cells in conflict among the first 1, 2, … chips.
    """

    chips: int
    cells: int
    union: int
    conflicts: int
    on_exactly: tuple[int, ...]
    conflicts_on_exactly: tuple[int, ...]
    union_after: tuple[int, ...]
    conflicts_after: tuple[int, ...]

    def __str__(self) -> str:
        by_chips = [(k, count) for k, count in enumerate(self.on_exactly, start=1) if count]
        few = [f"{count} on {k}" for k, count in by_chips[:SHOWN]]
        if rest := by_chips[SHOWN:]:
            first, last = rest[0][0], rest[-1][0]
            few.append(f"{sum(count for _, count in rest)} on {first if first == last else f'{first} to {last}'}")
        shared = ", ".join(few)
        return (
            f"{counted(self.chips, 'chip')} together: union rate {self.union / self.cells:.3e} "
            f"({counted(self.union, 'cell')}), {counted(self.conflicts, 'conflict')}\n"
            f"cells by the number of chips that have them: {shared or 'none'}"
        )


def group_statistics(maps: Iterable[FaultMap]) -> GroupStatistics:
    """Compute how the maps of a group overlap. Time and memory are proportional to the faults of all maps.

    Raises:
        ValueError: If there is not a fault map, or two are of different memories.
    """
    maps = list(maps)
    memory = check_same_memory(maps)
    chip, cells, stuck = _by_cell(maps)
    first = np.flatnonzero(np.append(True, cells[1:] != cells[:-1])) if len(cells) else np.empty(0, dtype=np.int64)
    counts = np.diff(np.append(first, len(cells)))
    # A cell is in conflict from the first chip whose value differs from that of the chip before.
    turned = np.flatnonzero((cells[1:] == cells[:-1]) & (stuck[1:] != stuck[:-1])) + 1
    turned = turned[np.unique(cells[turned], return_index=True)[1]]
    return GroupStatistics(
        chips=len(maps),
        cells=memory.cells,
        union=len(first),
        conflicts=len(turned),
        on_exactly=_on_exactly(counts, len(maps)),
        conflicts_on_exactly=_on_exactly(counts[np.searchsorted(cells[first], cells[turned])], len(maps)),
        union_after=_growth(chip[first], len(maps)),
        conflicts_after=_growth(chip[turned], len(maps)),
    )


def shared_cells(maps: Iterable[FaultMap]) -> NDArray[np.int64]:
    """Count the cells that each two chips share, at equal or opposite values, shape (chips, chips); 0 on the diagonal.

    The time grows with the faults and with how often they are shared, not with the pairs of chips.

    Raises:
        ValueError: If there is not a fault map, or two are of different memories.
    """
    maps = list(maps)
    check_same_memory(maps)
    chip, cells, _ = _by_cell(maps)
    table = np.zeros((len(maps), len(maps)), dtype=np.int64)
    for apart in range(1, len(maps)):  # pairs of the chips that have a cell, by their distance in the sorted list
        same = np.flatnonzero(cells[apart:] == cells[:-apart])
        if not len(same):
            break
        np.add.at(table, (chip[same], chip[same + apart]), 1)
    return table + table.T


def _by_cell(maps: list[FaultMap]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]:
    """Return chip, cell and stuck value of every fault, sorted by cell and then by chip."""
    chip = np.repeat(np.arange(len(maps)), [len(m) for m in maps])
    cells = np.concatenate([m.cells for m in maps])
    stuck = np.concatenate([m.stuck_at for m in maps])
    order = np.argsort(cells, kind="stable")
    return chip[order], cells[order], stuck[order]


def _on_exactly(counts: NDArray[np.int64], chips: int) -> tuple[int, ...]:
    return tuple(np.bincount(counts, minlength=chips + 1)[1:].tolist())


def _growth(chips: NDArray[np.int64], count: int) -> tuple[int, ...]:
    return tuple(np.cumsum(np.bincount(chips, minlength=count)).tolist())
