"""Collect stuck cells in bounded memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.faults.distinct import sorted_distinct
from tremap_brevitas.faults.formats.text import FormatError
from tremap_brevitas.printable import counted


class Cells:
    """Stuck cells collected so far, in bounded memory: each cell once for each stuck value.

    ``add`` takes any number of cells; ``result`` gives them sorted, and those that failed both ways.
    """

    def __init__(self, limit: int = 1 << 22) -> None:
        self._parts: tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]] = ([], [])
        self._waiting = 0
        self._limit = limit

    def add(self, cells: NDArray[np.int64], stuck_at: int) -> None:
        """Add cells that are stuck at one value."""
        if len(cells):
            self._parts[stuck_at].append(cells)
            self._waiting += len(cells)
            if self._waiting > self._limit:
                self._settle()

    def _settle(self) -> None:
        for parts in self._parts:
            if parts:
                parts[:] = [sorted_distinct(np.concatenate(parts))]
        self._waiting = 0
        self._limit = max(self._limit, sum(len(p) for parts in self._parts for p in parts))

    def result(self) -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64]]:
        """Return sorted cells with their stuck values, and separately the sorted cells that failed at both values."""
        self._settle()
        zeros, ones = (parts[0] if parts else np.empty(0, dtype=np.int64) for parts in self._parts)
        both = np.intersect1d(zeros, ones, assume_unique=True)
        if len(both):
            zeros, ones = (np.setdiff1d(part, both, assume_unique=True) for part in (zeros, ones))
        cells = np.concatenate([zeros, ones])
        stuck_at = np.concatenate([np.zeros(len(zeros), np.uint8), np.ones(len(ones), np.uint8)])
        order = np.argsort(cells, kind="stable")
        return cells[order], stuck_at[order], both


def without_both_ways(
    cells: Cells, path: str, both_ways: str, word_bits: int
) -> tuple[NDArray[np.int64], NDArray[np.uint8], dict[str, str]]:
    """Return cells, stuck values and metadata after resolving the cells that failed at both values.

    Raises:
        FormatError: If there are any and ``both_ways`` is ``"error"``.
    """
    indices, stuck_at, both = cells.result()
    if not len(both):
        return indices, stuck_at, {}
    if both_ways == "error":
        word, bit = divmod(int(both[0]), word_bits)
        raise FormatError(
            f"{path}: {counted(len(both), 'cell')} failed both as 0 and as 1, so not stuck; the first is bit {bit} of word "
            f"{word} (both_ways='drop' leaves them out and says so in the map's metadata)"
        )
    return indices, stuck_at, {"failed_both_ways": str(len(both))}
