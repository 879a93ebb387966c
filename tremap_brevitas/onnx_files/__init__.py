"""Read the integer weights of ONNX files and compare them with a memory image, without torch.

Handlers for Brevitas' own exporters are beside the proxies that they serve, in ``proxy/export_handlers.py``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
