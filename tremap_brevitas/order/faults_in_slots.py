"""Positions of a network's weights that are hit by a chip's stuck cells, with the stuck bits of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.faults import FaultMap
from tremap_brevitas.placement import Placement


@dataclass(frozen=True, eq=False)
class StuckCodes:
    """Positions of one layer's weight with stuck bits, whichever code is stored there.

    Attributes:
        layer: Number of the layer in the placement.
        weight: Flat, row-major index of each place, ascending.
        sa0, sa1: Masks of the bits that are stuck at 0, and at 1.
    """

    layer: int
    weight: NDArray[np.int64]
    sa0: NDArray[np.int32]
    sa1: NDArray[np.int32]


def stuck_codes(placement: Placement, chip: FaultMap) -> list[StuckCodes]:
    """Return the positions with stuck bits in each layer; layers without any are left out.

    In a reused memory one cell hits a place in every tile.

    Examples:
        >>> from tremap_brevitas import Memory
        >>> from tremap_brevitas.placement import LayerCodes, linear_placement
        >>> memory = Memory(words=2, word_bits=8)
        >>> placement = linear_placement([LayerCodes("fc", (3,), 4, "twos_complement")], memory)
        >>> (stuck,) = stuck_codes(placement, FaultMap(memory, cells=[1, 4, 6], stuck_at=[0, 1, 0]))
        >>> stuck.weight, stuck.sa0, stuck.sa1
        (array([0, 1]), array([2, 4], dtype=int32), array([0, 1], dtype=int32))
    """
    numbers = {layer.name: number for number, layer in enumerate(placement.layers)}
    return [StuckCodes(numbers[s.layer.name], s.weight, s.sa0, s.sa1) for s in placement.stuck_bits(chip)]
