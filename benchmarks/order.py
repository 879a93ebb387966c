"""The same network in another order: how many chips are exact, and in what time.

    taskset -c 0 python benchmarks/order.py

Prints a Markdown table. Graphs are those of real ResNets, codes are drawn (Laplace, rounded to 8 bits, another width for each
layer). Times are processor seconds of one core, without reading the chip's map.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.faults import FaultMap, Memory
from tremap_brevitas.faults.random.structured import clustered_fault_maps
from tremap_brevitas.faults.random.uniform import random_fault_maps
from tremap_brevitas.order import ChannelGroup, ChipOrder, SearchOptions, Side
from tremap_brevitas.order.chip_order import solved
from tremap_brevitas.order.network import Network
from tremap_brevitas.placement import LayerCodes, MemoryImage, linear_placement

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
Shapes = dict[str, tuple[int, ...]]
Sides = dict[str, list[Side]]


def each(positions: int | NDArray[np.int64]) -> NDArray[np.int64]:
    """Index of channels that stand one by one."""
    return (np.arange(positions) if isinstance(positions, int) else positions)[:, None]


def cifar_resnet(depth: int) -> tuple[Shapes, Sides]:
    """ResNet for CIFAR-10 with parameter-free shortcuts: a stage's channels live on, padded, in the middle of the next."""
    shapes: Shapes = {"conv1": (16, 3, 3, 3)}
    sides: Sides = {}
    stage = {"stage1": np.arange(16)}  # where each group's channels stand in the feature map

    def add(group: str, *more: Side) -> None:
        sides.setdefault(group, []).extend(more)

    def shared(layer: str, axis: int) -> None:
        for group, positions in stage.items():
            add(group, Side(layer, axis, each(positions)))

    shared("conv1", 0)
    inputs = 16
    for level, width in enumerate((16, 32, 64), start=1):
        for block in range((depth - 2) // 6):
            name = f"layer{level}.{block}"
            shapes[f"{name}.conv1"], shapes[f"{name}.conv2"] = (width, inputs, 3, 3), (width, width, 3, 3)
            shared(f"{name}.conv1", 1)
            if inputs != width:
                pad = (width - inputs) // 2
                stage = {group: positions + pad for group, positions in stage.items()}
                stage[f"stage{level}"] = np.r_[0:pad, width - pad : width]
            add(name, Side(f"{name}.conv1", 0, each(width)), Side(f"{name}.conv2", 1, each(width)))
            shared(f"{name}.conv2", 0)
            inputs = width
    shapes["linear"] = (10, 64)
    shared("linear", 1)
    return shapes, sides


def resnet18() -> tuple[Shapes, Sides]:
    """ResNet-18 for ImageNet: 1×1 convolutions as shortcuts, so that every stage has an order of its own."""
    shapes: Shapes = {"conv1": (64, 3, 7, 7)}
    sides: Sides = {"stage1": [Side("conv1", 0, each(64))]}
    before, inputs = "stage1", 64
    for level, width in enumerate((64, 128, 256, 512), start=1):
        stage = f"stage{level}"
        for block in range(2):
            name = f"layer{level}.{block}"
            shapes[f"{name}.conv1"], shapes[f"{name}.conv2"] = (width, inputs, 3, 3), (width, width, 3, 3)
            sides[name] = [Side(f"{name}.conv1", 0, each(width)), Side(f"{name}.conv2", 1, each(width))]
            sides[before].append(Side(f"{name}.conv1", 1, each(inputs)))
            sides.setdefault(stage, []).append(Side(f"{name}.conv2", 0, each(width)))
            if inputs != width:
                shapes[f"{name}.downsample"] = (width, inputs, 1, 1)
                sides[before].append(Side(f"{name}.downsample", 1, each(inputs)))
                sides[stage].append(Side(f"{name}.downsample", 0, each(width)))
            before, inputs = stage, width
    shapes["fc"] = (1000, 512)
    sides[before].append(Side("fc", 1, each(512)))
    return shapes, sides


def network(name: str) -> Network:
    """A graph with drawn codes, in a memory that it just fits into."""
    shapes, sides = resnet18() if name == "resnet18" else cifar_resnet(int(name.removeprefix("resnet")))
    layers = [LayerCodes(layer, shape, 8, "twos_complement") for layer, shape in shapes.items()]
    placement = linear_placement(layers, Memory(words=linear_placement(layers, Memory(10**8, 32)).words, word_bits=32))
    rng = np.random.default_rng(0)
    codes = {}
    for layer, shape in shapes.items():
        codes[layer] = np.clip(np.rint(rng.laplace(0, rng.uniform(4, 13), shape)), -128, 127).astype(np.int8)
    groups = [ChannelGroup(group, len(found[0].index), tuple(found)) for group, found in sides.items()]
    return Network(MemoryImage(placement, codes), groups)


def chips(memory: Memory, rate: float, count: int, kind: str) -> Iterator[FaultMap]:
    """Chips one by one, each with a seed of its own."""
    for seed in range(count):
        if kind == "uniform":
            yield from random_fault_maps(memory, chips=1, fault_rate=rate, seed=seed)
        else:
            yield from clustered_fault_maps(memory, chips=1, fault_rate=rate, cluster_size=4.0, spread=(4, 4), seed=seed)


def row(name: str, net: Network, rate: float, count: int, kind: str, options: SearchOptions) -> str:
    """Line of the table."""
    found: list[ChipOrder] = []
    seconds = []
    for chip in chips(net.image.placement.memory, rate, count, kind):
        begin = time.process_time()
        found.append(solved(net, chip, options))
        seconds.append(time.process_time() - begin)
    left = [order.wrong for order in found]
    cells = [
        f"{name}, {rate:g}, {kind}",
        str(count),
        f"{np.mean([order.faults for order in found]):.0f}",
        f"{100 * np.mean([order.wrong_as_it_lies == 0 for order in found]):.0f} %",
        f"{100 * np.mean([order.exact for order in found]):.0f} %",
        f"{np.mean([order.wrong_as_it_lies for order in found]):.1f} → {np.mean(left):.2f} (most {max(left)})",
        f"{np.mean([order.unavoidable for order in found]):.2f}",
        f"{max(order.worst_error for order in found)}",
        f"{np.mean(seconds):.3f} (most {max(seconds):.2f})",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=CASES, metavar="NETWORK:RATE", help="resnet18, 20, 32, …")
    parser.add_argument("--chips", type=int, default=100, help="chips a case (default %(default)s)")
    parser.add_argument("--kind", choices=("uniform", "clustered"), default="uniform", help="(default %(default)s)")
    parser.add_argument("--aim", choices=("wrong_codes", "error"), default="wrong_codes", help="(default %(default)s)")
    options = parser.parse_args()
    print(
        "| network, rate | chips | stuck cells | exact as they lie | exact in order | wrong codes | no order can save | "
        "worst error, LSB | seconds a chip |\n|" + " --- |" * 9
    )
    networks: dict[str, Network] = {}
    for case in options.cases:
        name, rate = case.split(":")
        net = networks.setdefault(name, network(name))
        assert len(net.stored)  # made once, before the clock starts
        line = row(name, net, float(rate), options.chips, options.kind, SearchOptions(aim=options.aim))
        print(line, flush=True)
    print(f"\nMost memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB.")


if __name__ == "__main__":
    main()
