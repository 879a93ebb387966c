"""Generate fault maps like measured ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np

from tremap_brevitas.faults.analysis.statistics import faults_of_banks, faults_of_columns
from tremap_brevitas.faults.fault_map import FaultMap, check_same_memory
from tremap_brevitas.faults.memory import Memory
from tremap_brevitas.faults.random.structured import banked_fault_maps


@dataclass(frozen=True)
class FaultModel:
    """Parameters of ``banked_fault_maps`` that reproduce measured maps.

    Attributes:
        fault_rate: Mean rate.
        sa1_share: Share of the stuck cells that is stuck at 1.
        dispersion: Variance of the faults of a bank over their mean.
        column_correlation: How much likelier than by chance two faults of a bank lie in one column; 1 if they always do.
    """

    fault_rate: float
    sa1_share: float
    dispersion: float
    column_correlation: float

    def draw(self, memory: Memory, *, chips: int, seed: int) -> list[FaultMap]:
        """Draw maps for a memory; its banks should have the size of those in the measured maps."""
        return banked_fault_maps(memory, chips=chips, seed=seed, **asdict(self))

    def __str__(self) -> str:
        return (
            f"rate {self.fault_rate:.3e}, {100 * self.sa1_share:.0f} % stuck at 1, variance/mean of the banks "
            f"{self.dispersion:.1f}, column correlation {self.column_correlation:.2f} "
            f"(0: by chance, 1: all of a bank in one column)"
        )


def fit_fault_model(maps: Iterable[FaultMap]) -> FaultModel:
    """Fit a model to measured maps by their moments, corrected for the random variation of columns.

    Args:
        maps: Maps of one memory, with its banks; of one voltage or kind, since their rates are averaged.

    Raises:
        ValueError: If there is not a fault map, no fault, or two maps differ in memory or banks.

    Examples:
        >>> from tremap_brevitas.faults.random.uniform import random_fault_maps
        >>> memory = Memory(words=4096, word_bits=32, banks=64)
        >>> model = fit_fault_model(random_fault_maps(memory, chips=4, fault_rate=2e-3, seed=0))
        >>> round(model.fault_rate, 4), round(model.dispersion)
        (0.002, 1)
    """
    maps = list(maps)
    memory = check_same_memory(maps)
    # Memories that differ only in their banks are equal, but here the banks matter.
    other = next((m for m in maps if m.memory.banks != memory.banks), None)
    if other is not None:
        raise ValueError(
            f"maps with different banks: chip {maps[0].chip!r} has {memory.banks}, {other.chip!r} {other.memory.banks}"
        )
    faults = sum(len(m) for m in maps)
    if not faults:
        raise ValueError("the maps have no fault that a model could be fitted to")
    banks = np.concatenate([faults_of_banks(chip) for chip in maps])
    return FaultModel(
        fault_rate=faults / (len(maps) * memory.cells),
        sa1_share=sum(int(m.stuck_at.sum()) for m in maps) / faults,
        dispersion=max(1.0, float(banks.var(ddof=1) / banks.mean())) if len(banks) > 1 else 1.0,
        column_correlation=_column_correlation(maps, memory),
    )


def _column_correlation(maps: list[FaultMap], memory: Memory) -> float:
    """Return the share of a fault's neighbours in its bank that lie in its column, beyond chance."""
    together, faults = 0.0, 0
    for chip in maps:
        in_bank = faults_of_banks(chip)
        bank, in_column = faults_of_columns(chip)
        others = in_bank[bank] - 1
        together += float((in_column * (in_column - 1) / np.maximum(others, 1)).sum())
        faults += int(in_bank[in_bank > 1].sum())
    cells = memory.words_per_bank * memory.word_bits
    if not faults or memory.word_bits == 1:
        return 0.0
    chance = (memory.words_per_bank - 1) / (cells - 1)
    return min(1.0, max(0.0, (together / faults - chance) / (1 - chance)))
