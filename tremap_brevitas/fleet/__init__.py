"""The fleet: what each chip makes of a memory image, and how well it does."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
