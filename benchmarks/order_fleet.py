"""Orders of a large fleet from files: how long 10,000 chips take, measured on some of them.

    python -m benchmarks.order_fleet --chips 200 --workers 2
    python -m benchmarks.order_fleet --chips 10000 --folder out/fleet

What ``tremap order`` does once the bundle is loaded: memory image and groups of channels are read from files, then map after
map, and the orders are written. Prints Markdown. The network is the ResNet-18 of ``order.py``, its codes are drawn. With
``--folder`` maps and finished chips are kept, so that a run that was stopped goes on; seconds of all its pieces are added up,
those spent on finding again what was finished included.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.order_networks import network
from benchmarks.order_yield import chips
from tremap_brevitas.faults import FaultMap
from tremap_brevitas.files import atomic_file
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
    parser.add_argument("--folder", type=Path, help="keep maps and finished chips here, and go on (default: keep nothing)")
    parser.add_argument("--workers", type=int, default=1, help="processes (default %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(options.folder or Path(folder), options)


class Clock:
    """Wall and processor seconds of a run, those of its earlier pieces included; kept in a file now and then."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.before: list[float] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else [0.0, 0.0, 0.0]
        self.begin = self._now()

    @staticmethod
    def _now() -> tuple[float, float]:
        return time.perf_counter(), sum(os.times()[:4])

    def read(self) -> list[float]:
        """Wall seconds, processor seconds, most memory in GiB."""
        spent = [now - then for now, then in zip(self._now(), self.begin, strict=True)]
        return [self.before[0] + spent[0], self.before[1] + spent[1], max(self.before[2], peak())]

    def keep(self) -> None:
        """Write what the clock reads."""
        with atomic_file(self.path) as draft:
            draft.write_text(json.dumps(self.read()), encoding="utf-8")


def measure(folder: Path, options: argparse.Namespace) -> None:
    """Solve the chips, and print the line of the table."""
    folder.mkdir(parents=True, exist_ok=True)
    net = network(options.network)
    placement = net.image.placement
    save_groups(net.groups, folder / "groups.npz")
    write_memory_image(net.image, folder / "weights_as_written.mem", format="readmemh", fault_map=None)
    (folder / "maps").mkdir(exist_ok=True)
    paths = [folder / "maps" / f"chip-{number}.npz" for number in range(options.chips)]
    for path, chip in zip(paths, chips(placement.memory, options.rate, options.chips, "uniform"), strict=True):
        if not path.exists():
            FaultMap(chip.memory, chip.cells, chip.stuck_at, path.stem).save(path)
    del net

    begin = time.perf_counter()
    words = read_memory_image(folder / "weights_as_written.mem", format="readmemh", word_bits=placement.memory.word_bits)
    image, groups = MemoryImage.from_words(placement, words), load_groups(folder / "groups.npz")
    del words
    loaded = time.perf_counter() - begin

    def maps() -> Iterator[FaultMap]:
        for path in paths:
            yield FaultMap.load(path)

    clock = Clock(folder / "seconds.json")
    file, exact, as_they_lie, last = OrdersFile(image, groups), 0, 0, None
    run = None if options.folder is None else folder / "run"
    for number, last in enumerate(order_chips(image, groups, maps(), workers=options.workers, folder=run)):
        file.add(last)
        exact, as_they_lie = exact + last.exact, as_they_lie + (last.wrong_as_it_lies == 0)
        if number % 100 == 99:
            clock.keep()
    size = file.save(folder / "orders.npz").stat().st_size
    clock.keep()
    wall, processor, memory = clock.read()

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
