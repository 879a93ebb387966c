"""The same network in another order: which channel lies in which slot of a chip's memory. NumPy and SciPy only."""

from tremap_brevitas.order.groups import ChannelGroup, Side, in_order, out_of_order

__all__ = [
    "ChannelGroup",
    "Side",
    "in_order",
    "out_of_order",
]
