"""Find and prove the groups of channels of a placed model."""

from __future__ import annotations

from typing import Any

from tremap_brevitas.order import ChannelGroup
from tremap_brevitas.placed import PlacedModel
from tremap_brevitas.placed.slots import check_type
from tremap_brevitas.prepare.reordering.groups import ChannelReport, LeftAlone, find_groups
from tremap_brevitas.prepare.reordering.prove import prove_groups


def channel_groups(net: PlacedModel, *inputs: Any, outputs_free: bool = False, prove: bool = True) -> ChannelReport:
    """Find which channels of a network may be reordered, and which parameters must move with them.

    The model is run once on the inputs, and every channel is followed through every operation: layers, BatchNorm, activations,
    pooling, reshapes, sums, concatenation, slices, attention; scales for each channel follow by themselves. Channels that meet
    an unknown operation, or a position that cannot move, such as one of the network's inputs and outputs, are left alone, and
    the report names them. Finally all groups are put into random orders, and the outputs must be equal; a group that fails is
    left alone.

    Args:
        net: The placed model.
        inputs: Inputs of the model; two images are enough. The order of the model's layers must not depend on them.
        outputs_free: Whether the network's outputs may come in another order.
        prove: Whether to prove the groups by trial.

    Returns:
        The groups, and the channels that are left alone. It prints as a table.

    Raises:
        TypeError: If ``net`` is not a placed model.
        ValueError: If there is no input.

    Examples:
        >>> import torch
        >>> from brevitas.nn import QuantLinear
        >>> import tremap_brevitas as tm
        >>> model = torch.nn.Sequential(QuantLinear(4, 3, bias=True), torch.nn.ReLU(), QuantLinear(3, 2, bias=True))
        >>> net = tm.place(tm.make_faulty(model), tm.Memory(words=32, word_bits=8))
        >>> print(tm.prepare.channel_groups(net, torch.randn(2, 4)))
        group    channels    layers [axis]
        -------  ----------  ---------------
        0        3           0[0], 2[1]
        <BLANKLINE>
        left alone    axis    channels    because
        ------------  ------  ----------  ----------------------------------------
        0             1       4           meets what does not move in addmm in '0'
        2             0       2           the network's output
    """
    check_type("net", net, PlacedModel)
    if not inputs:
        raise ValueError("channel_groups needs inputs to run the model on; two images are enough")
    groups, left = find_groups(net, inputs, outputs_free=outputs_free)
    if prove:
        groups, failed = _proved(net, groups, inputs, outputs_free)
        left += failed
    return ChannelReport(tuple(groups), tuple(left))


def _proved(
    net: PlacedModel, groups: list[ChannelGroup], inputs: tuple[Any, ...], outputs_free: bool
) -> tuple[list[ChannelGroup], list[LeftAlone]]:
    if not groups or not _why_not(net, groups, inputs, outputs_free):
        return groups, []
    good, failed = [], []
    for group in groups:
        reason = _why_not(net, [group], inputs, outputs_free)
        if reason:
            failed += [LeftAlone(side.layer, side.axis, group.channels, reason) for side in group.sides]
        else:
            good.append(group)
    reason = _why_not(net, good, inputs, outputs_free) if good else ""
    if reason:  # each group passes by itself, but not all together
        failed += [LeftAlone(side.layer, side.axis, g.channels, reason) for g in good for side in g.sides]
        good = []
    return good, failed


def _why_not(net: PlacedModel, groups: list[ChannelGroup], inputs: tuple[Any, ...], outputs_free: bool) -> str:
    try:
        prove_groups(net, groups, *inputs, outputs_free=outputs_free)
    except ValueError as error:
        return str(error)
    return ""
