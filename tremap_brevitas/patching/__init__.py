"""Choose a chip's own codes from a bundle's files: no torch, no data, no training."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
