"""Run many independent jobs, such as groups to retrain or chips to evaluate, on this machine or a Ray cluster, resumably."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
