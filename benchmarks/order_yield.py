"""The chips of the benchmark of orders, and what comes of them: one point of the yield curve, in a process of its own."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from tremap_brevitas.faults import FaultMap, Memory
from tremap_brevitas.faults.formats import read_readback
from tremap_brevitas.faults.random.structured import clustered_fault_maps
from tremap_brevitas.faults.random.uniform import random_fault_maps
from tremap_brevitas.order import ChannelGroup, ChipOrder, SearchOptions
from tremap_brevitas.order.chip_order import solved
from tremap_brevitas.order.network import Network
from tremap_brevitas.placement import LayerCodes, MemoryImage, linear_placement

KINDS = ("uniform", "clustered")
BLOCK_RAMS = Memory(words=890 * 1024, word_bits=8, banks=890)  # of the KC705 board; every byte of a dump stands there twice
Row = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One point: a network on so many chips.

    Args:
        kind: ``"uniform"``, ``"clustered"``, or what the page calls a measured map.
        rate: Stuck cells over all cells.
        chips: How many.
        measured: Read-back of an FPGA's block RAMs after all ones were written; None for maps that are drawn.
    """

    kind: str
    rate: float
    chips: int
    measured: Path | None = None


def chips(memory: Memory, rate: float, count: int, kind: str) -> Iterator[FaultMap]:
    """Chips one by one, each with a seed of its own."""
    for seed in range(count):
        if kind == "uniform":
            yield from random_fault_maps(memory, chips=1, fault_rate=rate, seed=seed)
        else:
            yield from clustered_fault_maps(memory, chips=1, fault_rate=rate, cluster_size=4.0, spread=(4, 4), seed=seed)


def block_rams(path: Path) -> FaultMap:
    """Stuck cells of all block RAMs of a board; only those stuck at 0 are known."""
    return read_readback(path, None, BLOCK_RAMS, duplicated_bytes=True)


def laid_elsewhere(board: FaultMap, count: int) -> Iterator[FaultMap]:
    """The board as it looks to a network that begins in another of its block RAMs, evenly spread over the board.

    Examples:
        >>> board = FaultMap(Memory(words=4, word_bits=8, banks=4), [9], [0])
        >>> [chip.cells.tolist() for chip in laid_elsewhere(board, 4)]
        [[9], [1], [25], [17]]
    """
    memory = board.memory
    for number in range(count):
        first = number * memory.banks // count
        cells = (board.cells - first * memory.words_per_bank * memory.word_bits) % memory.cells
        by_cell = np.argsort(cells)
        yield FaultMap(memory, cells[by_cell], board.stuck_at[by_cell], f"from-{first}")


def maps_of(case: Case, memory: Memory) -> Iterator[FaultMap]:
    """The chips of a point."""
    if case.measured is None:
        return chips(memory, case.rate, case.chips, case.kind)
    return laid_elsewhere(block_rams(case.measured), case.chips)


def in_memory(image: MemoryImage, memory: Memory) -> MemoryImage:
    """The same codes in another memory, from its first word on.

    Raises:
        ValueError: If they do not fit.
    """
    layers = [LayerCodes(x.name, x.shape, x.bit_width, x.encoding) for x in image.placement.layers]
    return MemoryImage(linear_placement(layers, memory), image.codes)


def solved_chips(net: Network, case: Case, options: SearchOptions) -> tuple[list[ChipOrder], list[float]]:
    """The order of each chip, and the processor seconds that it took."""
    assert len(net.stored)  # made once, before the clock starts
    orders: list[ChipOrder] = []
    seconds = []
    for chip in maps_of(case, net.image.placement.memory):
        begin = time.process_time()
        orders.append(solved(net, chip, options))
        seconds.append(time.process_time() - begin)
    return orders, seconds


def peak_mib() -> float:
    """Most memory that this process has used so far, in MiB."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    # Not ru_maxrss: on Linux a new program inherits that of the process which started it.
    (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 2**10


def point(image: MemoryImage, groups: tuple[ChannelGroup, ...], case: Case, options: SearchOptions) -> Row:
    """What comes of the chips of a point."""
    if case.measured is not None:
        image = in_memory(image, BLOCK_RAMS)
    orders, seconds = solved_chips(Network(image, groups), case, options)
    return {
        "rate": case.rate,
        "weights": image.placement.weights,
        "chips": len(orders),
        "exact_as_they_lie": float(np.mean([order.wrong_as_it_lies == 0 for order in orders])),
        "exact_in_order": float(np.mean([order.exact for order in orders])),
        "mean_wrong_as_they_lie": float(np.mean([order.wrong_as_it_lies for order in orders])),
        "mean_wrong_in_order": float(np.mean([order.wrong for order in orders])),
        "mean_unavoidable": float(np.mean([order.unavoidable for order in orders])),
        "mean_seconds": round(float(np.mean(seconds)), 4),
        "max_seconds": round(max(seconds), 4),
        "peak_mib": round(peak_mib()),
        "rounds": options.rounds,
        "patience": options.patience,
    }


def measured_alone(net: Network, case: Case, options: SearchOptions) -> Row:
    """The same in a fresh process, so that the memory is that of this point."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(point, net.image, net.groups, case, options).result()
