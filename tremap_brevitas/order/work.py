"""The search for one chip's order as a job: for workers, and for the file of a run folder."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tremap_brevitas.faults import FaultMap
from tremap_brevitas.order.chip_order import ChipOrder, chip_order, solved
from tremap_brevitas.order.groups import Index, checked_orders
from tremap_brevitas.order.groups_file import groups_digest
from tremap_brevitas.order.hardware import Hardware, HardwareSetting
from tremap_brevitas.order.network import Network
from tremap_brevitas.order.problem import Problem
from tremap_brevitas.order.search import SearchOptions

# What a worker sends back, and a run folder keeps: neither the network nor the groups.
Plain = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Work:
    """Finds the order of a chip for a prepared network.

    Args:
        network: The network.
        options: How to search.
        hardware: What the accelerator has; None for nothing.
    """

    network: Network
    options: SearchOptions
    hardware: Hardware | None = None

    def __call__(self, chip: FaultMap, /) -> ChipOrder:
        """Find the order of a chip."""
        return solved(self.network, chip, self.options, self.hardware)

    def plain(self, chip: FaultMap, /) -> Plain:
        """Find the order of a chip; return it in a form that JSON can store."""
        return plain_order(self(chip))

    def from_plain(self, chip: FaultMap, plain: Plain, /) -> ChipOrder:
        """Make an order of what ``plain_order`` returned."""
        orders: list[Index] = self.network.identity
        for order, group in zip(orders, self.network.groups, strict=True):
            slots, channels = plain["moved"].get(group.name, ([], []))
            order[slots] = channels
        by_name = {group.name: order for order, group in zip(orders, self.network.groups, strict=True)}
        checked = list(checked_orders(self.network.groups, by_name).values())
        setting, seen = None, chip
        if self.hardware is not None:
            setting = HardwareSetting(self.hardware, self.network.image.placement.memory, **plain["hardware"])
            seen = setting.equivalent_map(chip)
        return chip_order(Problem(self.network, seen), chip, checked, plain["wrong_as_it_lies"], plain["unavoidable"], setting)

    def description(self) -> dict[str, Any]:
        """Return what the results depend on, for a run folder."""
        return {
            **asdict(self.options),
            "image": self.network.image.digest,
            "groups": groups_digest(self.network.groups),
            "importance": self.network.importance_digest,
            **({} if self.hardware is None else {"hardware": asdict(self.hardware)}),
        }


def plain_order(order: ChipOrder) -> Plain:
    """Return the changed slots of orders and their channels, in a form that JSON can store."""
    moved = {}
    for name, channels in order.orders.items():
        slots = np.flatnonzero(channels != np.arange(len(channels)))
        if len(slots):
            moved[name] = [slots.tolist(), channels[slots].tolist()]
    plain = {"moved": moved, "wrong_as_it_lies": order.wrong_as_it_lies, "unavoidable": order.unavoidable}
    return plain if order.hardware is None else {**plain, "hardware": order.hardware.numbers()}
