"""What hardware adds to the order of channels: scrambled addresses, rotated and inverted words, alone and together.

    taskset -c 0 python -m benchmarks.order_hardware

Adds the points that ``docs/order_hardware.csv`` lacks, prints the table of costs and that of yields, and draws
``docs/order_hardware.png``. Networks and codes are those of ``benchmarks.order``; the memory holds the network in banks of
1,024 words of 32 bits. Each chip has the cells that its hardware needs, stuck at the same rate as all others. Clustered: on
average four stuck cells lie within four rows and columns of a centre. Columns: a quarter of the
cells of single columns of banks are stuck, all of one column at one value. Times are processor seconds of one core.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from benchmarks.order_networks import network
from benchmarks.order_pages import read_points
from tremap_brevitas.drawing import new_figure, save_figure
from tremap_brevitas.faults import FaultMap, Memory
from tremap_brevitas.faults.random.structured import clustered_fault_maps
from tremap_brevitas.faults.random.uniform import random_fault_maps
from tremap_brevitas.order import Hardware, SearchOptions
from tremap_brevitas.order.chip_order import solved
from tremap_brevitas.order.network import Network
from tremap_brevitas.placement import MemoryImage, Placement
from tremap_brevitas.tables import write_table

BANK = 1024
HELPS: dict[str, tuple[bool, Hardware]] = {  # whether channels may move, and the hardware
    "channels": (True, Hardware()),
    "scramble": (False, Hardware(scramble=BANK)),
    "rotate": (False, Hardware(rotate=1)),
    "rotate rows": (False, Hardware(rotate=16)),
    "invert": (False, Hardware(invert=1)),
    "channels, scramble": (True, Hardware(scramble=BANK)),
    "channels, invert": (True, Hardware(invert=1)),
    "all": (True, Hardware(scramble=BANK, rotate=1, invert=1)),
}
COLOURS = dict(
    zip(HELPS, ("#2f6fb0", "#d1641c", "#5b8c3a", "#9cc27c", "#7a3fa0", "#d9a06c", "#b79bd0", "#222222"), strict=True)
)
KINDS = ("uniform", "clustered", "columns")
RATES = [1e-6, 1e-5, 1e-4, 3e-4, 1e-3]
POINT: dict[str, Callable[[str], Any]] = {
    "network": str,
    "kind": str,
    "rate": float,
    "help": str,
    "chips": int,
    "exact_as_they_lie": float,
    "exact": float,
    "mean_wrong_as_they_lie": float,
    "mean_wrong": float,
    "mean_seconds": float,
}
CSV = Path(__file__).parents[1] / "docs" / "order_hardware.csv"
Row = dict[str, Any]


def in_banks(net: Network) -> Network:
    """The network in a memory of whole banks."""
    image, bits = net.image, net.image.placement.memory.word_bits
    words = -(-image.placement.words // BANK) * BANK
    placement = Placement(Memory(words, bits, banks=words // BANK), image.placement.layers)
    return Network(MemoryImage(placement, image.codes), net.groups)


def chips(memory: Memory, rate: float, count: int, kind: str) -> Iterator[FaultMap]:
    """Chips one by one, each with a seed of its own."""
    for seed in range(count):
        if kind == "uniform":
            yield from random_fault_maps(memory, chips=1, fault_rate=rate, seed=seed)
        elif kind == "clustered":
            yield from clustered_fault_maps(memory, chips=1, fault_rate=rate, cluster_size=4.0, spread=(4, 4), seed=seed)
        else:
            yield column_chip(memory, rate, np.random.default_rng(seed))


def column_chip(memory: Memory, rate: float, rng: np.random.Generator) -> FaultMap:
    """One chip with columns of one bank each in which a quarter of the cells are stuck, at one value."""
    height, width = memory.words_per_bank, memory.word_bits
    each = height // 4
    count = int(rng.poisson(rate * memory.cells / each))
    columns = rng.choice(memory.banks * width, size=count, replace=False)
    cells, values = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    for column in columns:
        words = column // width * height + rng.choice(height, size=each, replace=False)
        cells.append(words * width + column % width)
        values.append(np.full(each, rng.integers(2)))
    return FaultMap(memory, np.concatenate(cells), np.concatenate(values), "columns")


def point(name: str, net: Network, kind: str, rate: float, help_: str, count: int, search: SearchOptions) -> Row:
    """What one help makes of some chips."""
    moves, hardware = HELPS[help_]
    used = net if moves else Network(net.image, ())
    assert len(used.stored)  # made once, before the clock starts
    orders, seconds = [], []
    for chip in chips(hardware.chip_memory(net.image.placement.memory), rate, count, kind):
        begin = time.process_time()
        orders.append(solved(used, chip, search, hardware))
        seconds.append(time.process_time() - begin)
    return {
        "network": name,
        "kind": kind,
        "rate": rate,
        "help": help_,
        "chips": count,
        "exact_as_they_lie": float(np.mean([order.wrong_as_it_lies == 0 for order in orders])),
        "exact": float(np.mean([order.exact for order in orders])),
        "mean_wrong_as_they_lie": float(np.mean([order.wrong_as_it_lies for order in orders])),
        "mean_wrong": float(np.mean([order.wrong for order in orders])),
        "mean_seconds": round(float(np.mean(seconds)), 4),
    }


def costs(memory: Memory) -> list[Row]:
    """What each help costs."""
    return [
        {
            "help": name,
            "cells": f"{hardware.cells(memory):,}",
            "bits of keys": f"{hardware.key_bits(memory):,}",
            "of the memory": f"{hardware.overhead(memory):.2%}",
        }
        for name, (_, hardware) in HELPS.items()
        if hardware and ", " not in name
    ]


def lines(points: list[Row]) -> list[Row]:
    """The table of yields: a line for each network, kind and rate."""
    result = []
    for key, group in itertools.groupby(points, key=lambda p: (p["network"], p["kind"], p["rate"])):
        rows = {p["help"]: p for p in group}
        name, kind, rate = key
        first = next(iter(rows.values()))
        line = {"network": name, "stuck cells": kind, "rate": f"{rate:g}", "chips": first["chips"]}
        line["as they lie"] = f"{100 * first['exact_as_they_lie']:.0f} % ({first['mean_wrong_as_they_lie']:.1f})"
        for help_ in HELPS:
            p = rows.get(help_)
            line[help_] = "–" if p is None else f"{100 * p['exact']:.0f} % ({p['mean_wrong']:.1f})"
        result.append(line)
    return result


def draw(points: list[Row], path: Path) -> None:
    """Share of exact chips against the rate; a row of panels for each network, a panel for each kind of map."""
    names = sorted({p["network"] for p in points}, reverse=True)
    figure = new_figure(11, 3.2 * len(names) + 0.6)
    panels = figure.subplots(len(names), len(KINDS), sharey=True, sharex=True, squeeze=False)
    for axes, (name, kind) in zip(panels.reshape(-1), itertools.product(names, KINDS), strict=True):
        mine = [p for p in points if (p["network"], p["kind"]) == (name, kind)]
        lie = {p["rate"]: 100 * p["exact_as_they_lie"] for p in mine}
        axes.plot(list(lie), list(lie.values()), "o:", color="#888888", ms=4, linewidth=1.4, label="as they lie")
        for help_, colour in COLOURS.items():
            rows = [p for p in mine if p["help"] == help_]
            values = [100 * p["exact"] for p in rows]
            axes.plot([p["rate"] for p in rows], values, "o-", color=colour, ms=4, linewidth=1.4, label=help_)
        axes.set_xscale("log")
        axes.set_title(f"{name}, {kind}", fontsize=10)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_ylim(-4, 104)
    for axes in panels[-1]:
        axes.set_xlabel("stuck cells / all cells")
    for axes in panels[:, 0]:
        axes.set_ylabel("chips exact (%)")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    save_figure(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chips", type=int, default=20, help="chips a point (default %(default)s)")
    parser.add_argument("--networks", nargs="+", default=["resnet20", "resnet18"], help="resnet18, 20, 32, …")
    parser.add_argument("--kinds", choices=KINDS, nargs="+", default=list(KINDS), help="kinds of maps (default all)")
    parser.add_argument("--rates", type=float, nargs="+", default=RATES, help="stuck cells over all cells")
    parser.add_argument("--helps", choices=list(HELPS), nargs="+", default=list(HELPS), help="(default all)")
    parser.add_argument("--rounds", type=int, default=60, help="rounds of the search at most (default %(default)s)")
    parser.add_argument("--patience", type=int, default=10, help="rounds without a better order (default %(default)s)")
    parser.add_argument("--csv", type=Path, default=CSV, help="points that were measured (default %(default)s)")
    options = parser.parse_args()
    search = SearchOptions(rounds=options.rounds, patience=options.patience)
    points = read_points(options.csv, POINT)
    networks: dict[str, Network] = {}
    for case in itertools.product(options.networks, options.kinds, options.rates, options.helps):
        name, kind, rate, help_ = case
        if any((p["network"], p["kind"], p["rate"], p["help"]) == case for p in points):
            continue
        net = networks.get(name) or networks.setdefault(name, in_banks(network(name)))
        points.append(point(name, net, kind, rate, help_, options.chips, search))
        points.sort(key=lambda p: (p["network"] != "resnet20", KINDS.index(p["kind"]), p["rate"], list(HELPS).index(p["help"])))
        write_table(options.csv, points, columns=list(POINT))
    for name in options.networks:
        print(f"\n{name}:\n")
        print(tabulate(costs(in_banks(network(name)).image.placement.memory), "keys", "github", disable_numparse=True))
    print("\n" + tabulate(lines(points), "keys", "github", disable_numparse=True))
    draw(points, options.csv.with_suffix(".png"))


if __name__ == "__main__":
    main()
