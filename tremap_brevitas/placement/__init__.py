"""Which cell holds which bit of which weight. NumPy only."""

from tremap_brevitas.placement.draw import drawn_words
from tremap_brevitas.placement.finn import finn_dat, finn_placement
from tremap_brevitas.placement.image import MemoryImage
from tremap_brevitas.placement.layer import LayerSites, PlacedLayer, WeightBit
from tremap_brevitas.placement.linear import LayerCodes, linear_placement
from tremap_brevitas.placement.placement import Placement

__all__ = [
    "LayerCodes",
    "LayerSites",
    "MemoryImage",
    "PlacedLayer",
    "Placement",
    "WeightBit",
    "drawn_words",
    "finn_dat",
    "finn_placement",
    "linear_placement",
]
