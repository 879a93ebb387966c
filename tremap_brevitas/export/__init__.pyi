from .memory_image import read_memory_image, words_read, write_memory_image
from .onnx_export import export_qcdq, export_qonnx, onnx_metadata
from .verify import OnnxReport, verify_onnx
from .weights import OnnxWeight, load_onnx, onnx_weights

__all__ = [
    "OnnxReport",
    "OnnxWeight",
    "export_qcdq",
    "export_qonnx",
    "load_onnx",
    "onnx_metadata",
    "onnx_weights",
    "read_memory_image",
    "verify_onnx",
    "words_read",
    "write_memory_image",
]
