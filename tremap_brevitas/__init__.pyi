from .export import Bundle, BundleReport, OnnxReport, apply_to_onnx, verify_bundle, verify_onnx
from .faults import FaultMap, Memory, MergedFaultMap, merge, random_fault_maps
from .faults.formats import read_fault_map, read_fault_maps, write_fault_map
from .fleet import Certificate, FleetReport, certificate, comparison, plot_reports, write_csv
from .placed import PlacedModel, Rule, compiled, make_faulty, place, restore
from .placement import MemoryImage, Placement
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
    reestimate_batchnorm_,
    retrain_until,
)

__version__: str

__all__ = [
    "AllAtOnce",
    "Bundle",
    "BundleReport",
    "Certificate",
    "CleanAndFaulty",
    "ClipWeights",
    "CollapseDetector",
    "CollapseError",
    "CompensationReport",
    "FaultMap",
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
    "apply_to_onnx",
    "certificate",
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
    "restore",
    "retrain_until",
    "verify_bundle",
    "verify_onnx",
    "write_csv",
    "write_fault_map",
]
