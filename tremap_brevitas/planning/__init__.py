"""Planning for a fleet: which chips share a network, what fault rate costs what accuracy, which image suits a new chip."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
