"""Prepare a network for faulty memories: retraining strategies, compensation without training, BatchNorm statistics."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
