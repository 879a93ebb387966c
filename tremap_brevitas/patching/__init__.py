"""A chip's own codes, chosen anew from a bundle's files alone: no torch, no data, no training."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
