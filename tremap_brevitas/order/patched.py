"""Choose codes anew for a chip in its channel order."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tremap_brevitas.faults import FaultMap
from tremap_brevitas.faults.fault_map import check_memory
from tremap_brevitas.moments import InputMoments
from tremap_brevitas.order.chip_order import ChipOrder
from tremap_brevitas.order.groups import in_order, out_of_order
from tremap_brevitas.patching import Patch
from tremap_brevitas.patching.patch import Masks, patched, stuck_masks
from tremap_brevitas.placement import LayerDifference, certificate
from tremap_brevitas.placement.certificate import certificate_of


def patch_in_order(
    order: ChipOrder, moments: InputMoments, chip: FaultMap, *, sweeps: int = 1, progress: bool = True
) -> tuple[ChipOrder, Patch]:
    """Choose codes anew where a chip reads wrong ones in its order, so that each channel's output is least wrong.

    The same as [patch][tremap_brevitas.patching.patch] for a chip that holds the network in its own order. A stuck bit belongs
    to a slot; in the network's own order it is a stuck bit of the weight in that slot, so that the moments stay as they are.
    Keys, amounts and flags of the chip's hardware stay, but for those that are stuck at another value now; its spare rows and
    columns stay, too.

    Args:
        order: The chip's order.
        moments: Moments of the layers' inputs, of the network in its own order.
        chip: The chip's fault map, with all of its stuck cells, those of flags and amounts included; it may have more of them
            than the order was found for.
        sweeps: Passes over the weights of a channel.
        progress: Whether to show a progress bar on standard error.

    Returns:
        The chip's order with the chosen codes, whose ``image`` is to be written and reads back unchanged; and the patch, in the
        network's own order.

    Raises:
        ValueError: If order, moments and chip do not belong together, or the chip reads every code correctly.
    """
    network, placement = order.network, order.network.placement
    if sweeps < 1:
        raise ValueError(f"sweeps must be at least 1, got {sweeps}")
    chip = order.left_by_spares(chip)
    check_memory(chip, order.memory, whose="the order's")
    if moments.image != network.digest:
        raise ValueError(f"the moments belong to an image of digest {moments.image}, but this one's is {network.digest}")
    setting, seen, lies, same = order.hardware, chip, chip, True
    if setting is not None:
        was, setting = setting, setting.allowed_by(chip)  # a flag or an amount may be stuck by now
        same = setting.numbers() == was.numbers()
        seen, lies = setting.equivalent_map(chip), setting.hardware.data_faults(chip, placement.memory)
    read = out_of_order(certificate(order.ordered, seen).read(), order.groups, order.orders)
    before = certificate_of(chip.chip, network, read)
    if before.bit_exact and same:
        raise ValueError(f"chip {chip.chip!r} reads every code in its order correctly: there is nothing to patch")
    done = patched(before, moments, _own_order(order, stuck_masks(placement, seen)), sweeps=sweeps, progress=progress)
    written, ordered = in_order(done.image.codes, order.groups, order.orders), order.ordered.codes
    differences = []
    for name, codes in written.items():
        wanted, now = ordered[name].reshape(-1).astype(np.int32), codes.reshape(-1).astype(np.int32)
        weight = np.flatnonzero(wanted != now)
        if len(weight):
            differences.append(LayerDifference(name, weight, wanted[weight], now[weight]))
    result = ChipOrder(
        *(chip.chip, chip.digest, network, order.groups, order.orders, tuple(differences), len(chip)),
        certificate(network, lies, deployment="chip_image").weights_that_differ,
        *(order.unavoidable if chip.digest == order.fault_map else 0, setting, order.spares),
    )
    return result, done


def _own_order(order: ChipOrder, masks: Mapping[str, Masks]) -> dict[str, Masks]:
    """Return the masks of slots as masks of the weights in them."""
    zeros, ones = (out_of_order({name: pair[i] for name, pair in masks.items()}, order.groups, order.orders) for i in (0, 1))
    return {name: (zeros[name], ones[name]) for name in masks}
