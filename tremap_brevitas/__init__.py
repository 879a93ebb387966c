"""Retrain one Brevitas network for a whole group of accelerator chips with stuck-at faults in their weight memory.

The public names; `import tremap_brevitas as tm`. The faulty quantizers stand in ``tremap_brevitas.quant`` and here.
"""

from tremap_brevitas.faults import FaultMap, Memory, MergedFaultMap, merge, random_fault_maps
from tremap_brevitas.model import (
    clear_faults_,
    layer_codes,
    make_faulty,
    memory_image,
    place,
    restore,
    set_faults_,
    using_codes,
    using_faults,
)
from tremap_brevitas.placement import MemoryImage, Placement
from tremap_brevitas.quant import *  # noqa: F403

__version__ = "0.1.0"
