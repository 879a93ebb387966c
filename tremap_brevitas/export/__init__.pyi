from .bundle import Bundle, BundleReport, apply_to_onnx, verify_bundle
from .memory_image import read_memory_image, words_read, write_memory_image
from .run import onnx_runner
from .verify import OnnxReport, verify_onnx
from .weights import OnnxWeight, load_onnx, onnx_metadata, onnx_weights

__all__ = [
    "Bundle",
    "BundleReport",
    "OnnxReport",
    "OnnxWeight",
    "apply_to_onnx",
    "load_onnx",
    "onnx_metadata",
    "onnx_runner",
    "onnx_weights",
    "read_memory_image",
    "verify_bundle",
    "verify_onnx",
    "words_read",
    "write_memory_image",
]
