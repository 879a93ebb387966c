"""Read the integer weights of ONNX files and compare them with a memory image, without torch.

Not here: writing these files (``onnx_export/``), whole bundles (``bundle/``), and the handlers for Brevitas' exporters, which
are beside the proxies that they serve, in ``proxy/export_handlers.py``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
