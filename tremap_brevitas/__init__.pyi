from . import bundle as bundle
from . import cluster as cluster
from . import codes as codes
from . import faults as faults
from . import memory_files as memory_files
from . import moments as moments
from . import onnx_files as onnx_files
from . import order as order
from . import patching as patching
from . import placement as placement
from . import planning as planning
from . import prepare as prepare
from . import quant as quant
from . import report as report
from .bundle import Bundle, apply_to_onnx, verify_bundle
from .faults import FaultMap, Memory, MergedFaultMap, merge
from .faults.formats import read_fault_map, read_fault_maps, write_fault_map
from .faults.random.uniform import random_fault_maps
from .onnx_files import verify_onnx
from .placed import PlacedModel, Rule, compiled, make_faulty, place, restore
from .placement import Certificate, MemoryImage, Placement
from .prepare import (
    AllAtOnce,
    Ramp,
    ReadByMembers,
    Strategy,
    TeacherLoss,
    apply_order_,
    reestimate_batchnorm_,
    reorder,
    retrain_until,
)
from .report import FleetReport

__version__: str

__all__ = [
    "AllAtOnce",
    "Bundle",
    "Certificate",
    "FaultMap",
    "FleetReport",
    "Memory",
    "MemoryImage",
    "MergedFaultMap",
    "PlacedModel",
    "Placement",
    "Ramp",
    "ReadByMembers",
    "Rule",
    "Strategy",
    "TeacherLoss",
    "apply_order_",
    "apply_to_onnx",
    "compiled",
    "make_faulty",
    "merge",
    "place",
    "random_fault_maps",
    "read_fault_map",
    "read_fault_maps",
    "reestimate_batchnorm_",
    "reorder",
    "restore",
    "retrain_until",
    "verify_bundle",
    "verify_onnx",
    "write_fault_map",
]
