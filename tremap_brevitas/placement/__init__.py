"""Which cell holds which bit of which weight. NumPy only."""

from tremap_brevitas.placement.image import MemoryImage
from tremap_brevitas.placement.linear import LayerCodes, linear_placement
from tremap_brevitas.placement.placement import LayerSites, PlacedLayer, Placement, WeightBit

__all__ = [
    "LayerCodes",
    "LayerSites",
    "MemoryImage",
    "PlacedLayer",
    "Placement",
    "WeightBit",
    "linear_placement",
]
