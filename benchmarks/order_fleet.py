"""Orders of a large fleet from files: how long 10,000 chips take, measured on some of them.

    python -m benchmarks.order_fleet --chips 200 --workers 2

What ``tremap order`` does once the bundle is loaded: memory image and groups of channels are read from files, then map after
map, and the orders are written. Prints Markdown. The network is the ResNet-18 of ``order.py``, its codes are drawn.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.order import chips
from benchmarks.order_networks import network
from tremap_brevitas.faults import FaultMap
from tremap_brevitas.order import check_order, load_groups, order_chips, save_groups
from tremap_brevitas.order.orders_file import OrdersFile
from tremap_brevitas.placement import MemoryImage, read_memory_image, write_memory_image


def peak() -> float:
    """Most memory so far of this process and the largest of its workers, in GiB."""
    return sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet18", help="resnet18, 20, 32, … (default %(default)s)")
    parser.add_argument("--rate", type=float, default=1e-5, help="share of stuck cells (default %(default)s)")
    parser.add_argument("--chips", type=int, default=200, help="chips to measure (default %(default)s)")
    parser.add_argument("--fleet", type=int, default=10_000, help="chips to extrapolate to (default %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes (default %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), options)


def measure(folder: Path, options: argparse.Namespace) -> None:
    net = network(options.network)
    placement = net.image.placement
    save_groups(net.groups, folder / "groups.npz")
    write_memory_image(net.image, folder / "weights_as_written.mem", format="readmemh", fault_map=None)
    paths = []
    for number, chip in enumerate(chips(placement.memory, options.rate, options.chips, "uniform")):
        named = FaultMap(chip.memory, chip.cells, chip.stuck_at, f"chip-{number}")
        paths.append(named.save(folder / f"{named.chip}.npz"))
    del net

    begin = time.perf_counter()
    words = read_memory_image(folder / "weights_as_written.mem", format="readmemh", word_bits=placement.memory.word_bits)
    image, groups = MemoryImage.from_words(placement, words), load_groups(folder / "groups.npz")
    del words
    loaded = time.perf_counter() - begin

    def maps() -> Iterator[FaultMap]:
        for path in paths:
            yield FaultMap.load(path)

    begin, processor = time.perf_counter(), sum(os.times()[:4])
    file, exact, as_they_lie, last = OrdersFile(image, groups), 0, 0, None
    for last in order_chips(image, groups, maps(), workers=options.workers):
        file.add(last)
        exact, as_they_lie = exact + last.exact, as_they_lie + (last.wrong_as_it_lies == 0)
    size = file.save(folder / "orders.npz").stat().st_size
    wall = time.perf_counter() - begin
    processor = sum(os.times()[:4]) - processor
    memory = peak()

    assert last is not None
    begin = time.perf_counter()
    assert check_order(last, FaultMap.load(paths[-1])) == ()
    proof = time.perf_counter() - begin
    hours = (loaded + wall * options.fleet / options.chips) / 3600
    cells = [
        f"{options.network}, {options.rate:g}",
        f"{options.chips}",
        f"{as_they_lie}",
        f"{exact}",
        f"{wall / options.chips:.3f} s",
        f"{processor / options.chips:.3f} s",
        f"{hours:.2f} h",
        f"{memory:.2f} GiB",
        f"{size / options.chips / 1000:.1f} kB",
        f"{proof:.1f} s",
    ]
    heading = ["network, rate", "chips measured", "exact as they lie", "exact in order", f"a chip, {options.workers} workers"]
    heading += ["processor, a chip", f"{options.fleet:,} chips", "most memory", "file, a chip", "proof, a chip"]
    print(f"| {' | '.join(heading)} |\n|" + " --- |" * len(cells))
    print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
