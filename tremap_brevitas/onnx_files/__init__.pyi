from .run import onnx_runner
from .verify import OnnxReport, verify_onnx
from .weights import OnnxWeight, load_onnx, onnx_metadata, onnx_weights

__all__ = [
    "OnnxReport",
    "OnnxWeight",
    "load_onnx",
    "onnx_metadata",
    "onnx_runner",
    "onnx_weights",
    "verify_onnx",
]
