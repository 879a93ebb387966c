from .bundle import Bundle, BundleReport, apply_to_onnx, verify_bundle
from .faults import FaultMap, Memory, MergedFaultMap, merge
from .faults.formats import read_fault_map, read_fault_maps, write_fault_map
from .faults.random.uniform import random_fault_maps
from .onnx_files import OnnxReport, verify_onnx
from .order import ChannelGroup, ChipOrder, FleetOrders
from .placed import PlacedModel, Rule, compiled, make_faulty, place, restore
from .placement import Certificate, MemoryImage, Placement, certificate
from .prepare import (
    AllAtOnce,
    CleanAndFaulty,
    ClipWeights,
    CollapseDetector,
    CollapseError,
    CompensationReport,
    Ramp,
    RandomMaps,
    RandomMember,
    ReadByMembers,
    Strategy,
    TeacherLoss,
    apply_order_,
    channel_groups,
    reestimate_batchnorm_,
    reorder,
    retrain_until,
)
from .report import FleetReport, comparison, plot_reports, write_csv

__version__: str

__all__ = [
    "AllAtOnce",
    "Bundle",
    "BundleReport",
    "Certificate",
    "ChannelGroup",
    "ChipOrder",
    "CleanAndFaulty",
    "ClipWeights",
    "CollapseDetector",
    "CollapseError",
    "CompensationReport",
    "FaultMap",
    "FleetOrders",
    "FleetReport",
    "Memory",
    "MemoryImage",
    "MergedFaultMap",
    "OnnxReport",
    "PlacedModel",
    "Placement",
    "Ramp",
    "RandomMaps",
    "RandomMember",
    "ReadByMembers",
    "Rule",
    "Strategy",
    "TeacherLoss",
    "apply_order_",
    "apply_to_onnx",
    "certificate",
    "channel_groups",
    "comparison",
    "compiled",
    "make_faulty",
    "merge",
    "place",
    "plot_reports",
    "random_fault_maps",
    "read_fault_map",
    "read_fault_maps",
    "reestimate_batchnorm_",
    "reorder",
    "restore",
    "retrain_until",
    "verify_bundle",
    "verify_onnx",
    "write_csv",
    "write_fault_map",
]
