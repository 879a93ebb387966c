"""Plot fault maps; needs matplotlib (extra ``plot``)."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from tremap_brevitas.drawing import new_figure, plain, save_figure
from tremap_brevitas.faults.analysis.statistics import faults_of_banks, group_statistics, shared_cells
from tremap_brevitas.faults.fault_map import FaultMap, check_same_memory
from tremap_brevitas.printable import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Told apart with any kind of colour vision (Okabe and Ito).
COLOURS = {0: "#0072b2", 1: "#d55e00"}
MAX_PANELS = 32
# Rows of a panel: fewer than its pixels, so that no fault falls between two of them.
MAX_ROWS = 160
MAX_COLUMNS = 120  # of a panel among six or more; fewer panels are wider


def plot_fault_map(fault_map: FaultMap, path: str | os.PathLike[str] | None = None, *, title: str = "") -> Figure:
    """Plot a chip as a bitmap for each bank: words from top to bottom, bits from the MSB on the left.

    Where there are more words or bits than pixels, a pixel stands for several cells; a stuck cell is never lost. Of more than
    32 banks those with most faults are drawn, below an overview of all.

    Args:
        fault_map: The map.
        path: File to save the figure to, atomically; its ending chooses the format, PNG without one. None saves nothing.
        title: Heading; chip and rate if empty.

    Returns:
        The figure, which can be changed and saved further. It belongs to no window.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If matplotlib cannot write the format of ``path``.

    Examples:
        >>> from tremap_brevitas import FaultMap, Memory
        >>> figure = plot_fault_map(FaultMap(Memory(words=8, word_bits=4, banks=2), [0, 5, 17], [1, 0, 1], "A7"))
        >>> [axes.get_title() for axes in figure.axes]
        ['bank 0: 2', 'bank 1: 1']
    """
    memory = fault_map.memory
    word, bit = np.divmod(fault_map.cells, memory.word_bits)
    bank, row = np.divmod(word, memory.words_per_bank)
    by_bank = faults_of_banks(fault_map)
    shown = np.arange(memory.banks)
    overview = memory.banks > MAX_PANELS
    if overview:
        shown = np.sort(np.argsort(-by_bank, kind="stable")[:12])
    across = min(len(shown), 8 if len(shown) <= 16 else 16)
    down = -(-len(shown) // across)
    figure = new_figure(max(7.0, 1.1 * across + 1), 2.4 * down + 1.2 + (2.2 if overview else 0.6))
    grid = figure.add_gridspec(down + overview, across, height_ratios=[1.1] * overview + [1] * down)
    if overview:
        _draw_overview(figure, figure.add_subplot(grid[0, :]), by_bank)
    per_pixel = -(-memory.words_per_bank // MAX_ROWS)
    height = -(-memory.words_per_bank // per_pixel)
    bits_per_pixel = -(-memory.word_bits // (MAX_COLUMNS * max(1, 6 // across)))
    width = -(-memory.word_bits // bits_per_pixel)
    from matplotlib.colors import ListedColormap

    colours = ListedColormap(["#ebebeb", COLOURS[0], COLOURS[1], "#222222"])
    for place, number in enumerate(shown):
        axes = figure.add_subplot(grid[overview + place // across, place % across])
        picture = np.zeros((height, width), dtype=np.uint8)
        for stuck_at in (0, 1):
            mine = (bank == number) & (fault_map.stuck_at == stuck_at)
            picture[row[mine] // per_pixel, width - 1 - bit[mine] // bits_per_pixel] |= 1 << stuck_at
        extent = (memory.word_bits - 0.5, -0.5, memory.words_per_bank - 0.5, -0.5)
        axes.imshow(picture, cmap=colours, vmin=0, vmax=3, aspect="auto", interpolation="nearest", extent=extent)
        axes.spines[:].set_visible(False)  # a frame would hide the outermost cells
        axes.set_title(f"bank {number}: {by_bank[number]}", fontsize=8)
        axes.set_xticks(sorted({0, memory.word_bits - 1}))
        axes.tick_params(labelsize=7)
        if place % across:
            axes.set_yticks([])
        else:
            axes.set_ylabel("word in bank", fontsize=8)
        if place + across >= len(shown):
            axes.set_xlabel("bit", fontsize=8)
    ones = int(fault_map.stuck_at.sum())
    from matplotlib.patches import Patch

    marks = [
        Patch(color=COLOURS[0], label=f"stuck at 0: {len(fault_map) - ones}"),
        Patch(color=COLOURS[1], label=f"stuck at 1: {ones}"),
    ]
    if per_pixel * bits_per_pixel > 1:
        cells = f"{per_pixel} words" if bits_per_pixel == 1 else f"{per_pixel} × {bits_per_pixel} cells"
        marks.append(Patch(color="#222222", label=f"both among the {cells} of a pixel"))
    figure.legend(handles=marks, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    figure.suptitle(title or f"chip '{plain(fault_map.chip)}': {memory}, rate {fault_map.fault_rate:.2e}", fontsize=11)
    return save_figure(figure, path)


def _draw_overview(figure: Any, axes: Any, by_bank: Any) -> None:
    banks = len(by_bank)
    across = min(banks, 2 ** math.ceil(math.log2(math.sqrt(banks * 8))))
    down = -(-banks // across)
    table = np.full(down * across, np.nan)
    table[:banks] = by_bank
    from matplotlib import colormaps
    from matplotlib.ticker import MaxNLocator

    # A bank without faults has a colour of its own: on the scale it would look like a bank with one.
    colours = colormaps["viridis"].with_extremes(under="#e4e4e4")
    limits = {"vmin": 0.5, "vmax": max(1.5, float(by_bank.max()))}
    picture = axes.imshow(table.reshape(down, across), cmap=colours, aspect="auto", interpolation="nearest", **limits)
    axes.set_title(f"faults of each of the {banks} banks; below, the {min(12, banks)} with most", fontsize=9)
    axes.set_xlabel(f"bank, modulo {across}", fontsize=8)
    axes.set_yticks(range(down), [str(i * across) for i in range(down)])
    axes.set_ylabel("first bank of the row", fontsize=8)
    axes.tick_params(labelsize=7)
    bar = figure.colorbar(picture, ax=axes, label="stuck cells (grey: none)", pad=0.01)
    bar.locator = MaxNLocator(integer=True)
    bar.update_ticks()


def plot_overlap(maps: Iterable[FaultMap], path: str | os.PathLike[str] | None = None, *, title: str = "") -> Figure:
    """Plot how many faults the chips of a fleet share.

    Left: cells that two chips share over the number expected by chance, if maps were independent and uniform. Right:
    how many cells are stuck on 1, 2, … chips, and how many of these are in conflict.

    Args:
        maps: The chips' maps, at least two.
        path: File to save the figure to, atomically; its ending chooses the format, PNG without one. None saves nothing.
        title: Heading; number of chips and memory if empty.

    Returns:
        The figure.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If there are fewer than two maps, two are of different memories, or matplotlib cannot write the format.

    Examples:
        >>> from tremap_brevitas import Memory, random_fault_maps
        >>> figure = plot_overlap(random_fault_maps(Memory(words=64, word_bits=8), chips=3, fault_rate=0.05, seed=0))
        >>> figure.get_suptitle()
        '3 chips of 64 words × 8 bits'
    """
    maps = _fleet(maps)
    count = len(maps)
    faults = np.array([len(m) for m in maps], dtype=np.float64)
    chance = np.outer(faults, faults) / maps[0].memory.cells
    table = np.divide(shared_cells(maps), chance, out=np.full((count, count), np.nan), where=chance > 0)
    np.fill_diagonal(table, np.nan)
    group = group_statistics(maps)
    figure = new_figure(10, 4.6)
    left, right = figure.subplots(1, 2, width_ratios=[1.15, 1])
    most = np.nanmax(table) if np.isfinite(table).any() else 1.0
    picture = left.imshow(table, cmap="viridis", vmin=0, vmax=max(1.0, float(most)), interpolation="nearest")
    if count <= 24:
        left.set_xticks(range(count), [plain(m.chip) for m in maps], rotation=90, fontsize=7)
        left.set_yticks(range(count), [plain(m.chip) for m in maps], fontsize=7)
    else:
        left.set_xlabel("chip")
        left.set_ylabel("chip")
    left.set_title("shared stuck cells, relative to chance", fontsize=10)
    figure.colorbar(picture, ax=left, shrink=0.8)
    chips = np.arange(1, count + 1)
    kept = max([k for k, n in zip(chips, group.on_exactly, strict=True) if n], default=1)
    conflicts = group.conflicts_on_exactly[:kept]
    right.bar(chips[:kept], group.on_exactly[:kept], color="#8aa9c8", width=0.7, label="all cells")
    # Drawn over the bar, not stacked: on a log scale only bars that start at the axis can be read.
    right.bar(chips[:kept], conflicts, color="none", edgecolor="#222222", hatch="///", width=0.7, label="of them in conflict")
    right.legend(frameon=False, fontsize=9)
    if group.union:
        right.set_yscale("log")
    right.set_ylim(bottom=0.7)
    right.set_xlabel("chips that have the cell")
    right.set_ylabel("cells (log scale)" if group.union else "cells")
    right.set_title(f"{counted(group.union, 'cell')} in the union, {group.conflicts} of them in conflict", fontsize=10)
    for k, cells in zip(chips[:kept], group.on_exactly[:kept], strict=True):
        if cells and kept <= 12:
            right.text(k, cells, f"{cells}", ha="center", va="bottom", fontsize=8)
    right.locator_params(axis="x", integer=True)
    right.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title or f"{count} chips of {maps[0].memory}", fontsize=11)
    return save_figure(figure, path)


def plot_union_growth(maps: Iterable[FaultMap], path: str | os.PathLike[str] | None = None, *, title: str = "") -> Figure:
    """Plot how union and conflicts grow with the number of merged chips, compared with chance.

    Args:
        maps: The chips' maps, at least two; they are merged in this order.
        path: File to save the figure to, atomically; its ending chooses the format, PNG without one. None saves nothing.
        title: Heading; number of chips and memory if empty.

    Returns:
        The figure.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If there are fewer than two maps, two are of different memories, or matplotlib cannot write the format.

    Examples:
        >>> from tremap_brevitas import FaultMap, Memory
        >>> memory = Memory(words=10, word_bits=10)
        >>> figure = plot_union_growth([FaultMap(memory, [0, 5], [1, 0]), FaultMap(memory, [5, 7], [0, 1])])
        >>> figure.axes[0].lines[0].get_ydata().tolist()  # per cent of all cells, after one chip and after both
        [2.0, 3.0]
    """
    maps = _fleet(maps)
    group = group_statistics(maps)
    chips = np.arange(1, len(maps) + 1)
    ones = np.array([int(m.stuck_at.sum()) for m in maps]) / group.cells
    zeros = np.array([len(m) for m in maps]) / group.cells - ones
    free_of_0, free_of_1 = np.cumprod(1 - zeros), np.cumprod(1 - ones)
    neither = np.cumprod(1 - zeros - ones)
    chance_union = 1 - neither
    # In conflict: stuck at 0 on some chip and at 1 on some chip.
    chance_conflicts = np.maximum(1 - free_of_0 - free_of_1 + neither, 0)
    figure = new_figure(7.5, 4.6)
    axes = figure.subplots()
    axes.plot(chips, 100 * np.array(group.union_after) / group.cells, "o-", ms=4, color=COLOURS[0], label="union")
    axes.plot(chips, 100 * chance_union, "--", color=COLOURS[0], label="union, were the maps independent and uniform")
    axes.plot(chips, 100 * np.array(group.conflicts_after) / group.cells, "s-", ms=4, color=COLOURS[1], label="conflicts")
    axes.plot(chips, 100 * chance_conflicts, "--", color=COLOURS[1], label="conflicts, likewise")
    axes.set_xlabel("chips merged, in the order given")
    axes.set_ylabel("share of all cells (%)")
    axes.set_ylim(bottom=0)
    axes.locator_params(axis="x", integer=True)
    axes.grid(color="#dddddd")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    figure.suptitle(title or f"{len(maps)} chips of {maps[0].memory}", fontsize=11)
    return save_figure(figure, path)


def _fleet(maps: Iterable[FaultMap]) -> list[FaultMap]:
    maps = list(maps)
    check_same_memory(maps)
    if len(maps) < 2:
        raise ValueError(f"needs at least two maps, got {len(maps)}")
    return maps
