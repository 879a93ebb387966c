"""Networks of the benchmark of orders by name; of ResNets the graphs: shapes, groups of channels, and codes that are drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.faults import Memory
from tremap_brevitas.order import ChannelGroup, Side
from tremap_brevitas.order.network import Network
from tremap_brevitas.placement import LayerCodes, MemoryImage, linear_placement

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


def drawn(shapes: Shapes) -> MemoryImage:
    """Drawn codes of these shapes, in a memory of 32-bit words that they just fit into.

    Laplace, rounded to 8 bits, another width for each layer.
    """
    layers = [LayerCodes(layer, shape, 8, "twos_complement") for layer, shape in shapes.items()]
    placement = linear_placement(layers, Memory(words=linear_placement(layers, Memory(10**8, 32)).words, word_bits=32))
    rng = np.random.default_rng(0)
    codes = {}
    for layer, shape in shapes.items():
        codes[layer] = np.clip(np.rint(rng.laplace(0, rng.uniform(4, 13), shape)), -128, 127).astype(np.int8)
    return MemoryImage(placement, codes)


def network(name: str, *, state: Path | None = None) -> Network:
    """A network by its name, in a memory that it just fits into.

    Args:
        name: ``resnet18``, ``resnet20``, ``resnet32`` …, or one of ``order_models.MODELS``.
        state: State of the trained ResNet-20, for ``resnet20-trained``.

    Raises:
        ValueError: If there is no such network.
    """
    if name == "resnet18" or name.removeprefix("resnet").isdecimal():
        shapes, sides = resnet18() if name == "resnet18" else cifar_resnet(int(name.removeprefix("resnet")))
        groups = [ChannelGroup(group, len(places[0].index), tuple(places)) for group, places in sides.items()]
        return Network(drawn(shapes), groups)
    from benchmarks.order_models import traced  # with torch

    return traced(name, state)
