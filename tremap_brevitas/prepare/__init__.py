"""Prepare a network for faulty memories: retraining strategies, compensation without training, BatchNorm statistics.

Not here: the choice of codes without torch (``patching/``), and of preparations and groups (``planning/``).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
