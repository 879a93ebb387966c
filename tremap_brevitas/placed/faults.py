"""Turn a fault map into the faults of each weight."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.faults import FaultMap
from tremap_brevitas.faults.fault_map import check_memory
from tremap_brevitas.placed.rule import Rule
from tremap_brevitas.placed.slots import WeightSlot, check_type
from tremap_brevitas.placement import LayerSites, Placement
from tremap_brevitas.proxy import WeightCodes, WeightFaults
from tremap_brevitas.proxy.weight_faults import weight_faults

Located = list[tuple[LayerSites, NDArray[np.uint8]]]


def check_fault_map(fault_map: object) -> None:
    """Check that an argument is a fault map.

    Raises:
        TypeError: If not.
    """
    if isinstance(fault_map, (list, tuple)):
        raise TypeError(f"fault_map must be one FaultMap, got a {type(fault_map).__name__}; merge several with tm.merge")
    check_type("fault_map", fault_map, FaultMap)


def sites_of(placement: Placement, fault_map: FaultMap) -> list[LayerSites]:
    """Find the stuck bits of weights.

    Raises:
        ValueError: If the map is of another memory.
        TypeError: If it is not a fault map.
    """
    check_fault_map(fault_map)
    check_memory(fault_map, placement.memory, whose="the placement's")
    return placement.sites(fault_map.cells)


def locate_stuck_bits(placement: Placement, fault_map: FaultMap) -> Located:
    """Return the stuck bits of weights, with the stuck value of each."""
    return [(sites, fault_map.stuck_at[sites.source]) for sites in sites_of(placement, fault_map)]


def faults_by_layer(stuck_bits: Iterable[tuple[LayerSites, NDArray[np.uint8]]], rule: Rule) -> dict[str, WeightFaults]:
    """Return the faults of every layer that has any."""
    return {
        sites.layer.name: weight_faults(sites, stuck, store=rule.store, gradient=rule.gradient)
        for sites, stuck in stuck_bits
        if len(stuck)
    }


def codes_of(entry: WeightSlot) -> WeightCodes:
    """Return the integer codes of a weight.

    Raises:
        ValueError: If it has none at present; names the layer.
    """
    try:
        codes: WeightCodes = entry.proxy.codes(entry.slot)
    except ValueError as error:
        raise ValueError(f"layer {entry.name!r}: {error}") from None
    return codes
