"""The fault maps of a row, and the memory that they are of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tremap_brevitas as tm
from tremap_brevitas.faults.random.structured import banked_fault_maps

if TYPE_CHECKING:
    from benchmarks.study.rows import Row

BANKS = 64  # of the memory; about the size of a block RAM each


def fault_maps(row: Row, memory: tm.Memory, chips: int, *, seed: int) -> list[tm.FaultMap]:
    """The group's fault maps. Clustered: banks differ by as much as they hold, half the faults lie in few columns."""
    if row.pattern == "uniform":
        return tm.random_fault_maps(memory, chips=chips, fault_rate=row.rate, seed=seed)
    mean = row.rate * memory.cells / memory.banks
    return banked_fault_maps(
        memory, chips=chips, fault_rate=row.rate, dispersion=1 + mean, column_share=0.5, column_faults=20, seed=seed
    )


def unseen_maps(row: Row, memory: tm.Memory) -> list[tm.FaultMap]:
    """Maps of chips that took no part in anything."""
    return fault_maps(row, memory, row.unseen, seed=1000 + row.seed) if row.unseen else []
