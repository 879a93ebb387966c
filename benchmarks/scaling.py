"""Measure how the time of each operation grows with chips, weights and fault rate: slopes, where 1 is linear.

    taskset -c 0 python -m benchmarks.scaling

One of the three is doubled again and again while the other two stay. A slope is that of log time over log size, fitted to the
three largest sizes.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import brevitas.nn as qnn
import numpy as np
import torch

import tremap_brevitas as tm
from benchmarks.measure import interleaved, machine
from tremap_brevitas.planning import Point, Prepared, ResilienceCurve, assign
from tremap_brevitas.planning.group import group_chips

Operation = Callable[[], object]
COLUMNS = 1024
MIDDLE: dict[str, float] = {"chips": 20, "weights": 2**20, "fault rate": 1e-3}
SIZES: dict[str, list[float]] = {
    "chips": [10, 20, 40, 80, 160],
    "weights": [2**n for n in (18, 19, 20, 21, 22)],
    "fault rate": [5e-4, 1e-3, 2e-3, 4e-3, 8e-3],
}


def operations(sizes: dict[str, float]) -> dict[str, Operation]:
    """Return what is timed, on a memory that the weights just fill."""
    chips, weights, fault_rate = int(sizes["chips"]), int(sizes["weights"]), sizes["fault rate"]
    memory = tm.Memory(words=weights // 4, word_bits=32)

    def draw() -> list[tm.FaultMap]:
        return tm.random_fault_maps(memory, chips=chips, fault_rate=fault_rate, seed=0)

    fleet = draw()
    merged = tm.merge(fleet, on_conflict="free")
    torch.manual_seed(0)
    layer = tm.make_faulty(qnn.QuantLinear(COLUMNS, weights // COLUMNS, bias=False))
    net = tm.place(layer, memory)
    image = net.memory_image()
    shelf = [Prepared("image", image, 0.9)]
    curve = ResilienceCurve([Point(0, 0.9), Point(1, 0.5)])

    plain = qnn.QuantLinear(COLUMNS, weights // COLUMNS, bias=False)

    def quantized(network: qnn.QuantLinear) -> Operation:
        return lambda: network.quant_weight().value.sum().backward()

    return {
        "draw maps": draw,
        "merge": lambda: tm.merge(fleet, on_conflict="free"),
        "group, union of 5 %": lambda: group_chips(fleet, limit=0.05 * memory.cells),
        "set the merged map, nearest": lambda: net.set_faults_(merged),
        "quantize with the map, forward and backward": quantized(layer),
        "the same, plain Brevitas": quantized(plain),
        "certificates, one image": lambda: [tm.placement.certificate(image, chip) for chip in fleet],
        "certificates, image a chip": lambda: [
            tm.placement.certificate(image, chip, deployment="chip_image") for chip in fleet
        ],
        "assign": lambda: list(assign(fleet, shelf, goal=0.8, curve=curve)),
    }


def slope(sizes: list[float], times: list[float]) -> float:
    """Fit the slope of log time over log size, for the three largest."""
    return float(np.polyfit(np.log(sizes[-3:]), np.log(times[-3:]), 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="rounds measured (default %(default)s)")
    options = parser.parse_args()
    print(f"{machine()}\n")
    for varied, sizes in SIZES.items():
        times: dict[str, list[float]] = {}
        for size in sizes:
            times_of = interleaved(operations({**MIDDLE, varied: size}), options.rounds, warm_up=1)
            for name, rounds in times_of.items():
                times.setdefault(name, []).append(statistics.median(rounds))
        others = ", ".join(f"{name} {value:g}" for name, value in MIDDLE.items() if name != varied)
        print(f"| ms by {varied} ({others}) | " + " | ".join(f"{size:g}" for size in sizes) + " | slope |")
        print("|" + " --- |" * (len(sizes) + 2))
        for name, row in times.items():
            print(f"| {name} | " + " | ".join(f"{ms:.1f}" for ms in row) + f" | {slope(sizes, row):.2f} |")
        print(flush=True)


if __name__ == "__main__":
    main()
