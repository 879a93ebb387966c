"""Find the order of a network's channels that fits a chip's stuck cells. NumPy and SciPy only.

Here: groups of channels as data, the search, its proof and its files. Not here: finding the groups in a model, and changing
the model; see ``prepare/reordering/``.
"""

from tremap_brevitas.order.check import check_order
from tremap_brevitas.order.chip_order import ChipOrder, read_in_order, solve
from tremap_brevitas.order.fleet import FleetOrders, order_chips
from tremap_brevitas.order.groups import ChannelGroup, Side, check_groups, in_order, out_of_order
from tremap_brevitas.order.groups_file import groups_digest, load_groups, save_groups
from tremap_brevitas.order.hardware import Hardware, HardwareSetting
from tremap_brevitas.order.hardware.words import write_chip_words
from tremap_brevitas.order.importance import output_importance
from tremap_brevitas.order.orders_file import load_orders, save_orders
from tremap_brevitas.order.patched import patch_in_order
from tremap_brevitas.order.search import SearchOptions
from tremap_brevitas.order.spares import SpareLines

__all__ = [
    "ChannelGroup",
    "ChipOrder",
    "FleetOrders",
    "Hardware",
    "HardwareSetting",
    "SearchOptions",
    "Side",
    "SpareLines",
    "check_groups",
    "check_order",
    "groups_digest",
    "in_order",
    "load_groups",
    "load_orders",
    "order_chips",
    "out_of_order",
    "output_importance",
    "patch_in_order",
    "read_in_order",
    "save_groups",
    "save_orders",
    "solve",
    "write_chip_words",
]
