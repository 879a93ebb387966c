"""The channel order of one chip, and what the chip reads with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tremap_brevitas.faults import FaultMap, Memory
from tremap_brevitas.order.groups import ChannelGroup, Index, Orders, checked_orders, in_order, out_of_order
from tremap_brevitas.order.hardware import Hardware, HardwareSetting
from tremap_brevitas.order.hardware.in_turn import InTurn, as_it_lies
from tremap_brevitas.order.network import Network
from tremap_brevitas.order.problem import Problem
from tremap_brevitas.order.search import Search, SearchOptions
from tremap_brevitas.order.spares import SpareLines
from tremap_brevitas.placement import Certificate, LayerDifference, MemoryImage, Placement
from tremap_brevitas.placement.certificate import with_differences
from tremap_brevitas.printable import counted


@dataclass(frozen=True, eq=False, repr=False)
class ChipOrder:
    """A network in the channel order that fits one chip, with the nearest code stored where none fits.

    Attributes:
        chip: Name of the chip.
        fault_map: Digest of its fault map.
        network: The network's codes in their own order, and where the slots lie.
        groups: Its groups of channels.
        orders: For each group by name which channel each slot holds.
        differences: Codes that the chip still reads differently, in slots: flat indices of the weight *in order*.
        faults: Number of stuck cells.
        wrong_as_it_lies: Codes that the chip would read differently if nothing were moved.
        unavoidable: Codes that no order can save, at least; not known, and 0, with hardware.
        hardware: How the hardware of the chip is set; None if it has none.
        spares: Rows and columns that spare ones replace; ``fault_map`` and ``faults`` are of what they leave. None for none.
    """

    chip: str
    fault_map: str
    network: MemoryImage
    groups: tuple[ChannelGroup, ...]
    orders: Orders
    differences: tuple[LayerDifference, ...]
    faults: int
    wrong_as_it_lies: int
    unavoidable: int
    hardware: HardwareSetting | None = None
    spares: SpareLines | None = None

    def __post_init__(self) -> None:
        checked = checked_orders(self.groups, self.orders)
        object.__setattr__(self, "orders", MappingProxyType(checked))
        if self.hardware is not None and self.hardware.memory != self.network.placement.memory:
            raise ValueError(
                f"chip {self.chip!r}: its hardware is of a memory of {self.hardware.memory}, the network's has "
                f"{self.network.placement.memory}"
            )

    def __reduce__(self) -> tuple[Any, ...]:
        # MappingProxyType cannot be pickled or deep-copied; a plain dict holds the same.
        return type(self), (
            *(self.chip, self.fault_map, self.network, self.groups, dict(self.orders)),
            *(self.differences, self.faults, self.wrong_as_it_lies, self.unavoidable, self.hardware, self.spares),
        )

    def left_by_spares(self, chip: FaultMap) -> FaultMap:
        """The stuck cells that the chip's spare rows and columns leave; the map itself if it uses none."""
        return chip if self.spares is None else self.spares.left(chip)

    @property
    def exact(self) -> bool:
        """Whether the chip computes exactly this network."""
        return not self.differences

    @property
    def wrong(self) -> int:
        """Number of codes that the chip reads differently in this order."""
        return sum(len(difference.weight) for difference in self.differences)

    @property
    def moved(self) -> int:
        """Number of channels that are not in their original slot."""
        return sum(int(np.count_nonzero(order != np.arange(len(order)))) for order in self.orders.values())

    @property
    def worst_error(self) -> int:
        """Largest difference, in LSB."""
        return self._sums.worst_error

    @property
    def relative_error(self) -> float:
        """Root of the sum over layers of squared differences over squared codes."""
        return self._sums.relative_error

    @property
    def _sums(self) -> Certificate:
        # The size of the differences does not depend on the order, so that the ordered image is not needed.
        return Certificate(self.chip, self.network, self.differences)

    @property
    def ordered(self) -> MemoryImage:
        """The network's codes in this order; computed at each access."""
        return MemoryImage(self.network.placement, in_order(self.network.codes, self.groups, self.orders))

    @property
    def image(self) -> MemoryImage:
        """Memory image for this chip: the ordered codes, with the nearest where one does not fit; computed at each access.

        With hardware these are the words of the placement; ``words`` are those of the cells.
        """
        return MemoryImage(self.network.placement, with_differences(self.ordered.codes, self.differences))

    @property
    def words(self) -> list[int]:
        """Words to write into the chip's cells, tile after tile, with flags and amounts; computed at each access."""
        words = self.image.words()
        return words if self.hardware is None else self.hardware.written(words)

    @property
    def memory(self) -> Memory:
        """The chip's memory: that of its fault map. Wider than the placement's where flags and amounts have cells."""
        return self.network.placement.memory if self.hardware is None else self.hardware.chip_memory

    @property
    def certificate(self) -> Certificate:
        """Certificate of the codes that the chip reads differently in this order; computed at each access."""
        return Certificate(self.chip, self.ordered, self.differences)

    @property
    def codes_read(self) -> dict[str, NDArray[Any]]:
        """Codes that the chip reads, in the network's own order; computed at each access."""
        return out_of_order(self.image.codes, self.groups, self.orders)

    def values(self, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return the values of each channel in the chip's order, for a hardware flow: biases, BatchNorms, scales.

        Args:
            tensors: Arrays by their keys in the state dict. Tensors that are in no group are returned unchanged.

        Raises:
            ValueError: If a tensor has too few channels.
        """
        return in_order(tensors, self.groups, self.orders, values=True)

    def channels(self, layer: str, *, axis: int = 0) -> Index:
        """Return the channel that each slot of a layer holds, along one axis of its weight.

        It puts into order everything that exists once for each channel, such as the scales in a bundle's manifest:
        ``scale[order.channels(layer)]``.

        Args:
            layer: Name of a placed layer.
            axis: Axis of its weight: 0 for the output channels, but 1 in a transposed convolution.

        Raises:
            KeyError: If there is no such layer.
            ValueError: If the weight has no such axis, or other channels move at other places of another axis.
        """
        shape = self.network.placement.layer(layer).shape
        if not 0 <= axis < len(shape):
            raise ValueError(f"layer {layer!r}: no axis {axis} in a weight of shape {shape}")
        index = np.broadcast_to(np.arange(shape[axis]).reshape([-1 if n == axis else 1 for n in range(len(shape))]), shape)
        moved = np.moveaxis(in_order({layer: index}, self.groups, self.orders)[layer], axis, 0).reshape(shape[axis], -1)
        if (moved != moved[:, :1]).any():
            raise ValueError(f"layer {layer!r}: its channels on axis {axis} differ along another axis of the weight")
        result: Index = moved[:, 0].copy()
        return result

    def read(self, words: Sequence[int]) -> dict[str, NDArray[Any]]:
        """Decode the words that the chip returns into codes in the network's own order.

        Args:
            words: Words of the chip's memory, with its flags and amounts.

        Raises:
            ValueError: If there are not as many words as the placement has.
        """
        if self.hardware is not None:
            words = self.hardware.read(words)
        return read_in_order(words, self.network.placement, self.groups, self.orders)

    def __repr__(self) -> str:
        verdict = "exact" if self.exact else f"{counted(self.wrong, 'code')} wrong, by {self.worst_error} LSB at most"
        return f"ChipOrder(chip {self.chip!r}: {verdict}; {self.wrong_as_it_lies} wrong as it lies)"


def read_in_order(
    words: Sequence[int], placement: Placement, groups: Sequence[ChannelGroup], orders: Mapping[str, ArrayLike]
) -> dict[str, NDArray[Any]]:
    """Decode a memory that stores a network in another channel order into codes in the network's own order.

    Raises:
        ValueError: If there are not as many words as the placement has, or an order is not a permutation.

    Examples:
        >>> from tremap_brevitas import Memory
        >>> from tremap_brevitas.order import Side
        >>> from tremap_brevitas.placement import LayerCodes, linear_placement
        >>> placement = linear_placement([LayerCodes("fc", (3, 1), 8, "binary")], Memory(words=3, word_bits=8))
        >>> group = ChannelGroup("fc", 3, (Side("fc", 0, np.arange(3)[:, None]),))
        >>> read_in_order([30, 10, 20], placement, [group], {"fc": [2, 0, 1]})["fc"].tolist()
        [[10], [20], [30]]
    """
    return out_of_order(MemoryImage.from_words(placement, words).codes, groups, orders)


def solve(
    image: MemoryImage,
    groups: Sequence[ChannelGroup],
    chip: FaultMap,
    *,
    options: SearchOptions | None = None,
    importance: Mapping[str, ArrayLike] | None = None,
    hardware: Hardware | None = None,
) -> ChipOrder:
    """Find the channel order in which a chip misreads the fewest codes, ideally none.

    Each group of channels is put into its best order exactly (a linear sum assignment over the slots that are hit), with the
    others fixed, until nothing improves. Then codes that stay wrong get a higher weight in every round (breakout local search).
    Only positions with stuck bits are considered. The result is never worse than leaving everything where it is.

    Args:
        image: The network's codes, and where the slots lie.
        groups: Its groups of channels.
        chip: The chip's fault map; with hardware a map of ``hardware.chip_memory``.
        options: How to search; None for the default.
        importance: For each layer by name the cost of an error of each weight, in the shape of the weight; layers that are
            missing have cost 1 over the sum of their squared codes. Never outweighs the number of wrong codes, unless
            ``options.aim`` is ``"error"``.
        hardware: What the accelerator offers besides free channels; set in turn with the orders. None for nothing.

    Raises:
        ValueError: If the image, the groups, the chip, the importance and the hardware do not belong together.

    Examples:
        Two hidden channels; the highest bit of the first weight is stuck at 1, and only the second channel's weight has it set.

        >>> from tremap_brevitas import Memory
        >>> from tremap_brevitas.order import Side
        >>> from tremap_brevitas.placement import LayerCodes, linear_placement
        >>> memory = Memory(words=4, word_bits=8)
        >>> layers = [LayerCodes("a", (2, 1), 8, "twos_complement"), LayerCodes("b", (1, 2), 8, "twos_complement")]
        >>> image = MemoryImage(linear_placement(layers, memory), {"a": [[5], [-5]], "b": [[7, 9]]})
        >>> each = np.arange(2)[:, None]
        >>> hidden = ChannelGroup("a", 2, (Side("a", 0, each), Side("b", 1, each)))
        >>> in_order = solve(image, [hidden], FaultMap(memory, cells=[7], stuck_at=[1], chip="A7"))
        >>> in_order
        ChipOrder(chip 'A7': exact; 1 wrong as it lies)
        >>> in_order.orders["a"].tolist(), in_order.image.codes["b"].tolist()
        ([1, 0], [[9, 7]])
    """
    return solved(Network(image, groups, importance=importance), chip, options or SearchOptions(), hardware)


def solved(network: Network, chip: FaultMap, options: SearchOptions, hardware: Hardware | None = None) -> ChipOrder:
    """Find the channel order of a chip for a prepared network."""
    if hardware:
        settled = InTurn(network, chip, hardware, options).run()
        before = as_it_lies(network, chip, hardware)
        return chip_order(settled.problem, chip, settled.orders, before, 0, settled.setting)
    problem = Problem(network, chip)
    search = Search(problem, options, entropy=int(chip.digest[:16], 16))
    before = search.best_wrong
    orders = search.run()
    return chip_order(problem, chip, orders, before, search.unavoidable)


def chip_order(
    problem: Problem,
    chip: FaultMap,
    orders: Sequence[Index],
    before: int,
    unavoidable: int,
    hardware: HardwareSetting | None = None,
) -> ChipOrder:
    """Create the result of a search."""
    network = problem.network
    return ChipOrder(
        chip.chip,
        chip.digest,
        network.image,
        network.groups,
        {group.name: order for group, order in zip(network.groups, orders, strict=True)},
        problem.differences(orders),
        len(chip),
        before,
        unavoidable,
        hardware,
    )
