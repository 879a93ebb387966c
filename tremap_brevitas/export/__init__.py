"""Export: networks leave as files that hold the very codes that were trained.

Importing this package registers handlers for our weight proxies with Brevitas' own export managers.
"""

from tremap_brevitas.export import handlers
from tremap_brevitas.export.memory_image import read_memory_image, words_read, write_memory_image
from tremap_brevitas.export.onnx_export import export_qcdq, export_qonnx, onnx_metadata
from tremap_brevitas.export.verify import OnnxReport, verify_onnx
from tremap_brevitas.export.weights import OnnxWeight, load_onnx, onnx_weights

__all__ = [
    "OnnxReport",
    "OnnxWeight",
    "export_qcdq",
    "export_qonnx",
    "handlers",
    "load_onnx",
    "onnx_metadata",
    "onnx_weights",
    "read_memory_image",
    "verify_onnx",
    "words_read",
    "write_memory_image",
]
