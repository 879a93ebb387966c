"""Reorder a network's hidden channels: find which may move together, prove it, and move them.

Not here: the search for a chip's order, which needs no torch; see ``order/``.
"""

from tremap_brevitas.prepare.reordering.apply import apply_order_, in_another_order
from tremap_brevitas.prepare.reordering.channels import channel_groups
from tremap_brevitas.prepare.reordering.fleet import reorder
from tremap_brevitas.prepare.reordering.groups import ChannelReport, LeftAlone
from tremap_brevitas.prepare.reordering.prove import prove_groups

__all__ = [
    "ChannelReport",
    "LeftAlone",
    "apply_order_",
    "channel_groups",
    "in_another_order",
    "prove_groups",
    "reorder",
]
