"""Synthetic fault maps with structure: lines, clusters, bad banks, and nested maps.

Below, a *row* is a word, and a *column* is one bit position of the words of one bank: a memory has ``words`` rows and
``banks * word_bits`` columns.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.faults.analysis.statistics import CROWDED
from tremap_brevitas.faults.distinct import Integers, draw_distinct, draw_distinct_in_groups, numbers_not_in
from tremap_brevitas.faults.fault_map import FaultMap
from tremap_brevitas.faults.memory import Memory
from tremap_brevitas.faults.random.columns import in_correlated_columns, in_few_columns


def line_fault_maps(
    memory: Memory, *, chips: int, rows: int, columns: int, fault_rate: float = 0.0, sa1_share: float = 0.5, seed: int
) -> list[FaultMap]:
    """Draw fault maps with whole rows and columns stuck, as caused by broken word lines or bit lines.

    Each map has exactly ``rows`` distinct rows and ``columns`` distinct columns, every such choice equally likely. All cells of
    a line are stuck at one value, which is 1 with probability ``sa1_share``; where a row crosses a column, the row's value
    holds. Of the cells outside the lines exactly ``round(fault_rate * their number)`` are stuck as well, ``round(sa1_share *
    faults)`` of them at 1. Chip ``i`` depends on ``seed`` and ``i`` alone. Time and memory grow with the number of faults, not
    of cells.

    Args:
        memory: Geometry of the memory; a column ends with its bank.
        chips: Number of maps, at least 1.
        rows: Stuck rows of each map, 0 to ``memory.words``.
        columns: Stuck columns of each map, 0 to ``memory.banks * memory.word_bits``.
        fault_rate: Stuck cells outside the lines over all cells outside the lines, 0 to 1.
        sa1_share: Share of what is stuck at 1, 0 to 1.
        seed: Seed of the draw.

    Raises:
        ValueError: If a number is out of its range.

    Examples:
        >>> memory = Memory(words=64, word_bits=8, banks=4)
        >>> chips = line_fault_maps(memory, chips=2, rows=1, columns=0, seed=0)
        >>> [len(m) for m in chips], chips[0].cells // 8
        ([8, 8], array([20, 20, 20, 20, 20, 20, 20, 20]))
        >>> len(line_fault_maps(memory, chips=1, rows=0, columns=2, fault_rate=0.05, seed=0)[0])
        56
    """
    _check(chips, fault_rate=fault_rate, sa1_share=sa1_share)
    for name, lines, most in (("rows", rows, memory.words), ("columns", columns, memory.banks * memory.word_bits)):
        if not 0 <= lines <= most:
            raise ValueError(f"{name} must lie between 0 and the {most} of the memory ({memory}), got {lines}")
    height, width = memory.words_per_bank, memory.word_bits
    maps = []
    for index, rng in enumerate(_generators(seed, chips)):
        row = draw_distinct(rng, memory.words, rows)
        bank, bit = np.divmod(draw_distinct(rng, memory.banks * width, columns), width)
        in_rows = (row[:, None] * width + np.arange(width)).reshape(-1)
        in_columns = ((bank[:, None] * height + np.arange(height)) * width + bit[:, None]).reshape(-1)
        value = rng.random(rows + columns) < sa1_share
        # The rows come first, and the first of two equal cells is the one that is kept.
        stuck, first = np.unique(np.concatenate([in_rows, in_columns]), return_index=True)
        line_values = np.repeat(value, [width] * rows + [height] * columns)[first]
        faults = round(fault_rate * (memory.cells - len(stuck)))
        background = numbers_not_in(stuck, draw_distinct(rng, memory.cells - len(stuck), faults))
        cells = np.concatenate([stuck, background])
        stuck_at = np.concatenate([line_values.astype(np.uint8), _stuck_values(rng, faults, sa1_share)])
        maps.append(_map(memory, cells, stuck_at, index, seed))
    return maps


def clustered_fault_maps(
    memory: Memory,
    *,
    chips: int,
    fault_rate: float,
    cluster_size: float,
    spread: tuple[int, int],
    sa1_share: float = 0.5,
    seed: int,
) -> list[FaultMap]:
    """Draw fault maps whose faults lie in clusters, as caused by defects of the die.

    The centres of the clusters are uniform. Around each lies a geometrically distributed number of faults, uniform within
    ``spread`` of the centre and inside its bank; a cluster that would not fit there fills it. Clusters are added until the
    map has exactly ``round(fault_rate * memory.cells)`` distinct cells; the last is cut short. Exactly
    ``round(sa1_share * faults)`` are stuck at 1, whatever the cluster. Chip ``i`` depends on ``seed`` and ``i`` alone. Time and
    memory grow with the number of faults, not of cells.

    Args:
        memory: Geometry of the memory; a cluster ends with its bank.
        chips: Number of maps, at least 1.
        fault_rate: Stuck cells over all cells, 0 to 1.
        cluster_size: Mean number of faults of a cluster, at least 1.
        spread: Maximum distance of a fault from the centre, in rows and in columns.
        sa1_share: Share of the stuck cells that is stuck at 1, 0 to 1.
        seed: Seed of the draw.

    Raises:
        ValueError: If a number is out of its range.

    Examples:
        >>> memory = Memory(words=4096, word_bits=32, banks=4)
        >>> chip = clustered_fault_maps(memory, chips=1, fault_rate=1e-4, cluster_size=6, spread=(3, 2), seed=0)[0]
        >>> chip.cells // 32
        array([  19,   19,   20,   21,   22,   23,   23,   24,   25, 3282, 3288,
               3862, 3864])
    """
    _check(chips, fault_rate=fault_rate, sa1_share=sa1_share)
    if not 1 <= cluster_size < math.inf:
        raise ValueError(f"cluster_size must be at least 1 and finite, got {cluster_size}")
    if len(spread) != 2 or min(spread) < 0:
        raise ValueError(f"spread must be two numbers of rows and columns, neither below 0, got {spread}")
    faults = round(fault_rate * memory.cells)
    window = min(2 * spread[0] + 1, memory.words_per_bank) * min(2 * spread[1] + 1, memory.word_bits)
    maps = []
    for index, rng in enumerate(_generators(seed, chips)):
        cells = np.empty(0, dtype=np.int64)
        while len(cells) < faults:
            # Faults on cells that are stuck already are lost: in a full memory most of them.
            wanted = (faults - len(cells)) / (1 - len(cells) / memory.cells)
            clusters = _clusters(rng, memory, 1 + int(wanted / min(cluster_size, window)), cluster_size, spread)
            cells = np.concatenate([cells, clusters])
            cells = cells[np.sort(np.unique(cells, return_index=True)[1])][:faults]
        maps.append(_map(memory, cells, _stuck_values(rng, faults, sa1_share), index, seed))
    return maps


def banked_fault_maps(
    memory: Memory,
    *,
    chips: int,
    fault_rate: float,
    dispersion: float,
    column_share: float = 0.0,
    column_faults: float = 5.0,
    column_correlation: float = 0.0,
    sa1_share: float = 0.5,
    seed: int,
) -> list[FaultMap]:
    """Draw fault maps in which a few banks, and a few columns in them, have most of the faults.

    The rate of each bank is drawn from a gamma distribution of mean ``fault_rate``, its number of faults from a Poisson
    distribution of that rate. The numbers then have a negative binomial distribution, whose ratio of variance to mean is
    ``dispersion``; with 1 every bank has the same rate. The rate of a map is therefore **not** exact: ``fault_rate`` is the
    expected one. (A bank that would get more faults than it has cells gets as many as it has; where that happens often, at high
    rates and dispersions, the expected rate is lower.)

    Of the faults of a bank that has three or more, the share ``column_share`` is expected in columns picked at random, of
    ``column_faults`` faults each on average, but of at least three if possible (it is not for five faults in columns of four
    cells). The other faults are uniform over the other columns of the bank, where chance may put three into one, too.

    Alternatively ``column_correlation`` describes how a bank's faults, however many, are distributed over its columns: the
    shares of the columns are drawn from a Dirichlet distribution, and two faults of a bank are by so much likelier than by
    chance in one column. Measured memories, in which a bank has one weak column that holds most of its faults, are like that.

    Exactly ``round(sa1_share * faults)`` are stuck at 1, whatever the column. Chip ``i`` depends on ``seed`` and ``i`` alone.
    Time and memory grow with the numbers of faults and of banks, not of cells.

    Args:
        memory: Geometry of the memory.
        chips: Number of maps, at least 1.
        fault_rate: Expected stuck cells over all cells, 0 to 1.
        dispersion: Variance of the faults of a bank over their mean, at least 1.
        column_share: Share of the faults that sits in few columns, 0 to 1.
        column_faults: Mean number of faults of such a column, at least 3. A bank with fewer has one such column, so that the
            mean is lower.
        column_correlation: 0: by chance or ``column_share``; 1: all faults of a bank in one column.
        sa1_share: Share of the stuck cells that is stuck at 1, 0 to 1.
        seed: Seed of the draw.

    Raises:
        ValueError: If a number is out of its range, or ``column_share`` and ``column_correlation`` are both given.

    Examples:
        >>> memory = Memory(words=16384, word_bits=32, banks=16)
        >>> chip = banked_fault_maps(memory, chips=1, fault_rate=1e-4, dispersion=10, seed=0)[0]
        >>> np.bincount(chip.cells // (1024 * 32), minlength=16)
        array([18,  1,  1,  0,  0,  4, 14,  0,  1,  0,  1,  0,  4,  2,  6,  0])
    """
    _check(chips, fault_rate=fault_rate, column_share=column_share, column_correlation=column_correlation, sa1_share=sa1_share)
    if column_share and column_correlation:
        raise ValueError(f"give column_share ({column_share}) or column_correlation ({column_correlation}), and not both")
    for name, value, least in (("dispersion", dispersion, 1), ("column_faults", column_faults, CROWDED)):
        if not least <= value < math.inf:
            raise ValueError(f"{name} must be at least {least} and finite, got {value}")
    bank_cells = memory.cells // memory.banks
    mean = fault_rate * bank_cells
    maps = []
    for index, rng in enumerate(_generators(seed, chips)):
        expected = np.full(memory.banks, mean)
        if dispersion > 1:
            expected = np.minimum(rng.gamma(mean / (dispersion - 1), dispersion - 1, size=memory.banks), bank_cells)
        faults = np.minimum(rng.poisson(expected), bank_cells)
        if column_correlation:
            cells = in_correlated_columns(rng, memory, faults, column_correlation)
        else:
            cells = in_few_columns(rng, memory, faults, column_share, column_faults)
        maps.append(_map(memory, cells, _stuck_values(rng, len(cells), sa1_share), index, seed))
    return maps


def nested_fault_maps(
    memory: Memory, *, chips: int, fault_rates: Sequence[float], sa1_share: float = 0.5, seed: int
) -> list[list[FaultMap]]:
    """Draw nested uniform fault maps of several rates, like those of one chip at several supply voltages.

    It is as if each cell had a number of its own, drawn once, and were stuck at every rate that is not below it: a cell that is
    stuck at one rate is stuck at each higher one, at the same value. Each map has exactly ``round(rate * memory.cells)``
    cells. Of the largest exactly ``round(sa1_share * faults)`` are stuck at 1; the others are random parts of it. Chip ``i``
    depends on ``seed``, ``i`` and the highest rate alone. Time and memory grow with the number of faults, not of cells.

    Args:
        memory: Geometry of the memory.
        chips: Number of chips, at least 1.
        fault_rates: Stuck cells over all cells, 0 to 1 each, in ascending order.
        sa1_share: Share of the stuck cells that is stuck at 1, 0 to 1.
        seed: Seed of the draw.

    Returns:
        For each chip its maps, in the order of the rates; the metadata of each hold its ``fault_rate``.

    Raises:
        ValueError: If a number is out of its range, there is no rate, or the rates are not in ascending order.

    Examples:
        >>> memory = Memory(words=1000, word_bits=32)
        >>> mild, strong = nested_fault_maps(memory, chips=1, fault_rates=[1e-3, 6e-3], seed=0)[0]
        >>> len(mild), len(strong), bool(np.isin(mild.cells, strong.cells).all())
        (32, 192, True)
        >>> strong.metadata["fault_rate"]
        '0.006'
    """
    rates = list(fault_rates)
    if not rates:
        raise ValueError("fault_rates is empty: give at least one")
    for rate in rates:
        _check(chips, fault_rates=rate, sa1_share=sa1_share)
    for low, high in itertools.pairwise(rates):
        if high < low:
            raise ValueError(f"fault_rates must be in ascending order, got {high} after {low}")
    most = round(rates[-1] * memory.cells)
    maps = []
    for index, rng in enumerate(_generators(seed, chips)):
        cells = rng.permutation(draw_distinct(rng, memory.cells, most))
        stuck_at = _stuck_values(rng, most, sa1_share)
        faults = [round(rate * memory.cells) for rate in rates]
        maps.append(
            [_map(memory, cells[:n], stuck_at[:n], index, seed, fault_rate=str(r)) for n, r in zip(faults, rates, strict=True)]
        )
    return maps


def _check(chips: int, **shares: float) -> None:
    if chips < 1:
        raise ValueError(f"chips must be at least 1, got {chips}")
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise ValueError(f"{name} must lie between 0 and 1, got {share}")


def _generators(seed: int, chips: int) -> list[np.random.Generator]:
    return [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(chips)]


def _map(memory: Memory, cells: Integers, stuck_at: NDArray[np.uint8], index: int, seed: int, **metadata: str) -> FaultMap:
    return FaultMap(memory, cells, stuck_at, f"chip-{index}", {"seed": str(seed)} | metadata)


def _stuck_values(rng: np.random.Generator, faults: int, sa1_share: float) -> NDArray[np.uint8]:
    return rng.permutation(np.arange(faults) < round(sa1_share * faults)).astype(np.uint8)


def _clusters(
    rng: np.random.Generator, memory: Memory, clusters: int, cluster_size: float, spread: tuple[int, int]
) -> Integers:
    """Draw the cells of several clusters, one after the other; those of one are distinct and in random order."""
    height, width = memory.words_per_bank, memory.word_bits
    word, bit = rng.integers(memory.words, size=clusters), rng.integers(width, size=clusters)
    bank = word - word % height
    top, bottom = np.maximum(word - spread[0], bank), np.minimum(word + spread[0], bank + height - 1)
    left, right = np.maximum(bit - spread[1], 0), np.minimum(bit + spread[1], width - 1)
    across = right - left + 1
    window = (bottom - top + 1) * across
    cluster, place = draw_distinct_in_groups(rng, window, np.minimum(rng.geometric(1 / cluster_size, size=clusters), window))
    row, column = np.divmod(place, across[cluster])
    cells: Integers = (top[cluster] + row) * width + left[cluster] + column
    return cells[np.lexsort((rng.random(len(cells)), cluster))]
