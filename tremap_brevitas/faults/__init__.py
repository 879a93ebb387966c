"""Fault maps: which cells of each chip's weight memory are stuck, and at which value. NumPy only.

Here: memories, maps and merging; below, file formats, random maps, the physical array, statistics. Not here: weights and
layers, which begin in ``placement/``.
"""

from tremap_brevitas.faults.fault_map import FaultMap
from tremap_brevitas.faults.memory import Memory
from tremap_brevitas.faults.merge import MergedFaultMap, merge

__all__ = ["FaultMap", "Memory", "MergedFaultMap", "merge"]
