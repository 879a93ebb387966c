"""The same network in another order: how many chips are exact, and in what time.

    taskset -c 0 python -m benchmarks.order
    taskset -c 0 python -m benchmarks.order --curve

The first prints a Markdown table. The second measures the share of exact chips against the rate of stuck cells: it adds the
points that ``docs/order.csv`` lacks, prints that table, and draws ``docs/order.png``.

Graphs are those of real ResNets, codes are drawn (Laplace, rounded to 8 bits, another width for each layer), and the memory
just holds the network. Clustered: on average four stuck cells lie within four rows and columns of a centre. Times are processor
seconds of one core, without reading the chip's map.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from benchmarks.order_networks import network
from tremap_brevitas.drawing import new_figure, save_figure
from tremap_brevitas.faults import FaultMap, Memory
from tremap_brevitas.faults.random.structured import clustered_fault_maps
from tremap_brevitas.faults.random.uniform import random_fault_maps
from tremap_brevitas.order import ChipOrder, SearchOptions
from tremap_brevitas.order.chip_order import solved
from tremap_brevitas.order.network import Network
from tremap_brevitas.tables import read_table, write_table

CASES = [
    "resnet20:1e-5",
    "resnet20:1e-4",
    "resnet20:2e-4",
    "resnet20:3e-4",
    "resnet32:1e-4",
    "resnet18:1e-5",
    "resnet18:3e-5",
    "resnet18:1e-4",
]
TITLES = {
    "network, rate": "network, rate",
    "chips": "chips",
    "stuck": "stuck cells",
    "as they lie": "exact as they lie",
    "in order": "exact in order",
    "wrong": "wrong codes",
    "unavoidable": "no order can save",
    "worst error": "worst error, LSB",
    "seconds": "seconds a chip",
}
RATES = [1e-6, 1e-5, 3e-5, 1e-4, 2e-4, 3e-4, 1e-3]
POINT: dict[str, Callable[[str], Any]] = {
    "network": str,
    "kind": str,
    "rate": float,
    "chips": int,
    "exact_as_they_lie": float,
    "exact_in_order": float,
    "mean_wrong_as_they_lie": float,
    "mean_wrong_in_order": float,
    "mean_unavoidable": float,
    "mean_seconds": float,
    "max_seconds": float,
    "rounds": int,
    "patience": int,
}
DOCS = Path(__file__).parents[1] / "docs"
KINDS = ("uniform", "clustered")
Row = dict[str, Any]


def chips(memory: Memory, rate: float, count: int, kind: str) -> Iterator[FaultMap]:
    """Chips one by one, each with a seed of its own."""
    for seed in range(count):
        if kind == "uniform":
            yield from random_fault_maps(memory, chips=1, fault_rate=rate, seed=seed)
        else:
            yield from clustered_fault_maps(memory, chips=1, fault_rate=rate, cluster_size=4.0, spread=(4, 4), seed=seed)


def solved_chips(
    net: Network, rate: float, count: int, kind: str, options: SearchOptions
) -> tuple[list[ChipOrder], list[float]]:
    """The order of each chip, and the processor seconds that it took."""
    assert len(net.stored)  # made once, before the clock starts
    orders: list[ChipOrder] = []
    seconds = []
    for chip in chips(net.image.placement.memory, rate, count, kind):
        begin = time.process_time()
        orders.append(solved(net, chip, options))
        seconds.append(time.process_time() - begin)
    return orders, seconds


def table_row(name: str, net: Network, rate: float, count: int, kind: str, options: SearchOptions) -> Row:
    """Line of the table."""
    orders, seconds = solved_chips(net, rate, count, kind, options)
    left = [order.wrong for order in orders]
    return {
        "network, rate": f"{name}, {rate:g}, {kind}",
        "chips": count,
        "stuck": f"{np.mean([order.faults for order in orders]):.0f}",
        "as they lie": f"{100 * np.mean([order.wrong_as_it_lies == 0 for order in orders]):.0f} %",
        "in order": f"{100 * np.mean([order.exact for order in orders]):.0f} %",
        "wrong": f"{np.mean([o.wrong_as_it_lies for o in orders]):.1f} → {np.mean(left):.2f} (most {max(left)})",
        "unavoidable": f"{np.mean([order.unavoidable for order in orders]):.2f}",
        "worst error": max(order.worst_error for order in orders),
        "seconds": f"{np.mean(seconds):.3f} (most {max(seconds):.2f})",
    }


def point(name: str, net: Network, rate: float, count: int, kind: str, options: SearchOptions) -> Row:
    """Point of the curve."""
    orders, seconds = solved_chips(net, rate, count, kind, options)
    return {
        "network": name,
        "kind": kind,
        "rate": rate,
        "chips": count,
        "exact_as_they_lie": float(np.mean([order.wrong_as_it_lies == 0 for order in orders])),
        "exact_in_order": float(np.mean([order.exact for order in orders])),
        "mean_wrong_as_they_lie": float(np.mean([order.wrong_as_it_lies for order in orders])),
        "mean_wrong_in_order": float(np.mean([order.wrong for order in orders])),
        "mean_unavoidable": float(np.mean([order.unavoidable for order in orders])),
        "mean_seconds": round(float(np.mean(seconds)), 4),
        "max_seconds": round(max(seconds), 4),
        "rounds": options.rounds,
        "patience": options.patience,
    }


def read_points(path: Path) -> list[Row]:
    """Points of the curve that were measured before."""
    if not path.exists():
        return []

    def made(row: Mapping[str, str]) -> Row:
        return {name: kind(row[name]) for name, kind in POINT.items()}

    return read_table(path, made, columns=list(POINT), what="a table of points of the yield curve")


def draw(points: Sequence[Row], path: Path) -> None:
    """Share of exact chips against the rate, as they lie and in order; a panel for each kind of map."""
    figure = new_figure(10, 3.9)
    panels = figure.subplots(1, len(KINDS), sharey=True)
    colours = dict(zip(sorted({p["network"] for p in points}), ("#d1641c", "#2f6fb0", "#5b8c3a", "#7a3fa0"), strict=False))
    for axes, kind in zip(panels, KINDS, strict=True):
        for name, colour in colours.items():
            rows = [p for p in points if p["network"] == name and p["kind"] == kind]
            rates = [p["rate"] for p in rows]
            for key, style, label in (("exact_as_they_lie", "o:", "as they lie"), ("exact_in_order", "o-", "in order")):
                values = [100 * p[key] for p in rows]
                axes.plot(rates, values, style, color=colour, ms=4, linewidth=1.4, label=f"{name}, {label}")
        axes.set_xscale("log")
        axes.set_xlabel("stuck cells / all cells")
        axes.set_title(f"{kind} stuck cells", fontsize=11)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("chips exact (%)")
    panels[0].set_ylim(-4, 104)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    save_figure(figure, path)


def curve(options: argparse.Namespace, search: SearchOptions) -> None:
    """Measure the points that are missing, and draw all."""
    points = read_points(options.csv)
    networks: dict[str, Network] = {}
    for name, kind, rate in itertools.product(options.networks, options.kinds, options.rates):
        if any((p["network"], p["kind"], p["rate"]) == (name, kind, rate) for p in points):
            continue
        net = networks.setdefault(name, network(name))
        points.append(point(name, net, rate, options.chips or 20, kind, search))
        points.sort(key=lambda p: (p["kind"] != "uniform", p["network"], p["rate"]))
        write_table(options.csv, points, columns=list(POINT))
    print(tabulate([curve_line(p) for p in points], headers="keys", tablefmt="github", disable_numparse=True))
    draw(points, options.csv.with_suffix(".png"))


def curve_line(p: Row) -> Row:
    """What the page says of a point."""
    return {
        "network": p["network"],
        "stuck cells": p["kind"],
        "rate": f"{p['rate']:g}",
        "exact as they lie": f"{100 * p['exact_as_they_lie']:.0f} %",
        "exact in order": f"{100 * p['exact_in_order']:.0f} %",
        "wrong codes": f"{p['mean_wrong_as_they_lie']:.1f} → {p['mean_wrong_in_order']:.2f}",
        "no order can save": f"{p['mean_unavoidable']:.2f}",
        "seconds a chip": f"{p['mean_seconds']:.3f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=CASES, metavar="NETWORK:RATE", help="resnet18, 20, 32, …")
    parser.add_argument("--chips", type=int, help="chips a case (default 100; with --curve 20)")
    parser.add_argument("--aim", choices=("wrong_codes", "error"), default="wrong_codes", help="(default %(default)s)")
    parser.add_argument("--rounds", type=int, default=200, help="rounds of the search at most (default %(default)s)")
    parser.add_argument("--patience", type=int, default=30, help="rounds without a better order (default %(default)s)")
    parser.add_argument("--kinds", choices=KINDS, nargs="+", help="kinds of maps (default uniform; with --curve both)")
    parser.add_argument("--curve", action="store_true", help="measure and draw the yield curve")
    parser.add_argument("--networks", nargs="+", default=["resnet20", "resnet18"], help="of the curve (default %(default)s)")
    parser.add_argument("--rates", type=float, nargs="+", default=RATES, help="of the curve (default %(default)s)")
    parser.add_argument("--csv", type=Path, default=DOCS / "order.csv", help="points of the curve (default %(default)s)")
    options = parser.parse_args()
    search = SearchOptions(aim=options.aim, rounds=options.rounds, patience=options.patience)
    if options.curve:
        options.kinds = options.kinds or list(KINDS)
        curve(options, search)
        return
    networks: dict[str, Network] = {}
    rows = []
    for case, kind in itertools.product(options.cases, options.kinds or ["uniform"]):
        name, rate = case.split(":")
        net = networks.setdefault(name, network(name))
        rows.append(table_row(name, net, float(rate), options.chips or 100, kind, search))
    print(tabulate([{TITLES[k]: v for k, v in row.items()} for row in rows], "keys", "github", disable_numparse=True))
    print(f"\nMost memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB.")


if __name__ == "__main__":
    main()
