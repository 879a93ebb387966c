"""Placement of weight bits in memory cells, and its results on a chip. NumPy only.

Here: layouts, memory images and their files, certificates. Not here: torch models, which ``placed/`` joins with a placement.
"""

from tremap_brevitas.placement.activated import ActivatedFaults, activated_faults
from tremap_brevitas.placement.certificate import Certificate, Deployment, LayerDifference, certificate
from tremap_brevitas.placement.draw import drawn_words
from tremap_brevitas.placement.finn import finn_dat, finn_placement
from tremap_brevitas.placement.image import MemoryImage
from tremap_brevitas.placement.image_file import read_memory_image, words_read, write_memory_image
from tremap_brevitas.placement.layer import LayerSites, PlacedLayer, WeightBit
from tremap_brevitas.placement.linear import LayerCodes, linear_placement
from tremap_brevitas.placement.placement import Placement
from tremap_brevitas.placement.stuck_bits import StuckBits

__all__ = [
    "ActivatedFaults",
    "Certificate",
    "Deployment",
    "LayerCodes",
    "LayerDifference",
    "LayerSites",
    "MemoryImage",
    "PlacedLayer",
    "Placement",
    "StuckBits",
    "WeightBit",
    "activated_faults",
    "certificate",
    "drawn_words",
    "finn_dat",
    "finn_placement",
    "linear_placement",
    "read_memory_image",
    "words_read",
    "write_memory_image",
]
