"""Find whether a chip is exact with one of the networks of a library in another channel order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tremap_brevitas.faults import FaultMap
from tremap_brevitas.order import ChannelGroup, ChipOrder, SearchOptions
from tremap_brevitas.order.chip_order import solved
from tremap_brevitas.order.network import Network
from tremap_brevitas.placement import MemoryImage


class OrderedShelf:
    """The networks of a library, each with its groups of channels; prepared once, used for every chip.

    Args:
        entries: Memory image and groups of channels of each network; None for one that has no groups.
        options: How orders are searched.

    Raises:
        ValueError: If groups are not of their network.
    """

    def __init__(
        self, entries: Iterable[tuple[MemoryImage, Sequence[ChannelGroup] | None]], options: SearchOptions | None = None
    ) -> None:
        self._networks = [None if groups is None else Network(image, groups) for image, groups in entries]
        self._options = options or SearchOptions()

    def exact(self, chip: FaultMap, among: Iterable[int]) -> tuple[int, ChipOrder] | None:
        """Return the first of some networks that the chip reads exactly in some order, and that order; None if there is none.

        Args:
            chip: The chip's fault map.
            among: Numbers of the networks to try, in that order.
        """
        for number in among:
            network = self._networks[number]
            if network is not None and (order := solved(network, chip, self._options)).exact:
                return number, order
        return None
