"""Cost of each single stuck cell: squared error of its code relative to the squares of its layer's codes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.codes import nearest_reachable
from tremap_brevitas.faults import FaultMap
from tremap_brevitas.faults.fault_map import check_memory
from tremap_brevitas.placement import MemoryImage


def fault_costs(image: MemoryImage, fault_map: FaultMap) -> NDArray[np.float64]:
    """Return the squared error that each stuck cell causes alone, with the nearest code stored, relative to its layer.

    Their sum over a map is the square of the certificate's [relative_error][tremap_brevitas.Certificate.relative_error],
    except for weights with several stuck bits. A cell whose stored bit is its stuck value costs nothing, nor does one that
    holds no weight. In a reused memory a cell's costs in all tiles are added.

    Raises:
        ValueError: If image and map are of different memories.

    Examples:
        >>> from tremap_brevitas import FaultMap, Memory
        >>> from tremap_brevitas.placement import LayerCodes, linear_placement
        >>> memory = Memory(words=1, word_bits=16)
        >>> image = MemoryImage(linear_placement([LayerCodes("fc", (2,), 8, "twos_complement")], memory), {"fc": [3, -4]})
        >>> fault_costs(image, FaultMap(memory, cells=[0, 2, 15], stuck_at=[0, 0, 0]))
        array([0.04, 0.  , 0.64])
    """
    check_memory(fault_map, image.placement.memory, whose="the image's")
    costs = np.zeros(len(fault_map))
    for sites in image.placement.sites(fault_map.cells):
        layer = sites.layer
        signal = max(image.squares[layer.name], 1.0)
        wanted = image.codes[layer.name].reshape(-1)[sites.weight].astype(np.int32)
        bits = np.left_shift(1, sites.bit).astype(np.int32)
        ones = fault_map.stuck_at[sites.source] == 1
        stored = nearest_reachable(
            wanted, sa0=np.where(ones, 0, bits), sa1=np.where(ones, bits, 0), bit_width=layer.bit_width, encoding=layer.encoding
        )
        costs += np.bincount(
            sites.source, weights=np.square((stored - wanted).astype(np.float64)) / signal, minlength=len(fault_map)
        )
    return costs
