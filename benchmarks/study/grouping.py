"""Count how many groups the greedy grouping needs, beside chips taken as they come; maps alone, no network."""

from __future__ import annotations

import time
from collections.abc import Sequence

from tremap_brevitas import FaultMap, Memory, random_fault_maps
from tremap_brevitas.faults.random.structured import banked_fault_maps, nested_fault_maps
from tremap_brevitas.planning.group import group_chips, in_arrival_order

MEMORY = Memory(words=67_200, word_bits=32, banks=64)
CHIPS = 300


def grouping_table(_: object = None) -> str:
    """Return a table of the groups needed for a union of at most 6 % of the cells; 300 chips whose rates differ."""
    rates = [2e-3, 6e-3, 1.2e-2]
    bank = MEMORY.cells / MEMORY.banks
    uniform = [m for i, r in enumerate(rates) for m in random_fault_maps(MEMORY, chips=CHIPS // 3, fault_rate=r, seed=i)]
    clustered = [
        m
        for i, r in enumerate(rates)
        for m in banked_fault_maps(
            MEMORY, chips=CHIPS // 3, fault_rate=r, dispersion=1 + r * bank, column_share=0.5, column_faults=20, seed=i
        )
    ]
    lot = nested_fault_maps(MEMORY, chips=CHIPS // 3, fault_rates=rates, seed=0)
    nested = [chip[step] for step in range(3) for chip in lot]
    lines = ["| 300 chips at 2e-3, 6e-3, 1.2e-2 | as they come | grouped | seconds |", "|" + " --- |" * 4]
    for name, chips in (("uniform", uniform), ("clustered", clustered), ("nested: three voltages of 100 chips", nested)):
        lines.append(_line(name, chips))
    return "\n".join(lines)


def _line(name: str, chips: Sequence[FaultMap]) -> str:
    # Chips of a lot come in no order.
    mixed = [chips[(i * 113) % len(chips)] for i in range(len(chips))]
    limit = 0.06 * MEMORY.cells
    arrival = in_arrival_order(mixed, limit=limit)
    begin = time.perf_counter()
    grouped = group_chips(mixed, limit=limit)
    return f"| {name} | {len(arrival)} | {len(grouped)} | {time.perf_counter() - begin:.1f} |"
