"""Use one network for a fleet of chips, with a channel order for each chip that fits its stuck cells."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from numpy.typing import ArrayLike

from tremap_brevitas.faults import FaultMap
from tremap_brevitas.moments import InputMoments
from tremap_brevitas.order import ChannelGroup, FleetOrders, Hardware, SearchOptions, order_chips, output_importance
from tremap_brevitas.placed import PlacedModel
from tremap_brevitas.placed.slots import check_type
from tremap_brevitas.prepare.reordering.channels import channel_groups


def reorder(
    net: PlacedModel,
    chips: Iterable[FaultMap],
    *inputs: Any,
    groups: Sequence[ChannelGroup] | None = None,
    outputs_free: bool = False,
    options: SearchOptions | None = None,
    importance: Mapping[str, ArrayLike] | None = None,
    hardware: Hardware | None = None,
    moments: InputMoments | None = None,
    workers: int = 1,
    folder: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> FleetOrders:
    """Find for every chip the channel order in which it misreads the fewest codes of the network, ideally none.

    The network itself stays as it is, and nothing is trained: hidden channels may stand in any order if the layers on both
    sides agree. The orders are of the codes that the network computes with now.

    Args:
        net: The placed model.
        chips: Every chip's fault map.
        inputs: Inputs of the model, to find the channels that belong together: two images are enough. Not needed with
            ``groups``.
        groups: The groups of channels, if [channel_groups][tremap_brevitas.prepare.channel_groups] has found them before.
        outputs_free: Whether the network's outputs may come in another order.
        options: How to search; None for the default.
        importance: For each layer by name the cost of an error of each weight, in the shape of the weight; layers that are
            missing have cost 1 over the sum of their squared codes.
        hardware: What the accelerator offers besides free channels: scrambled addresses, rotated or inverted words. Fault maps
            are of ``hardware.chip_memory(net.placement.memory)`` then. None for none of them.
        moments: Moments of the layers' inputs, as ``export`` keeps them and ``Bundle.moments`` gives them. Remaining errors are
            then weighed by their effect on the layer's output, not by the squared error of the codes. Not with ``importance``.
        workers: Processes to use; the result does not depend on it.
        folder: Run folder: chips that are finished there are not solved again. None keeps nothing.
        progress: Whether to show a bar on standard error.

    Returns:
        One order a chip, with the certificate in that order and the memory image. It prints as a table.

    Raises:
        TypeError: If ``net`` is not a placed model, or ``moments`` are not those of a bundle.
        ValueError: If there is no chip, neither inputs nor groups, a chip has another memory than the placement, moments are
            of another network, or both moments and importance are given.

    Examples:
        >>> import torch
        >>> from brevitas.nn import QuantLinear
        >>> import tremap_brevitas as tm
        >>> _ = torch.manual_seed(0)
        >>> model = torch.nn.Sequential(QuantLinear(4, 16, bias=True), torch.nn.ReLU(), QuantLinear(16, 4, bias=True))
        >>> net = tm.place(tm.make_faulty(model), tm.Memory(words=32, word_bits=32))
        >>> chips = tm.random_fault_maps(net.placement.memory, chips=8, fault_rate=3e-3, seed=0)
        >>> orders = tm.reorder(net, chips, torch.randn(2, 4), progress=False)
        >>> orders
        FleetOrders(8 of 8 chips exact in order, 0 as they lie)
    """
    check_type("net", net, PlacedModel)
    if groups is None:
        if not inputs:
            raise ValueError("reorder needs inputs to run the model on, or groups=…; two images are enough")
        groups = channel_groups(net, *inputs, outputs_free=outputs_free).groups
    image = net.memory_image()
    if moments is not None:
        check_type("moments", moments, InputMoments)
        if importance is not None:
            raise ValueError("give moments or importance, not both: each gives the cost of an error of each weight")
        importance = output_importance(moments, image)
    orders = order_chips(
        image,
        groups,
        chips,
        options=options,
        importance=importance,
        hardware=hardware,
        workers=workers,
        folder=folder,
        progress=progress,
    )
    return FleetOrders(tuple(orders))
