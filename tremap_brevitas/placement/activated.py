"""Activated faults: stuck cells whose value is not what is stored there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tremap_brevitas.faults import FaultMap
from tremap_brevitas.faults.fault_map import check_memory
from tremap_brevitas.placement.image import MemoryImage


@dataclass(frozen=True)
class ActivatedFaults:
    """Where a chip's faults fall, and which of them matter for an image. In a reused memory a cell counts once a tile.

    Attributes:
        chip: Name of the chip.
        faults: Stuck bits of weights.
        activated: Those whose stuck value differs from the stored bit.
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


def activated_faults(image: MemoryImage, chip: FaultMap) -> ActivatedFaults:
    """Find out which of a chip's faults change what is read.

    Raises:
        ValueError: If image and map are of different memories.
    """
    placement = image.placement
    check_memory(chip, placement.memory, whose="the image's")
    width = max(layer.bit_width for layer in placement.layers)
    by_bit, all_bits = np.zeros((2, width), dtype=np.int64)
    by_layer = dict.fromkeys((layer.name for layer in placement.layers), 0)
    for sites in placement.sites(chip.cells):
        position = sites.weight if sites.layer.positions is None else sites.layer.positions[sites.weight]
        word, code = np.divmod(position, sites.layer.codes_per_word)
        cell = (sites.layer.first_word + word) * placement.memory.word_bits + code * sites.layer.bit_width + sites.bit
        stored = (image.bits[cell >> 3] >> (cell & 7).astype(np.uint8)) & 1
        wrong = stored != chip.stuck_at[sites.source]
        by_layer[sites.layer.name] = int(wrong.sum())
        by_bit += np.bincount(sites.bit[wrong], minlength=width)
        all_bits += np.bincount(sites.bit, minlength=width)
    return ActivatedFaults(
        chip.chip,
        int(all_bits.sum()),
        int(by_bit.sum()),
        by_layer,
        tuple(by_bit.tolist()),
        tuple(all_bits.tolist()),
    )
