"""Reports of a network's accuracy on every chip of a fleet: tables, CSV files and figures."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
