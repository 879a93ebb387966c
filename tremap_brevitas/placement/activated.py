"""Activated faults: stuck cells whose value differs from the bit stored there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tremap_brevitas.faults import FaultMap
from tremap_brevitas.placement.image import MemoryImage


@dataclass(frozen=True)
class ActivatedFaults:
    """Counts of a chip's faults by bit and layer, and of those activated. In a reused memory a cell counts once per tile.

    Attributes:
        chip: Name of the chip.
        faults: Stuck bits of weights.
        activated: Stuck bits whose stuck value differs from the stored bit.
        by_layer: Activated bits of each layer.
        by_bit: Activated bits at each bit of the code, from the LSB.
        faults_by_bit: All stuck bits at each bit of the code.
    """

    chip: str
    faults: int
    activated: int
    by_layer: dict[str, int]
    by_bit: tuple[int, ...]
    faults_by_bit: tuple[int, ...]


def activated_faults(image: MemoryImage, fault_map: FaultMap) -> ActivatedFaults:
    """Find which of a chip's faults change what is read.

    Raises:
        ValueError: If image and map are of different memories.
    """
    placement = image.placement
    width = max(layer.bit_width for layer in placement.layers)
    of_mask = np.arange(1 << width)[:, None] >> np.arange(width) & 1
    count_of = of_mask.sum(axis=1)
    by_layer = dict.fromkeys((layer.name for layer in placement.layers), 0)
    activated, stuck = [np.empty(0, np.int32)], [np.empty(0, np.int32)]
    for bits in placement.stuck_bits(fault_map):
        masks = bits.activated(image.codes[bits.layer.name].reshape(-1)[bits.weight])
        by_layer[bits.layer.name] = int(count_of[masks].sum())
        activated.append(masks)
        stuck.append(bits.sa0 | bits.sa1)
    # The number of times that each mask occurs gives the number of times that each of its bits does.
    by_bit, faults_by_bit = (
        (np.bincount(np.concatenate(masks), minlength=1 << width) @ of_mask).tolist() for masks in (activated, stuck)
    )
    return ActivatedFaults(fault_map.chip, sum(faults_by_bit), sum(by_bit), by_layer, tuple(by_bit), tuple(faults_by_bit))
