"""Uniform random fault maps."""

from __future__ import annotations

import numpy as np

from tremap_brevitas.faults.distinct import draw_distinct
from tremap_brevitas.faults.fault_map import FaultMap
from tremap_brevitas.faults.memory import Memory


def random_fault_maps(memory: Memory, *, chips: int, fault_rate: float, sa1_share: float = 0.5, seed: int) -> list[FaultMap]:
    """Draw independent, uniformly random fault maps.

    Each map has exactly ``round(fault_rate * memory.cells)`` distinct cells, every such set equally likely, and
    exactly ``round(sa1_share * faults)`` of them are stuck at 1. Chip ``i`` depends on ``seed`` and ``i``
    alone, so that the first maps stay the same if more chips are drawn. Time and memory grow with the number of
    faults, not of cells.

    Real maps cluster in rows and columns; uniform ones are a first approximation.

    Args:
        memory: Geometry of the memory.
        chips: Number of maps, at least 1.
        fault_rate: Stuck cells over all cells, 0 to 1.
        sa1_share: Share of the stuck cells that is stuck at 1, 0 to 1.
        seed: Seed of the draw.

    Raises:
        ValueError: If a number is out of its range.

    Examples:
        >>> chips = random_fault_maps(Memory(words=1000, word_bits=32), chips=2, fault_rate=6e-3, seed=0)
        >>> [(m.chip, len(m), int(m.stuck_at.sum())) for m in chips]
        [('chip-0', 192, 96), ('chip-1', 192, 96)]
    """
    if chips < 1:
        raise ValueError(f"chips must be at least 1, got {chips}")
    for name, share in (("fault_rate", fault_rate), ("sa1_share", sa1_share)):
        if not 0 <= share <= 1:
            raise ValueError(f"{name} must lie between 0 and 1, got {share}")
    faults = round(fault_rate * memory.cells)
    ones = round(sa1_share * faults)
    maps = []
    for index, child in enumerate(np.random.SeedSequence(seed).spawn(chips)):
        rng = np.random.default_rng(child)
        cells = draw_distinct(rng, memory.cells, faults)
        stuck_at = np.zeros(faults, dtype=np.uint8)
        stuck_at[rng.permutation(faults)[:ones]] = 1
        maps.append(FaultMap(memory, cells, stuck_at, f"chip-{index}", {"seed": str(seed)}))
    return maps
