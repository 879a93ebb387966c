from .apply import apply_to_onnx
from .chips import BundleChip
from .manifest import BundleLayer, Manifest
from .read import Bundle
from .verify import BundleReport, verify_bundle

__all__ = [
    "Bundle",
    "BundleChip",
    "BundleLayer",
    "BundleReport",
    "Manifest",
    "apply_to_onnx",
    "verify_bundle",
]
