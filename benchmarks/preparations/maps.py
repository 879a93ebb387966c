"""The maps of a case's chips: uniform, clustered, what is left after spares or behind an error-correcting code, measured."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import tremap_brevitas as tm
from benchmarks.order_yield import BLOCK_RAMS, block_rams, laid_elsewhere
from benchmarks.preparations.cases import SEEDS, UNIFORM, Case
from benchmarks.preparations.elsewhere import BOARDS, CLUSTERED, REPAIRED, SECDED
from benchmarks.study.maps import fault_maps
from benchmarks.study.rows import Row
from tremap_brevitas.faults.array.allocate import allocate_repair
from tremap_brevitas.faults.array.correction import check_bits_of, corrected
from tremap_brevitas.faults.random.structured import clustered_fault_maps

BANK_WORDS = 1024  # of 32 bits: a block RAM; spares belong to one
PLACES = 4  # of a network on a board, of each seed
CLUSTER, SPREAD = 10.0, (4, 2)  # the defaults of ``tremap map generate``
SPARE_ROWS, SPARE_COLUMNS = 4, 2  # as in the example of ``tremap map repair``


def memory_of(case: Case) -> tm.Memory | None:
    """The memory that a case's maps are of; None for the one that just holds the network."""
    return BLOCK_RAMS if case.map in BOARDS else None


def chips_of(case: Case, memory: tm.Memory, count: int, *, measured: Sequence[Path] = ()) -> list[tm.FaultMap]:
    """The first chips of a seed, in the memory that the network lies in."""
    if case.map == UNIFORM:
        row = Row(network=case.network, chips=case.chips, rate=case.rate, seed=case.seed)
        return fault_maps(row, memory, count, seed=case.seed)
    if case.map == CLUSTERED:
        return clustered_fault_maps(
            memory, chips=count, fault_rate=case.rate, cluster_size=CLUSTER, spread=SPREAD, seed=case.seed
        )
    if case.map == REPAIRED:
        return [_repaired(chip) for chip in _uniform(case, memory, count)]
    if case.map == SECDED:
        bits = memory.word_bits
        wide = tm.Memory(words=memory.words, word_bits=bits + check_bits_of(bits), banks=memory.banks)
        return [corrected(chip, data_bits=bits) for chip in _uniform(case, wide, count)]
    places = _places(case.map, tuple(measured))
    return list(places)[case.seed * PLACES : case.seed * PLACES + min(count, PLACES)]


def _uniform(case: Case, memory: tm.Memory, count: int) -> list[tm.FaultMap]:
    return tm.random_fault_maps(memory, chips=count, fault_rate=case.rate, seed=case.seed)


def _repaired(chip: tm.FaultMap) -> tm.FaultMap:
    """What is left after spare rows and columns in banks of about a block RAM; the memory's own banks may be far smaller."""
    memory = chip.memory
    banks = 2 ** min(max(round(math.log2(memory.words / BANK_WORDS)), 0), int(math.log2(memory.banks)))
    array = tm.Memory(words=memory.words, word_bits=memory.word_bits, banks=banks)
    left = allocate_repair(
        tm.FaultMap(array, chip.cells, chip.stuck_at, chip.chip), spare_rows=SPARE_ROWS, spare_columns=SPARE_COLUMNS
    ).remaining
    return tm.FaultMap(memory, left.cells, left.stuck_at, chip.chip)


@cache
def _places(board: str, measured: tuple[Path, ...]) -> tuple[tm.FaultMap, ...]:
    """A measured board, as it looks to a network that begins at each of some places.

    Raises:
        ValueError: If no file is of this board, or it is another than the published rows have.
    """
    files = {f"measured: {re.sub(r'[.]hex([.]gz)?$', '', path.name)}": path for path in measured}
    if board not in files:
        raise ValueError(f"{board}: no such file among {', '.join(map(str, measured)) or 'none'}; give it with --measured")
    stuck = block_rams(files[board])
    if not math.isclose(stuck.fault_rate, BOARDS[board]):
        raise ValueError(f"{files[board]}: {stuck.fault_rate:g} of the cells are stuck, expected {BOARDS[board]:g}")
    return tuple(laid_elsewhere(stuck, PLACES * len(SEEDS)))
