"""The same network in another order: how many chips are exact, and in what time.

    taskset -c 0 python -m benchmarks.order
    taskset -c 0 python -m benchmarks.order --curve

The first prints a Markdown table. The second measures the share of exact chips against the rate of stuck cells: it adds the
points that ``docs/order.csv`` lacks, prints that file's tables, and draws ``docs/order.png``. ``--from-csv`` measures nothing.

Networks: graphs of real ResNets, MobileNetV2 and a small transformer with drawn codes (Laplace, rounded to 8 bits, another
width for each layer), the digits network with drawn and with trained ones (``digits-trained``), and the trained ResNet-20
(``resnet20-trained``, with ``--state``). The memory just holds the network. Clustered: on average four stuck cells lie within
four rows and columns of a centre. ``--measured`` takes read-backs of a KC705 board's block RAMs, in which the network is laid
at so many places, a byte a code; networks that they cannot hold are left out. Times are processor seconds of one core, without
reading the chip's map; memory is the most that a process of its own takes.
"""

from __future__ import annotations

import argparse
import itertools
import re
import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tabulate import tabulate

from benchmarks.order_networks import network
from benchmarks.order_pages import POINT, TABLES, draw, in_page_order, read_points
from benchmarks.order_yield import BLOCK_RAMS, KINDS, Case, Row, block_rams, measured_alone, solved_chips
from tremap_brevitas.order import SearchOptions
from tremap_brevitas.order.network import Network
from tremap_brevitas.tables import write_table

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
CURVE = ["resnet18", "mobilenetv2", "transformer", "resnet20", "digits", "digits-trained"]
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
DOCS = Path(__file__).parents[1] / "docs"


def table_row(name: str, net: Network, case: Case, options: SearchOptions) -> Row:
    """Line of the table."""
    orders, seconds = solved_chips(net, case, options)
    left = [order.wrong for order in orders]
    return {
        "network, rate": f"{name}, {case.rate:g}, {case.kind}",
        "chips": case.chips,
        "stuck": f"{np.mean([order.faults for order in orders]):.0f}",
        "as they lie": f"{100 * np.mean([order.wrong_as_it_lies == 0 for order in orders]):.0f} %",
        "in order": f"{100 * np.mean([order.exact for order in orders]):.0f} %",
        "wrong": f"{np.mean([o.wrong_as_it_lies for o in orders]):.1f} → {np.mean(left):.2f} (most {max(left)})",
        "unavoidable": f"{np.mean([order.unavoidable for order in orders]):.2f}",
        "worst error": max(order.worst_error for order in orders),
        "seconds": f"{np.mean(seconds):.3f} (most {max(seconds):.2f})",
    }


def cases(options: argparse.Namespace) -> Iterator[Case]:
    """The points that are asked for, of every network."""
    chips = options.chips or 20
    for kind, rate in itertools.product(options.kinds, options.rates):
        yield Case(kind, rate, chips)
    for path in options.measured:
        name = re.sub(r"\.hex(\.gz)?$", "", path.name)
        yield Case(f"measured: {name}", block_rams(path).fault_rate, chips, path)
    if not options.measured:
        print("Measured maps: left out, as no --measured names a file.\n")


def curve(options: argparse.Namespace, search: SearchOptions) -> None:
    """Measure the points that are missing, and write the file after each."""
    points = read_points(options.csv)
    networks: dict[str, Network] = {}
    for case, name in itertools.product(list(cases(options)), options.networks):
        if any((p["network"], p["kind"], p["rate"]) == (name, case.kind, case.rate) for p in points):
            continue
        net = networks[name] = networks.get(name) or network(name, state=options.state)
        if case.measured is not None and net.image.placement.weights > BLOCK_RAMS.words:
            print(f"{name}: {net.image.placement.weights:,} codes, the block RAMs hold {BLOCK_RAMS.words:,}; left out.\n")
            continue
        points.append({"network": name, "kind": case.kind, **measured_alone(net, case, search)})
        points = in_page_order(points)
        write_table(options.csv, points, columns=list(POINT))


def table(options: argparse.Namespace, search: SearchOptions) -> None:
    """Measure and print some cases."""
    networks: dict[str, Network] = {}
    rows = []
    for text, kind in itertools.product(options.cases, options.kinds):
        name, rate = text.split(":")
        net = networks[name] = networks.get(name) or network(name, state=options.state)
        rows.append(table_row(name, net, Case(kind, float(rate), options.chips or 100), search))
    print(tabulate([{TITLES[k]: v for k, v in row.items()} for row in rows], "keys", "github", disable_numparse=True))
    print(f"\nMost memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB.")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=CASES, metavar="NETWORK:RATE", help="resnet18, 20, 32, …, digits, …")
    parser.add_argument("--chips", type=int, help="chips a case (default 100; with --curve 20)")
    parser.add_argument("--aim", choices=("wrong_codes", "error"), default="wrong_codes", help="(default %(default)s)")
    parser.add_argument("--rounds", type=int, default=200, help="rounds of the search at most (default %(default)s)")
    parser.add_argument("--patience", type=int, default=30, help="rounds without a better order (default %(default)s)")
    parser.add_argument("--kinds", choices=KINDS, nargs="*", help="kinds of maps (default uniform; with --curve both)")
    parser.add_argument("--state", type=Path, help="state of the trained ResNet-20, from benchmarks.preparations")
    parser.add_argument("--curve", action="store_true", help="measure and draw the yield curve")
    parser.add_argument("--from-csv", action="store_true", help="measure nothing; print the curve's tables and draw it")
    parser.add_argument("--networks", nargs="+", default=CURVE, help="of the curve (default %(default)s)")
    parser.add_argument("--rates", type=float, nargs="+", default=RATES, help="of the curve (default %(default)s)")
    parser.add_argument("--measured", type=Path, nargs="+", default=[], help="read-backs of a KC705 board, for the curve")
    parser.add_argument("--csv", type=Path, default=DOCS / "order.csv", help="points of the curve (default %(default)s)")
    options = parser.parse_args()
    if options.kinds is None:
        options.kinds = list(KINDS) if options.curve else ["uniform"]
    missing = [path for path in (*options.measured, *([options.state] if options.state else [])) if not path.is_file()]
    if missing:
        parser.error(f"no such file: {', '.join(map(str, missing))}")
    return options


def main() -> None:
    options = parse()
    search = SearchOptions(aim=options.aim, rounds=options.rounds, patience=options.patience)
    if options.curve:
        curve(options, search)
    if not options.curve and not options.from_csv:
        table(options, search)
        return
    points = read_points(options.csv)
    for name, made in TABLES.items():
        print(f"{name}\n\n{made(points)}\n")
    draw(points, options.csv.with_suffix(".png"))


if __name__ == "__main__":
    main()
