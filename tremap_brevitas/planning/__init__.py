"""Plan for a fleet: which chips share a network, the accuracy at a fault rate, and the best image for a new chip.

Not here: the preparation itself (``prepare/``), and measured accuracies of chips (``report/``).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
