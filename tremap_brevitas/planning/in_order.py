"""Find whether a chip is exact with one of the networks of a library in another channel order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tremap_brevitas.faults import FaultMap
from tremap_brevitas.order import ChannelGroup, ChipOrder, Hardware, SearchOptions
from tremap_brevitas.order.network import Network
from tremap_brevitas.order.work import Plain, Work
from tremap_brevitas.placement import MemoryImage


class OrderedShelf:
    """The networks of a library, each with its groups of channels; prepared once, used for every chip.

    Args:
        entries: Memory image and groups of channels of each network; None for one that has no groups.
        options: How orders are searched.
        hardware: What the accelerator has beside free channels; None for nothing.

    Raises:
        ValueError: If groups are not of their network.
    """

    def __init__(
        self,
        entries: Iterable[tuple[MemoryImage, Sequence[ChannelGroup] | None]],
        options: SearchOptions | None = None,
        hardware: Hardware | None = None,
    ) -> None:
        search = options or SearchOptions()
        self._works = [None if groups is None else Work(Network(image, groups), search, hardware) for image, groups in entries]

    def exact(self, chip: FaultMap, among: Iterable[int]) -> tuple[int, ChipOrder] | None:
        """Return the first of some networks that the chip reads exactly in some order, and that order; None if there is none.

        Args:
            chip: The chip's fault map.
            among: Numbers of the networks to try, in that order.
        """
        for number in among:
            work = self._works[number]
            if work is not None and (order := work(chip)).exact:
                return number, order
        return None

    def from_plain(self, number: int, chip: FaultMap, plain: Plain) -> ChipOrder:
        """The order of a chip for one of the networks, of what ``plain_order`` returned."""
        work = self._works[number]
        assert work is not None
        return work.from_plain(chip, plain)
