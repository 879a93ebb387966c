"""Fault maps: the stuck cells of each chip's weight memory. NumPy only."""

from tremap_brevitas.faults.fault_map import FaultMap
from tremap_brevitas.faults.memory import Memory
from tremap_brevitas.faults.merge import MergedFaultMap, merge

__all__ = ["FaultMap", "Memory", "MergedFaultMap", "merge"]
