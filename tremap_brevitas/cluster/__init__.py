"""Run many independent jobs, such as groups to retrain or chips to evaluate, here or on a Ray cluster, with nothing lost."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
