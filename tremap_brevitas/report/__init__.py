"""Reports of a network's accuracy on every chip of a fleet: tables, CSV files and figures.

Not here: the measurement, which is ``PlacedModel.evaluate``, and predictions (``planning/``).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
