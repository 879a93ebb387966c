"""Choose a chip's own codes from a bundle's files: no torch, no data, no training.

Not here: compensation of a model with torch (``prepare/compensation/``), and channel orders (``order/``).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
