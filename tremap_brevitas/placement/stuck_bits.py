"""The stuck bits of each weight, with one entry for each weight."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.codes import decode, encode, nearest_reachable
from tremap_brevitas.placement.layer import LayerSites, PlacedLayer


@dataclass(frozen=True, eq=False)
class StuckBits:
    """The stuck bits of one layer's weights.

    Attributes:
        layer: The layer.
        weight: Flat, row-major indices of the weights that have stuck bits, ascending, (weights,).
        sa0: Bits stuck at 0 of each of these weights, as a mask, (weights,).
        sa1: Bits stuck at 1, likewise.
    """

    layer: PlacedLayer
    weight: NDArray[np.int64]
    sa0: NDArray[np.int32]
    sa1: NDArray[np.int32]

    def activated(self, codes: NDArray[np.integer]) -> NDArray[np.int32]:
        """Return the bits of each weight whose stuck value differs from the stored bit, as a mask.

        Args:
            codes: Codes that are stored for these weights, (weights,).
        """
        stored = encode(codes, bit_width=self.layer.bit_width, encoding=self.layer.encoding)
        return (stored & self.sa0) | (~stored & self.sa1)

    def read_back(self, codes: NDArray[np.integer]) -> NDArray[np.int32]:
        """Return the codes that are read back if these codes are stored."""
        width, encoding = self.layer.bit_width, self.layer.encoding
        stored = encode(codes, bit_width=width, encoding=encoding)
        return decode((stored | self.sa1) & ~self.sa0, bit_width=width, encoding=encoding)

    def nearest(self, codes: NDArray[np.integer]) -> NDArray[np.int32]:
        """Return the readable codes nearest to these codes."""
        width, encoding = self.layer.bit_width, self.layer.encoding
        return nearest_reachable(codes, sa0=self.sa0, sa1=self.sa1, bit_width=width, encoding=encoding)

    def at(self, weights: NDArray[np.bool_]) -> StuckBits:
        """Select some of the weights with a mask."""
        return StuckBits(self.layer, self.weight[weights], self.sa0[weights], self.sa1[weights])


def merged_bits(sites: Iterable[LayerSites], stuck_at: NDArray[np.uint8]) -> list[StuckBits]:
    """Combine the stuck bits of each weight into one entry.

    Args:
        sites: The bits that some cells hold, from [Placement.sites][tremap_brevitas.Placement.sites].
        stuck_at: The value at which each of these cells is stuck.
    """
    hit = [_by_weight(layer_sites) for layer_sites in sites]
    if not hit:
        return []
    weight, bit, source = (np.concatenate(parts) for parts in zip(*(parts for _, *parts in hit), strict=True))
    begins = np.cumsum([0, *(len(weights) for _, weights, *_ in hit)])
    new = np.append(True, weight[1:] != weight[:-1])
    new[begins[:-1]] = True  # a weight of another layer may have the same index
    first = np.flatnonzero(new)
    # Every bit of a weight appears once, so that a sum of bits is their union.
    bits = np.left_shift(np.int32(1), bit, dtype=np.int32, casting="unsafe")
    sa1 = np.add.reduceat(bits * stuck_at[source], first, dtype=np.int32)
    sa0 = np.add.reduceat(bits, first, dtype=np.int32) - sa1
    weight = weight[first]
    bounds = np.searchsorted(first, begins).tolist()
    return [
        StuckBits(layer, weight[start:stop], sa0[start:stop], sa1[start:stop])
        for (layer, *_), start, stop in zip(hit, bounds, bounds[1:], strict=False)
    ]


def _by_weight(sites: LayerSites) -> tuple[PlacedLayer, NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return layer, weight, bit and source of the sites, sorted by weight."""
    if sites.layer.order is None:
        return sites.layer, sites.weight, sites.bit, sites.source
    order = np.argsort(sites.weight, kind="stable")
    return sites.layer, sites.weight[order], sites.bit[order], sites.source[order]
