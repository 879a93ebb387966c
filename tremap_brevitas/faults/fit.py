"""A generator of fault maps fitted to measured ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np

from tremap_brevitas.faults.fault_map import FaultMap, check_same_memory
from tremap_brevitas.faults.memory import Memory
from tremap_brevitas.faults.statistics import CROWDED, faults_of_banks, faults_of_columns
from tremap_brevitas.faults.structure import banked_fault_maps


@dataclass(frozen=True)
class FaultModel:
    """What ``banked_fault_maps`` must know to draw maps like some others.

    Attributes:
        fault_rate: Mean rate.
        sa1_share: Share of the stuck cells that is stuck at 1.
        dispersion: Variance of the faults of a bank over their mean.
        column_share: Share of the faults in columns of three or more, among those of banks that have three or more.
        column_faults: Mean number of faults of such a column.
    """

    fault_rate: float
    sa1_share: float
    dispersion: float
    column_share: float
    column_faults: float

    def draw(self, memory: Memory, *, chips: int, seed: int) -> list[FaultMap]:
        """Draw maps for a memory, whose banks should be as large as those of the maps that were fitted."""
        return banked_fault_maps(memory, chips=chips, seed=seed, **asdict(self))

    def __str__(self) -> str:
        return (
            f"rate {self.fault_rate:.3e}, {100 * self.sa1_share:.0f} % stuck at 1, variance/mean of the banks "
            f"{self.dispersion:.1f}, {100 * self.column_share:.0f} % in columns of {CROWDED} or more, "
            f"{self.column_faults:.1f} faults in such a column"
        )


def fit_fault_model(maps: Iterable[FaultMap]) -> FaultModel:
    """Fit a model to measured maps, by their moments.

    Args:
        maps: Maps of one memory, with its banks; of one voltage or kind, since their rates are averaged.

    Raises:
        ValueError: If there is no map, no fault, or two maps differ in memory or banks.

    Examples:
        >>> from tremap_brevitas.faults.generate import random_fault_maps
        >>> memory = Memory(words=4096, word_bits=32, banks=64)
        >>> model = fit_fault_model(random_fault_maps(memory, chips=4, fault_rate=2e-3, seed=0))
        >>> round(model.fault_rate, 4), round(model.dispersion)
        (0.002, 1)
    """
    maps = list(maps)
    memory = check_same_memory(maps)
    # Memories that differ in nothing but their banks are equal, but here the banks are what is looked at.
    other = next((m for m in maps if m.memory.banks != memory.banks), None)
    if other is not None:
        raise ValueError(
            f"maps with different banks: chip {maps[0].chip!r} has {memory.banks}, {other.chip!r} {other.memory.banks}"
        )
    faults = sum(len(m) for m in maps)
    if not faults:
        raise ValueError("the maps have no fault that a model could be fitted to")
    banks = np.concatenate([faults_of_banks(chip) for chip in maps])
    columns = np.concatenate([faults_of_columns(chip) for chip in maps])
    crowded = columns[columns >= CROWDED]
    able = banks[banks >= CROWDED].sum()
    return FaultModel(
        fault_rate=faults / (len(maps) * memory.cells),
        sa1_share=sum(int(m.stuck_at.sum()) for m in maps) / faults,
        dispersion=max(1.0, float(banks.var() / banks.mean())) if len(banks) > 1 else 1.0,
        column_share=float(crowded.sum() / able) if able else 0.0,
        column_faults=max(float(CROWDED), float(crowded.mean()) if len(crowded) else 0.0),
    )
