"""Reports: how well a network does on every chip of a fleet, as a table, a CSV file and pictures."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
